//! What the peer has said: reads its messages and does what they ask for.
//!
//! Calls are queued at their targets before the next message is read; nothing here waits.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use opendo_transport::envelope::{EnvelopeKind as Kind, EnvelopeView, TraceContext};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::encoding::{Encoded, Form};
use crate::object::lasting::MAX_PARAMS;
use crate::rpc::any_core::AnyCore;
use crate::rpc::arg::Value;
use crate::rpc::cap::{AllPassed, Cap, Passed, PeerInterface};
use crate::rpc::chain::Link;
use crate::rpc::core::{Core, Woken, wake_later};
use crate::rpc::driver::{Access, Host, Hosted, In, Keepalive, disconnected};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, IncomingCall, RemoteReply};
use crate::rpc::method::MethodDesc;
use crate::rpc::numbered::Numbered;
use crate::rpc::promise::Promise;
use crate::rpc::remote::{Remote, nowhere_cap};
use crate::rpc::tables::{import, name_of};
use crate::rpc::wire::{
    Bind, Bound, CapDescriptor, Describe, Descriptor, MAX_CLASSES, Released, WireError, WirePlace,
    WireTarget, decode_body,
};
use crate::stream;

/// The peer's half of a session's numbers. Only the reader touches it.
pub(crate) struct PeerSide {
    host: Option<Arc<dyn Host>>,
    access: Access,
    classes: Vec<PeerClass>,
    methods: usize,
    bound: Numbered<Named>,
    /// Results that the peer may still use.
    kept: Numbered<Arc<Promise>>,
    /// The last number the peer chose for each of them.
    last_call: u64,
    last_name: i64,
    last_import: i64,
    woken: Woken,
    /// Several callers were answered, and the driver is polled again when they have run.
    pub(crate) expects_calls: bool,
    /// Of a call that was answered: the next one takes its place, unless somebody still looks at it.
    spare: Option<Arc<IncomingCall>>,
}

struct PeerClass {
    interface: Arc<PeerInterface>,
    hosted: Option<Arc<dyn Hosted>>,
    /// Methods whose signature differs between the peer and us: ours.
    mismatched: FxHashMap<u32, MethodDesc>,
}

/// What the peer has named.
enum Named {
    /// `None` when the class is not here, or the id is none of it. Why is told to who calls it, not kept for each.
    Object(u32, Option<Cap>),
    /// The root or a part of a result: of which kind shows when it is called.
    Other(u32, Option<Cap>),
    /// What it writes a stream to.
    Stream(Cap),
}

/// What the header of a call says.
struct Header {
    call: u64,
    target: i64,
    method: u32,
    keep: bool,
    /// Of the whole message.
    size: usize,
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
    chain: Option<Arc<Link>>,
}

impl Header {
    fn of(view: &EnvelopeView<'_>, size: usize) -> Self {
        Self {
            call: view.call(),
            target: view.target(),
            method: view.method(),
            keep: view.keep(),
            size,
            deadline: view
                .deadline()
                .and_then(|micros| Instant::now().checked_add(Duration::from_micros(micros))),
            trace: view.trace(),
            chain: Link::from_wire(view.chain().collect::<Vec<_>>().into_iter()),
        }
    }
}

/// What stands behind the header. The message itself, not another hold on it.
fn body(offset: usize, mut message: Bytes) -> Bytes {
    message.advance(offset);
    message
}

/// Names of classes that are not here are kept, and told to whoever calls them.
const LONGEST_CLASS_NAME: usize = 512;

/// What names something: a path, or an object's id with its name, which is left out when it is longer than objects
/// get to know.
const LONGEST_BIND: usize = MAX_PARAMS + 4 * 1024;

/// Methods that all described classes may have together.
const MAX_METHODS: usize = 1 << 20;

/// How deep in a result something may be that is called before the result has arrived.
const LONGEST_PATH: usize = 64;

/// How many bytes the names of the fields that lead there may have together.
const LONGEST_PATH_TEXT: usize = 4096;

/// How many arguments of one call may be results of others.
const MOST_RESULTS: usize = 64;

