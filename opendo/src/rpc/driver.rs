//! The task of a session: reads messages and starts what they ask for, writes what has gathered.
//!
//! One task does both, so that the replies of calls that finish at once leave in one write. The reader never
//! waits: not for a method, not for a slow peer; what that could pile up is bounded in [`Limits`].

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use opendo_transport::envelope::EnvelopeKind as Kind;
use opendo_transport::{Connection, Frames, Receiver, Sender, Transport, TransportError, kind};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::node::WeakNode;
use crate::object::lasting::LastingName;
use crate::registry::namespace::Objects;
use crate::rpc::cap::Cap;
use crate::rpc::core::{Core, Output, push_message, wake_later};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use crate::rpc::method::Interface;
use crate::rpc::peer_side::PeerSide;
use crate::rpc::session::Session;
use crate::rpc::timer::Timer;
use crate::rpc::wire::{Hello, WireError, decode_body, encode_body};

/// What a session serves to its peer.
pub(crate) trait Host: Send + Sync {
    /// The class of that name, if this process hosts it.
    fn class(&self, name: &str) -> Option<Arc<dyn Hosted>>;

    /// The target of that name, if this process has handed it out.
    fn lasting(&self, name: Arc<LastingName>) -> Result<Cap, RpcError>;

    /// The objects of this process.
    fn objects(&self) -> Objects;

    /// Called with each new session, before any of its calls is read: what the peer may reach. An error refuses it.
    fn accept(&self, session: &Session) -> Result<Access, RpcError>;
}

/// What a peer may reach before it was passed anything.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// The target that is there for it.
    pub(crate) root: Option<Cap>,
    /// Whether it may name objects.
    pub(crate) names: bool,
}

/// A hosted class, its types erased.
pub(crate) trait Hosted: Send + Sync {
    fn interface(&self) -> &'static Interface;

    /// The object of that name.
    #[cfg(feature = "capnweb")]
    fn of_name(&self, name: &str) -> Cap;

    /// The object of that id; `None` when the id belongs to another class.
    fn serve(&self, id: [u8; 32], name: Option<&str>) -> Option<Cap>;
}

/// Which side speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Connecting,
    Accepting,
}

type Out = Box<dyn Sender<kind::Bytes>>;
pub(crate) type In = Box<dyn Receiver<kind::Bytes>>;

/// A session that is established and waits to be run.
pub(crate) struct Driver {
    core: Arc<Core>,
    sender: Out,
    receiver: In,
    peer_side: PeerSide,
}

/// Exchanges hellos. The accepting side looks at the peer's before it says anything, and grants what its host says
/// instead of `access`.
pub(crate) async fn establish(
    connection: Connection<kind::Bytes>,
    role: Role,
    limits: &Arc<Limits>,
    credentials: &[u8],
    host: Option<Arc<dyn Host>>,
    mut access: Access,
) -> Result<(Arc<Core>, Driver), RpcError> {
    let peer = connection.peer();
    let (mut sender, mut receiver) = connection.split();
    let own = Hello {
        max_message: limits.max_message as u64,
        max_calls: limits.max_calls,
        max_bindings: limits.max_bindings,
        max_capabilities: limits.max_capabilities,
        max_stream_buffer: limits.max_stream_buffer as u64,
        features: 0,
        credentials: credentials.to_vec(),
    };
    let exchange = async {
        if role == Role::Connecting {
            send_hello(&mut sender, &own).await?;
        }
        let theirs = match receive_hello(&mut receiver).await {
            Ok(theirs) => theirs,
            Err(error) if role == Role::Accepting && error.kind() == ErrorKind::Protocol => {
                return Err(refuse(&mut sender, error).await);
            }
            Err(error) => return Err(error),
        };
        let objects = host.as_ref().map_or_else(|| Objects(WeakNode::none()), |host| host.objects());
        let core = Core::new(peer.clone(), limits.clone(), theirs, objects);
        // A node judges who comes to it, not whom it goes to.
        if role == Role::Accepting
            && let Some(host) = &host
        {
            match host.accept(&Session::new(core.clone())) {
                Ok(granted) => access = granted,
                Err(error) => return Err(refuse(&mut sender, error).await),
            }
        }
        if role == Role::Accepting {
            send_hello(&mut sender, &own).await?;
        }
        Ok(core)
    };
    let core = timeout(limits.hello_timeout, exchange).await.unwrap_or_else(|_| {
        Err(RpcError::new(
            ErrorKind::Disconnected,
            format!("{peer} said no hello within {:?}", limits.hello_timeout),
        ))
    })?;
    let peer_side = PeerSide::new(host, access);
    Ok((core.clone(), Driver { core, sender, receiver, peer_side }))
}

