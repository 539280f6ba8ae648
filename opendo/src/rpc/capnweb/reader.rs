//! What the peer says.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::Waker;

use super::evaluate::{Evaluated, evaluate};
use super::exports::remove;
use super::text_core::{Export, Held, Promised, Sort, State, TextCore, wake};
use super::whole::{resolve_when_whole, when_whole};
use super::write::Out;
use super::{protocol, refused_call};
use crate::encoding::capnweb::{self, Malformed, Message, message};
use crate::encoding::{Encoded, Form};
use crate::rpc::any_core::AnyCore;
use crate::rpc::arg::Value;
use crate::rpc::cap::Capabilities;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::outgoing::Body;
use crate::rpc::promise::{Promise, Resolution};
use crate::stream;

impl TextCore {
    /// Does what one message asks for. An error ends the session.
    pub(super) fn handle(self: &Arc<Self>, text: &str) -> Result<(), RpcError> {
        self.obey(text)?;
        if self.state.lock().out.byte_len() > self.life.limits.max_unsent {
            return Err(self.does_not_read());
        }
        Ok(())
    }

    fn does_not_read(&self) -> RpcError {
        RpcError::new(ErrorKind::Disconnected, format!("{} does not read its replies", self.life.peer))
    }

    fn obey(self: &Arc<Self>, text: &str) -> Result<(), RpcError> {
        match message(text).map_err(|error| refused(&error))? {
            Message::Push(expression) => self.pushed(expression, false),
            Message::Stream(expression) => self.pushed(expression, true),
            Message::Pipe => self.pipe(),
            Message::Pull(id) => self.pulled(id),
            Message::Resolve(id, expression) => self.resolved(id, expression, true),
            Message::Reject(id, expression) => self.resolved(id, expression, false),
            Message::Release(id, count) => self.released(id, count),
            Message::Abort(reason) => Err(reason.map_or_else(
                || RpcError::new(ErrorKind::Disconnected, "the peer aborted the session"),
                aborted_by_peer,
            )),
        }
    }

    fn take_number(&self) -> Result<i64, RpcError> {
        let mut state = self.state.lock();
        if state.exports.len() > self.life.limits.max_bindings as usize {
            return Err(protocol(format!("more than {} results at once", self.life.limits.max_bindings)));
        }
        state.last_push += 1;
        Ok(state.last_push)
    }

    fn pushed(self: &Arc<Self>, expression: &str, is_stream: bool) -> Result<(), RpcError> {
        let id = self.take_number()?;
        let Evaluated { value, call } = {
            let evaluated = evaluate(self, expression).map_err(|error| refused(&error))?;
            let promise = evaluated.promise().cloned();
            if let Some(promise) = promise {
                self.hold(id, promise, evaluated.call, is_stream);
                return Ok(());
            }
            evaluated
        };
        let promise = Promise::new(Form::CapnWeb, self.life.limits.max_pipelined);
        match self.life.keep(&value.bytes[..]) {
            Ok(bytes) => resolve_when_whole(self, promise.clone(), Encoded { bytes, ..value }),
            Err(refusal) => promise.resolve(Err(refusal)),
        }
        self.hold(id, promise, call, is_stream);
        Ok(())
    }

    fn hold(self: &Arc<Self>, id: i64, promise: Arc<Promise>, call: Option<u64>, is_stream: bool) {
        let held = Held { promise: promise.clone(), pulled: is_stream, call };
        {
            let mut state = self.state.lock();
            if state.ended.is_some() {
                return;
            }
            state.exports.insert(id, Export::Result(held));
            if is_stream {
                state.open_pulls += 1;
            }
        }
        if is_stream {
            self.answer_when_there(id, promise, true);
        }
    }

    fn pipe(self: &Arc<Self>) -> Result<(), RpcError> {
        let id = self.take_number()?;
        let core: Arc<dyn AnyCore> = self.clone();
        let (sink, chunks) = stream::pipe_from_peer(&core, id);
        self.state.lock().exports.insert(id, Export::Pipe { sink, chunks: Some(chunks) });
        Ok(())
    }