impl PeerSide {
    pub(crate) fn new(host: Option<Arc<dyn Host>>, access: Access) -> Self {
        Self {
            host,
            access,
            classes: Vec::new(),
            methods: 0,
            bound: Numbered::default(),
            kept: Numbered::default(),
            last_call: 0,
            last_name: 0,
            last_import: 0,
            woken: Woken::default(),
            expects_calls: false,
            spare: None,
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        core: &Arc<Core>,
        receiver: &mut In,
        keepalive: &mut Keepalive,
        budget: usize,
    ) -> Poll<RpcError> {
        let polled = 'reading: {
            for turn in 0..budget {
                let message = match receiver.poll_receive(cx) {
                    Poll::Pending => break 'reading Poll::Pending,
                    Poll::Ready(Some(Ok(message))) => message,
                    Poll::Ready(Some(Err(error))) => break 'reading Poll::Ready(disconnected(error)),
                    Poll::Ready(None) => {
                        let text = format!("{} closed the connection", core.life.peer);
                        break 'reading Poll::Ready(RpcError::new(ErrorKind::Disconnected, text));
                    }
                };
                if turn == 0 {
                    keepalive.saw_message();
                }
                if let Err(error) = self.handle(core, message) {
                    break 'reading Poll::Ready(error);
                }
            }
            wake_later(cx.waker());
            Poll::Pending
        };
        self.expects_calls = self.woken.wake(cx.waker());
        polled
    }

    /// Does what one message asks for. An error ends the session.
    fn handle(&mut self, core: &Arc<Core>, message: Bytes) -> Result<(), RpcError> {
        let view = EnvelopeView::parse(&message).map_err(|error| {
            RpcError::new(ErrorKind::Protocol, format!("a message from the peer: {error}"))
        })?;
        match view.kind() {
            Kind::Call => {
                // Before any refusal: the peer has passed it, refused or not.
                let passed = self.receive(core, view.capabilities())?;
                let header = Header::of(&view, message.len());
                let bytes = body(view.body_offset(), message);
                self.call(core, header, Encoded { form: Form::Postcard, bytes, passed })
            }
            Kind::Reply => {
                let passed = self.receive(core, view.capabilities())?;
                let (call, status) = (view.call(), view.status());
                core.answer(call, status, body(view.body_offset(), message), passed, &mut self.woken)
            }
            Kind::Cancel => {
                if let Some(call) = core.incoming(view.call()) {
                    call.abandon();
                }
                Ok(())
            }
            Kind::Interface => self.describe(decode_body(view.body(), "a class")?),
            // Before it is taken apart: a path of many parts takes much more memory than it has bytes.
            Kind::Bind if view.body().len() > LONGEST_BIND => Err(protocol("a name that is too long")),
            Kind::Bind => self.bind(core, &decode_body(view.body(), "a name")?),
            Kind::Release => self.release(core, &decode_body(view.body(), "a release")?),
            Kind::Ping => core.pong(),
            Kind::Pong => Ok(()),
            Kind::Drain => {
                core.peer_drains();
                Ok(())
            }
            Kind::Abort => Err(decode_body::<WireError>(view.body(), "an abort")?.into_rpc(None)),
            Kind::Unread => {
                // Of a stream that has ended meanwhile, it says nothing new.
                core.heard_unread(decode_body(view.body(), "an end of reading")?);
                Ok(())
            }
            Kind::Hello => Err(protocol("a second hello")),
        }
    }

    /// Takes a number that the peer chose for something it names.
    fn take_name(&mut self, name: i64) -> Result<(), RpcError> {
        if name <= self.last_name {
            return Err(protocol(&format!("the number {name} for a name, which was used before")));
        }
        self.last_name = name;
        Ok(())
    }

