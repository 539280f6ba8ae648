//! A connection that makes itself again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready as now};
use opendo_transport::{Address, AnyConnection, ConnectOptions, TransportError};
#[cfg(feature = "capnweb")]
use opendo_transport::{Connection, Transport, kind};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::encoding::Form;
#[cfg(feature = "capnweb")]
use crate::node::WeakNode;
#[cfg(not(feature = "capnweb"))]
use crate::node::text_off;
use crate::node::transport_limits;
use crate::object::id::ToObjectId;
use crate::registry::namespace::Namespace;
#[cfg(feature = "capnweb")]
use crate::registry::namespace::Objects;
use crate::rpc::any_core::{AnyCore, Unsent, uplink_number};
use crate::rpc::cap::{AllPassed, Cap};
#[cfg(feature = "capnweb")]
use crate::rpc::capnweb::{Root, Sort, TextCore, as_text};
use crate::rpc::driver::{Access, Host, Role, establish};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use crate::rpc::outgoing::{CallParts, OutgoingCall, RemoteCall};
use crate::rpc::remote::{self, Binding, Place, Remote, RemoteObject, Uplink, cap_of};
use crate::rpc::session::Session;
use crate::rpc::stub::{Broken, Stub};
use crate::testing::Network;

mod reconnect;

use self::reconnect::supervise;

/// Connects to a node: `tcp://host:port`, `unix:/path` or `memory:name`, as far as the features are on.
///
/// Short for `Client::builder(address).connect()`.
///
/// # Errors
/// When the address is none, nobody answers, or the node refuses. Once connected, the client reconnects by itself.
pub async fn connect(address: &str) -> Result<Client, ConnectError> {
    Client::builder(address).connect().await
}

/// Why a client could not connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none, nobody listens there, or its transport is not compiled in.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Somebody listens, but no session came about.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl From<ConnectError> for RpcError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Transport(error) => RpcError::new(ErrorKind::Disconnected, error.to_string()),
            ConnectError::Rpc(error) => error,
        }
    }
}

/// A connection to a node that is made again when it is lost. Clones are the same connection.
///
/// **Stubs heal.** A stub of an object is a name: after a reconnect it works again. Calls that were in flight when
/// the connection was lost fail with [`Disconnected`](ErrorKind::Disconnected), and
/// [`may_have_run`](RpcError::may_have_run) tells the truth: `false` only for those that never left. Those of
/// methods marked `#[method(idempotent)]` do not fail: they are made again. Calls made meanwhile wait for the next connection, in order, as long as the client is
/// [patient](ClientBuilder::patience).
///
/// **Reconnecting** is tried at once and then after growing pauses with jitter, up to 5 s.
///
/// The connection lives as long as the client or one of its stubs, and ends in order when the last is dropped.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    number: u64,
    /// Of the first session, and so of all.
    form: Form,
    dial: Dial,
    patience: Duration,
    timeout: Option<Duration>,
    state: Mutex<State>,
    closing: CancellationToken,
}

/// How to make a connection.
#[derive(Clone)]
struct Dial {
    connector: Connector,
    options: ConnectOptions,
    limits: Arc<Limits>,
    credentials: Vec<u8>,
    host: Option<Arc<dyn Host>>,
    root: Option<Cap>,
    /// Where the chance in pauses between attempts comes from, if it shall be the same in each run.
    jitter: Option<u64>,
}

/// Makes a connection, given what the client wants of it.
type Connector =
    Arc<dyn Fn(ConnectOptions) -> BoxFuture<'static, Result<AnyConnection, TransportError>> + Send + Sync>;

/// A session at work.
type Running = BoxFuture<'static, ()>;

enum State {
    Up(Arc<dyn AnyCore>),
    Down {
        /// Calls that wait for the next connection, and how many bytes they have.
        parked: VecDeque<Parked>,
        bytes: usize,
        /// The last thing that went wrong.
        why: RpcError,
        /// Whether calls still wait.
        patient: bool,
    },
    Closed,
}

struct Parked {
    call: Arc<RemoteCall>,
    parts: CallParts,
    body: Vec<u8>,
    passed: AllPassed,
}

/// Puts a client together. See [`Client::builder`].
#[must_use = "a client is made with `.connect().await`"]
pub struct ClientBuilder {
    connector: Result<Connector, TransportError>,
    options: ConnectOptions,
    limits: Limits,
    credentials: Vec<u8>,
    host: Option<Arc<dyn Host>>,
    root: Option<Cap>,
    jitter: Option<u64>,
    patience: Duration,
    timeout: Option<Duration>,
}

