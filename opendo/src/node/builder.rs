//! Putting a node together.

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::{Arc, Weak};

#[cfg(feature = "tls")]
use opendo_transport::tls::Identity;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
#[cfg(feature = "sqlite")]
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{Accept, Authenticate, Inner, Node, WeakNode};
use crate::engine::Engine;
use crate::engine::committer::Committer;
use crate::engine::memory::Memory;
#[cfg(feature = "sqlite")]
use crate::engine::sqlite::{Sqlite, open::OpenError};
use crate::object::clock::Clock;
use crate::object::lasting::{HostTarget, Lasting, Secret, host_target};
use crate::object::lifecycle::Object;
#[cfg(feature = "sqlite")]
use crate::object::sql::Databases;
use crate::object::storage::StorageError;
use crate::registry::class::{HostedClass, Surroundings, host};
use crate::registry::wakes::Wakes;
use crate::rpc::limits::Limits;
use crate::rpc::remote::cap_of;
use crate::rpc::session::Session;
use crate::rpc::stub::Stub;
#[cfg(any(feature = "websocket", feature = "http"))]
use crate::web::Origins;

/// Why a node could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Two registered classes have the same wire name.
    #[error(
        "two classes are called `{class}`; give one of them another name with `#[durable_object(name = \"…\")]`"
    )]
    DuplicateClass {
        /// The name.
        class: &'static str,
    },
    /// Two lasting targets of a class have the same name.
    #[error("two lasting targets of `{class}` are called `{target}`; give one of them another `NAME`")]
    DuplicateTarget {
        /// The class.
        class: &'static str,
        /// The name.
        target: &'static str,
    },
    /// A lasting target was registered, and the class of its object was not.
    #[error("`{target}` is a target of `{class}`, which is not hosted; register that with `.object::<…>()`")]
    NoClass {
        /// The class.
        class: &'static str,
        /// The target's name.
        target: &'static str,
    },
    /// What the node knows lasting targets by could not be read or written.
    #[error("the node's secret: {0}")]
    Secret(StorageError),
    /// The data directory could not be opened.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Storage(#[from] OpenError),
}

type HostClass = fn(Surroundings) -> HostedClass;

/// Puts a node together. See [`Node::builder`].
#[must_use = "a node is started with `.start().await`"]
pub struct NodeBuilder {
    classes: Vec<(&'static str, HostClass)>,
    lasting: Vec<(&'static str, &'static str, HostTarget)>,
    limits: Limits,
    allow_anonymous: bool,
    authenticate: Option<Authenticate>,
    accept: Option<Accept>,
    allow_names: bool,
    pub(crate) clock: Clock,
    /// Instead of one of its own.
    pub(crate) engine: Option<Arc<dyn Engine>>,
    #[cfg(feature = "sqlite")]
    storage: Option<PathBuf>,
    /// Instead of those in `storage`.
    #[cfg(feature = "sqlite")]
    pub(crate) databases: Option<Arc<Databases>>,
    #[cfg(any(feature = "websocket", feature = "http"))]
    origins: Origins,
    #[cfg(feature = "tls")]
    identity: Option<Identity>,
}

impl NodeBuilder {
    pub(super) fn new() -> Self {
        Self {
            classes: Vec::new(),
            lasting: Vec::new(),
            limits: Limits::default(),
            allow_anonymous: false,
            authenticate: None,
            accept: None,
            allow_names: false,
            clock: Clock::System,
            engine: None,
            #[cfg(feature = "sqlite")]
            storage: None,
            #[cfg(feature = "sqlite")]
            databases: None,
            #[cfg(any(feature = "websocket", feature = "http"))]
            origins: Origins::default(),
            #[cfg(feature = "tls")]
            identity: None,
        }
    }

    /// Hosts the objects of class `O`.
    pub fn object<O: Object>(mut self) -> Self {
        self.classes.push((O::CLASS, host::<O>));
        self
    }

    /// Has the objects of a class make targets `T` again. See [`Lasting`].
    pub fn lasting<T: Lasting>(mut self) -> Self {
        self.lasting.push((T::Object::CLASS, T::NAME, host_target::<T>));
        self
    }

