//! What a peer expresses, made into what it stands for.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use parking_lot::Mutex;

use super::map;
use super::text_core::{Export, Promised, State, TextCore};
use super::whole::when_whole;
#[cfg(feature = "http")]
use crate::encoding::Shape;
use crate::encoding::capnweb::{self, Capture, Malformed, Resolver, Special};
use crate::encoding::{Encoded, Form};
use crate::rpc::any_core::{AnyCore, broken};
use crate::rpc::arg::Value;
use crate::rpc::cap::{AllPassed, Cap, Capabilities, Passed, PeerInterface};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, IncomingCall, RemoteReply};
use crate::rpc::member::{Member, Part};
use crate::rpc::promise::{self, Promise, Resolution};
use crate::rpc::remote::Remote;
use crate::stream::{self, Chunks};
use crate::value::Blob;

/// What a value that a peer expressed is made of, and the calls that were made for it.
pub(super) struct Evaluated {
    pub(super) value: Encoded,
    /// The call that the whole value is the result of.
    pub(super) call: Option<u64>,
}

impl Evaluated {
    /// The promise that the whole value is, if it is one.
    pub(super) fn promise(&self) -> Option<&Arc<Promise>> {
        match &*self.value.passed {
            [Passed::Value(Value::Promise(promise))] if &self.value.bytes[..] == capnweb::ALONE => {
                Some(promise)
            }
            _ => None,
        }
    }
}

/// Evaluates an expression: calls in it are started, capabilities held.
pub(super) fn evaluate(core: &Arc<TextCore>, text: &str) -> Result<Evaluated, Malformed> {
    let mut evaluator =
        Evaluator { core, table: AllPassed::NOTHING, outer: Vec::new(), last_call: None, steps: None };
    let body = capnweb::evaluate(text, &mut evaluator)?;
    let bytes = match body {
        None => Bytes::copy_from_slice(text.as_bytes()),
        // What most calls are.
        Some(body) if body.as_bytes() == capnweb::ALONE => Bytes::from_static(capnweb::ALONE),
        Some(body) => Bytes::from(body),
    };
    let value = Encoded { form: Form::CapnWeb, bytes, passed: evaluator.table };
    Ok(Evaluated { value, call: evaluator.last_call })
}

struct Evaluator<'a> {
    core: &'a Arc<TextCore>,
    /// Of the value, or of the arguments of the innermost call that is open.
    table: AllPassed,
    /// Of what that is in.
    outer: Vec<AllPassed>,
    last_call: Option<u64>,
    /// Of maps, that may still be taken.
    steps: Option<Arc<AtomicUsize>>,
}

impl Evaluator<'_> {
    fn passes(&mut self, passed: Passed) -> Result<u32, Malformed> {
        let table = &mut self.table;
        let place =
            u32::try_from(table.len()).map_err(|_| Malformed::new("too many capabilities in one message"))?;
        if place >= self.core.life.limits.max_capabilities {
            return Err(Malformed::new("too many capabilities in one message"));
        }
        table.push(passed);
        Ok(place)
    }

    /// What is named, or what becomes of it.
    fn named(&mut self, id: i64, path: Option<Vec<Part>>, args: Option<String>) -> Result<Named, Malformed> {
        let arguments = args.as_ref().map(|_| {
            let outer = self.outer.pop().unwrap_or_default();
            std::mem::replace(&mut self.table, outer)
        });
        let named = self.core.named(id)?;
        let Some(path) = path else { return Ok(named) };
        if args.is_none() && path.is_empty() {
            return Ok(named);
        }
        let is_call = args.is_some();
        let args = Encoded {
            form: Form::CapnWeb,
            bytes: args.map_or_else(|| Bytes::from_static(b"[]"), Bytes::from),
            passed: arguments.unwrap_or_default(),
        };
        let (promise, call) = self.core.invoke(named, Member::new(path, is_call), args);
        self.last_call = call;
        Ok(Named::Promise(promise))
    }
}