impl ClientBuilder {
    /// Another address, to be tried when the ones before it cannot be connected to, each time a connection is made.
    ///
    /// Nothing is called twice by this: which address it is is settled before the first call goes out.
    pub fn or(mut self, address: &str) -> Self {
        let next = by_address(address);
        self.connector = match (self.connector, next) {
            (Ok(first), Ok(next)) => Ok(Arc::new(move |options: ConnectOptions| {
                let (first, next) = (first(options.clone()), next.clone());
                async move {
                    match first.await {
                        Ok(connection) => Ok(connection),
                        Err(_) => next(options).await,
                    }
                }
                .boxed()
            })),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        self
    }

    /// Other bounds than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Speaks Cap'n Web over a WebSocket, also to a node that would speak our own protocol.
    #[cfg(feature = "websocket")]
    pub fn text(mut self) -> Self {
        self.options = self.options.text();
        self
    }

    /// Whom `tls://`, `wss://` and `https://` believe. Default: the system's certificates.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, trust: opendo_transport::tls::Trust) -> Self {
        self.options = self.options.trust(trust);
        self
    }

    /// What the node's authenticator is shown, at most some 60,000 bytes. Default: nothing. To HTTP servers it is also
    /// sent as `Authorization: Bearer`, if a header can have it: that is where text sessions have it from.
    pub fn credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.credentials = credentials.into();
        self
    }

    /// How long calls that are made while there is no connection wait for one, counted from the loss. Then they
    /// fail with [`Disconnected`](ErrorKind::Disconnected), not run, and so do further ones until there is a
    /// connection again. Default 10 s; zero fails at once.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The timeout of calls that have none of their own. Default: none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A target that the node can call in each session, with [`Session::root`], without having been passed it.
    pub fn root<S: Stub>(mut self, root: &S) -> Self {
        self.root = Some(cap_of(root));
        self
    }

    /// Gets its connections from `network`, with the same pauses between attempts in each run.
    pub(crate) fn over_network(mut self, network: Network) -> Self {
        self.connector = Ok(Arc::new(move |_| now(network.connect().map(AnyConnection::from)).boxed()));
        self.jitter = Some(0);
        self
    }

    pub(crate) fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = Some(host);
        self
    }

    /// Connects, in the current Tokio runtime.
    ///
    /// # Errors
    /// See [`connect`].
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let Self { connector, options, limits, credentials, host, root, jitter, patience, timeout } = self;
        let mut options = options.limits(transport_limits(&limits));
        if !credentials.is_empty() {
            // Text sessions have no hello to show them in.
            options = options.token(&credentials);
        }
        let dial =
            Dial { connector: connector?, options, limits: limits.into(), credentials, host, root, jitter };
        let (core, running) = dial.dial().await?;
        let inner = Arc::new(Inner {
            number: uplink_number(),
            form: core.form(),
            dial,
            patience,
            timeout,
            state: Mutex::new(State::Up(core.clone())),
            closing: CancellationToken::new(),
        });
        inner.own(&*core);
        tokio::spawn(supervise(Arc::downgrade(&inner), core, running));
        Ok(Client(inner))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins to put a client together that connects to an address.
    pub fn builder(address: &str) -> ClientBuilder {
        Self::with_connector(by_address(address))
    }

    /// Begins to put a client together that gets its connections from `connector`, over whatever transport.
    ///
    /// It is asked for the first one, and again whenever one is lost.
    ///
    /// ```
    /// use opendo::transport::{Connection, kind, memory};
    /// use opendo::{Client, Node};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// let node = Node::builder().start().await?;
    /// let server = node.clone();
    /// let client = Client::over(move || {
    ///     let server = server.clone();
    ///     async move {
    ///         let (ours, theirs) = memory::pair::<kind::Bytes>(16);
    ///         tokio::spawn(async move { server.serve_connection(Connection::new(theirs)).await });
    ///         Ok(Connection::new(ours))
    ///     }
    /// })
    /// .connect()
    /// .await?;
    /// client.close().await;
    /// # Ok(()) }
    /// ```
    pub fn over<F, C>(connector: impl Fn() -> F + Send + Sync + 'static) -> ClientBuilder
    where
        F: Future<Output = Result<C, TransportError>> + Send + 'static,
        C: Into<AnyConnection>,
    {
        Self::with_connector(Ok(Arc::new(move |_| {
            let connection = connector();
            async move { connection.await.map(Into::into) }.boxed()
        })))
    }

    fn with_connector(connector: Result<Connector, TransportError>) -> ClientBuilder {
        ClientBuilder {
            connector,
            options: ConnectOptions::default(),
            limits: Limits::default(),
            credentials: Vec::new(),
            host: None,
            root: None,
            jitter: None,
            patience: Duration::from_secs(10),
            timeout: None,
        }
    }

    /// A stub of an object at the node. No I/O and no check that the node hosts the class: a call tells.
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.stub(id, S::INTERFACE.name)
    }

    /// A stub of the node's root target: what it gives to each of its peers, before anything else. No I/O; a call
    /// tells whether there is one. After a reconnect it leads to the root of the new session.
    pub fn root<S: Stub>(&self) -> S {
        remote::of_remote(&Remote::new(self.0.clone(), Place::Root))
    }

    /// All objects whose class is called like the interface of `S`.
    pub fn namespace<S: Stub>(&self) -> Namespace<S> {
        self.class(S::INTERFACE.name)
    }

    /// All objects of the class of that name, called through `S`.
    pub fn class<S: Stub>(&self, class: &str) -> Namespace<S> {
        Namespace::at_client(class.into(), self.clone())
    }

    pub(crate) fn stub<S: Stub>(&self, id: impl ToObjectId<S>, class: &str) -> S {
        remote::stub(self.0.clone(), id, class)
    }

    /// The session of the current connection, if there is one now.
    pub fn session(&self) -> Option<Session> {
        match &*self.0.state.lock() {
            State::Up(core) => Some(Session::new(core.clone())),
            State::Down { .. } | State::Closed => None,
        }
    }

    /// Ends the connection in order: calls in flight are waited for (values of a stream that nobody reads are such), new
    /// ones fail with
    /// [`Closed`](ErrorKind::Closed), and there is no reconnecting. The same for all clones and stubs.
    pub async fn close(&self) {
        let before = std::mem::replace(&mut *self.0.state.lock(), State::Closed);
        self.0.closing.cancel();
        match before {
            State::Up(core) => {
                core.drain();
                core.life().wait_for_end().await;
            }
            State::Down { parked, .. } => fail(parked, &closed()),
            State::Closed => {}
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.0.state.lock() {
            State::Up(core) => format!("connected to {}", core.life().peer),
            State::Down { .. } => "reconnecting".to_owned(),
            State::Closed => "closed".to_owned(),
        };
        write!(f, "Client({state})")
    }
}