async fn send_hello(sender: &mut Out, hello: &Hello) -> Result<(), RpcError> {
    write(sender, |out| {
        Kind::Hello.encode(out);
        hello.encode(out);
    })
    .await
    .map_err(disconnected)
}

/// Tells the peer why it is not let in; gives the reason back.
async fn refuse(sender: &mut Out, error: RpcError) -> RpcError {
    // If even this cannot be written, the peer learns no reason; ours stays the same.
    let _ = write(sender, |out| abort_message(&error, out)).await;
    let _ = poll_fn(|cx| sender.poll_close(cx)).await;
    error
}

async fn write(sender: &mut Out, message: impl FnOnce(&mut Vec<u8>)) -> Result<(), TransportError> {
    let mut batch = Frames::default();
    push_message(&mut batch, message);
    poll_fn(|cx| sender.poll_send(cx, &mut batch)).await.map(drop)
}

fn abort_message(error: &RpcError, out: &mut Vec<u8>) {
    Kind::Abort.encode(out);
    encode_body(&WireError::from_rpc(error), out);
}

/// What a peer says before it is known may not be long, and is kept as long as its session.
const LONGEST_HELLO: usize = 64 * 1024;

async fn receive_hello(receiver: &mut In) -> Result<Hello, RpcError> {
    let message = match poll_fn(|cx| receiver.poll_receive(cx)).await {
        Some(Ok(message)) => message,
        Some(Err(error)) => return Err(disconnected(error)),
        None => return Err(RpcError::new(ErrorKind::Disconnected, "the peer hung up before its hello")),
    };
    if message.len() > LONGEST_HELLO {
        let text = format!("a hello of {} bytes; credentials may have about 60,000", message.len());
        return Err(RpcError::new(ErrorKind::Protocol, text));
    }
    match message.split_first() {
        Some((&kind, body)) if kind == Kind::Hello as u8 => Hello::decode(body),
        Some((&kind, body)) if kind == Kind::Abort as u8 => {
            Err(decode_body::<WireError>(body, "a refusal")?.into_rpc(None))
        }
        _ => Hello::decode(&message),
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub(crate) fn disconnected(error: TransportError) -> RpcError {
    let kind = match error {
        TransportError::TooLarge { .. } => ErrorKind::TooLarge,
        _ => ErrorKind::Disconnected,
    };
    RpcError::new(kind, error.to_string())
}

/// Messages read before others get a turn.
const BUDGET: usize = 256;

impl Driver {
    /// Runs the session to its end.
    pub(crate) fn run(self) -> impl Future<Output = ()> + Send {
        let Self { core, sender, receiver, peer_side } = self;
        let mut running = Running {
            _ended: EndOnPanic(core.clone()),
            keepalive: Keepalive::new(core.life.limits.clone()),
            core,
            sender,
            receiver,
            peer_side,
            writing: Writing { batch: Frames::default(), sending: false, gathered: false, farewell: None },
        };
        async move {
            let error = poll_fn(|cx| running.poll(cx)).await;
            // What only an end needs takes no room before.
            Box::pin(running.end(error)).await;
        }
    }
}

/// A session that runs. It is there as long as its connection, and so are its parts.
struct Running {
    _ended: EndOnPanic,
    core: Arc<Core>,
    sender: Out,
    receiver: In,
    peer_side: PeerSide,
    keepalive: Keepalive,
    writing: Writing,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RpcError> {
        let Self { core, sender, receiver, peer_side, keepalive, writing, .. } = self;
        core.awake();
        if let Poll::Ready(error) = peer_side.poll_read(cx, core, receiver, keepalive, BUDGET) {
            return Poll::Ready(error);
        }
        if let Poll::Ready(error) = writing.poll(cx, core, sender, peer_side.expects_calls) {
            // What the peer said before it went away still counts.
            let _ = peer_side.poll_read(cx, core, receiver, keepalive, usize::MAX);
            return Poll::Ready(error);
        }
        keepalive.poll(cx, core)
    }

    async fn end(self, error: RpcError) {
        let Self { _ended, core, mut sender, receiver: _receiver, peer_side, mut writing, .. } = self;
        // Before anything that waits: calls in flight learn it now.
        core.end(&error);
        drop(peer_side);
        core.bound.store(0, Ordering::Relaxed);
        core.kept.store(0, Ordering::Relaxed);
        let aborted = core.parting.get();
        let reason = matches!(error.kind(), ErrorKind::Protocol | ErrorKind::TooLarge).then_some(&error);
        if let Some(error) = aborted.or(reason) {
            // Behind what is half written: a message of the batch must not end in the middle of this one.
            push_message(&mut writing.batch, |out| abort_message(error, out));
            let rest = poll_fn(|cx| sender.poll_send(cx, &mut writing.batch));
            let _ = timeout(core.life.limits.hello_timeout, rest).await;
        }
        let _ = timeout(core.life.limits.hello_timeout, poll_fn(|cx| sender.poll_close(cx))).await;
    }
}

/// A `Drop` of the user's may panic in the reader: whoever waits for the session learns that it is over.
struct EndOnPanic(Arc<Core>);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        self.0.end(&RpcError::new(ErrorKind::Disconnected, "the task of the session is gone"));
    }
}

