//! The state of a session that speaks Cap'n Web.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use opendo_transport::{Lines, Peer};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::exports::{Exports, remove};
use crate::encoding::Form;
use crate::registry::namespace::Objects;
use crate::rpc::any_core::{AnyCore, Life, Unsent, broken, hung_up};
use crate::rpc::cap::{Cap, Passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::IncomingCall;
use crate::rpc::limits::Limits;
use crate::rpc::outgoing::{OutgoingCall, RemoteCall};
use crate::rpc::promise::Promise;
use crate::rpc::remote::{Binding, Place, RemoteObject, Uplink};
use crate::rpc::session::SessionStats;
use crate::rpc::stub::Broken;
use crate::stream::Chunks;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Both sides send as long as they like.
    Conversation,
    /// One HTTP request, at the side that answers it: when all was read and is answered, it is over.
    Request,
    /// The same at the side that makes it: all calls leave at once, with the first that is waited for.
    Batch,
}

pub(crate) struct TextCore {
    pub(super) life: Life,
    pub(super) sort: Sort,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) out: Lines,
    pub(super) writer: Option<Waker>,
    pub(super) exports: Exports,
    /// The number of the last thing that the peer pushed, and of ours.
    pub(super) last_push: i64,
    pub(super) last_import: i64,
    /// Negative: of the last capability that was passed to the peer.
    pub(super) last_export: i64,
    /// Own pushes that are not answered.
    pub(super) pending: FxHashMap<i64, Own>,
    /// Pushes with a smaller number were handed to the transport; the others certainly did not run.
    pub(super) handed_over: i64,
    /// What the peer promised to resolve. It chooses the keys, so not with a hash that it can predict.
    pub(super) promises: HashMap<i64, Promised>,
    /// Those that stubs lead through. What becomes of them may hold those stubs.
    pub(super) led_through: Vec<Weak<Promise>>,
    /// Capabilities and results of the peer that we hold.
    pub(super) imports: usize,
    /// Calls of the peer that run, by a count of our own.
    pub(super) incoming: FxHashMap<u64, (Arc<IncomingCall>, usize)>,
    pub(super) incoming_bytes: usize,
    pub(super) last_incoming: u64,
    /// Results that the peer waits for.
    pub(super) open_pulls: usize,
    /// A batch: no more messages come, or calls go.
    pub(super) complete: bool,
    pub(super) draining: bool,
    /// How the connection is closed.
    pub(super) farewell: Farewell,
    pub(super) ended: Option<RpcError>,
    /// Who waits until no call is unanswered.
    idle: Vec<Waker>,
}

/// How the peer learns of the end.
#[derive(Clone, Debug)]
pub(super) enum Farewell {
    /// By the end of the connection.
    None,
    /// By a message, and the end of the connection.
    Abort(RpcError),
    /// By the words with which the connection ends.
    HangUp(String),
}

/// What the peer may name.
pub(super) enum Export {
    Cap {
        cap: Cap,
        held: u64,
    },
    Result(Held),
    /// The end of a pipe that the peer writes to, and the other one until it is taken.
    Pipe {
        sink: Cap,
        chunks: Option<Chunks>,
    },
}

/// A result of a push.
pub(super) struct Held {
    pub(super) promise: Arc<Promise>,
    pub(super) pulled: bool,
    /// The call that it is the result of, while that runs.
    pub(super) call: Option<u64>,
}

/// Something that the peer resolves unasked.
pub(super) struct Promised {
    pub(super) promise: Arc<Promise>,
    /// It was, but not all has come of what it was resolved to.
    pub(super) answered: bool,
}

/// An own push.
pub(super) struct Own {
    pub(super) call: Hold,
    /// As with a [`Promised`].
    pub(super) answered: bool,
    /// It is let go with its answer, without a word.
    pub(super) is_stream: bool,
}

/// A call that was made.
pub(super) enum Hold {
    /// Its answer was asked for.
    Pulled(Arc<RemoteCall>),
    /// It is there for what is called on its result: when nobody does any more, it is released.
    Unpulled(Weak<RemoteCall>),
}

impl Hold {
    pub(super) fn call(&self) -> Option<Arc<RemoteCall>> {
        match self {
            Self::Pulled(call) => Some(call.clone()),
            Self::Unpulled(call) => call.upgrade(),
        }
    }

    pub(super) fn is_pulled(&self) -> bool {
        matches!(self, Self::Pulled(_))
    }
}

