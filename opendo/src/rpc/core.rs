//! One conversation with one peer: who called what, and what is on its way out.
//!
//! [`Core`] is the state that callers, running methods and the session's [driver](crate::rpc::driver) share, under
//! one short lock. Nothing here waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use opendo_transport::envelope::{
    CallHeader, CancelHeader, EnvelopeKind as Kind, MAX_CHAIN, ReplyHeader, ReplyStatus,
};
use opendo_transport::{Frames, Peer};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::registry::namespace::Objects;
use crate::rpc::cap::Passed;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::IncomingCall;
use crate::rpc::limits::Limits;
use crate::rpc::outgoing::{Body, OutgoingCall, RemoteCall};
use crate::rpc::remote::{Binding, Place, RemoteObject, Uplink};
use crate::rpc::session::SessionStats;
use crate::rpc::stub::Broken;
use crate::rpc::tables::{Out, PassedStream, Tables};
use crate::rpc::wire::{Hello, Released, WireError, decode_body, encode_body};
use crate::stream;

mod ending;
mod output;

use self::output::wake;
pub(crate) use self::output::{Output, push_control, push_message};

/// Sessions and clients share one count, so that a number names one way.
pub(crate) fn uplink_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Why a call does not go.
pub(crate) enum Unsent {
    /// The session takes none any more; another one may.
    Over(RpcError),
    /// This call cannot go.
    Refused(RpcError),
}

/// A result that is kept for the peer.
struct Kept {
    body: Box<[u8]>,
    core: Arc<Core>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.core.kept_bytes.fetch_sub(self.body.len(), Ordering::Relaxed);
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
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) limits: Limits,
    pub(crate) theirs: Hello,
    pub(crate) runtime: Handle,
    pub(crate) objects: Objects,
    /// The client that this is a session of: stubs of objects go by it, so that they heal.
    client: OnceLock<(u64, Weak<dyn Uplink>)>,
    state: Mutex<State>,
    status: watch::Sender<Status>,
    /// Entries in the driver's tables: what the peer has named, and results that it has not released.
    pub(crate) bound: AtomicUsize,
    pub(crate) kept: AtomicUsize,
    kept_bytes: AtomicUsize,
}

struct State {
    out: Frames,
    writer: Option<Waker>,
    tables: Tables,
    /// Calls with a smaller id were handed to the transport; the others certainly did not run.
    handed_over: u64,
    pending: FxHashMap<u64, Arc<RemoteCall>>,
    /// The peer chooses the keys, so not with a hash that it can predict.
    incoming: HashMap<u64, (Arc<IncomingCall>, usize)>,
    /// The bytes of their bodies.
    incoming_bytes: usize,
    /// This side takes no new calls, and has said so.
    we_drain: bool,
    /// The peer takes no new calls. What it sent before it said so has been read.
    peer_drains: bool,
    ended: Option<RpcError>,
    /// What wants to know when the session has ended, by order of registration.
    on_end: Vec<(u64, OnEnd)>,
    next_on_end: u64,
    /// Who waits until no call is unanswered.
    idle: Vec<Waker>,
}

type OnEnd = Box<dyn FnOnce(&RpcError) + Send>;

impl State {
    fn wake_writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }
}

impl Core {
    pub(crate) fn new(peer: Peer, limits: Limits, theirs: Hello, objects: Objects) -> Arc<Self> {
        Arc::new(Self {
            number: uplink_number(),
            peer,
            limits,
            theirs,
            runtime: Handle::current(),
            objects,
            client: OnceLock::new(),
            state: Mutex::new(State {
                out: Frames::default(),
                writer: None,
                tables: Tables::default(),
                handed_over: 1,
                pending: FxHashMap::default(),
                incoming: HashMap::new(),
                incoming_bytes: 0,
                we_drain: false,
                peer_drains: false,
                ended: None,
                on_end: Vec::new(),
                next_on_end: 0,
                idle: Vec::new(),
            }),
            status: watch::Sender::new(Status::Open),
            bound: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            kept_bytes: AtomicUsize::new(0),
        })
    }

    // ---- own calls

