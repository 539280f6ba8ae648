//! The task of a session: reads messages and starts what they ask for, writes what has gathered.
//!
//! One task does both, so that the replies of calls that finish at once leave in one write. The reader never
//! waits: not for a method, not for a slow peer; what that could pile up is bounded in [`Limits`].

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use opendo_transport::envelope::{EnvelopeKind as Kind, EnvelopeView};
use opendo_transport::{Connection, Frames, Receiver, Sender, Transport, TransportError, kind};
use rustc_hash::FxHashMap;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, IncomingCall, RemoteReply, Served};
use crate::rpc::limits::Limits;
use crate::rpc::method::{Interface, MethodDesc};
use crate::rpc::session::{Core, Output, Session, push_message};
use crate::rpc::wire::{Bind, Describe, Hello, WireError, decode_body, encode_body};

/// What a session serves to its peer.
pub(crate) trait Host: Send + Sync {
    /// The class of that name, if this process hosts it.
    fn class(&self, name: &str) -> Option<Arc<dyn Hosted>>;

    /// Called with each new session, before any of its calls is read. An error refuses the peer.
    fn accept(&self, session: &Session) -> Result<(), RpcError>;
}

/// A hosted class, its types erased.
pub(crate) trait Hosted: Send + Sync {
    fn interface(&self) -> &'static Interface;

    /// The object of that id; `None` when the id belongs to another class.
    fn serve(&self, id: [u8; 32], name: Option<&str>) -> Option<Arc<dyn Served>>;
}

/// Which side speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Connecting,
    Accepting,
}

type Out = Box<dyn Sender<kind::Bytes>>;
type In = Box<dyn Receiver<kind::Bytes>>;

/// A session that is established and waits to be run.
pub(crate) struct Driver {
    core: Arc<Core>,
    sender: Out,
    receiver: In,
    peer_side: PeerSide,
}

