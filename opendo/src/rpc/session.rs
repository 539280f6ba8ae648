//! One conversation with one peer: who called what, and what is on its way out.
//!
//! [`Core`] is the state that callers, running methods and the session's [driver](crate::rpc::driver) share, under
//! one short lock. Nothing here waits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opendo_transport::envelope::{
    CallHeader, CancelHeader, EnvelopeKind as Kind, MAX_CHAIN, ReplyHeader, ReplyStatus,
};
use opendo_transport::{Frames, Peer};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::object::id::{ObjectKey, ToObjectId};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::IncomingCall;
use crate::rpc::limits::Limits;
use crate::rpc::method::Interface;
use crate::rpc::remote::{self, Body, OutgoingCall, RemoteCall, Uplink};
use crate::rpc::stub::Stub;
use crate::rpc::wire::{Bind, Describe, Hello, WireError, decode_body, encode_body};
use crate::testing::SessionStats;

/// A connection to a peer, both ways: its calls arrive here, and its objects can be called.
///
/// A method gets the session its call came over from [`CallInfo::session`](crate::CallInfo::session). Clones are
/// the same session. It does not reconnect (a [`Client`](crate::Client) does): when the connection is gone, calls
/// fail with [`Disconnected`](ErrorKind::Disconnected).
#[derive(Clone)]
pub struct Session(Arc<Core>);

impl Session {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// A stub of an object that the peer hosts. No I/O, and no check that the peer hosts the class: a call tells.
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        remote::stub(self.0.clone(), id, S::INTERFACE.name)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// What the peer's hello carried for an authenticator. Empty when it sent none.
    pub fn credentials(&self) -> &[u8] {
        &self.0.theirs.credentials
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let state = self.0.state.lock();
        SessionStats {
            pending_calls: state.pending.len(),
            running_calls: state.incoming.len(),
            unsent_bytes: state.out.byte_len(),
            bound_objects: self.0.bound.load(Ordering::Relaxed),
        }
    }

    /// Ends the session in order: no new calls in either direction, those that run are answered.
    ///
    /// Resolves when the session has ended. A peer that does not read, or a method that does not end, holds it up as
    /// long as it likes: put a timeout around it where that matters.
    pub async fn close(&self) {
        self.0.drain();
        self.closed().await;
    }

    /// Resolves when the session has ended, for whatever reason.
    pub async fn closed(&self) {
        self.0.ended().await;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.0.peer)
    }
}

/// Where an object stands in the current session of its stub.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    /// The session's number; 0 before the first.
    session: u64,
    import: i64,
    broken: Option<RpcError>,
}

impl Binding {
    /// The instance is gone: every later call on the stub fails the same way (checklist 2.6).
    pub(crate) fn break_with(&mut self, error: &RpcError) {
        self.broken.get_or_insert_with(|| error.clone().may_run(false));
    }
}

/// How far a session is.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    Open,
    /// One side takes no new calls; those that run are still answered.
    Draining,
    Ended(RpcError),
}

pub(crate) struct Core {
    number: u64,
    pub(crate) peer: Peer,
    pub(crate) limits: Limits,
    theirs: Hello,
    state: Mutex<State>,
    status: watch::Sender<Status>,
    /// Objects that the peer has named: the driver's table, counted for tests.
    pub(crate) bound: AtomicUsize,
}

struct State {
    out: Frames,
    writer: Option<Waker>,
    next_call: u64,
    /// Calls with a smaller id were handed to the transport; the others certainly did not run.
    handed_over: u64,
    pending: FxHashMap<u64, Arc<RemoteCall>>,
    next_import: i64,
    /// Classes that the peer was told about: by name, and by the interface their caller knows.
    described: FxHashMap<(Arc<str>, usize), u32>,
    /// The peer chooses the keys, so not with a hash that it can predict.
    incoming: HashMap<u64, Arc<IncomingCall>>,
    /// This side takes no new calls, and has said so.
    we_drain: bool,
    /// The peer takes no new calls. What it sent before it said so has been read.
    peer_drains: bool,
    ended: Option<RpcError>,
}