struct Writing {
    batch: Frames,
    /// Also when the transport has taken all of the batch, and not written it.
    sending: bool,
    gathered: bool,
    /// How long a peer may take to say that it has nothing left.
    farewell: Option<Pin<Box<Sleep>>>,
}

impl Writing {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        core: &Arc<Core>,
        sender: &mut Out,
        expects_calls: bool,
    ) -> Poll<RpcError> {
        loop {
            if !self.sending {
                if expects_calls && !self.gathered {
                    // What there is leaves with what they call. Once: the peer is to have work meanwhile.
                    self.gathered = true;
                    return Poll::Pending;
                }
                match core.take_output(&mut self.batch, cx.waker(), self.gathered) {
                    Output::Write => (self.gathered, self.sending) = (false, true),
                    Output::Gather => {
                        self.gathered = true;
                        wake_later(cx.waker());
                        return Poll::Pending;
                    }
                    Output::Nothing => {
                        self.gathered = false;
                        return Poll::Pending;
                    }
                    Output::Farewell => {
                        let patience = core.life.limits.hello_timeout;
                        let farewell = self.farewell.get_or_insert_with(|| Box::pin(sleep(patience)));
                        ready!(farewell.poll_unpin(cx));
                        return Poll::Ready(RpcError::new(ErrorKind::Closed, "the session was closed"));
                    }
                    Output::Drained => {
                        return Poll::Ready(RpcError::new(ErrorKind::Closed, "the session was closed"));
                    }
                    Output::Ended => {
                        return Poll::Ready(RpcError::new(ErrorKind::Closed, "the session has ended"));
                    }
                }
            }
            if let Err(error) = ready!(sender.poll_send(cx, &mut self.batch)) {
                return Poll::Ready(disconnected(error));
            }
            self.sending = false;
        }
    }
}

/// Asks a silent peer for a sign of life.
pub(crate) struct Keepalive {
    seen: Instant,
    asked: bool,
    timer: Option<Timer>,
    limits: Arc<Limits>,
}

impl Keepalive {
    fn new(limits: Arc<Limits>) -> Self {
        Self { seen: Instant::now(), asked: false, timer: None, limits }
    }

    pub(crate) fn saw_message(&mut self) {
        self.seen = Instant::now();
        self.asked = false;
    }

    fn due(&self) -> Instant {
        let silence = self.limits.keepalive_interval
            + if self.asked { self.limits.keepalive_timeout } else { std::time::Duration::ZERO };
        self.seen + silence
    }

    fn poll(&mut self, cx: &mut Context<'_>, core: &Core) -> Poll<RpcError> {
        loop {
            let due = self.due();
            let timer = self.timer.get_or_insert_with(|| Timer::until(due));
            ready!(timer.poll(cx));
            // Messages that came meanwhile moved the moment; the timer is only set anew when it fires.
            if Instant::now() >= due {
                if self.asked {
                    return Poll::Ready(RpcError::new(
                        ErrorKind::Disconnected,
                        format!("{} gave no sign of life for {:?}", core.life.peer, self.seen.elapsed()),
                    ));
                }
                self.asked = true;
                core.push_control(Kind::Ping, |_| ());
            }
            let due = self.due();
            if let Some(timer) = &mut self.timer {
                timer.reset(due);
            }
        }
    }
}