    /// Other bounds than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Asks `judge` about each new session, by its peer and its credentials, before any of its calls is looked
    /// at. The text of a refusal goes to the peer.
    ///
    /// ```
    /// use opendo::Node;
    ///
    /// # async fn run() -> opendo::Result<()> {
    /// let node = Node::builder()
    ///     .authenticate(|session| match session.credentials() {
    ///         b"sesame" => Ok(()),
    ///         _ => Err("wrong password".into()),
    ///     })
    ///     .start()
    ///     .await?;
    /// node.listen("tcp://0.0.0.0:7000").await?;
    /// # Ok(()) }
    /// ```
    pub fn authenticate(
        mut self,
        judge: impl Fn(&Session) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.authenticate = Some(Box::new(judge));
        self
    }

    /// Gives each new session a root target of its own, and nothing else: a peer reaches what that target gives it,
    /// by its methods, and no object by name. Stubs are the permissions.
    ///
    /// A peer finds it with [`Client::root`](crate::Client::root) or [`Session::root`]. It is dropped with the
    /// session. An error refuses the peer, who is told its text. Runs after the authenticator, if there is one; a
    /// node that only gives out a root needs none to listen where others can reach it.
    ///
    /// ```
    /// use opendo::{Namespace, prelude::*};
    ///
    /// # pub struct Account { ctx: Ctx }
    /// # #[durable_object] impl Account { pub fn owner(&self) -> String { self.ctx.key().name().unwrap_or("").into() } }
    /// # impl DurableObject for Account { async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Account { ctx }) } }
    /// /// All that a stranger can reach.
    /// pub struct Gate { accounts: Namespace<AccountStub> }
    ///
    /// #[rpc_target]
    /// impl Gate {
    ///     /// The account whose token this is.
    ///     pub fn authenticate(&self, token: String) -> Result<AccountStub, String> {
    ///         match token.as_str() {
    ///             "sesame" => Ok(self.accounts.get("ann")),
    ///             _ => Err("who are you?".into()),
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// let node = Node::builder()
    ///     .object::<Account>()
    ///     .accept(|session| {
    ///         let accounts = session.objects().namespace();
    ///         Ok(opendo::serve::<GateStub, _>(Gate { accounts }))
    ///     })
    ///     .start()
    ///     .await?;
    /// node.listen("memory:gate").await?;
    ///
    /// let client = opendo::connect("memory:gate").await?;
    /// let gate: GateStub = client.root();
    /// assert_eq!(gate.authenticate("sesame".into()).owner().await?, "ann"); // one round trip
    /// assert!(gate.authenticate("guess".into()).owner().await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn accept<S: Stub>(
        mut self,
        root: impl Fn(&Session) -> Result<S, String> + Send + Sync + 'static,
    ) -> Self {
        self.accept = Some(Box::new(move |session| root(session).map(|stub| cap_of(&stub))));
        self
    }

    /// Lets peers name objects although the node gives them a root target: every object of every class, then.
    pub fn allow_names(mut self) -> Self {
        self.allow_names = true;
        self
    }

    /// Whose pages a browser lets talk to this node. Default: [`Origins::Same`].
    #[cfg(any(feature = "websocket", feature = "http"))]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Who this node is, for `tls://`, `wss://` and `https://`, which it cannot listen on without.
    #[cfg(feature = "tls")]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Keeps the state of objects in that directory, which is made if it is not there, in a SQLite database: it survives
    /// the process, and the loss of power. Nobody else can open the directory meanwhile. Without this, everything is
    /// gone with the process.
    ///
    /// ```
    /// # use opendo::prelude::*;
    /// # pub struct Counter { value: opendo::Stored<u64> }
    /// # #[durable_object]
    /// # impl Counter { pub fn increment(&mut self) -> u64 { *self.value.edit() += 1; *self.value } }
    /// # impl DurableObject for Counter {
    /// #     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Counter { value: ctx.stored("value").await? }) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let data = directory.path().join("data");
    /// for times in 1..=2 {
    ///     let node = Node::builder().object::<Counter>().storage(&data).start().await?;
    ///     let counter: CounterStub = node.get("visits");
    ///     assert_eq!(counter.increment().await?, times);
    ///     node.shutdown(std::time::Duration::from_secs(5)).await;
    /// }
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn storage(mut self, directory: impl Into<PathBuf>) -> Self {
        self.storage = Some(directory.into());
        self
    }