impl Resolver for Evaluator<'_> {
    fn begin_arguments(&mut self) {
        self.outer.push(std::mem::take(&mut self.table));
    }

    fn special(&mut self, special: Special<'_>) -> Result<u32, Malformed> {
        let passed = match special {
            Special::Export(id) => Passed::Cap(Arc::new(self.core.import(id, None)?)),
            Special::Writable(id) => {
                Passed::Cap(Arc::new(self.core.import(id, Some(Arc::new(PeerInterface::of_sink())))?))
            }
            Special::Promise(id) => Passed::Value(Value::Promise(self.core.promised(id)?)),
            Special::Import { id, path, args } => {
                match self.named(id, path, args.map(std::borrow::Cow::into_owned))? {
                    Named::Cap(cap) => Passed::Cap(cap),
                    // It is passed on as it is, called or not.
                    Named::Promise(promise) => Passed::Cap(self.core.stub_through(promise)),
                }
            }
            Special::Pipeline { id, path, args } => {
                match self.named(id, path, args.map(std::borrow::Cow::into_owned))? {
                    Named::Cap(_) => return Err(Malformed::new("Can't dup an RpcTarget stub as a promise.")),
                    Named::Promise(promise) => Passed::Value(Value::Promise(promise)),
                }
            }
            Special::Remap { id, path, captures, instructions } => {
                let mut input = self.core.named(id)?;
                if !path.is_empty() {
                    input = Named::Promise(self.core.invoke(input, Member::new(path, false), no_args()).0);
                }
                let mut captured = Vec::with_capacity(captures.len());
                for capture in captures {
                    captured.push(match capture {
                        Capture::Export(id) => Named::Cap(Arc::new(self.core.import(id, None)?)),
                        Capture::Import(id) => self.core.named(id)?,
                    });
                }
                let input = input.into_promise(self.core);
                let most = self.core.life.limits.max_map_steps;
                let steps = self.steps.get_or_insert_with(|| Arc::new(AtomicUsize::new(most))).clone();
                Passed::Value(Value::Promise(map::start(self.core, &input, captured, instructions, steps)))
            }
            Special::Readable(id) => Passed::Chunks(Arc::new(Mutex::new(Some(self.core.readable(id)?)))),
            Special::Blob { kind, readable } => {
                let chunks = self.core.readable(readable)?;
                Passed::Value(Value::Promise(collect(self.core, kind, chunks)))
            }
        };
        self.passes(passed)
    }
}

/// What a peer names by a number.
#[derive(Clone)]
pub(super) enum Named {
    Cap(Cap),
    Promise(Arc<Promise>),
}

impl Named {
    /// A result, for what takes only those.
    pub(super) fn into_promise(self, core: &TextCore) -> Arc<Promise> {
        match self {
            Self::Promise(promise) => promise,
            Self::Cap(cap) => {
                let promise = Promise::new(Form::CapnWeb, core.life.limits.max_pipelined);
                let bytes = Bytes::from_static(capnweb::ALONE);
                let value = Encoded { form: Form::CapnWeb, bytes, passed: Passed::Cap(cap).into() };
                promise.resolve(Ok(Resolution::Result { capabilities: Capabilities::None, value }));
                promise
            }
        }
    }
}

fn no_args() -> Encoded {
    Encoded { form: Form::CapnWeb, bytes: Bytes::from_static(b"[]"), passed: AllPassed::NOTHING }
}

impl TextCore {
    pub(super) fn named(&self, id: i64) -> Result<Named, Malformed> {
        match self.state.lock().exports.get(id) {
            Some(Export::Cap { cap, .. } | Export::Pipe { sink: cap, .. }) => Ok(Named::Cap(cap.clone())),
            Some(Export::Result(held)) => Ok(Named::Promise(held.promise.clone())),
            None => Err(Malformed::new(format!("no such entry on exports table: {id}"))),
        }
    }

    /// Holds a capability of the peer.
    pub(super) fn import(
        self: &Arc<Self>,
        id: i64,
        peer: Option<Arc<PeerInterface>>,
    ) -> Result<Remote, Malformed> {
        if id >= 0 {
            return Err(Malformed::new(format!(
                "an export with the number {id}, which is not the peer's to choose"
            )));
        }
        self.imported()?;
        let core: Arc<dyn AnyCore> = self.clone();
        Ok(Remote::import(core, id, peer, None))
    }

