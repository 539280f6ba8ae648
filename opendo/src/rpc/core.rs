//! One conversation with one peer: who called what, and what is on its way out.
//!
//! [`Core`] is the state that callers, running methods and the session's [driver](crate::rpc::driver) share, under
//! one short lock. Nothing here waits.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use opendo_transport::envelope::{
    CallHeader, CancelHeader, EnvelopeKind as Kind, MAX_CHAIN, ReplyHeader, ReplyStatus,
};
use opendo_transport::{Frames, Peer};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::encoding::{Encoded, Form};
use crate::registry::namespace::Objects;
use crate::rpc::any_core::{AnyCore, Life, Unsent, broken, hung_up};
use crate::rpc::cap::{AllPassed, Passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::IncomingCall;
use crate::rpc::limits::Limits;
use crate::rpc::numbered::Numbered;
use crate::rpc::outgoing::{Body, OutgoingCall, RemoteCall};
use crate::rpc::remote::{Binding, Place, RemoteObject, Uplink};
use crate::rpc::session::SessionStats;
use crate::rpc::stub::Broken;
use crate::rpc::tables::{Out, PassedStream, Tables};
use crate::rpc::wire::{Hello, Released, WireError, decode_body, encode_body};
use crate::stream;

mod ending;
mod incoming;
mod output;

pub(crate) use self::output::{Output, Woken, push_control, push_message, wake_later};
use self::output::{wake, wake_all};

pub(crate) struct Core {
    this: Weak<Self>,
    pub(crate) life: Life,
    pub(crate) theirs: Hello,
    state: Mutex<State>,
    /// The driver waits for something to write. It becomes true under the lock only, when nothing is there.
    asleep: AtomicBool,
    /// The call of the peer that the driver delivers, which is not in the table: most are answered before that is worth
    /// it. 0 if there is none. The driver sets it; whoever answers takes it back, under the lock.
    delivering: AtomicU64,
    /// The sizes of that table, which only the driver adds to.
    running: AtomicUsize,
    running_bytes: AtomicUsize,
    /// No call is taken any more.
    refuses: AtomicBool,
    /// Entries in the driver's tables: what the peer has named, and results that it has not released.
    pub(crate) bound: AtomicUsize,
    pub(crate) kept: AtomicUsize,
    /// What the peer is told when this side aborts.
    pub(super) parting: OnceLock<RpcError>,
}

struct State {
    out: Frames,
    writer: Option<Waker>,
    tables: Tables,
    /// When the first call of what is to be written was made: all of them leave together.
    begun: Option<u64>,
    /// Calls with a smaller id were handed to the transport; the others certainly did not run.
    handed_over: u64,
    pending: Numbered<Arc<RemoteCall>>,
    /// With the bytes of their bodies.
    incoming: Numbered<(Arc<IncomingCall>, usize)>,
    /// This side takes no new calls, and has said so.
    we_drain: bool,
    /// The peer takes no new calls. What it sent before it said so has been read.
    peer_drains: bool,
    ended: Option<RpcError>,
    /// Who waits until no call is unanswered.
    idle: Vec<Waker>,
}

impl Core {
    pub(crate) fn new(peer: Peer, limits: Arc<Limits>, mut theirs: Hello, objects: Objects) -> Arc<Self> {
        let credentials = std::mem::take(&mut theirs.credentials);
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            life: Life::new(peer, limits, objects, credentials),
            theirs,
            asleep: AtomicBool::new(false),
            delivering: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            running_bytes: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            state: Mutex::new(State {
                out: Frames::default(),
                writer: None,
                tables: Tables::default(),
                begun: None,
                handed_over: 1,
                pending: Numbered::default(),
                incoming: Numbered::default(),
                we_drain: false,
                peer_drains: false,
                ended: None,
                idle: Vec::new(),
            }),
            bound: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            parting: OnceLock::new(),
        })
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("it is only made behind an `Arc`")
    }

    // ---- own calls

    /// Sends a call, or gives the reason why it does not go. Completes nothing: the caller may hold a lock.
    pub(crate) fn send(
        self: Arc<Self>,
        outgoing: &OutgoingCall<'_>,
        target: Option<i64>,
    ) -> Result<(), Unsent> {
        let OutgoingCall { call, parts, body, passed } = *outgoing;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(error) = &state.ended {
            return Err(Unsent::Over(error.clone()));
        }
        if state.we_drain || state.peer_drains {
            let text = format!("{} takes no new calls", self.life.peer);
            return Err(Unsent::Over(RpcError::new(ErrorKind::Closed, text)));
        }
        let chain = parts.chain.as_ref().map(|link| link.to_wire()).unwrap_or_default();
        let mut out = Out { core: &self, tables: &mut state.tables, frames: &mut state.out };
        let mut prepare = || {
            let target = target.map_or_else(|| out.target(&call.object), |known| Ok(Some(known)))?;
            self.refuse(state.pending.len(), out.frames, body.len(), chain.len())?;
            let target = target.map_or_else(|| out.place(&call.object), Ok)?;
            let capabilities = out.describe_passed(passed)?;
            out.has_room(capabilities.names() + usize::from(call.keep))?;
            self.fits(body.len() + capabilities.bytes().len())?;
            Ok::<_, RpcError>((target, capabilities))
        };
        let (target, capabilities) = prepare().map_err(Unsent::Refused)?;
        let id = out.tables.next_call;
        if !call.sent(self.clone(), id) {
            return Ok(()); // withdrawn while it waited for a connection
        }
        out.tables.next_call += 1;
        let header = CallHeader {
            call: id,
            target,
            method: parts.method.id,
            timestamp: *state.begun.get_or_insert_with(micros_since_epoch),
            deadline: parts.deadline.map(|at| micros(at.saturating_duration_since(Instant::now()))),
            trace: parts.trace,
            chain: &chain,
            capabilities: capabilities.bytes(),
            keep: call.keep,
        };
        push_message(out.frames, |out| {
            header.encode(out);
            out.extend_from_slice(body);
        });
        out.tables.names += usize::from(call.keep);
        let streams = out.commit(capabilities);
        state.pending.push(id, call.clone());
        let writer = self.wake_writer(state);
        drop(guard);
        wake(writer);
        self.pump(streams);
        Ok(())
    }

    /// Whether a bound forbids one more call with such a body.
    fn refuse(&self, pending: usize, out: &Frames, body: usize, chain: usize) -> Result<(), RpcError> {
        let overloaded = |what: String| Err(RpcError::new(ErrorKind::Overloaded, what));
        // The peer would end the session, with everybody else's calls on it.
        if chain > MAX_CHAIN {
            return overloaded(format!("{chain} calls wait for this one, and {MAX_CHAIN} may"));
        }
        if pending >= self.theirs.max_calls.min(self.life.limits.max_calls) as usize {
            return overloaded(format!("{pending} calls to {} are unanswered", self.life.peer));
        }
        if out.byte_len().saturating_add(body) > self.life.limits.max_unsent {
            return overloaded(format!("{} bytes to {} are unsent", out.byte_len(), self.life.peer));
        }
        Ok(())
    }

    /// Whether the peer takes a message with so many bytes behind its header. Room for that is left out of the account:
    /// a chain of 256 calls takes 5 KiB.
    #[inline]
    pub(crate) fn fits(&self, size: usize) -> Result<(), RpcError> {
        const HEADER: u64 = 8 * 1024;
        let limit = self.theirs.max_message;
        if size as u64 <= limit.saturating_sub(HEADER.min(limit / 2)) {
            return Ok(());
        }
        Err(self.too_large(size))
    }

    #[cold]
    fn too_large(&self, size: usize) -> RpcError {
        let limit = self.theirs.max_message;
        let text = format!("{size} bytes, and {} accepts messages of {limit} bytes", self.life.peer);
        RpcError::new(ErrorKind::TooLarge, text)
    }

    /// Tells the peer that a call's caller is gone.
    pub(crate) fn cancel(&self, id: u64) {
        let mut state = self.state.lock();
        if state.pending.remove(id).is_none() {
            return;
        }
        push_message(&mut state.out, |out| CancelHeader { call: id }.encode(out));
        let writer = self.wake_writer(&state);
        drop(state);
        wake(writer);
    }

    /// What was passed with a reply that nobody waits for is let go.
    pub(crate) fn answer(
        &self,
        id: u64,
        status: ReplyStatus,
        bytes: Bytes,
        passed: AllPassed,
        woken: &mut Woken,
    ) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        let Some(call) = state.pending.remove(id) else {
            // Withdrawn, and the reply was on its way already; an id never given out is a broken peer.
            if id < state.tables.next_call {
                return Ok(());
            }
            return Err(RpcError::new(
                ErrorKind::Protocol,
                format!("a reply to call {id}, which was never made"),
            ));
        };
        // The last answer of a session that is being closed lets the writer finish.
        let writer = if state.we_drain { self.wake_writer(&state) } else { None };
        let idle = self.who_waits_for_idle(&mut state);
        drop(state);
        wake(writer);
        wake_all(idle);
        let (answer, verdict) = match status {
            ReplyStatus::Ok | ReplyStatus::Application => {
                let value = Encoded { form: Form::Postcard, bytes, passed };
                (Ok(Body { is_ok: status == ReplyStatus::Ok, value }), Ok(()))
            }
            ReplyStatus::Rpc => match decode_body::<WireError>(&bytes, "an error") {
                Ok(error) => (Err(error.into_rpc(Some(call.signature()))), Ok(())),
                // It is in no table any more, so the end of the session does not reach it.
                Err(error) => (Err(error.clone().may_run(true)), Err(error)),
            },
        };
        woken.extend(call.fill(answer));
        verdict
    }

    // ---- the peer's calls: `core/incoming.rs`

    pub(crate) fn reply(&self, id: u64, status: ReplyStatus, body: &[u8], passed: &[Passed]) {
        if let Err(refusal) = self.push_reply(id, status, passed, body) {
            self.reply_error(id, &refusal.may_run(true));
        }
    }

    pub(crate) fn reply_error(&self, id: u64, error: &RpcError) {
        let mut body = Vec::new();
        encode_body(&WireError::from_rpc(error), &mut body);
        let sent = self.push_reply(id, ReplyStatus::Rpc, &[], &body);
        debug_assert!(sent.is_ok(), "nothing is passed with an error, and every peer takes one");
    }

    fn push_reply(
        &self,
        id: u64,
        status: ReplyStatus,
        passed: &[Passed],
        body: &[u8],
    ) -> Result<(), RpcError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return Ok(());
        }
        let mut out = Out { core: self, tables: &mut state.tables, frames: &mut state.out };
        let capabilities = out.describe_passed(passed)?;
        out.has_room(capabilities.names())?;
        if status != ReplyStatus::Rpc {
            self.fits(body.len() + capabilities.bytes().len())?;
        }
        let header = ReplyHeader { call: id, status, capabilities: capabilities.bytes() };
        push_message(out.frames, |out| {
            header.encode(out);
            out.extend_from_slice(body);
        });
        let streams = out.commit(capabilities);
        self.is_answered(state, id);
        let overflow = state.out.byte_len() > self.life.limits.max_unsent;
        let writer = self.wake_writer(state);
        let idle = self.who_waits_for_idle(state);
        drop(guard);
        wake(writer);
        wake_all(idle);
        self.pump(streams);
        if overflow {
            self.end(&RpcError::new(
                ErrorKind::Disconnected,
                format!("{} does not read its replies", self.life.peer),
            ));
        }
        Ok(())
    }

    // ---- capabilities

    #[inline(always)]
    fn pump(&self, streams: Option<Vec<PassedStream>>) {
        if let Some(streams) = streams {
            self.pump_all(streams);
        }
    }

    fn pump_all(&self, streams: Vec<PassedStream>) {
        let core: Arc<dyn AnyCore> = self.this();
        for (id, chunks) in streams {
            stream::pump_over(&core, id, &chunks);
        }
    }

    /// Who writes to the peer's pipe of that number.
    pub(crate) fn writes_to(&self, id: i64, writer: &Arc<RemoteObject>) {
        if let Some(known) = self.state.lock().tables.streams.get_mut(&id) {
            *known = Arc::downgrade(writer);
            return;
        }
        // The peer was quicker: it has said already that nobody reads it.
        writer.break_with(&stream::reader_gone());
    }

    /// Nobody reads what is written there any more.
    pub(crate) fn heard_unread(&self, id: i64) {
        let writer = self.state.lock().tables.streams.remove(&id);
        if let Some(writer) = writer.and_then(|writer| writer.upgrade()) {
            writer.break_with(&stream::reader_gone());
        }
    }

    /// The peer need not keep that any longer.
    pub(crate) fn release(&self, released: &Released) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        match released {
            Released::Number(..0) => state.tables.imports -= 1,
            Released::Number(id) => {
                state.tables.streams.remove(id);
                state.tables.names -= 1;
            }
            Released::Result(_) => state.tables.names -= 1,
        }
        push_control(&mut state.out, Kind::Release, |out| encode_body(released, out));
        let writer = self.wake_writer(&state);
        drop(state);
        wake(writer);
    }

    /// What the peer holds of us under that number.
    pub(crate) fn export(&self, id: i64) -> Option<crate::rpc::cap::Cap> {
        self.state.lock().tables.exports.get(&id).cloned()
    }

    /// The peer lets go of it.
    pub(crate) fn unexport(&self, id: i64) -> Option<crate::rpc::cap::Cap> {
        self.state.lock().tables.exports.remove(&id)
    }

    /// Counts what the peer has passed to us.
    pub(crate) fn imported(&self) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        state.tables.imports += 1;
        if state.tables.imports > self.life.limits.max_capabilities as usize {
            let text =
                format!("the peer passed more than {} capabilities", self.life.limits.max_capabilities);
            return Err(RpcError::new(ErrorKind::Protocol, text));
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let state = self.state.lock();
        SessionStats {
            pending_calls: state.pending.len(),
            running_calls: state.incoming.len() + usize::from(self.is_delivering()),
            unsent_bytes: state.out.byte_len(),
            bound_objects: self.bound.load(Ordering::Relaxed),
            kept_results: self.kept.load(Ordering::Relaxed),
            exports: state.tables.exports.len(),
            imports: state.tables.imports,
        }
    }
}

