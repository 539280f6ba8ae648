//! A process that hosts objects.

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use opendo_transport::{Address, AnyConnection, TransportError};
#[cfg(feature = "capnweb")]
use opendo_transport::{Connection, kind};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
#[cfg(feature = "sqlite")]
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, ClientBuilder};
use crate::engine::Engine;
use crate::engine::committer::Committer;
use crate::engine::memory::Memory;
#[cfg(feature = "sqlite")]
use crate::engine::sqlite::{Sqlite, open::OpenError};
use crate::object::clock::Clock;
use crate::object::id::{ObjectId, ObjectKey, ToObjectId};
use crate::object::lasting::{
    HostTarget, HostedTarget, Lasting, LastingName, Secret, StubMaker as StubMakerOf, host_target,
};
use crate::object::lifecycle::Object;
#[cfg(feature = "sqlite")]
use crate::object::sql::Databases;
use crate::object::storage::StorageError;
use crate::registry::class::{AnyClass, HostedClass, StubMaker, Surroundings, host};
use crate::registry::namespace::{Namespace, Objects};
use crate::registry::wakes::{Wakes, Woken};
use crate::rpc::any_core::AnyCore;
use crate::rpc::cap::Cap;
#[cfg(feature = "capnweb")]
use crate::rpc::capnweb::{Sort, as_text};
use crate::rpc::driver::{Access, Host, Hosted};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::limits::Limits;
use crate::rpc::remote::{cap_of, nowhere, nowhere_cap};
use crate::rpc::session::Session;
use crate::rpc::stub::Stub;
#[cfg(any(feature = "websocket", feature = "http"))]
use crate::web::Origins;
#[cfg(feature = "tls")]
use opendo_transport::tls::Identity;

#[cfg(feature = "http")]
mod plain;
mod serving;
#[cfg(any(feature = "websocket", feature = "http"))]
mod web;

/// A process that hosts objects and listens for callers. Clones are the same node.
///
/// When the last clone is dropped, listeners close and sessions end at once; [`shutdown`](Node::shutdown) ends
/// them in order.
///
/// ```
/// use opendo::prelude::*;
///
/// pub struct Counter { value: u64 }
///
/// #[durable_object]
/// impl Counter {
///     /// Adds `by`; returns the new value.
///     pub async fn increment(&mut self, by: u64) -> u64 {
///         self.value += by;
///         self.value
///     }
/// }
///
/// impl DurableObject for Counter {
///     async fn new(_: Ctx) -> opendo::Result<Self> { Ok(Counter { value: 0 }) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let node = Node::builder().object::<Counter>().start().await?;
/// node.listen("memory:counters").await?;
///
/// let counter: CounterStub = node.get("room-1"); // in process
/// assert_eq!(counter.increment(1).await?, 1);
///
/// let client = opendo::connect("memory:counters").await?; // as from elsewhere
/// let counter: CounterStub = client.get("room-1");
/// assert_eq!(counter.increment(1).await?, 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    classes: FxHashMap<Arc<str>, HostedClass>,
    /// If there are lasting targets.
    secret: Option<Secret>,
    limits: Limits,
    allow_anonymous: bool,
    authenticate: Option<Authenticate>,
    accept: Option<Accept>,
    allow_names: bool,
    #[cfg(any(feature = "websocket", feature = "http"))]
    origins: Origins,
    #[cfg(feature = "tls")]
    identity: Option<Identity>,
    runtime: Handle,
    committer: Arc<Committer>,
    sessions: Mutex<FxHashMap<usize, Arc<dyn AnyCore>>>,
    session_permits: Arc<Semaphore>,
    closing: CancellationToken,
    /// Ends the listeners with the node.
    _close_on_drop: DropGuard,
}

type HostClass = fn(Surroundings) -> HostedClass;
type Authenticate = Box<dyn Fn(&Session) -> Result<(), String> + Send + Sync>;
/// Gives a new session its root target.
type Accept = Box<dyn Fn(&Session) -> Result<Cap, String> + Send + Sync>;

impl Drop for Inner {
    fn drop(&mut self) {
        let error = RpcError::new(ErrorKind::Closed, "the node is gone");
        for core in self.sessions.get_mut().values() {
            core.end(&error);
        }
    }
}

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

/// Why a node could not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address is not one, is taken, or its transport is not compiled in.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Everybody who can reach the address could call everything.
    #[error(
        "`{address}` can be reached from other machines: give the node an authenticator with \
         `.authenticate(…)`, or say `.allow_anonymous()` if everybody may call everything"
    )]
    Anonymous {
        /// The address.
        address: String,
    },
    /// The node was shut down.
    #[error("the node was shut down")]
    Closed,
}

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
                limits,
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

