//! A process that hosts objects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
#[cfg(feature = "tls")]
use opendo_transport::tls::Identity;
use opendo_transport::{Address, AnyConnection, TransportError};
#[cfg(feature = "capnweb")]
use opendo_transport::{Connection, kind};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, ClientBuilder};
use crate::engine::committer::Committer;
use crate::object::id::{ObjectId, ObjectKey, ToObjectId};
use crate::object::lasting::Secret;
use crate::object::storage::StorageError;
use crate::registry::class::{AnyClass, HostedClass};
use crate::registry::namespace::Namespace;
use crate::rpc::any_core::AnyCore;
use crate::rpc::cap::Cap;
#[cfg(feature = "capnweb")]
use crate::rpc::capnweb::{Sort, as_text};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use crate::rpc::session::Session;
use crate::rpc::stub::Stub;
#[cfg(any(feature = "websocket", feature = "http"))]
use crate::web::Origins;

mod builder;
#[cfg(feature = "http")]
mod plain;
mod serving;
mod weak;
#[cfg(any(feature = "websocket", feature = "http"))]
mod web;

pub use self::builder::{NodeBuilder, StartError};
pub(crate) use self::weak::WeakNode;

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
    limits: Arc<Limits>,
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

impl Node {
    /// Begins to put a node together.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
    }

    /// A stub of an object of this node. No I/O, and nothing is started: the object is made at its first call.
    ///
    /// Arguments and results of its calls move; nothing is encoded. When the node does not host the class, each
    /// call fails with [`NoSuchClass`](ErrorKind::NoSuchClass).
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.0.stub(id, S::INTERFACE.name)
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
        Client::builder(address).limits((*self.0.limits).clone()).host(Arc::new(self.weak()))
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