impl TextCore {
    /// Without a main interface; see [`offer`](Self::offer).
    pub(crate) fn new(
        peer: Peer,
        limits: Arc<Limits>,
        objects: Objects,
        credentials: Vec<u8>,
        sort: Sort,
    ) -> Arc<Self> {
        let nothing = RpcError::new(ErrorKind::NoSuchClass, "This connection has no main object.");
        let nothing = Held { promise: Promise::failed(nothing), pulled: false, call: None };
        let mut exports = Exports::default();
        exports.insert(0, Export::Result(nothing));
        Arc::new(Self {
            life: Life::new(peer, limits, objects, credentials),
            sort,
            state: Mutex::new(State {
                out: Lines::default(),
                writer: None,
                exports,
                last_push: 0,
                last_import: 0,
                last_export: 0,
                pending: FxHashMap::default(),
                handed_over: 1,
                promises: HashMap::new(),
                led_through: Vec::new(),
                imports: 0,
                incoming: FxHashMap::default(),
                incoming_bytes: 0,
                last_incoming: 0,
                open_pulls: 0,
                complete: false,
                draining: false,
                farewell: Farewell::None,
                ended: None,
                idle: Vec::new(),
            }),
        })
    }

    /// Gives the peer its main interface.
    pub(crate) fn offer(&self, main: Cap) {
        self.state.lock().exports.insert(0, Export::Cap { cap: main, held: 1 });
    }

    /// The peer need not keep that any longer.
    pub(super) fn let_go(&self, id: i64) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.imports = state.imports.saturating_sub(1);
        state.push(format!(r#"["release",{id},1]"#));
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
    }

    /// A call of the peer was answered.
    fn answered(&self, call: u64) {
        let mut state = self.state.lock();
        if let Some((_, bytes)) = remove(&mut state.incoming, &call) {
            state.incoming_bytes -= bytes;
        }
        let idle = state.wake_if_idle();
        let writer = if state.draining { state.wake_writer() } else { None };
        drop(state);
        wake(writer);
        idle.into_iter().for_each(Waker::wake);
    }

    fn leave(&self, farewell: Farewell, error: &RpcError) {
        {
            let mut state = self.state.lock();
            if state.ended.is_some() {
                return;
            }
            state.farewell = farewell;
        }
        self.finish(error);
    }

    pub(super) fn farewell(&self) -> Farewell {
        self.state.lock().farewell.clone()
    }

    /// What was to be said still goes out, if this side says that it is over.
    pub(super) fn take_rest(&self) -> Lines {
        std::mem::take(&mut self.state.lock().out)
    }

    fn finish(&self, error: &RpcError) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(error.clone());
        if matches!(state.farewell, Farewell::None) {
            state.out = Lines::default();
        }
        let handed_over = state.handed_over;
        let mut pending: Vec<_> = std::mem::take(&mut state.pending).into_iter().collect();
        let promises = std::mem::take(&mut state.promises);
        let led_through = std::mem::take(&mut state.led_through);
        let incoming = std::mem::take(&mut state.incoming);
        let exports = std::mem::take(&mut state.exports);
        state.imports = 0;
        let idle = std::mem::take(&mut state.idle);
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        pending.sort_unstable_by_key(|(id, _)| *id);
        for (id, own) in pending {
            if let Some(call) = own.call.call() {
                call.lost(error.clone().may_run(id < handed_over));
            }
        }
        for Promised { promise, .. } in promises.into_values() {
            promise.resolve(Err(broken(error)));
        }
        for promise in led_through.into_iter().filter_map(|promise| promise.upgrade()) {
            promise.forget(&broken(error));
        }
        for (call, _) in incoming.into_values() {
            call.abandon();
        }
        idle.into_iter().for_each(Waker::wake);
        self.life.ended(error, exports.into_all());
    }
}

impl State {
    pub(super) fn push(&mut self, message: String) {
        self.out.push(message);
    }