    fn call(&mut self, core: &Arc<Core>, header: Header, args: Encoded) -> Result<(), RpcError> {
        let Header { call: id, target, method, keep, size, deadline, trace, chain } = header;
        if id <= self.last_call {
            return Err(protocol(&format!("call {id}, a number that was used before")));
        }
        self.last_call = id;
        let kept = keep.then(|| Promise::new(Form::Postcard, core.life.limits.max_pipelined));
        if let Some(kept) = &kept {
            self.has_room(core)?;
            self.kept.push(id, kept.clone());
            self.count(core);
        }
        let spare = self.spare.take().filter(|_| !keep).and_then(|spare| spare.serve(id));
        let call = spare.unwrap_or_else(|| IncomingCall::of_session(core.clone(), id, kept));
        let reply = RemoteReply::new(call.clone());
        if let Err(error) = core.admit(id, size) {
            if let Ok((cap, _)) = self.target(core, target, method) {
                cap.missed(&error);
            }
            reply.fail(error);
            return Ok(());
        }
        match self.target(core, target, method) {
            Err(error) => reply.fail(error),
            Ok((cap, fingerprint)) => {
                let (member, caller, promises) = (None, None, 0);
                let incoming = Incoming {
                    reply,
                    method,
                    fingerprint,
                    args,
                    member,
                    deadline,
                    trace,
                    chain,
                    caller,
                    promises,
                };
                if incoming.is_complete() {
                    cap.deliver(incoming);
                } else {
                    let cap = cap.into_owned();
                    incoming.when_complete(move |call| cap.deliver(call));
                }
            }
        }
        self.spare = core.was_delivered(id, call, size).filter(|_| !keep);
        Ok(())
    }

    /// What is called, and what the caller takes the method's signature for where that is still to be compared.
    fn target(&self, core: &Core, target: i64, method: u32) -> Result<(Cow<'_, Cap>, Option<u64>), RpcError> {
        if target < 0 {
            let cap = core.export(target);
            return cap.map(|cap| (Cow::Owned(cap), None)).ok_or_else(|| names_nothing(target));
        }
        match self.bound.get(target.unsigned_abs()).ok_or_else(|| names_nothing(target))? {
            Named::Object(class, cap) => {
                let class = &self.classes[*class as usize];
                let cap = cap.as_ref().ok_or_else(|| self.refusal(class))?;
                match class.mismatch(method) {
                    Some(error) => Err(error),
                    None => Ok((Cow::Borrowed(cap), None)),
                }
            }
            Named::Other(class, cap) => {
                let none = || RpcError::new(ErrorKind::NoSuchClass, "this side has no root target");
                let cap = cap.as_ref().ok_or_else(none)?;
                let class = &self.classes[*class as usize];
                Ok((Cow::Borrowed(cap), class.interface.methods.get(&method).copied()))
            }
            Named::Stream(cap) => Ok((Cow::Borrowed(cap), None)),
        }
    }

    /// Why an object of that class cannot be called.
    fn refusal(&self, class: &PeerClass) -> RpcError {
        let name = &class.interface.name;
        if self.host.is_some() && !self.access.names {
            let text = "this node gives out its objects one by one: start from its root target";
            return RpcError::new(ErrorKind::Unauthorized, text);
        }
        let text = match class.hosted {
            Some(_) => {
                format!("the object's id is not valid for class `{name}`: it was made for another one")
            }
            None => format!(
                "this node hosts no class `{name}`; register it with `.object::<…>()`, or connect to another node"
            ),
        };
        RpcError::new(ErrorKind::NoSuchClass, text)
    }

    fn describe(&mut self, class: Describe) -> Result<(), RpcError> {
        if class.number as usize != self.classes.len() || self.classes.len() >= MAX_CLASSES {
            return Err(protocol(&format!("a class with the number {}", class.number)));
        }
        if class.class.len() > LONGEST_CLASS_NAME {
            return Err(protocol(&format!("a class whose name has {} bytes", class.class.len())));
        }
        self.methods += class.methods.len();
        if self.methods > MAX_METHODS {
            return Err(protocol("classes with too many methods"));
        }
        let hosted = self.host.as_ref().and_then(|host| host.class(&class.class));
        let methods: FxHashMap<_, _> = class.methods.into_iter().collect();
        let mut mismatched = FxHashMap::default();
        if let Some(hosted) = &hosted {
            let interface = hosted.interface();
            for (id, fingerprint) in &methods {
                if let Some(ours) = interface.method(*id).filter(|ours| ours.fingerprint != *fingerprint) {
                    mismatched.insert(*id, *ours);
                }
            }
        }
        let interface = Arc::new(PeerInterface { name: class.class, methods });
        self.classes.push(PeerClass { interface, hosted, mismatched });
        Ok(())
    }