fn by_address(address: &str) -> Result<Connector, TransportError> {
    let address: Address = address.parse()?;
    Ok(Arc::new(move |options| {
        let address = address.clone();
        async move { address.connect_any(&options).await }.boxed()
    }))
}

fn closed() -> RpcError {
    RpcError::new(ErrorKind::Closed, "the client was closed")
}

fn fail(parked: VecDeque<Parked>, error: &RpcError) {
    for parked in parked {
        parked.call.complete(Err(error.clone()));
    }
}

impl Dial {
    async fn dial(&self) -> Result<(Arc<dyn AnyCore>, Running), ConnectError> {
        let connection = (self.connector)(self.options.clone()).await?;
        let host = self.host.clone();
        let access = Access { root: self.root.clone(), names: self.host.is_some() };
        match connection {
            AnyConnection::Bytes(connection) => {
                let (limits, credentials) = (&self.limits, &self.credentials);
                let session = establish(connection, Role::Connecting, limits, credentials, host, access);
                let (core, driver) = session.await?;
                Ok((core, driver.run().boxed()))
            }
            #[cfg(feature = "capnweb")]
            AnyConnection::Text(connection) => Ok(self.dial_text(connection, Sort::Conversation, access)),
            #[cfg(feature = "capnweb")]
            AnyConnection::Batch(connection) => Ok(self.dial_text(connection, Sort::Batch, access)),
            #[cfg(feature = "capnweb")]
            AnyConnection::Value(connection) => {
                Ok(self.dial_text(as_text(connection), Sort::Conversation, access))
            }
            #[cfg(not(feature = "capnweb"))]
            _ => Err(text_off().into()),
        }
    }

    #[cfg(feature = "capnweb")]
    fn dial_text(
        &self,
        connection: Connection<kind::Text>,
        sort: Sort,
        access: Access,
    ) -> (Arc<dyn AnyCore>, Running) {
        let objects = self.host.as_ref().map_or_else(|| Objects(WeakNode::none()), |host| host.objects());
        let core = TextCore::new(connection.peer(), self.limits.clone(), objects, Vec::new(), sort);
        let by_name = || {
            let host = self.host.clone().filter(|_| access.names)?;
            Some(Arc::new(Root(host)) as Cap)
        };
        if let Some(main) = access.root.or_else(by_name) {
            core.offer(main);
        }
        (core.clone(), crate::rpc::capnweb::run(core, connection).boxed())
    }
}