impl Node {
    /// Begins to put a node together.
    pub fn builder() -> NodeBuilder {
        NodeBuilder {
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

    /// A stub of an object of this node. No I/O, and nothing is started: the object is made at its first call.
    ///
    /// Arguments and results of its calls move; nothing is encoded. When the node does not host the class, each
    /// call fails with [`NoSuchClass`](ErrorKind::NoSuchClass).
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.weak().get(id)
    }

    /// All objects whose class is called like the interface of `S`.
    pub fn namespace<S: Stub>(&self) -> Namespace<S> {
        self.class(S::INTERFACE.name)
    }

    /// All objects of the class of that name, called through `S`: for classes that implement an interface under
    /// another name.
    pub fn class<S: Stub>(&self, class: &str) -> Namespace<S> {
        Namespace::at_node(class.into(), self.weak())
    }

    /// The objects of the class that are in memory now.
    pub fn live<S: Stub>(&self) -> Vec<ObjectId<S>> {
        let class = self.0.classes.get(S::INTERFACE.name);
        class.map_or_else(Vec::new, |entry| entry.class.live().iter().map(ObjectId::from_key).collect())
    }

    /// The objects of the class that are in memory or hold something, in the order of their ids: `limit` at most, from the
    /// one behind `after` on.
    ///
    /// # Errors
    /// [`StorageError::Engine`].
    ///
    /// ```
    /// # use opendo::{Stored, prelude::*};
    /// # pub struct Room { topic: Stored<String> }
    /// # #[durable_object]
    /// # impl Room { pub fn name_it(&mut self, topic: String) { *self.topic.edit() = topic; } }
    /// # impl DurableObject for Room {
    /// #     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Room { topic: ctx.stored("topic").await? }) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// let node = Node::builder().object::<Room>().start().await?;
    /// let room: RoomStub = node.get("lobby");
    /// room.name_it("welcome".into()).await?;
    ///
    /// let mut after = None;
    /// loop {
    ///     let page: Vec<ObjectId<RoomStub>> = node.objects(after.as_ref(), 100).await?;
    ///     let Some(last) = page.last() else { break };
    ///     after = Some(last.clone());
    ///     assert_eq!(page[0].name(), Some("lobby"));
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn objects<S: Stub>(
        &self,
        after: Option<&ObjectId<S>>,
        limit: usize,
    ) -> Result<Vec<ObjectId<S>>, StorageError> {
        let after = after.map(|id| *id.as_bytes());
        let found = self.0.committer.engine().objects(S::INTERFACE.name, after, limit).await?;
        Ok(found.iter().map(ObjectId::from_key).collect())
    }

    /// Listens, beside whatever the node listens on already. Returns the address with what was left open in it
    /// (the port, for `tcp://127.0.0.1:0`).
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(&self, address: &str) -> Result<Address, ListenError> {
        let address: Address = address.parse()?;
        let guarded = self.0.authenticate.is_some() || !self.0.allow_names;
        if !address.is_local() && !self.0.allow_anonymous && !guarded {
            return Err(ListenError::Anonymous { address: address.to_string() });
        }
        if self.0.closing.is_cancelled() {
            return Err(ListenError::Closed);
        }
        #[cfg(any(feature = "websocket", feature = "http"))]
        if matches!(address.scheme(), "ws" | "wss" | "http" | "https") {
            return self.listen_web(&address).await;
        }
        let listener = address.listen_with(&self.listen_options()).await?;
        let address = listener.address().clone();
        self.0.runtime.spawn(self.weak().accept(listener, self.0.closing.clone()));
        Ok(address)
    }

    /// Serves one connection that was made elsewhere. Returns when the peers have said hello.
    ///
    /// The kind of its messages decides what is spoken: our own protocol in bytes, Cap'n Web in text and in values. To a
    /// peer that speaks Cap'n Web the main interface is the node's root: what [`accept`](NodeBuilder::accept) gives it,
    /// otherwise one that gives out objects by `object(class, name)`.
    ///
    /// # Errors
    /// When the peer does not speak our protocol, or is refused.
    pub async fn serve_connection(&self, connection: impl Into<AnyConnection>) -> Result<Session, RpcError> {
        match connection.into() {
            AnyConnection::Bytes(connection) => self.weak().serve(connection, self.0.limits.clone()).await,
            #[cfg(feature = "capnweb")]
            AnyConnection::Text(connection) => self.serve_text(connection, Sort::Conversation),
            #[cfg(feature = "capnweb")]
            AnyConnection::Batch(connection) => self.serve_text(connection, Sort::Request),
            #[cfg(feature = "capnweb")]
            AnyConnection::Value(connection) => self.serve_text(as_text(connection), Sort::Conversation),
            #[cfg(not(feature = "capnweb"))]
            _ => Err(text_off()),
        }
    }

    #[cfg(feature = "capnweb")]
    fn serve_text(&self, connection: Connection<kind::Text>, sort: Sort) -> Result<Session, RpcError> {
        let (core, running) = self.weak().text_session(connection, sort, Vec::new(), &[])?;
        self.0.runtime.spawn(running);
        Ok(Session::new(core))
    }

    /// Begins to put a client of another node together. Beside what [`opendo::connect`](crate::connect) does, the
    /// other node can call this one's objects over the connection: a method finds it in
    /// [`CallInfo::session`](crate::CallInfo::session).
    pub fn client(&self, address: &str) -> ClientBuilder {
        Client::builder(address).limits(self.0.limits.clone()).host(Arc::new(self.weak()))
    }

    /// Ends the node in order: listeners close, peers are told, calls that run are answered, objects go to
    /// sleep, the data directory is let go. What has not finished after `grace` is cut off.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.closing.cancel();
        let sessions: Vec<_> = self.0.sessions.lock().values().cloned().collect();
        let orderly = async {
            join_all(sessions.iter().map(|core| async {
                core.drain();
                core.life().wait_for_end().await;
            }))
            .await;
            join_all(self.0.classes.values().map(|entry| entry.class.close())).await;
            self.0.committer.engine().close().await;
        };
        if timeout(grace, orderly).await.is_err() {
            let error = RpcError::new(ErrorKind::Closed, "the node was shut down");
            for core in &sessions {
                core.end(&error);
            }
            // No object takes a new call; those that are busy go to sleep when they can.
            let closing: Vec<_> = self.0.classes.values().map(|entry| entry.class.close()).collect();
            let committer = self.0.committer.clone();
            self.0.runtime.spawn(async move {
                join_all(closing).await;
                committer.engine().close().await;
            });
        }
    }