    fn bind(&mut self, core: &Arc<Core>, bind: &Bind<'_>) -> Result<(), RpcError> {
        let Some(class) = self.classes.get(bind.class as usize) else {
            return Err(protocol(&format!("a name of class {}, which was not described", bind.class)));
        };
        let named = match &bind.place {
            Bound::Object { id, name } => {
                let hosted = class.hosted.as_ref().filter(|_| self.access.names);
                Named::Object(bind.class, hosted.and_then(|hosted| hosted.serve(*id, *name)))
            }
            Bound::Lasting(target) => Named::Other(bind.class, Some(self.lasting(core, target))),
            Bound::Root => Named::Other(bind.class, self.access.root.clone()),
            Bound::Result { call, path } => {
                let Some(kept) = self.kept.get(*call) else {
                    return Err(protocol(&format!("a part of the result of call {call}, which is not kept")));
                };
                let text: usize = path.iter().map(|field| field.len()).sum();
                if path.len() > LONGEST_PATH || text > LONGEST_PATH_TEXT {
                    return Err(protocol("a part of a result that is too deep"));
                }
                let path = path.iter().map(|field| (*field).into()).collect();
                let known = class.interface.clone();
                Named::Other(bind.class, Some(Arc::new(Remote::of_peers_promise(kept.clone(), path, known))))
            }
        };
        self.take_name(bind.import)?;
        self.has_room(core)?;
        self.bound.push(bind.import.unsigned_abs(), named);
        self.count(core);
        Ok(())
    }

    /// The target of that name, or what refuses all calls. A peer that knows the name was given it: it need not be
    /// allowed to name objects.
    fn lasting(&self, core: &Core, target: &WireTarget<'_>) -> Cap {
        let none = || RpcError::new(ErrorKind::NoSuchClass, "this side hosts no objects");
        let found = name_of(core, target).and_then(|name| self.host.as_ref().ok_or_else(none)?.lasting(name));
        found.unwrap_or_else(nowhere_cap)
    }

    fn has_room(&self, core: &Core) -> Result<(), RpcError> {
        if self.bound.len() + self.kept.len() >= core.life.limits.max_bindings as usize {
            return Err(protocol(&format!("more than {} names at once", core.life.limits.max_bindings)));
        }
        Ok(())
    }

    fn count(&self, core: &Core) {
        core.bound.store(self.bound.len(), Ordering::Relaxed);
        core.kept.store(self.kept.len(), Ordering::Relaxed);
    }

    fn release(&mut self, core: &Core, released: &Released) -> Result<(), RpcError> {
        let known = match released {
            Released::Number(id @ ..0) => core.unexport(*id).is_some(),
            Released::Number(id) => self.bound.remove(id.unsigned_abs()).is_some(),
            Released::Result(call) => self.kept.remove(*call).is_some(),
        };
        self.count(core);
        match released {
            _ if known => Ok(()),
            Released::Number(id) => Err(protocol(&format!("the release of {id}, which names nothing"))),
            Released::Result(call) => {
                Err(protocol(&format!("the release of the result of call {call}, which is not kept")))
            }
        }
    }

    /// Takes what was passed beside a message.
    #[inline(always)]
    fn receive(&mut self, core: &Arc<Core>, block: &[u8]) -> Result<AllPassed, RpcError> {
        // Most messages pass nothing.
        if block.is_empty() { Ok(AllPassed::NOTHING) } else { self.receive_all(core, block) }
    }