    fn pulled(self: &Arc<Self>, id: i64) -> Result<(), RpcError> {
        let promise = {
            let mut state = self.state.lock();
            let promise = match state.exports.get_mut(id) {
                Some(Export::Result(held)) if held.pulled => return Ok(()),
                Some(Export::Result(held)) => {
                    held.pulled = true;
                    held.promise.clone()
                }
                Some(Export::Cap { cap, .. } | Export::Pipe { sink: cap, .. }) => Promise::failed(
                    refused_call(&Malformed::new(if stream::is_sink(cap.interface().name()) {
                        "Cannot pull a WritableStream stub"
                    } else {
                        "Tried to resolve a non-promise stub."
                    })),
                ),
                None => return Err(protocol(format!("no such export ID: {id}"))),
            };
            state.open_pulls += 1;
            promise
        };
        self.answer_when_there(id, promise, false);
        Ok(())
    }

    fn answer_when_there(self: &Arc<Self>, id: i64, promise: Arc<Promise>, is_stream: bool) {
        let core = Arc::downgrade(self);
        Value::Promise(promise).when_there(Box::new(move |outcome| {
            if let Some(core) = core.upgrade() {
                core.answer(id, outcome, is_stream);
            }
        }));
    }

    /// Tells the peer what came of a push.
    fn answer(self: &Arc<Self>, id: i64, outcome: Result<Encoded, RpcError>, is_stream: bool) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return;
        }
        state.open_pulls -= 1;
        let mut streams = Vec::new();
        let mut gone = None;
        if state.exports.get(id).is_some() {
            let mut out = Out::new(self, state);
            let outcome = outcome.and_then(|value| {
                if !value.form.is_text() {
                    let text = "it is a result of another encoding, whose type is not known here";
                    return Err(RpcError::new(ErrorKind::Encode, text));
                }
                out.check(&value.passed)?;
                Ok(value)
            });
            let mut message = String::new();
            match outcome {
                Ok(value) => {
                    let introduced = out.introduce(&value.passed);
                    message.reserve(value.bytes.len() + 24);
                    let _ = write!(message, r#"["resolve",{id},"#);
                    let text = std::str::from_utf8(&value.bytes).unwrap_or("null");
                    out.splice(text, &value.passed, &introduced, &mut message);
                }
                Err(error) => {
                    let _ = write!(message, r#"["reject",{id},"#);
                    out.error(&error, &mut message);
                }
            }
            message.push(']');
            streams = out.into_streams();
            state.push(message);
            if is_stream {
                gone = state.exports.remove(id);
            }
        }
        let overflow = state.out.byte_len() > self.life.limits.max_unsent;
        let writer = state.wake_writer();
        drop(guard);
        drop(gone);
        wake(writer);
        self.pump(streams);
        if overflow {
            self.end(&self.does_not_read());
        }
    }

    /// What came of an own push, or of something that the peer promised.
    fn resolved(self: &Arc<Self>, id: i64, expression: &str, is_ok: bool) -> Result<(), RpcError> {
        let waits = |state: &State| {
            state.pending.get(&id).is_some_and(|own| !own.answered)
                || state.promises.get(&id).is_some_and(|promised| !promised.answered)
        };
        // A rejection that nobody waits for is not looked at.
        if !is_ok && !waits(&self.state.lock()) {
            return Ok(());
        }
        let value = evaluate(self, expression).map_err(|error| refused(&error))?.value;
        {
            let mut state = self.state.lock();
            if !waits(&state) {
                // What is in it is let go, when the lock is free.
                drop(state);
                return Ok(());
            }
            // It stays until all that is in it has come: that may never be, and then it ends with the session.
            if let Some(own) = state.pending.get_mut(&id) {
                own.answered = true;
            }
            if let Some(promised) = state.promises.get_mut(&id) {
                promised.answered = true;
            }
        }
        let core = self.clone();
        when_whole(self, value, move |value| match id {
            ..0 => core.promise_came(id, value, is_ok),
            _ => core.answer_came(id, value, is_ok),
        });
        Ok(())
    }

    fn promise_came(&self, id: i64, value: Result<Encoded, RpcError>, is_ok: bool) {
        let Some(Promised { promise, .. }) = self.state.lock().promises.remove(&id) else { return };
        self.let_go(id);
        promise.resolve(value.and_then(|value| match is_ok {
            true => Ok(Resolution::Result { capabilities: Capabilities::None, value }),
            false => Err(thrown(value)),
        }));
    }

    fn answer_came(&self, id: i64, value: Result<Encoded, RpcError>, is_ok: bool) {
        let (own, idle) = {
            let mut state = self.state.lock();
            (remove(&mut state.pending, &id), state.wake_if_idle())
        };
        idle.into_iter().for_each(Waker::wake);
        let Some((is_stream, call)) = own.and_then(|own| Some((own.is_stream, own.call.call()?))) else {
            return;
        };
        call.complete(value.and_then(|value| {
            if is_ok {
                return Ok(Body { is_ok, value });
            }
            let text = std::str::from_utf8(&value.bytes).unwrap_or("null");
            let error = capnweb::rpc_error(text);
            match error.kind() {
                ErrorKind::Thrown if !is_stream => Ok(Body { is_ok, value }),
                // Whoever writes a stream has no type for what its reader says.
                ErrorKind::Thrown => Err(thrown(value)),
                _ => Err(error),
            }
        }));
        // A result that may still be used is released when nobody does.
        if !is_stream && !call.keep {
            self.let_go(id);
        }
    }

    fn released(self: &Arc<Self>, id: i64, count: i64) -> Result<(), RpcError> {
        let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else {
            return Err(protocol(format!("a release of {count} introductions")));
        };
        let (gone, call) = {
            let mut state = self.state.lock();
            let held = match state.exports.get(id) {
                Some(Export::Cap { held, .. }) => *held,
                Some(Export::Result(_) | Export::Pipe { .. }) => 1,
                None => return Err(protocol(format!("no such export ID: {id}"))),
            };
            if count > held {
                return Err(protocol(format!("refcount would go negative: {held} < {count}")));
            }
            if count < held {
                if let Some(Export::Cap { held, .. }) = state.exports.get_mut(id) {
                    *held -= count;
                }
                return Ok(());
            }
            let gone = state.exports.remove(id);
            let call = match &gone {
                Some(Export::Result(Held { call: Some(call), .. })) => {
                    state.incoming.get(call).map(|(call, _)| call.clone())
                }
                _ => None,
            };
            (gone, call)
        };
        // Not under the lock: it may be the last of something.
        drop(gone);
        if let Some(call) = call {
            call.abandon();
        }
        Ok(())
    }

    /// The peer has said all.
    pub(super) fn peer_is_done(&self) -> Result<(), RpcError> {
        match self.sort {
            Sort::Conversation => {
                let text = format!("{} closed the connection", self.life.peer);
                Err(RpcError::new(ErrorKind::Disconnected, text))
            }
            Sort::Request => {
                self.state.lock().complete = true;
                Ok(())
            }
            Sort::Batch => Err(RpcError::new(ErrorKind::Broken, "Batch RPC request ended.")),
        }
    }
}

/// The error of somebody who has no type for it.
fn thrown(value: Encoded) -> RpcError {
    let error = capnweb::rpc_error(std::str::from_utf8(&value.bytes).unwrap_or("null"));
    error.may_run(true).with_thrown(value)
}

fn aborted_by_peer(reason: &str) -> RpcError {
    let error = capnweb::rpc_error(reason);
    RpcError::new(ErrorKind::Disconnected, error.message())
}

/// What the peer sent cannot be understood.
fn refused(error: &Malformed) -> RpcError {
    protocol(error.to_string())
}