impl State {
    fn wake_writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }
}

impl Core {
    pub(crate) fn new(peer: Peer, limits: Limits, theirs: Hello) -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            peer,
            limits,
            theirs,
            state: Mutex::new(State {
                out: Frames::default(),
                writer: None,
                next_call: 1,
                handed_over: 1,
                pending: FxHashMap::default(),
                next_import: 1,
                described: FxHashMap::default(),
                incoming: HashMap::new(),
                we_drain: false,
                peer_drains: false,
                ended: None,
            }),
            status: watch::Sender::new(Status::Open),
            bound: AtomicUsize::new(0),
        })
    }

    // ---- own calls

    /// Sends a call, or gives the reason why this session takes none any more.
    pub(crate) fn send(self: &Arc<Self>, outgoing: &OutgoingCall<'_>) -> Result<(), RpcError> {
        let OutgoingCall { call, parts, body } = outgoing;
        let mut binding = call.object.binding.lock();
        if let Some(error) = &binding.broken {
            let error = error.clone();
            drop(binding);
            call.complete(Err(error));
            return Ok(());
        }
        let mut state = self.state.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.we_drain || state.peer_drains {
            return Err(RpcError::new(ErrorKind::Closed, format!("{} takes no new calls", self.peer)));
        }
        let chain = parts.chain.as_ref().map(|link| link.to_wire()).unwrap_or_default();
        if let Some(refusal) = self.refuse(&state, body.len(), chain.len()) {
            drop((state, binding));
            call.complete(Err(refusal));
            return Ok(());
        }
        let id = state.next_call;
        if !call.sent(self, id) {
            return Ok(()); // withdrawn while it waited for a connection
        }
        state.next_call += 1;
        if binding.session != self.number {
            binding.session = self.number;
            binding.import = state.bind(&call.object.key, call.object.interface);
        }
        let header = CallHeader {
            call: id,
            target: binding.import,
            method: parts.method.id,
            timestamp: micros_since_epoch(),
            deadline: parts.deadline.map(|at| micros(at.saturating_duration_since(Instant::now()))),
            trace: parts.trace,
            chain: &chain,
        };
        state.push(|out| {
            header.encode(out);
            out.extend_from_slice(body);
        });
        state.pending.insert(id, (*call).clone());
        let writer = state.wake_writer();
        drop((state, binding));
        wake(writer);
        Ok(())
    }

    /// Whether a bound forbids one more call with such a body.
    fn refuse(&self, state: &State, body: usize, chain: usize) -> Option<RpcError> {
        let overloaded = |what: String| Some(RpcError::new(ErrorKind::Overloaded, what));
        // The peer would end the session, with everybody else's calls on it.
        if chain > MAX_CHAIN {
            return overloaded(format!("{chain} calls wait for this one, and {MAX_CHAIN} may"));
        }
        if state.pending.len() >= self.theirs.max_calls as usize {
            return overloaded(format!("{} calls to {} are unanswered", state.pending.len(), self.peer));
        }
        if state.out.byte_len().saturating_add(body) > self.limits.max_unsent {
            return overloaded(format!("{} bytes to {} are unsent", state.out.byte_len(), self.peer));
        }
        self.too_large(body).map(|text| RpcError::new(ErrorKind::TooLarge, text))
    }

    /// Room for the header is left out of the account: a chain of 256 calls takes 5 KiB.
    fn too_large(&self, body: usize) -> Option<String> {
        const HEADER: u64 = 8 * 1024;
        let limit = self.theirs.max_message;
        (body as u64 > limit.saturating_sub(HEADER.min(limit / 2)))
            .then(|| format!("{body} bytes, and {} accepts messages of {limit} bytes", self.peer))
    }

    /// Tells the peer that a call's caller is gone.
    pub(crate) fn cancel(&self, id: u64) {
        let mut state = self.state.lock();
        if state.pending.remove(&id).is_none() {
            return;
        }
        state.push(|out| CancelHeader { call: id }.encode(out));
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
    }

    pub(crate) fn answer(&self, id: u64, status: ReplyStatus, body: bytes::Bytes) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        let Some(call) = state.pending.remove(&id) else {
            // Withdrawn, and the reply was on its way already; an id never given out is a broken peer.
            if id < state.next_call {
                return Ok(());
            }
            return Err(RpcError::new(
                ErrorKind::Protocol,
                format!("a reply to call {id}, which was never made"),
            ));
        };
        let writer = state.wake_writer_if_drained();
        drop(state);
        wake(writer);
        let (answer, verdict) = match status {
            ReplyStatus::Ok => (Ok(Body::Ok(body)), Ok(())),
            ReplyStatus::Application => (Ok(Body::App(body)), Ok(())),
            ReplyStatus::Rpc => match decode_body::<WireError>(&body, "an error") {
                Ok(error) => (Err(error.into_rpc(Some(call.signature()))), Ok(())),
                // It is in no table any more, so the end of the session does not reach it.
                Err(error) => (Err(error.clone().may_run(true)), Err(error)),
            },
        };
        call.complete(answer);
        verdict
    }

    // ---- the peer's calls

    /// Notes a call of the peer; an error when it must be refused.
    pub(crate) fn admit(&self, id: u64, call: &Arc<IncomingCall>) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone()); // nobody would tell the call that its caller is gone
        }
        if state.we_drain {
            return Err(RpcError::new(ErrorKind::Closed, "this node takes no new calls"));
        }
        if state.incoming.len() >= self.limits.max_calls as usize {
            let text = format!("{} calls of this session are unanswered", state.incoming.len());
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        state.incoming.insert(id, call.clone());
        Ok(())
    }

    pub(crate) fn incoming(&self, id: u64) -> Option<Arc<IncomingCall>> {
        self.state.lock().incoming.get(&id).cloned()
    }

    pub(crate) fn reply(&self, id: u64, status: ReplyStatus, body: &[u8]) {
        if let Some(text) = self.too_large(body.len()) {
            return self.reply_error(id, &RpcError::new(ErrorKind::TooLarge, text).may_run(true));
        }
        self.push_reply(id, status, |out| out.extend_from_slice(body));
    }

    pub(crate) fn reply_error(&self, id: u64, error: &RpcError) {
        self.push_reply(id, ReplyStatus::Rpc, |out| encode_body(&WireError::from_rpc(error), out));
    }

    fn push_reply(&self, id: u64, status: ReplyStatus, body: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        state.incoming.remove(&id);
        if state.ended.is_some() {
            return;
        }
        state.push(|out| {
            ReplyHeader { call: id, status }.encode(out);
            body(out);
        });
        let overflow = state.out.byte_len() > self.limits.max_unsent;
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        if overflow {
            self.end(&RpcError::new(
                ErrorKind::Disconnected,
                format!("{} does not read its replies", self.peer),
            ));
        }
    }

    // ---- the driver's side

    /// Appends a control message.
    pub(crate) fn push_control(&self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.push_control(kind, body);
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
    }

    /// Gives a sign of life, unless the peer does not take them.
    pub(crate) fn pong(&self) -> Result<(), RpcError> {
        if self.state.lock().out.byte_len() > self.limits.max_unsent {
            let text = format!("{} does not read what it asks for", self.peer);
            return Err(RpcError::new(ErrorKind::Disconnected, text));
        }
        self.push_control(Kind::Pong, |_| ());
        Ok(())
    }

    /// Swaps what is to be written into `batch`; when there is nothing, leaves the waker. Tells what to do next.
    pub(crate) fn take_output(&self, batch: &mut Frames, waker: &Waker, gathered: bool) -> Output {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return Output::Ended;
        }
        if state.out.is_empty() {
            let quiet = state.we_drain && state.pending.is_empty() && state.incoming.is_empty();
            if quiet && state.peer_drains {
                return Output::Drained;
            }
            state.writer = Some(waker.clone());
            return if quiet { Output::Farewell } else { Output::Nothing };
        }
        // Others are about to add to it: one turn of the scheduler, and one system call takes them all.
        if !gathered && state.pending.len() + state.incoming.len() > 1 {
            return Output::Gather;
        }
        std::mem::swap(&mut state.out, batch);
        state.handed_over = state.next_call;
        Output::Write
    }

    /// Takes no new calls in either direction, and tells the peer.
    pub(crate) fn drain(&self) {
        let mut state = self.state.lock();
        if state.we_drain || state.ended.is_some() {
            return;
        }
        state.we_drain = true;
        state.push_control(Kind::Drain, |_| ());
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        self.status.send_if_modified(to_draining);
    }

    /// The peer takes no new calls. It is answered with the same: then it knows that no call of ours is on its way.
    pub(crate) fn peer_drains(&self) {
        self.state.lock().peer_drains = true;
        self.drain();
    }

    /// Ends the session: every call in flight fails with the truth about whether it may have run.
    pub(crate) fn end(&self, error: &RpcError) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(error.clone());
        state.out = Frames::default();
        let handed_over = state.handed_over;
        let mut pending: Vec<_> = std::mem::take(&mut state.pending).into_iter().collect();
        let incoming = std::mem::take(&mut state.incoming);
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        pending.sort_unstable_by_key(|(id, _)| *id);
        for (id, call) in pending {
            call.lost(error.clone().may_run(id < handed_over));
        }
        for call in incoming.into_values() {
            call.abandon();
        }
        self.status.send_replace(Status::Ended(error.clone()));
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) async fn ended(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.status().wait_for(|status| matches!(status, Status::Ended(_))).await;
    }
}