    pub(super) fn wake_writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.values().all(|own| !own.call.is_pulled()) && self.incoming.is_empty()
    }

    pub(super) fn wake_if_idle(&mut self) -> Vec<Waker> {
        if !self.idle.is_empty() && self.is_idle() { std::mem::take(&mut self.idle) } else { Vec::new() }
    }
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Uplink for TextCore {
    fn send(self: Arc<Self>, call: OutgoingCall<'_>) {
        match self.try_send(&call, None) {
            Ok(()) => {}
            Err(Unsent::Over(error)) if matches!(call.call.object.place, Place::Import) => {
                call.call.complete(Err(broken(&error)));
            }
            Err(Unsent::Over(error) | Unsent::Refused(error)) => call.call.complete(Err(error)),
        }
    }

    fn release(&self, binding: &Binding) {
        if binding.session == self.life.number {
            self.let_go(binding.import);
        }
    }

    fn form(&self) -> Form {
        Form::CapnWeb
    }

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        Some(self.life.number)
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        async move { broken(&self.life.wait_for_end().await) }.boxed()
    }
}

impl AnyCore for TextCore {
    fn life(&self) -> &Life {
        &self.life
    }

    fn as_uplink(self: Arc<Self>) -> Arc<dyn Uplink> {
        self
    }

    fn try_send(self: Arc<Self>, call: &OutgoingCall<'_>, _target: Option<i64>) -> Result<(), Unsent> {
        super::outgoing::send(&self, call)
    }

    fn cancel(&self, call: u64) {
        let id = i64::try_from(call).unwrap_or(i64::MAX);
        let own = remove(&mut self.state.lock().pending, &id);
        // A kept result is released when nobody uses it any more.
        let call = own.filter(|own| !own.is_stream).and_then(|own| own.call.call());
        if call.is_some_and(|call| !call.keep) {
            self.let_go(id);
        }
    }

    fn want(&self, call: u64) {
        super::outgoing::pull(self, i64::try_from(call).unwrap_or(i64::MAX));
    }

    fn release_result(&self, call: u64) {
        let id = i64::try_from(call).unwrap_or(i64::MAX);
        remove(&mut self.state.lock().pending, &id);
        self.let_go(id);
    }

    fn reply(&self, call: u64, _: bool, _: &[u8], _: &[Passed]) {
        // Whoever waits for the result has been told by its promise.
        self.answered(call);
    }

    fn reply_error(&self, call: u64, _: &RpcError) {
        self.answered(call);
    }

    fn fits(&self, size: usize) -> Result<(), RpcError> {
        // The peer does not say what it takes: what we take, it is supposed to.
        if size <= self.life.limits.max_message {
            return Ok(());
        }
        let (peer, limit) = (&self.life.peer, self.life.limits.max_message);
        Err(RpcError::new(
            ErrorKind::TooLarge,
            format!("{size} bytes, and messages to {peer} have at most {limit}"),
        ))
    }

    fn settle(&self) {
        // Calls that waited for this batch may be waited for by now. They are let go of when the lock is free.
        let calls: Vec<_> = {
            let state = self.state.lock();
            state.pending.iter().filter_map(|(id, own)| Some((*id, own.call.call()?))).collect()
        };
        if let Some((id, _)) = calls.iter().find(|(_, call)| call.is_wanted()) {
            super::outgoing::pull(self, *id);
        }
    }

    fn is_one_of_many(&self) -> bool {
        self.sort == Sort::Batch
    }

    fn stats(&self) -> SessionStats {
        let state = self.state.lock();
        let held = || state.exports.others();
        let results = || {
            held().filter_map(|export| match export {
                Export::Result(held) => Some(&held.promise),
                _ => None,
            })
        };
        SessionStats {
            pending_calls: state.pending.len(),
            running_calls: state.incoming.len(),
            unsent_bytes: state.out.byte_len(),
            bound_objects: 0,
            // Those that are still to come are calls that run.
            kept_results: results().filter(|promise| promise.is_resolved()).count(),
            exports: held().count() - results().count(),
            imports: state.imports,
        }
    }

    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.ended.is_some() || state.is_idle() {
            return Poll::Ready(());
        }
        if !state.idle.iter().any(|known| known.will_wake(cx.waker())) {
            state.idle.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn drain(&self) {
        let mut state = self.state.lock();
        if state.draining || state.ended.is_some() {
            return;
        }
        state.draining = true;
        state.complete = true;
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        self.life.draining();
    }

    fn end(&self, error: &RpcError) {
        self.finish(error);
    }

    fn abort(&self, error: &RpcError) {
        self.leave(Farewell::Abort(error.clone()), error);
    }

    fn hang_up(&self, reason: &str) {
        self.leave(Farewell::HangUp(reason.to_owned()), &hung_up(reason));
    }
}