    /// Ends the node as the death of its process would: nothing is written any more, nobody is told, everything in memory
    /// is gone. Resolves when it is.
    pub(crate) async fn crash(&self) {
        // First, so that nothing of what follows is written.
        let mut closing = self.0.committer.engine().close();
        let closed = futures::poll!(&mut closing).is_ready();
        self.0.closing.cancel();
        let error = RpcError::new(ErrorKind::Closed, "the node has crashed");
        let sessions: Vec<_> = self.0.sessions.lock().values().cloned().collect();
        sessions.iter().for_each(|core| core.end(&error));
        let gone: Vec<_> = self.0.classes.values().map(|entry| entry.class.abandon(&error)).collect();
        join_all(gone).await;
        if !closed {
            closing.await;
        }
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.0.sessions.lock().len()
    }

    /// The class of that object, if it is hosted here.
    pub(crate) fn class_of<'a>(
        &self,
        key: Option<&'a ObjectKey>,
    ) -> Option<(Arc<dyn AnyClass>, &'a ObjectKey)> {
        let key = key?;
        Some((self.0.classes.get(key.class())?.class.clone(), key))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn session_list(&self) -> Vec<Session> {
        self.0.sessions.lock().values().cloned().map(Session::new).collect()
    }

    fn weak(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut classes: Vec<_> = self.0.classes.keys().collect();
        classes.sort_unstable();
        f.debug_struct("Node").field("classes", &classes).finish_non_exhaustive()
    }
}

fn no_class(class: &str) -> RpcError {
    let text = format!("this node hosts no class `{class}`; register it with `.object::<…>()`");
    RpcError::new(ErrorKind::NoSuchClass, text)
}

/// Why a connection of that kind cannot be used.
#[cfg(not(feature = "capnweb"))]
pub(crate) fn text_off() -> RpcError {
    RpcError::new(ErrorKind::Protocol, "it carries text: enable the cargo feature `capnweb`")
}

pub(crate) fn transport_limits(limits: &Limits) -> opendo_transport::Limits {
    opendo_transport::Limits { max_message: limits.max_message }
}

/// The node as its own parts hold it.
#[derive(Clone)]
pub(crate) struct WeakNode(Weak<Inner>);

impl WeakNode {
    /// Whether both are the same node.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// No node.
    pub(crate) fn none() -> Self {
        Self(Weak::new())
    }

    /// Has the object look at its timers. False when the node is gone.
    pub(crate) fn wake(&self, key: &ObjectKey, woken: Woken) -> bool {
        let Some(node) = self.0.upgrade() else { return false };
        match node.classes.get(key.class()) {
            Some(entry) => entry.class.wake(key, woken),
            None => {
                // A node that hosts it will.
                tracing::warn!(object = %key, "its time has come, but this node does not host its class");
                woken.never();
            }
        }
        true
    }