impl Inner {
    /// Stubs of objects that come over the session go by the client, so that they outlive it.
    fn own(self: &Arc<Self>, core: &dyn AnyCore) {
        let client: Arc<dyn Uplink> = self.clone();
        core.life().belongs_to(self.number, Arc::downgrade(&client));
    }

    /// The session takes no more calls: they wait for the next one.
    fn down(&self, core: &Arc<dyn AnyCore>, why: RpcError) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(current) if Arc::ptr_eq(current, core)) {
            let patient = !self.patience.is_zero();
            *state = State::Down { parked: VecDeque::new(), bytes: 0, why, patient };
        }
    }

    fn still_down(&self, error: RpcError) {
        if let State::Down { why, .. } = &mut *self.state.lock() {
            *why = error;
        }
    }

    /// Waited long enough: what waits fails, and what comes fails at once.
    fn lose_patience(&self) {
        let mut state = self.state.lock();
        if let State::Down { parked, bytes, why, patient } = &mut *state {
            (*bytes, *patient) = (0, false);
            let (parked, error) = (std::mem::take(parked), not_connected(why));
            drop(state);
            fail(parked, &error);
        }
    }

    /// A new session: what waited goes first, in its order.
    fn up(self: &Arc<Self>, core: &Arc<dyn AnyCore>) {
        let mut state = self.state.lock();
        let State::Down { parked, .. } = &mut *state else {
            drop(state);
            core.drain(); // closed meanwhile
            return;
        };
        // Dropped after the lock: the last owner of a withdrawn call releases its object, which takes the lock.
        let mut sent = Vec::with_capacity(parked.len());
        let mut refused = Vec::new();
        let mut over = false;
        while let Some(next) = parked.pop_front() {
            let Parked { call, parts, body, passed } = &next;
            match core.clone().try_send(&OutgoingCall { call, parts, body, passed }, None) {
                Ok(()) => sent.push(next),
                Err(Unsent::Refused(error)) => refused.push((next, error)),
                Err(Unsent::Over(_)) => {
                    parked.push_front(next);
                    over = true; // the supervisor sees it and dials again
                    break;
                }
            }
        }
        if !over {
            *state = State::Up(core.clone());
        }
        drop(state);
        core.settle();
        for (parked, error) in refused {
            parked.call.complete(Err(error));
        }
    }
}

fn not_connected(why: &RpcError) -> RpcError {
    RpcError::new(ErrorKind::Disconnected, format!("there is no connection: {}", why.message()))
}

impl Uplink for Inner {
    fn send(self: Arc<Self>, outgoing: OutgoingCall<'_>) {
        let mut state = self.state.lock();
        if let State::Up(core) = &*state {
            match core.clone().try_send(&outgoing, None) {
                Ok(()) => return outgoing.call.object.goes_by(core),
                Err(Unsent::Refused(error)) => {
                    drop(state);
                    return outgoing.call.complete(Err(error));
                }
                Err(Unsent::Over(why)) => {
                    let patient = !self.patience.is_zero();
                    *state = State::Down { parked: VecDeque::new(), bytes: 0, why, patient };
                }
            }
        }
        let refusal = match &mut *state {
            State::Down { parked, bytes, patient: true, .. } => {
                let limits = &self.dial.limits;
                let room = *bytes + outgoing.body.len() <= limits.max_unsent;
                if room && parked.len() < limits.max_calls as usize {
                    *bytes += outgoing.body.len();
                    let OutgoingCall { call, parts, body, passed } = outgoing;
                    let (call, parts) = (call.clone(), parts.clone());
                    parked.push_back(Parked { call, parts, body: body.to_vec(), passed: passed.into() });
                    return;
                }
                RpcError::new(
                    ErrorKind::Overloaded,
                    format!("{} calls with {bytes} bytes wait for a connection", parked.len()),
                )
            }
            State::Down { why, .. } => not_connected(why),
            State::Up(_) | State::Closed => closed(),
        };
        drop(state);
        outgoing.call.complete(Err(refusal));
    }

    fn release(&self, binding: &Binding) {
        if let State::Up(core) = &*self.state.lock() {
            core.release(binding);
        }
    }

    fn form(&self) -> Form {
        self.form
    }

    fn default_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn number(&self) -> Option<u64> {
        Some(self.number)
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        async move {
            self.closing.cancelled().await;
            closed()
        }
        .boxed()
    }
}

impl Drop for Inner {
    /// The last stub is gone: nobody waits for anything any more.
    fn drop(&mut self) {
        self.closing.cancel();
        if let State::Up(core) = self.state.get_mut() {
            core.drain();
        }
    }
}