    fn receive_all(&mut self, core: &Arc<Core>, mut block: &[u8]) -> Result<AllPassed, RpcError> {
        let mut all = AllPassed::NOTHING;
        let (mut count, mut results) = (0, 0);
        let mut one_more = || {
            count += 1;
            let most = core.life.limits.max_capabilities as usize;
            if count > most { Err(protocol("a message with too many capabilities")) } else { Ok(()) }
        };
        while !block.is_empty() {
            one_more()?;
            all.push(match take(&mut block)? {
                Descriptor::Cap(cap) => self.receive_cap(core, cap)?,
                Descriptor::Result(call) => {
                    results += 1;
                    if results > MOST_RESULTS {
                        return Err(protocol("a message with the results of too many calls"));
                    }
                    match self.kept.get(call) {
                        Some(kept) => Passed::Value(Value::Promise(kept.clone())),
                        None => {
                            return Err(protocol(&format!("the result of call {call}, which is not kept")));
                        }
                    }
                }
                Descriptor::Value { body, passed } => {
                    let mut inner = AllPassed::NOTHING;
                    for _ in 0..passed {
                        one_more()?;
                        inner.push(self.receive_cap(core, take(&mut block)?)?);
                    }
                    let bytes = Bytes::copy_from_slice(body);
                    Passed::Value(Value::There(Encoded { form: Form::Postcard, bytes, passed: inner }))
                }
            });
        }
        Ok(all)
    }

    fn receive_cap(&mut self, core: &Arc<Core>, cap: CapDescriptor<'_>) -> Result<Passed, RpcError> {
        match cap {
            CapDescriptor::Mine { id, class, place } => {
                if id >= self.last_import {
                    return Err(protocol(&format!(
                        "a capability with the number {id}, which was used before"
                    )));
                }
                self.last_import = id;
                let Some(class) = self.classes.get(class as usize) else {
                    return Err(protocol(&format!("a capability of class {class}, which was not described")));
                };
                let object = match &place {
                    WirePlace::Nowhere => None,
                    WirePlace::Object(key) => Some(key),
                    WirePlace::Lasting(target) => Some(&target.object),
                };
                if object.is_some_and(|object| object.class.len() > LONGEST_CLASS_NAME) {
                    return Err(protocol("an object whose class has too long a name"));
                }
                core.imported()?;
                Ok(Passed::Cap(import(core, id, class.interface.clone(), &place)?))
            }
            CapDescriptor::Yours(id) => {
                let cap = if id < 0 {
                    core.export(id)
                } else {
                    match self.bound.get(id.unsigned_abs()) {
                        Some(Named::Object(class, None)) => {
                            Some(nowhere_cap(self.refusal(&self.classes[*class as usize])))
                        }
                        Some(Named::Object(_, cap) | Named::Other(_, cap)) => cap.clone(),
                        Some(Named::Stream(_)) | None => None,
                    }
                };
                cap.map(Passed::Cap).ok_or_else(|| names_nothing(id))
            }
            CapDescriptor::Stream(id) => {
                self.take_name(id)?;
                self.has_room(core)?;
                let any: Arc<dyn AnyCore> = core.clone();
                let (cap, chunks) = stream::pipe_from_peer(&any, id);
                self.bound.push(id.unsigned_abs(), Named::Stream(cap));
                self.count(core);
                Ok(Passed::Chunks(Arc::new(Mutex::new(Some(chunks)))))
            }
        }
    }
}

impl PeerClass {
    fn mismatch(&self, method: u32) -> Option<RpcError> {
        if self.mismatched.is_empty() {
            return None;
        }
        let ours = self.mismatched.get(&method)?;
        let text = format!(
            "`{}` of `{}` is `{}` at this node; build caller and object against the same signature",
            ours.name, self.interface.name, ours.signature
        );
        Some(RpcError::new(ErrorKind::SignatureMismatch, text).with_signatures(ours.signature, ""))
    }
}

/// Takes one thing off the front of what was passed.
fn take<'a, T: serde::Deserialize<'a>>(block: &mut &'a [u8]) -> Result<T, RpcError> {
    let (taken, rest) =
        postcard::take_from_bytes(block).map_err(|_| protocol("capabilities that cannot be decoded"))?;
    *block = rest;
    Ok(taken)
}

fn names_nothing(id: i64) -> RpcError {
    protocol(&format!("{id}, which names nothing"))
}

fn protocol(what: &str) -> RpcError {
    RpcError::new(ErrorKind::Protocol, format!("the peer sent {what}"))
}