    /// Hands a message to the object it is for.
    pub(crate) fn receive(&self, key: &Arc<ObjectKey>, call: Incoming) {
        let Some(node) = self.0.upgrade() else {
            return call.reply.fail(RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        match node.classes.get(key.class()) {
            Some(entry) => entry.class.receive(key, call),
            None => call.reply.fail(no_class(key.class())),
        }
    }

    /// The object of that key.
    pub(crate) fn cap_of(&self, key: &ObjectKey) -> Cap {
        let class = Host::class(self, key.class());
        let served = class.and_then(|class| class.serve(*key.bytes(), key.name()));
        served.unwrap_or_else(|| nowhere_cap(no_class(key.class())))
    }

    pub(crate) fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.stub(id, S::INTERFACE.name)
    }

    pub(crate) fn stub<S: Stub>(&self, id: impl ToObjectId<S>, class: &str) -> S {
        match id.into_key(class) {
            Ok(key) => self.stub_of(key),
            Err(error) => {
                let error = RpcError::new(ErrorKind::NoSuchClass, error.to_string());
                nowhere(ObjectKey::refused(class), error)
            }
        }
    }

    /// A stub of the object of that key.
    pub(crate) fn stub_of<S: Stub>(&self, key: ObjectKey) -> S {
        let Some(node) = self.0.upgrade() else {
            return nowhere(key, RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        let class = key.class_arc().clone();
        let Some(entry) = node.classes.get(&class) else {
            return nowhere(key, no_class(&class));
        };
        let Some(make) = entry.stubs.downcast_ref::<StubMaker<S>>() else {
            let text = format!("class `{class}` is not called through `{}`", std::any::type_name::<S>());
            return nowhere(key, RpcError::new(ErrorKind::NoSuchClass, text));
        };
        make(key)
    }
}

impl WeakNode {
    /// A stub of the target that the object makes again from those parameters.
    pub(crate) fn lasting<S: Stub>(&self, object: ObjectKey, target: &str, params: Vec<u8>) -> S {
        let Some(node) = self.0.upgrade() else {
            return nowhere(object, RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        let (secret, hosted) = match node.lasting(&object, target) {
            Ok(found) => found,
            Err(error) => return nowhere(object, error),
        };
        let Some(make) = hosted.stubs.downcast_ref::<StubMakerOf<S>>() else {
            let text = format!("`{target}` is not called through `{}`", std::any::type_name::<S>());
            return nowhere(object, RpcError::new(ErrorKind::NoSuchClass, text));
        };
        make(Arc::new(secret.sealed(object, target, params)))
    }

    /// The target that the object makes again from those parameters.
    pub(crate) fn cap_of_lasting(&self, object: ObjectKey, target: &str, params: &[u8]) -> Cap {
        let Some(node) = self.0.upgrade() else {
            return nowhere_cap(RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        match node.lasting(&object, target) {
            Ok((secret, hosted)) => (hosted.cap)(Arc::new(secret.sealed(object, target, params.to_vec()))),
            Err(error) => nowhere_cap(error),
        }
    }
}

impl Inner {
    /// How objects of that class make a target of that name.
    fn lasting(&self, object: &ObjectKey, target: &str) -> Result<(&Secret, &HostedTarget), RpcError> {
        let hosted = self.classes.get(object.class()).and_then(|class| class.lasting.get(target));
        self.secret.as_ref().zip(hosted).ok_or_else(|| {
            let class = object.class();
            let text = format!("`{class}` has no target `{target}` here; register it with `.lasting::<…>()`");
            RpcError::new(ErrorKind::NoSuchClass, text)
        })
    }
}

impl Host for WeakNode {
    fn lasting(&self, name: Arc<LastingName>) -> Result<Cap, RpcError> {
        let node = self.0.upgrade().ok_or_else(|| RpcError::new(ErrorKind::Closed, "the node is gone"))?;
        let (secret, hosted) = node.lasting(&name.object, &name.target)?;
        if !secret.knows(&name) {
            let text = format!("`{name}` was not handed out by this node");
            return Err(RpcError::new(ErrorKind::Unauthorized, text));
        }
        Ok((hosted.cap)(name))
    }

    fn class(&self, name: &str) -> Option<Arc<dyn Hosted>> {
        self.0.upgrade()?.classes.get(name).map(|entry| entry.class.clone().as_hosted())
    }

    fn objects(&self) -> Objects {
        Objects(self.clone())
    }

    fn accept(&self, session: &Session) -> Result<Access, RpcError> {
        let node = self.0.upgrade().ok_or_else(|| RpcError::new(ErrorKind::Closed, "the node is gone"))?;
        let refused = |text| RpcError::new(ErrorKind::Unauthorized, text);
        if let Some(judge) = &node.authenticate {
            judge(session).map_err(refused)?;
        }
        let root = node.accept.as_ref().map(|accept| accept(session)).transpose().map_err(refused)?;
        Ok(Access { root, names: node.allow_names })
    }
}