impl Uplink for Core {
    fn send(self: Arc<Self>, call: OutgoingCall<'_>) {
        match Core::send(self, &call, None) {
            Ok(()) => {}
            Err(Unsent::Over(error)) if matches!(call.call.object.place, Place::Import) => {
                call.call.complete(Err(broken(&error)));
            }
            Err(Unsent::Over(error) | Unsent::Refused(error)) => call.call.complete(Err(error)),
        }
    }

    fn release(&self, binding: &Binding) {
        if binding.session == self.life.number {
            Core::release(self, &Released::Number(binding.import));
        }
    }

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        Some(self.life.number)
    }

    fn stream_buffer(&self) -> u64 {
        self.theirs.max_stream_buffer
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        async move { broken(&self.life.wait_for_end().await) }.boxed()
    }
}

impl AnyCore for Core {
    fn life(&self) -> &Life {
        &self.life
    }

    fn as_uplink(self: Arc<Self>) -> Arc<dyn Uplink> {
        self
    }

    fn try_send(self: Arc<Self>, call: &OutgoingCall<'_>, target: Option<i64>) -> Result<(), Unsent> {
        Core::send(self, call, target)
    }

    fn cancel(&self, call: u64) {
        Core::cancel(self, call);
    }

    fn release_result(&self, call: u64) {
        Core::release(self, &Released::Result(call));
    }

    fn reply(&self, call: u64, is_ok: bool, body: &[u8], passed: &[Passed]) {
        let status = if is_ok { ReplyStatus::Ok } else { ReplyStatus::Application };
        Core::reply(self, call, status, body, passed);
    }

    fn reply_error(&self, call: u64, error: &RpcError) {
        Core::reply_error(self, call, error);
    }

    fn fits(&self, size: usize) -> Result<(), RpcError> {
        Core::fits(self, size)
    }

    fn writes_to(&self, pipe: i64, writer: &Arc<RemoteObject>) {
        Core::writes_to(self, pipe, writer);
    }

    fn unread(&self, pipe: i64) {
        self.push_control(Kind::Unread, |out| encode_body(&pipe, out));
    }

    fn stats(&self) -> SessionStats {
        Core::stats(self)
    }

    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        Core::poll_idle(self, cx)
    }

    fn drain(&self) {
        Core::drain(self);
    }

    fn end(&self, error: &RpcError) {
        Core::end(self, error);
    }

    fn abort(&self, error: &RpcError) {
        let _ = self.parting.set(error.clone());
        Core::end(self, error);
    }

    fn hang_up(&self, reason: &str) {
        Core::end(self, &hung_up(reason));
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn micros_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}
