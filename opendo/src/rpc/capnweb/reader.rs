//! What the peer says.

use std::sync::Arc;
use std::task::Waker;

use super::evaluate::{Evaluated, evaluate};
use super::map::resolve_when_there;
use super::protocol;
use super::text_core::{Export, Held, Sort, TextCore, wake};
use super::write::Out;
use crate::encoding::capnweb::{self, Malformed, Message, message};
use crate::encoding::{Encoded, Form};
use crate::rpc::any_core::AnyCore;
use crate::rpc::arg::{self, Value};
use crate::rpc::cap::Capabilities;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::outgoing::Body;
use crate::rpc::promise::{Promise, Resolution};
use crate::stream;

impl TextCore {
    /// Does what one message asks for. An error ends the session.
    pub(super) fn handle(self: &Arc<Self>, text: &str) -> Result<(), RpcError> {
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
        resolve_when_there(promise.clone(), value);
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
            match state.exports.get_mut(&id) {
                Some(Export::Result(held)) if held.pulled => return Ok(()),
                Some(Export::Result(held)) => {
                    held.pulled = true;
                    let promise = held.promise.clone();
                    state.open_pulls += 1;
                    promise
                }
                Some(Export::Cap { cap, .. }) if stream::is_sink(cap.interface().name()) => {
                    return Err(protocol("Cannot pull a WritableStream stub"));
                }
                Some(Export::Cap { .. }) => return Err(protocol("Tried to resolve a non-promise stub.")),
                Some(Export::Pipe { .. }) => return Err(protocol("Cannot pull a WritableStream stub")),
                None => return Err(protocol(format!("no such export ID: {id}"))),
            }
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
        if state.exports.contains_key(&id) {
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
                    message.push_str(r#"["resolve","#);
                    message.push_str(&id.to_string());
                    message.push(',');
                    let text = std::str::from_utf8(&value.bytes).unwrap_or("null");
                    out.splice(text, &value.passed, &introduced, &mut message);
                }
                Err(error) => {
                    message.push_str(r#"["reject","#);
                    message.push_str(&id.to_string());
                    message.push(',');
                    out.error(&error, &mut message);
                }
            }
            message.push(']');
            streams = out.into_streams();
            state.push(message);
            if is_stream {
                gone = state.exports.remove(&id);
            }
        }
        let overflow = state.out.byte_len() > self.life.limits.max_unsent;
        let writer = state.wake_writer();
        drop(guard);
        drop(gone);
        wake(writer);
        self.pump(streams);
        if overflow {
            let text = format!("{} does not read its replies", self.life.peer);
            self.end(&RpcError::new(ErrorKind::Disconnected, text));
        }
    }

    /// What came of an own push, or of something that the peer promised.
    fn resolved(self: &Arc<Self>, id: i64, expression: &str, is_ok: bool) -> Result<(), RpcError> {
        let known = {
            let state = self.state.lock();
            state.pending.contains_key(&id) || state.promises.contains_key(&id)
        };
        // A rejection that nobody waits for is not looked at.
        if !known && !is_ok {
            return Ok(());
        }
        let value = evaluate(self, expression).map_err(|error| refused(&error))?.value;
        let (own, promise, idle) = {
            let mut state = self.state.lock();
            let own = state.pending.remove(&id);
            let promise = state.promises.remove(&id);
            (own, promise, state.wake_if_idle())
        };
        idle.into_iter().for_each(Waker::wake);
        if let Some(promise) = promise {
            let core = self.clone();
            when_whole(value, move |value| {
                promise.resolve(value.and_then(|value| match is_ok {
                    true => Ok(Resolution::Result { capabilities: Capabilities::None, value }),
                    false => Err(thrown(value)),
                }));
                core.let_go(id);
            });
            return Ok(());
        }
        let Some((is_stream, call)) = own.and_then(|own| Some((own.is_stream, own.call.call()?))) else {
            return Ok(());
        };
        let core = self.clone();
        when_whole(value, move |value| {
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
                core.let_go(id);
            }
        });
        Ok(())
    }

    fn released(self: &Arc<Self>, id: i64, count: i64) -> Result<(), RpcError> {
        let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else {
            return Err(protocol(format!("a release of {count} introductions")));
        };
        let (gone, call) = {
            let mut state = self.state.lock();
            let held = match state.exports.get(&id) {
                Some(Export::Cap { held, .. }) => *held,
                Some(Export::Result(_) | Export::Pipe { .. }) => 1,
                None => return Err(protocol(format!("no such export ID: {id}"))),
            };
            if count > held {
                return Err(protocol(format!("refcount would go negative: {held} < {count}")));
            }
            if count < held {
                if let Some(Export::Cap { held, .. }) = state.exports.get_mut(&id) {
                    *held -= count;
                }
                return Ok(());
            }
            let gone = state.exports.remove(&id);
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

/// Goes on with the value when all that is in it has come.
fn when_whole(mut value: Encoded, then: impl FnOnce(Result<Encoded, RpcError>) + Send + 'static) {
    let passed = std::mem::take(&mut value.passed);
    arg::when_all_there(passed, move |passed| then(passed.map(|passed| Encoded { passed, ..value })));
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