    fn imported(&self) -> Result<(), Malformed> {
        let mut state = self.state.lock();
        state.imports += 1;
        if state.imports > self.life.limits.max_capabilities as usize {
            return Err(Malformed::new(format!(
                "more than {} capabilities",
                self.life.limits.max_capabilities
            )));
        }
        Ok(())
    }

    /// A stub of what the promise becomes. It does not outlive the session: what a peer makes of a promise may hold
    /// the stubs that lead through it, and nobody else would ever let go of either.
    pub(super) fn stub_through(&self, promise: Arc<Promise>) -> Cap {
        let mut state = self.state.lock();
        if let Some(error) = state.ended.clone() {
            drop(state);
            promise.forget(&broken(&error));
        } else {
            let all = &mut state.led_through;
            if all.len() == all.capacity() {
                all.retain(|promise| promise.strong_count() > 0);
                if all.len() > all.capacity() / 2 {
                    all.reserve(all.capacity());
                }
            }
            all.push(Arc::downgrade(&promise));
        }
        Arc::new(Remote::of_promise(promise, Arc::new([])))
    }

    /// Something that the peer will resolve by itself.
    fn promised(&self, id: i64) -> Result<Arc<Promise>, Malformed> {
        if id >= 0 {
            return Err(Malformed::new(format!(
                "a promise with the number {id}, which is not the peer's to choose"
            )));
        }
        self.imported()?;
        let promise = Promise::new(Form::CapnWeb, self.life.limits.max_pipelined);
        match self.state.lock().promises.entry(id) {
            Entry::Occupied(_) => {
                let text = "Bug in RPC system: The peer sent a promise reusing an existing export ID.";
                Err(Malformed::new(text))
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Promised { promise: promise.clone(), answered: false });
                Ok(promise)
            }
        }
    }

    /// The reading end of a pipe: once.
    fn readable(&self, id: i64) -> Result<Chunks, Malformed> {
        let taken = match self.state.lock().exports.get_mut(id) {
            Some(Export::Pipe { chunks, .. }) => chunks.take(),
            _ => None,
        };
        taken.ok_or_else(|| {
            Malformed::new(format!("Export {id} is not a pipe or its readable end was already consumed."))
        })
    }

    /// Starts a call, or reads something, for the peer. What comes of it, and the number under which it runs.
    pub(super) fn invoke(
        self: &Arc<Self>,
        target: Named,
        member: Member,
        args: Encoded,
    ) -> (Arc<Promise>, Option<u64>) {
        let result = Promise::new(Form::CapnWeb, self.life.limits.max_pipelined);
        let size = args.bytes.len();
        let (number, call, refusal) = {
            let core: Arc<dyn AnyCore> = self.clone();
            let mut state = self.state.lock();
            state.last_incoming += 1;
            let number = state.last_incoming;
            let call = IncomingCall::of_session(core, number, Some(result.clone()));
            let limits = &self.life.limits;
            let refusal = if state.draining && self.sort == super::Sort::Conversation {
                Some(RpcError::new(ErrorKind::Closed, "this node takes no new calls"))
            } else if state.incoming.len() >= limits.max_calls as usize {
                let text = format!("{} calls of this session are unanswered", state.incoming.len());
                Some(RpcError::new(ErrorKind::Overloaded, text))
            } else if state.incoming_bytes.saturating_add(size) > limits.max_call_bytes {
                Some(too_many_bytes(state.incoming_bytes))
            } else {
                state.incoming_bytes += size;
                state.incoming.insert(number, (call.clone(), size));
                None
            };
            (number, call, refusal)
        };
        let mut call = Incoming {
            reply: RemoteReply::new(call),
            method: 0,
            fingerprint: None,
            args,
            member: Some(Arc::new(member)),
            deadline: None,
            trace: None,
            chain: None,
            caller: None,
            promises: 0,
        };
        if let Some(refusal) = refusal {
            if let Named::Cap(cap) = &target {
                cap.missed(&refusal);
            }
            call.reply.fail(refusal);
            return (result, None);
        }
        let deliver = move |call| match target {
            Named::Cap(cap) => cap.deliver(call),
            Named::Promise(promise) => promise.deliver_member(call),
        };
        if !call.args.passed.iter().any(|passed| matches!(passed, Passed::Value(_))) {
            deliver(call);
            return (result, Some(number));
        }
        let args = std::mem::replace(&mut call.args, Encoded::NOTHING);
        let core = self.clone();
        when_whole(self, args, move |args| {
            let args = args.and_then(|args| {
                core.grown(number, args.bytes.len())?;
                Ok(args)
            });
            match args {
                Ok(args) => deliver(Incoming { args, ..call }),
                Err(error) => call.reply.fail(error.may_run(false)),
            }
        });
        (result, Some(number))
    }

    /// The arguments of a call have become larger than they came.
    fn grown(&self, call: u64, size: usize) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        let State { incoming, incoming_bytes, .. } = &mut *state;
        let Some((_, counted)) = incoming.get_mut(&call) else { return Ok(()) };
        let others = *incoming_bytes - *counted;
        if others.saturating_add(size) > self.life.limits.max_call_bytes {
            return Err(too_many_bytes(others));
        }
        *incoming_bytes = others + size;
        *counted = size;
        Ok(())
    }
}