    /// Sends a call, or gives the reason why it does not go. Completes nothing: the caller may hold a lock.
    pub(crate) fn send(self: &Arc<Self>, outgoing: &OutgoingCall<'_>) -> Result<(), Unsent> {
        let OutgoingCall { call, parts, body, passed } = *outgoing;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let broken = call.object.binding.lock().broken.clone();
        if let Some(error) = &state.ended {
            return Err(Unsent::Over(error.clone()));
        }
        if state.we_drain || state.peer_drains {
            let text = format!("{} takes no new calls", self.peer);
            return Err(Unsent::Over(RpcError::new(ErrorKind::Closed, text)));
        }
        let chain = parts.chain.as_ref().map(|link| link.to_wire()).unwrap_or_default();
        let mut out = Out { core: self, tables: &mut state.tables, frames: &mut state.out };
        let prepared =
            match broken.or_else(|| self.refuse(state.pending.len(), out.frames, body.len(), chain.len())) {
                Some(refusal) => Err(refusal),
                None => out.place(&call.object).and_then(|target| {
                    let capabilities = out.describe_passed(passed)?;
                    out.has_room(capabilities.names() + usize::from(call.keep))?;
                    Ok((target, capabilities))
                }),
            };
        let (target, capabilities) = prepared.map_err(Unsent::Refused)?;
        self.fits(body.len() + capabilities.bytes().len()).map_err(Unsent::Refused)?;
        let id = out.tables.next_call;
        if !call.sent(self, id) {
            return Ok(()); // withdrawn while it waited for a connection
        }
        out.tables.next_call += 1;
        let header = CallHeader {
            call: id,
            target,
            method: parts.method.id,
            timestamp: micros_since_epoch(),
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
        state.pending.insert(id, call.clone());
        let writer = state.wake_writer();
        drop(guard);
        wake(writer);
        self.pump(streams);
        Ok(())
    }

    /// Whether a bound forbids one more call with such a body.
    fn refuse(&self, pending: usize, out: &Frames, body: usize, chain: usize) -> Option<RpcError> {
        let overloaded = |what: String| Some(RpcError::new(ErrorKind::Overloaded, what));
        // The peer would end the session, with everybody else's calls on it.
        if chain > MAX_CHAIN {
            return overloaded(format!("{chain} calls wait for this one, and {MAX_CHAIN} may"));
        }
        if pending >= self.theirs.max_calls.min(self.limits.max_calls) as usize {
            return overloaded(format!("{pending} calls to {} are unanswered", self.peer));
        }
        if out.byte_len().saturating_add(body) > self.limits.max_unsent {
            return overloaded(format!("{} bytes to {} are unsent", out.byte_len(), self.peer));
        }
        None
    }

    /// Whether the peer takes a message with so many bytes behind its header. Room for that is left out of the account:
    /// a chain of 256 calls takes 5 KiB.
    pub(crate) fn fits(&self, size: usize) -> Result<(), RpcError> {
        const HEADER: u64 = 8 * 1024;
        let limit = self.theirs.max_message;
        if size as u64 <= limit.saturating_sub(HEADER.min(limit / 2)) {
            return Ok(());
        }
        let text = format!("{size} bytes, and {} accepts messages of {limit} bytes", self.peer);
        Err(RpcError::new(ErrorKind::TooLarge, text))
    }

    /// A copy of a result that the peer may use until it releases it, which counts as long as it is there.
    pub(crate) fn keep(self: &Arc<Self>, body: &[u8]) -> Result<Bytes, RpcError> {
        if body.is_empty() {
            return Ok(Bytes::new());
        }
        let before = self.kept_bytes.fetch_add(body.len(), Ordering::Relaxed);
        let kept = Kept { body: body.into(), core: self.clone() };
        if before.saturating_add(body.len()) > self.limits.max_call_bytes {
            let text = format!("{before} bytes of results are kept for {}", self.peer);
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        Ok(Bytes::from_owner(kept))
    }

    /// Tells the peer that a call's caller is gone.
    pub(crate) fn cancel(&self, id: u64) {
        let mut state = self.state.lock();
        if state.pending.remove(&id).is_none() {
            return;
        }
        push_message(&mut state.out, |out| CancelHeader { call: id }.encode(out));
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
    }

    /// What was passed with a reply that nobody waits for is let go.
    pub(crate) fn answer(
        &self,
        id: u64,
        status: ReplyStatus,
        bytes: Bytes,
        passed: Vec<Passed>,
    ) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        let Some(call) = state.pending.remove(&id) else {
            // Withdrawn, and the reply was on its way already; an id never given out is a broken peer.
            if id < state.tables.next_call {
                return Ok(());
            }
            return Err(RpcError::new(
                ErrorKind::Protocol,
                format!("a reply to call {id}, which was never made"),
            ));
        };
        let writer = state.wake_writer_if_drained();
        let idle = state.wake_if_idle();
        drop(state);
        wake(writer);
        idle.into_iter().for_each(Waker::wake);
        let (answer, verdict) = match status {
            ReplyStatus::Ok => (Ok(Body { is_ok: true, bytes, passed }), Ok(())),
            ReplyStatus::Application => (Ok(Body { is_ok: false, bytes, passed }), Ok(())),
            ReplyStatus::Rpc => match decode_body::<WireError>(&bytes, "an error") {
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
    pub(crate) fn admit(&self, id: u64, call: &Arc<IncomingCall>, bytes: usize) -> Result<(), RpcError> {
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
        if state.incoming_bytes.saturating_add(bytes) > self.limits.max_call_bytes {
            let text = format!("{} bytes of this session's calls are unanswered", state.incoming_bytes);
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        state.incoming_bytes += bytes;
        state.incoming.insert(id, (call.clone(), bytes));
        Ok(())
    }

    pub(crate) fn incoming(&self, id: u64) -> Option<Arc<IncomingCall>> {
        self.state.lock().incoming.get(&id).map(|(call, _)| call.clone())
    }

    pub(crate) fn reply(self: &Arc<Self>, id: u64, status: ReplyStatus, body: &[u8], passed: &[Passed]) {
        if let Err(refusal) = self.push_reply(id, status, passed, body) {
            self.reply_error(id, &refusal.may_run(true));
        }
    }

    pub(crate) fn reply_error(self: &Arc<Self>, id: u64, error: &RpcError) {
        let mut body = Vec::new();
        encode_body(&WireError::from_rpc(error), &mut body);
        let sent = self.push_reply(id, ReplyStatus::Rpc, &[], &body);
        debug_assert!(sent.is_ok(), "nothing is passed with an error, and every peer takes one");
    }

    fn push_reply(
        self: &Arc<Self>,
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
        if let Some((_, bytes)) = state.incoming.remove(&id) {
            state.incoming_bytes -= bytes;
        }
        let overflow = state.out.byte_len() > self.limits.max_unsent;
        let writer = state.wake_writer();
        let idle = state.wake_if_idle();
        drop(guard);
        wake(writer);
        idle.into_iter().for_each(Waker::wake);
        self.pump(streams);
        if overflow {
            self.end(&RpcError::new(
                ErrorKind::Disconnected,
                format!("{} does not read its replies", self.peer),
            ));
        }
        Ok(())
    }

    // ---- capabilities

    #[inline]
    fn pump(self: &Arc<Self>, streams: Vec<PassedStream>) {
        if !streams.is_empty() {
            self.pump_all(streams);
        }
    }

    fn pump_all(self: &Arc<Self>, streams: Vec<PassedStream>) {
        for (id, chunks) in streams {
            stream::pump_over(self, id, &chunks);
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
    pub(crate) fn unread(&self, id: i64) {
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
        state.push_control(Kind::Release, |out| encode_body(released, out));
        let writer = state.wake_writer();
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
        if state.tables.imports > self.limits.max_capabilities as usize {
            let text = format!("the peer passed more than {} capabilities", self.limits.max_capabilities);
            return Err(RpcError::new(ErrorKind::Protocol, text));
        }
        Ok(())
    }

    /// From here on stubs of objects go by the client.
    pub(crate) fn belongs_to(&self, number: u64, client: Weak<dyn Uplink>) {
        let _ = self.client.set((number, client));
    }

    /// The client that this is a session of, if there is one.
    pub(crate) fn client(&self) -> Option<Arc<dyn Uplink>> {
        self.client.get().and_then(|(_, client)| client.upgrade())
    }

    /// Whether calls by that way go over this session.
    pub(crate) fn is_reached_by(&self, uplink: Option<u64>) -> bool {
        uplink == Some(self.number)
            || (uplink.is_some() && uplink == self.client.get().map(|(number, _)| *number))
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let state = self.state.lock();
        SessionStats {
            pending_calls: state.pending.len(),
            running_calls: state.incoming.len(),
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
        match Core::send(&self, &call) {
            Ok(()) => {}
            Err(Unsent::Over(error)) if matches!(call.call.object.place, Place::Import) => {
                call.call.complete(Err(broken(&error)));
            }
            Err(Unsent::Over(error) | Unsent::Refused(error)) => call.call.complete(Err(error)),
        }
    }

    fn release(&self, binding: &Binding) {
        if binding.session == self.number {
            Core::release(self, &Released::Number(binding.import));
        }
    }

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        Some(self.number)
    }

    fn stream_buffer(&self) -> u64 {
        self.theirs.max_stream_buffer
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        async move {
            let mut status = self.status();
            let ended = status.wait_for(|status| matches!(status, Status::Ended(_))).await;
            match ended.as_deref() {
                Ok(Status::Ended(error)) => broken(error),
                _ => RpcError::new(ErrorKind::Broken, "the session is gone"),
            }
        }
        .boxed()
    }
}

/// The error of what a session took with it.
pub(crate) fn broken(error: &RpcError) -> RpcError {
    let text = format!("it belonged to a session that has ended ({}); get a new one", error.message());
    RpcError::new(ErrorKind::Broken, text)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn micros_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}