/// Exchanges hellos. The accepting side looks at the peer's before it says anything.
pub(crate) async fn establish(
    connection: Connection<kind::Bytes>,
    role: Role,
    limits: &Limits,
    credentials: &[u8],
    host: Option<Arc<dyn Host>>,
) -> Result<(Arc<Core>, Driver), RpcError> {
    let peer = connection.peer();
    let (mut sender, mut receiver) = connection.split();
    let own = Hello {
        max_message: limits.max_message as u64,
        max_calls: limits.max_calls,
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
        let core = Core::new(peer.clone(), limits.clone(), theirs);
        // A node judges who comes to it, not whom it goes to.
        if role == Role::Accepting
            && let Some(host) = &host
            && let Err(error) = host.accept(&Session::new(core.clone()))
        {
            return Err(refuse(&mut sender, error).await);
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
    let peer_side =
        PeerSide { host, classes: Vec::new(), bound: HashMap::new(), last_bound: 0, last_call: 0 };
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
fn disconnected(error: TransportError) -> RpcError {
    let kind = match error {
        TransportError::TooLarge { .. } => ErrorKind::TooLarge,
        _ => ErrorKind::Disconnected,
    };
    RpcError::new(kind, error.to_string())
}

/// Messages read before others get a turn.
const BUDGET: usize = 128;

impl Driver {
    /// Runs the session to its end.
    pub(crate) async fn run(self) {
        let Self { core, mut sender, mut receiver, mut peer_side } = self;
        let mut keepalive = Keepalive::new(&core.limits);
        let mut writing = Writing { batch: Frames::default(), gathered: false, farewell: None };
        let error = poll_fn(|cx| {
            if let Poll::Ready(error) = peer_side.poll_read(cx, &core, &mut receiver, &mut keepalive, BUDGET)
            {
                return Poll::Ready(error);
            }
            if let Poll::Ready(error) = writing.poll(cx, &core, &mut sender) {
                // What the peer said before it went away still counts.
                let _ = peer_side.poll_read(cx, &core, &mut receiver, &mut keepalive, usize::MAX);
                return Poll::Ready(error);
            }
            keepalive.poll(cx, &core)
        })
        .await;
        // Before anything that waits: calls in flight learn it now.
        core.end(&error);
        drop(peer_side);
        core.bound.store(0, Ordering::Relaxed);
        if matches!(error.kind(), ErrorKind::Protocol | ErrorKind::TooLarge) {
            // Behind what is half written: a message of the batch must not end in the middle of this one.
            push_message(&mut writing.batch, |out| abort_message(&error, out));
            let rest = poll_fn(|cx| sender.poll_send(cx, &mut writing.batch));
            let _ = timeout(core.limits.hello_timeout, rest).await;
        }
        let _ = timeout(core.limits.hello_timeout, poll_fn(|cx| sender.poll_close(cx))).await;
    }
}

struct Writing {
    batch: Frames,
    gathered: bool,
    /// How long a peer may take to say that it has nothing left.
    farewell: Option<Pin<Box<Sleep>>>,
}

impl Writing {
    fn poll(&mut self, cx: &mut Context<'_>, core: &Arc<Core>, sender: &mut Out) -> Poll<RpcError> {
        loop {
            if self.batch.is_empty() {
                match core.take_output(&mut self.batch, cx.waker(), self.gathered) {
                    Output::Write => self.gathered = false,
                    Output::Gather => {
                        self.gathered = true;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Output::Nothing => return Poll::Pending,
                    Output::Farewell => {
                        let patience = core.limits.hello_timeout;
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
        }
    }
}

/// Asks a silent peer for a sign of life.
struct Keepalive {
    seen: Instant,
    asked: bool,
    timer: Option<Pin<Box<Sleep>>>,
    limits: Limits,
}

impl Keepalive {
    fn new(limits: &Limits) -> Self {
        Self { seen: Instant::now(), asked: false, timer: None, limits: limits.clone() }
    }

    fn saw_message(&mut self) {
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
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.poll_unpin(cx));
            // Messages that came meanwhile moved the moment; the timer is only set anew when it fires.
            if Instant::now() >= due {
                if self.asked {
                    return Poll::Ready(RpcError::new(
                        ErrorKind::Disconnected,
                        format!("{} gave no sign of life for {:?}", core.peer, self.seen.elapsed()),
                    ));
                }
                self.asked = true;
                core.push_control(Kind::Ping, |_| ());
            }
            let due = self.due();
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(due);
            }
        }
    }
}

/// What the peer told us to expect: its classes and the objects it named. Only the reader touches it.
struct PeerSide {
    host: Option<Arc<dyn Host>>,
    classes: Vec<PeerClass>,
    /// The peer chooses the keys, so not with a hash that it can predict.
    bound: HashMap<i64, Bound>,
    last_bound: i64,
    last_call: u64,
}

struct PeerClass {
    name: String,
    hosted: Option<Arc<dyn Hosted>>,
    /// Methods whose signature differs between the peer and us: ours.
    mismatched: FxHashMap<u32, MethodDesc>,
}

impl PeerClass {
    /// Why an object of it cannot be called.
    fn refusal(&self) -> RpcError {
        let text = match self.hosted {
            Some(_) => {
                format!("the object's id is not valid for class `{}`: it was made for another one", self.name)
            }
            None => format!(
                "this node hosts no class `{}`; register it with `.object::<…>()`, or connect to another node",
                self.name
            ),
        };
        RpcError::new(ErrorKind::NoSuchClass, text)
    }
}

struct Bound {
    class: u32,
    /// `None` when the class is not here, or the id is none of it. Why is told to who calls it, not kept for each.
    served: Option<Arc<dyn Served>>,
}

/// Classes one session may describe: far above any program's, far below what hurts.
const MAX_CLASSES: usize = 65_536;

/// Names of classes that are not here are kept, and told to whoever calls them.
const LONGEST_CLASS_NAME: usize = 512;

impl PeerSide {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        core: &Arc<Core>,
        receiver: &mut In,
        keepalive: &mut Keepalive,
        budget: usize,
    ) -> Poll<RpcError> {
        for turn in 0..budget {
            let message = match receiver.poll_receive(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(disconnected(error)),
                Poll::Ready(None) => {
                    let text = format!("{} closed the connection", core.peer);
                    return Poll::Ready(RpcError::new(ErrorKind::Disconnected, text));
                }
            };
            if turn == 0 {
                keepalive.saw_message();
            }
            if let Err(error) = self.handle(core, message) {
                return Poll::Ready(error);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what one message asks for. An error ends the session.
    #[allow(clippy::needless_pass_by_value)] // the message is consumed; its body is shared by slices
    fn handle(&mut self, core: &Arc<Core>, message: Bytes) -> Result<(), RpcError> {
        let view = EnvelopeView::parse(&message).map_err(|error| {
            RpcError::new(ErrorKind::Protocol, format!("a message from the peer: {error}"))
        })?;
        match view.kind() {
            Kind::Call => self.call(core, &view, &message),
            Kind::Reply => core.answer(view.call(), view.status(), message.slice(view.body_offset()..)),
            Kind::Cancel => {
                if let Some(call) = core.incoming(view.call()) {
                    call.abandon();
                }
                Ok(())
            }
            Kind::Interface => self.describe(decode_body(view.body(), "a class")?),
            Kind::Bind => self.bind(core, &decode_body(view.body(), "an object's name")?),
            Kind::Release => {
                let import: i64 = decode_body(view.body(), "a release")?;
                match self.bound.remove(&import) {
                    Some(_) => {
                        core.bound.store(self.bound.len(), Ordering::Relaxed);
                        Ok(())
                    }
                    None => Err(protocol(&format!("the release of {import}, which names nothing"))),
                }
            }
            Kind::Ping => core.pong(),
            Kind::Pong => Ok(()),
            Kind::Drain => {
                core.peer_drains();
                Ok(())
            }
            Kind::Abort => Err(decode_body::<WireError>(view.body(), "an abort")?.into_rpc(None)),
            Kind::Hello => Err(protocol("a second hello")),
        }
    }

    fn call(&mut self, core: &Arc<Core>, view: &EnvelopeView<'_>, message: &Bytes) -> Result<(), RpcError> {
        if view.call() <= self.last_call {
            return Err(protocol(&format!("call {}, a number that was used before", view.call())));
        }
        self.last_call = view.call();
        let call = IncomingCall::new(core.clone(), view.call());
        let reply = RemoteReply::new(call.clone());
        if let Err(error) = core.admit(view.call(), &call) {
            reply.fail(&error);
            return Ok(());
        }
        let Some(bound) = self.bound.get(&view.target()) else {
            reply.fail(&protocol(&format!("a call to {}, which names nothing", view.target())));
            return Ok(());
        };
        let Some(served) = &bound.served else {
            reply.fail(&self.classes[bound.class as usize].refusal());
            return Ok(());
        };
        if let Some(error) = self.mismatch(bound.class, view.method()) {
            reply.fail(&error);
            return Ok(());
        }
        let incoming = Incoming {
            reply,
            method: view.method(),
            body: message.slice(view.body_offset()..),
            deadline: view
                .deadline()
                .and_then(|micros| Instant::now().checked_add(std::time::Duration::from_micros(micros))),
            trace: view.trace(),
            chain: Link::from_wire(view.chain().collect::<Vec<_>>().into_iter()),
        };
        served.deliver(incoming);
        Ok(())
    }

    fn mismatch(&self, class: u32, method: u32) -> Option<RpcError> {
        let class = &self.classes[class as usize];
        if class.mismatched.is_empty() {
            return None;
        }
        let ours = class.mismatched.get(&method)?;
        let text = format!(
            "`{}` of `{}` is `{}` at this node; build caller and object against the same signature",
            ours.name, class.name, ours.signature
        );
        Some(RpcError::new(ErrorKind::SignatureMismatch, text).with_signatures(ours.signature, ""))
    }

    fn describe(&mut self, class: Describe) -> Result<(), RpcError> {
        if class.number as usize != self.classes.len() || self.classes.len() >= MAX_CLASSES {
            return Err(protocol(&format!("a class with the number {}", class.number)));
        }
        if class.class.len() > LONGEST_CLASS_NAME {
            return Err(protocol(&format!("a class whose name has {} bytes", class.class.len())));
        }
        let hosted = self.host.as_ref().and_then(|host| host.class(&class.class));
        let mut mismatched = FxHashMap::default();
        if let Some(hosted) = &hosted {
            let interface = hosted.interface();
            for (id, fingerprint) in class.methods {
                if let Some(ours) = interface.method(id).filter(|ours| ours.fingerprint != fingerprint) {
                    mismatched.insert(id, *ours);
                }
            }
        }
        self.classes.push(PeerClass { name: class.class, hosted, mismatched });
        Ok(())
    }

    fn bind(&mut self, core: &Core, bind: &Bind<'_>) -> Result<(), RpcError> {
        let Some(class) = self.classes.get(bind.class as usize) else {
            return Err(protocol(&format!("an object of class {}, which was not described", bind.class)));
        };
        if bind.import <= self.last_bound {
            return Err(protocol(&format!(
                "the number {} for an object, which was used before",
                bind.import
            )));
        }
        if self.bound.len() >= core.limits.max_bindings as usize {
            return Err(protocol(&format!("more than {} objects at once", core.limits.max_bindings)));
        }
        self.last_bound = bind.import;
        let served = class.hosted.as_ref().and_then(|hosted| hosted.serve(bind.id, bind.name));
        self.bound.insert(bind.import, Bound { class: bind.class, served });
        core.bound.store(self.bound.len(), Ordering::Relaxed);
        Ok(())
    }
}

fn protocol(what: &str) -> RpcError {
    RpcError::new(ErrorKind::Protocol, format!("the peer sent {what}"))
}