fn too_many_bytes(unanswered: usize) -> RpcError {
    let text = format!("{unanswered} bytes of this session's calls are unanswered");
    RpcError::new(ErrorKind::Overloaded, text)
}

impl TextCore {
    /// Calls a method of the main interface, for a peer that says no more.
    #[cfg(feature = "http")]
    pub(crate) async fn call_main(
        self: &Arc<Self>,
        method: &str,
        args: Encoded,
    ) -> Result<Encoded, RpcError> {
        let main = self.named(0).map_err(|error| RpcError::new(ErrorKind::NoSuchClass, error.to_string()))?;
        let member = Member::new(vec![Part::Name(method.to_owned())], true);
        let (promise, _) = self.invoke(main, member, args);
        let (tell, told) = tokio::sync::oneshot::channel();
        Value::Promise(promise).when_there(Box::new(move |value| {
            // Whoever asked may be gone.
            let _ = tell.send(value);
        }));
        told.await.unwrap_or_else(|_| Err(RpcError::new(ErrorKind::Broken, "the call was lost")))
    }
}

/// Reads a blob to its end: it is a value only then.
fn collect(core: &Arc<TextCore>, kind: String, chunks: Chunks) -> Arc<Promise> {
    let promise = Promise::new(Form::CapnWeb, core.life.limits.max_pipelined);
    let resolver = promise::Resolver::new(promise.clone());
    let limit = core.life.limits.max_stream_buffer;
    core.life.runtime.spawn(async move {
        let mut chunks = chunks.open(Form::CapnWeb);
        let mut bytes = BytesMut::new();
        let outcome = loop {
            let chunk = match chunks.next().await {
                None => break Ok(bytes.freeze()),
                Some(chunk) => chunk.and_then(stream::decode::<Bytes>),
            };
            match chunk {
                Ok(chunk) if bytes.len() + chunk.len() <= limit => bytes.extend_from_slice(&chunk),
                Ok(_) => {
                    let text = format!("a blob of more than {limit} bytes; read it as a stream");
                    break Err(RpcError::new(ErrorKind::TooLarge, text));
                }
                Err(error) => break Err(error),
            }
        };
        resolver.resolve(outcome.map(|bytes| Resolution::Result {
            capabilities: Capabilities::None,
            value: Encoded {
                form: Form::CapnWeb,
                bytes: Bytes::from_static(capnweb::ALONE),
                passed: Passed::Blob(Blob { kind, bytes }).into(),
            },
        }));
    });
    promise
}

/// A value that was decoded for the session itself.
#[cfg(feature = "http")]
pub(crate) fn decode<T: serde::de::DeserializeOwned + 'static>(value: Encoded) -> Result<T, RpcError> {
    value
        .decode(&Shape::Value, |input| input.take())
        .map_err(|error| RpcError::new(ErrorKind::Decode, error.to_string()))
}