    /// Lets the node listen on addresses that other machines can reach, without an authenticator: everybody who
    /// can connect can call everything.
    pub fn allow_anonymous(mut self) -> Self {
        self.allow_anonymous = true;
        self
    }

    /// Starts the node, in the current Tokio runtime. It listens nowhere yet.
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self { classes, lasting, limits, allow_anonymous, authenticate, accept, allow_names, .. } = self;
        let allow_names = allow_names || accept.is_none();
        for (at, (class, _)) in classes.iter().enumerate() {
            if classes[..at].iter().any(|(other, _)| other == class) {
                return Err(StartError::DuplicateClass { class });
            }
        }
        for (at, (class, target, _)) in lasting.iter().enumerate() {
            if lasting[..at].iter().any(|(other, name, _)| (other, name) == (class, target)) {
                return Err(StartError::DuplicateTarget { class, target });
            }
        }
        #[cfg(feature = "sqlite")]
        let databases = match (self.databases, &self.storage) {
            (Some(databases), _) => databases,
            (None, Some(directory)) => Arc::new(Databases::below(directory)),
            (None, None) => Arc::default(),
        };
        let engine: Arc<dyn Engine> = match self.engine {
            Some(engine) => engine,
            #[cfg(feature = "sqlite")]
            None if let Some(directory) = self.storage => {
                let opening = spawn_blocking(move || Sqlite::open(&directory));
                Arc::new(opening.await.expect("opening does not panic")?)
            }
            None => Arc::new(Memory::default()),
        };
        let runtime = Handle::current();
        let closing = CancellationToken::new();
        let clock = self.clock;
        let wakes = Wakes::new(clock);
        let waking = (wakes.clone(), engine.clone());
        let committer = Committer::new(engine, runtime.clone(), wakes);
        let secret = match lasting.is_empty() {
            true => None,
            false => Some(Secret::load(&committer).await.map_err(StartError::Secret)?),
        };
        let mut homeless = None;
        let node = Arc::new_cyclic(|node: &Weak<Inner>| {
            let surroundings = Surroundings {
                runtime: runtime.clone(),
                committer: committer.clone(),
                #[cfg(feature = "sqlite")]
                databases: databases.clone(),
                limits: limits.clone(),
                node: WeakNode(node.clone()),
                clock,
                closing: closing.clone(),
            };
            let hosted = classes.into_iter().map(|(class, host)| (class.into(), host(surroundings.clone())));
            let mut classes: FxHashMap<Arc<str>, HostedClass> = hosted.collect();
            for (class, target, host) in lasting {
                let hosted = classes.get_mut(class).and_then(|hosted| Some((host(hosted)?, hosted)));
                match hosted {
                    Some((made, hosted)) => drop(hosted.lasting.insert(target, made)),
                    None => homeless = Some(StartError::NoClass { class, target }),
                }
            }
            Inner {
                classes,
                secret,
                session_permits: Arc::new(Semaphore::new(limits.max_sessions)),
                limits: Arc::new(limits),
                allow_anonymous,
                authenticate,
                accept,
                allow_names,
                #[cfg(any(feature = "websocket", feature = "http"))]
                origins: self.origins,
                #[cfg(feature = "tls")]
                identity: self.identity,
                runtime,
                committer,
                sessions: Mutex::default(),
                _close_on_drop: closing.clone().drop_guard(),
                closing,
            }
        });
        if let Some(error) = homeless {
            return Err(error);
        }
        let node = Node(node);
        let (wakes, engine) = waking;
        let (closing, weak) = (node.0.closing.clone(), node.weak());
        let waking = async move { closing.run_until_cancelled(wakes.run(engine, weak)).await };
        node.0.runtime.spawn(waking);
        Ok(node)
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self.classes.iter().map(|(class, _)| class).collect();
        f.debug_struct("NodeBuilder").field("classes", &classes).finish_non_exhaustive()
    }
}