fn to_draining(status: &mut Status) -> bool {
    let open = matches!(status, Status::Open);
    if open {
        *status = Status::Draining;
    }
    open
}

/// What the writer does next.
pub(crate) enum Output {
    Write,
    /// Come back after one turn of the scheduler.
    Gather,
    Nothing,
    /// There is nothing left to do but to hear that the peer has nothing either.
    Farewell,
    /// The session was drained: nothing is left to do.
    Drained,
    Ended,
}

impl State {
    /// Names an object to the peer; describes its class first, the first time.
    fn bind(&mut self, key: &ObjectKey, interface: &'static Interface) -> i64 {
        let class = (key.class_arc().clone(), std::ptr::from_ref(interface) as usize);
        let next = u32::try_from(self.described.len()).expect("fewer than 2^32 classes in a program");
        let number = *self.described.entry(class).or_insert(next);
        if number == next {
            let describe = Describe {
                number,
                class: key.class().to_owned(),
                methods: interface.methods.iter().map(|method| (method.id, method.fingerprint)).collect(),
            };
            self.push_control(Kind::Interface, |out| encode_body(&describe, out));
        }
        let import = self.next_import;
        self.next_import += 1;
        let bind = Bind { import, class: number, id: *key.bytes(), name: key.name() };
        self.push_control(Kind::Bind, |out| encode_body(&bind, out));
        import
    }

    fn push(&mut self, message: impl FnOnce(&mut Vec<u8>)) {
        push_message(&mut self.out, message);
    }

    fn push_control(&mut self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        self.push(|out| {
            kind.encode(out);
            body(out);
        });
    }

    /// The last answer of a session that is being closed lets the writer finish.
    fn wake_writer_if_drained(&mut self) -> Option<Waker> {
        if self.we_drain { self.wake_writer() } else { None }
    }
}

impl Uplink for Core {
    fn send(self: Arc<Self>, call: OutgoingCall<'_>) {
        if let Err(error) = Core::send(&self, &call) {
            call.call.complete(Err(error));
        }
    }

    fn release(&self, binding: &Binding) {
        if binding.session == self.number {
            self.push_control(Kind::Release, |out| encode_body(&binding.import, out));
        }
    }

    fn default_timeout(&self) -> Option<Duration> {
        None
    }
}

/// Appends a message whose encoding cannot fail.
pub(crate) fn push_message(frames: &mut Frames, message: impl FnOnce(&mut Vec<u8>)) {
    let Ok(_) = frames.push_with(|out| {
        message(out);
        Ok::<_, Infallible>(())
    });
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn micros_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}
