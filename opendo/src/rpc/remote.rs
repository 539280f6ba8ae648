//! The caller's side of a call that goes encoded: over a session, or through a promise.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use opendo_transport::envelope::TraceContext;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::encoding::with_encoder;
use crate::object::id::{ObjectKey, ToObjectId};
use crate::rpc::arg;
use crate::rpc::call::{Call, Named, deadline_after};
use crate::rpc::cap::{Cap, Capabilities, Capability, Known, Passed, PeerInterface};
use crate::rpc::chain::Link;
use crate::rpc::core::Core;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, IncomingCall, RemoteReply};
use crate::rpc::info::{CallInfo, Caller, Waiting};
use crate::rpc::limits::Limits;
use crate::rpc::method::{Interface, Method, MethodDesc, MethodFlags};
use crate::rpc::promise::{Promise, Resolution, failed_call};
use crate::rpc::slot::Slot;
use crate::rpc::stub::{Broken, CallOptions, Calls, Stub, StubCore};
use crate::rpc::wire::Released;
use crate::stream;

/// Something that is not known to be in this process: encodes calls and hands them to the way that leads there.
#[derive(Clone)]
pub struct Remote(Arc<RemoteObject>);

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.0.name())
    }
}

/// What is called, and its number in the current session.
pub(crate) struct RemoteObject {
    uplink: Arc<dyn Uplink>,
    pub(crate) place: Place,
    /// As this program knows it; not known while nobody has asked for a stub of it.
    interface: OnceLock<&'static Interface>,
    /// As the peer described it, for what the peer gave us.
    peer: Option<Arc<PeerInterface>>,
    pub(crate) binding: Mutex<Binding>,
    /// The client whose session it belongs to, which lives as long as its stubs.
    _client: Option<Arc<dyn Uplink>>,
}

/// What is called, in words that outlive a session, as far as they do.
pub(crate) enum Place {
    /// An object, by name: it is found again in every session.
    Object(Arc<ObjectKey>),
    /// The peer's main interface: there is one in every session.
    Root,
    /// What the peer gave us in one session, and takes with it.
    Import,
    /// A part of the result of a call over a session.
    Result(Arc<RemoteCall>, Arc<[Box<str>]>),
    /// A part of a result that comes in this process.
    Promise(Arc<[Box<str>]>),
    /// Nothing: all calls fail.
    Nowhere(Arc<ObjectKey>),
    /// Many of the same kind.
    Group,
}

/// Where something stands in the current session of its stub.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    /// The session's number; 0 before the first.
    pub(crate) session: u64,
    pub(crate) import: i64,
    pub(crate) broken: Option<RpcError>,
}

impl Binding {
    /// The instance is gone: every later call on the stub fails the same way (checklist 2.6).
    pub(crate) fn break_with(&mut self, error: &RpcError) {
        self.broken.get_or_insert_with(|| error.clone().may_run(false));
    }
}

/// A way to what is called: a session, a client that keeps making new ones, a promise.
pub(crate) trait Uplink: Send + Sync {
    /// Sends the call, keeps it until it can be sent, or completes it with an error. In order.
    fn send(self: Arc<Self>, call: OutgoingCall<'_>);

    /// Passes on a call that came encoded, to an object that is reached by this way.
    fn deliver(self: Arc<Self>, object: &Arc<RemoteObject>, call: Incoming) {
        pass_on(object, call);
    }

    /// The stub is gone: the peer need not keep its place.
    fn release(&self, binding: &Binding);

    /// The timeout of calls that have none of their own.
    fn default_timeout(&self) -> Option<Duration>;

    /// What is reached by the same number is reached by the same sessions. `None`: by no session.
    fn number(&self) -> Option<u64>;

    /// How many bytes of one stream the other side keeps for its reader.
    fn stream_buffer(&self) -> u64 {
        Limits::default().max_stream_buffer as u64
    }

    /// Resolves when calls on the object can never succeed any more.
    fn broken(self: Arc<Self>, object: &RemoteObject) -> Broken;
}

/// An encoded call on its way out.
#[derive(Clone, Copy)]
pub(crate) struct OutgoingCall<'a> {
    pub(crate) call: &'a Arc<RemoteCall>,
    pub(crate) parts: &'a CallParts,
    pub(crate) body: &'a [u8],
    pub(crate) passed: &'a [Passed],
}

/// What the header of a call says, beside where it goes.
#[derive(Clone)]
pub(crate) struct CallParts {
    pub(crate) method: MethodDesc,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
    /// Who calls, where that is of use: within the process.
    pub(crate) caller: Caller,
}

/// What came back: the encoding of the result, or of the method's error.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) is_ok: bool,
    pub(crate) bytes: Bytes,
    pub(crate) passed: Vec<Passed>,
}

/// One encoded call, as its caller, the client's queue and the session's table share it.
pub(crate) struct RemoteCall {
    to: To,
    pub(crate) object: Arc<RemoteObject>,
    method: MethodDesc,
    route: Mutex<Route>,
    /// The result is used before it has arrived: the other side keeps it until this is dropped.
    pub(crate) keep: bool,
    /// The result, for calls on it, where there is no other side.
    pub(crate) kept: Option<Arc<Promise>>,
    /// For calls on the result while the call itself waits for its arguments: resolved when it leaves.
    leaving: Mutex<Option<Arc<Promise>>>,
    /// For an idempotent method: what it takes to make the call again on another connection.
    again: Option<(CallParts, Box<[u8]>)>,
    /// An earlier attempt may have run.
    tried: AtomicBool,
    failure: OnceLock<RpcError>,
}

/// Who wants the answer.
enum To {
    Caller(Slot<Body>),
    /// The caller's caller: the call was passed on.
    PassedOn(Mutex<PassedOn>),
    /// It is one of many.
    Hook(Mutex<Option<Answered>>),
}

struct PassedOn {
    reply: Option<RemoteReply>,
    hooks: Vec<Hook>,
    /// Kept if the result may be used as a value.
    answer: Option<Result<Body, RpcError>>,
}

/// Takes the answer.
type Answered = Box<dyn FnOnce(Result<Body, RpcError>) + Send>;

/// Told of the answer before its caller is.
pub(crate) type Hook = crate::rpc::slot::Hook<Body>;

#[derive(Clone)]
enum Route {
    Unsent,
    Sent(Arc<Core>, u64),
    /// It was handed to something in this process.
    Here(Arc<IncomingCall>),
    /// Answered or withdrawn; where its result is kept, if it is.
    Over(Option<(Arc<Core>, u64)>),
}

impl RemoteCall {
    fn new(object: Arc<RemoteObject>, method: MethodDesc, keep: bool, to: To) -> Self {
        let here = object.uplink.number().is_none();
        Self {
            to,
            object,
            method,
            route: Mutex::new(Route::Unsent),
            keep,
            kept: (keep && here).then(|| Promise::new(Limits::default().max_pipelined)),
            leaving: Mutex::default(),
            again: None,
            tried: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    /// The same call to one of many.
    pub(crate) fn for_hook(
        whole: &Self,
        hook: impl FnOnce(Result<Body, RpcError>) + Send + 'static,
    ) -> Arc<Self> {
        let to = To::Hook(Mutex::new(Some(Box::new(hook))));
        Arc::new(Self::new(whole.object.clone(), whole.method, false, to))
    }

    /// Notes where the call went; false when it was withdrawn before.
    pub(crate) fn sent(&self, core: &Arc<Core>, id: u64) -> bool {
        self.leave(Route::Sent(core.clone(), id))
    }

    /// The same for a call that stays in this process.
    pub(crate) fn delivered(&self, call: &Arc<IncomingCall>) -> bool {
        self.leave(Route::Here(call.clone()))
    }

    fn leave(&self, to: Route) -> bool {
        let mut route = self.route.lock();
        let unsent = matches!(*route, Route::Unsent);
        if unsent {
            *route = to;
        }
        unsent
    }

    /// The call's number in that session, if it went there.
    pub(crate) fn number_in(&self, core: &Arc<Core>) -> Option<u64> {
        match &*self.route.lock() {
            Route::Sent(to, id) | Route::Over(Some((to, id))) if Arc::ptr_eq(to, core) => Some(*id),
            _ => None,
        }
    }

    /// Why it has no result.
    pub(crate) fn failure(&self) -> RpcError {
        let gone = || RpcError::new(ErrorKind::Broken, "the result it needs went with an earlier connection");
        self.failure.get().cloned().unwrap_or_else(gone)
    }

    /// Whether the result can be named in a message that goes the same way as this call did.
    pub(crate) fn goes_with(&self, uplink: Option<u64>) -> bool {
        self.keep
            && uplink.is_some()
            && self.object.uplink.number() == uplink
            && self.leaving.lock().is_none()
    }

    /// The method's signature as the caller knows it.
    pub(crate) fn signature(&self) -> &'static str {
        self.method.signature
    }

    pub(crate) fn slot(&self) -> &Slot<Body> {
        match &self.to {
            To::Caller(slot) => slot,
            To::PassedOn(_) | To::Hook(_) => {
                unreachable!("only the calls of a caller in this process are awaited")
            }
        }
    }

    /// The connection was lost before the answer came: makes the call again if that does no harm.
    pub(crate) fn lost(self: Arc<Self>, error: RpcError) {
        match &self.again {
            Some((parts, body)) if error.kind() == ErrorKind::Disconnected => {
                {
                    let mut route = self.route.lock();
                    if matches!(*route, Route::Over(_)) {
                        return; // withdrawn
                    }
                    *route = Route::Unsent;
                }
                self.tried.fetch_or(error.may_have_run(), Ordering::Relaxed);
                let outgoing = OutgoingCall { call: &self, parts, body, passed: &[] };
                self.object.uplink.clone().send(outgoing);
            }
            _ => self.complete(Err(error)),
        }
    }

    fn over(&self) -> Route {
        let mut route = self.route.lock();
        let kept = match &*route {
            Route::Sent(core, id) if self.keep => Some((core.clone(), *id)),
            Route::Over(kept) => kept.clone(),
            _ => None,
        };
        std::mem::replace(&mut *route, Route::Over(kept))
    }

    /// The answer, from the session or from whatever prevented one.
    pub(crate) fn complete(&self, answer: Result<Body, RpcError>) {
        let answer = match answer {
            Err(error) if self.tried.load(Ordering::Relaxed) => Err(error.may_run(true)),
            answer => answer,
        };
        drop(self.over());
        match &answer {
            Err(error) => {
                if error.is_reset() || self.object.is_sink() {
                    self.object.binding.lock().break_with(error);
                }
                let _ = self.failure.set(error.clone());
                if let Some(kept) = &self.kept {
                    kept.resolve(Err(error.clone()));
                }
            }
            Ok(body) if !body.is_ok => {
                let _ = self.failure.set(failed_call(self.method.name));
            }
            Ok(_) => {}
        }
        match &self.to {
            To::Caller(slot) => slot.complete(answer),
            To::Hook(hook) => {
                let hook = hook.lock().take();
                if let Some(hook) = hook {
                    hook(answer);
                }
            }
            To::PassedOn(passed_on) => {
                let (reply, hooks) = {
                    let mut passed_on = passed_on.lock();
                    passed_on.answer = Some(answer.clone()).filter(|_| self.keep);
                    (passed_on.reply.take(), std::mem::take(&mut passed_on.hooks))
                };
                for hook in hooks {
                    hook(answer.as_ref());
                }
                match (reply, answer) {
                    (Some(reply), Ok(Body { is_ok, bytes, passed })) => {
                        reply.answer(self.method.name, is_ok, &bytes, passed, || Capabilities::None);
                    }
                    (Some(reply), Err(error)) => reply.fail(error),
                    (None, _) => {}
                }
            }
        }
    }

    /// Has `hook` told of the answer: now, if it is there.
    pub(crate) fn when_done(&self, hook: Hook) {
        match &self.to {
            To::Caller(slot) => slot.on_done(hook),
            To::Hook(_) => unreachable!("the result of one of many is nobody's argument"),
            To::PassedOn(passed_on) => {
                let mut passed_on = passed_on.lock();
                match passed_on.answer.clone() {
                    Some(answer) => {
                        drop(passed_on);
                        hook(answer.as_ref());
                    }
                    None => passed_on.hooks.push(hook),
                }
            }
        }
    }

    /// The caller is gone. Returns whether the method may have run.
    pub(crate) fn withdraw(&self) -> bool {
        let route = self.over();
        match &self.to {
            To::Caller(slot) => drop(slot.abandon()),
            To::Hook(_) => {}
            To::PassedOn(passed_on) => {
                let reply = passed_on.lock().reply.take();
                if let Some(reply) = reply {
                    let error = RpcError::new(ErrorKind::Cancelled, "its caller went away");
                    reply.fail(error.may_run(true));
                }
            }
        }
        match route {
            Route::Sent(core, id) => {
                core.cancel(id);
                true
            }
            Route::Here(call) => {
                call.abandon();
                true
            }
            Route::Unsent => self.tried.load(Ordering::Relaxed),
            Route::Over(_) => true,
        }
    }
}

impl Drop for RemoteCall {
    fn drop(&mut self) {
        if let Route::Over(Some((core, id))) | Route::Sent(core, id) = self.route.get_mut()
            && self.keep
        {
            core.release(&Released::Result(*id));
        }
    }
}

/// Woken when the caller of a call that was passed on is gone.
impl Wake for RemoteCall {
    fn wake(self: Arc<Self>) {
        self.withdraw();
    }
}

/// Makes the call for the one that came.
fn pass_on(object: &Arc<RemoteObject>, incoming: Incoming) {
    let refusal = match (&object.peer, object.interface.get()) {
        // What it was given as, or what it is called as here, need not be what the caller takes it for.
        (Some(peer), _) => incoming.mismatch(|id| {
            let fingerprint = *peer.methods.get(&id)?;
            Some(MethodDesc { id, fingerprint, ..UNKNOWN })
        }),
        (None, Some(interface)) => incoming.mismatch(|id| interface.method(id).copied()),
        (None, None) => None,
    };
    if let Some(refusal) = refusal {
        return incoming.reply.fail(refusal);
    }
    let method = object.interface.get().and_then(|interface| interface.method(incoming.method)).copied();
    let method = method.unwrap_or(MethodDesc { id: incoming.method, ..UNKNOWN });
    let Incoming { reply, body, passed, deadline, trace, chain, caller, .. } = incoming;
    let (waiting, keep) = (reply.call().clone(), reply.call().kept.is_some());
    let to = To::PassedOn(Mutex::new(PassedOn { reply: Some(reply), hooks: Vec::new(), answer: None }));
    let call = Arc::new(RemoteCall::new(object.clone(), method, keep, to));
    if waiting.poll_gone(&mut Context::from_waker(&Waker::from(call.clone()))).is_ready() {
        call.withdraw();
    }
    let parts = CallParts { method, deadline, trace, chain, caller };
    object.uplink.clone().send(OutgoingCall { call: &call, parts: &parts, body: &body, passed: &passed });
    // After it: calls on the result go the same way, and there it must be known.
    if let Some(kept) = &waiting.kept {
        kept.resolve(Ok(Resolution::PassedOn(call)));
    }
}

/// A method of which only the id is known.
const UNKNOWN: MethodDesc = MethodDesc {
    id: 0,
    name: "method",
    fingerprint: 0,
    signature: "",
    flags: MethodFlags { shared: false, concurrent: false, idempotent: false, cancel: false },
};

impl Remote {
    pub(crate) fn new(uplink: Arc<dyn Uplink>, place: Place) -> Self {
        Self::bound(uplink, place, None, Binding::default(), None)
    }

    fn bound(
        uplink: Arc<dyn Uplink>,
        place: Place,
        peer: Option<Arc<PeerInterface>>,
        binding: Binding,
        client: Option<Arc<dyn Uplink>>,
    ) -> Self {
        let (interface, binding) = (OnceLock::new(), Mutex::new(binding));
        Self(Arc::new(RemoteObject { uplink, place, interface, peer, binding, _client: client }))
    }

    /// What a peer gave us, under its number in that session. A stub of an object goes by the client, if there is one,
    /// and heals; everything else is bound to the session.
    pub(crate) fn import(
        core: &Arc<Core>,
        import: i64,
        peer: Arc<PeerInterface>,
        key: Option<Arc<ObjectKey>>,
    ) -> Self {
        let binding = Binding { session: core.number, import, broken: None };
        let client = core.client();
        match (key, client) {
            (Some(key), Some(client)) => Self::bound(client, Place::Object(key), Some(peer), binding, None),
            (Some(key), None) => Self::bound(core.clone(), Place::Object(key), Some(peer), binding, None),
            (None, client) => Self::bound(core.clone(), Place::Import, Some(peer), binding, client),
        }
    }

    pub(crate) fn of_promise(promise: Arc<Promise>, path: Arc<[Box<str>]>) -> Self {
        Self::new(promise, Place::Promise(path))
    }

    /// A part of the promise of a result that the peer may call before it has it, and how it knows that part.
    pub(crate) fn of_peers_promise(
        promise: Arc<Promise>,
        path: Arc<[Box<str>]>,
        peer: Arc<PeerInterface>,
    ) -> Self {
        Self::bound(promise, Place::Promise(path), Some(peer), Binding::default(), None)
    }

    pub(crate) fn of_result(call: Arc<RemoteCall>, path: Arc<[Box<str>]>) -> Self {
        let promise = call.kept.clone().or_else(|| call.leaving.lock().clone());
        match promise {
            Some(promise) => Self::of_promise(promise, path),
            None => Self::new(call.object.uplink.clone(), Place::Result(call, path)),
        }
    }

    /// The same as this program knows it.
    pub(crate) fn known_as(&self, interface: &'static Interface) -> Self {
        let _ = self.0.interface.set(interface);
        self.clone()
    }

    /// Hands on a call that came encoded.
    pub fn pass_on(&self, call: Incoming) {
        Capability::deliver(self, call);
    }

    pub(crate) fn object(&self) -> &Arc<RemoteObject> {
        &self.0
    }

    /// The same object in an order of its own, not broken. What belongs to one session stays what it is.
    #[must_use]
    pub fn fresh(&self) -> Self {
        let place = match &self.0.place {
            Place::Object(key) => Place::Object(key.clone()),
            Place::Root => Place::Root,
            _ => return self.clone(),
        };
        let fresh = Self::new(self.0.uplink.clone(), place);
        self.0.interface.get().map_or(fresh.clone(), |interface| fresh.known_as(interface))
    }

    /// How much of one stream the other side keeps for its reader.
    pub(crate) fn stream_buffer(&self) -> u64 {
        self.0.uplink.stream_buffer()
    }

    /// Sends a call whose arguments are encoded already. Nobody else awaits it, so nothing checks for cycles.
    pub(crate) fn call_raw(&self, method: MethodDesc, body: &[u8], passed: Vec<Passed>) -> Arc<RemoteCall> {
        let call = Arc::new(RemoteCall::new(self.0.clone(), method, false, To::Caller(Slot::new())));
        let parts = CallParts { method, deadline: None, trace: None, chain: None, caller: Caller::Local };
        send(&call, &parts, body, passed);
        call
    }

    /// Encodes and sends.
    #[allow(clippy::needless_pass_by_value)] // the stub gives its arguments away, however they travel
    pub fn call<M: Method>(&self, options: &CallOptions, args: M::Args) -> Call<M::Ok, M::Err> {
        let object = &self.0;
        if let Some(refusal) = object.peer.as_ref().and_then(|peer| peer.refusal(&M::DESC)) {
            return Call::<M::Ok, M::Err>::failed(refusal).named(object.clone(), M::DESC.name);
        }
        let timeout = options.timeout.or_else(|| object.uplink.default_timeout());
        let deadline = deadline_after(timeout);
        let (caller, chain, inherited) = CallInfo::for_call_out();
        let parts = CallParts {
            method: M::DESC,
            deadline,
            trace: options.trace.or(inherited),
            chain: chain.clone(),
            caller,
        };
        let sent = with_encoder(
            |out| M::encode_args(&args, out),
            |encoded| {
                let (body, passed) = encoded
                    .map_err(|error| RpcError::new(ErrorKind::Encode, format!("the arguments: {error}")))?;
                let keep = options.keep || M::PIPELINE.is_some();
                let mut call = RemoteCall::new(object.clone(), M::DESC, keep, To::Caller(Slot::new()));
                // What was passed with it may be gone with the connection, so such a call is not made again.
                call.again =
                    (M::DESC.flags.idempotent && passed.is_empty()).then(|| (parts.clone(), body.into()));
                let call = Arc::new(call);
                send(&call, &parts, body, passed);
                Ok(call)
            },
        );
        let call = match sent {
            Ok(call) => Call::remote::<M>(call, chain, deadline),
            Err(error) => Call::failed(error),
        };
        call.named(object.clone(), M::DESC.name)
    }
}

/// Sends a call, once the values that cannot be named where it goes have arrived.
fn send(call: &Arc<RemoteCall>, parts: &CallParts, body: &[u8], passed: Vec<Passed>) {
    let uplink = call.object.uplink.clone();
    if !arg::must_wait(&passed, uplink.number()) {
        return uplink.send(OutgoingCall { call, parts, body, passed: &passed });
    }
    if call.keep && call.kept.is_none() {
        *call.leaving.lock() = Some(Promise::new(Limits::default().max_pipelined));
    }
    let (call, parts, body) = (call.clone(), parts.clone(), Bytes::copy_from_slice(body));
    arg::when_nameable(passed, uplink.number(), move |passed| {
        match passed {
            Ok(passed) => {
                uplink.send(OutgoingCall { call: &call, parts: &parts, body: &body, passed: &passed });
            }
            Err(error) => call.complete(Err(error.may_run(false))),
        }
        // Calls on the result go the same way, or find that there is none.
        let leaving = call.leaving.lock().take();
        if let Some(leaving) = leaving {
            leaving.resolve(Ok(Resolution::PassedOn(call)));
        }
    });
}

impl RemoteObject {
    pub(crate) fn known(&self) -> Known {
        match (&self.peer, self.interface.get()) {
            (_, Some(interface)) => Known::Here(interface),
            (Some(peer), None) => Known::ByPeer(peer.clone()),
            (None, None) => Known::ByPeer(Arc::default()),
        }
    }

    pub(crate) fn key(&self) -> Option<&Arc<ObjectKey>> {
        match &self.place {
            Place::Object(key) | Place::Nowhere(key) => Some(key),
            _ => None,
        }
    }

    /// Why a call on a group has an empty result, if it should not.
    pub(crate) fn without_members(&self, body: &[u8]) -> Option<RpcError> {
        let empty = body.is_empty() && matches!(self.place, Place::Group);
        empty.then(|| RpcError::new(ErrorKind::Broken, "the group has no members, so nobody gave a result"))
    }

    /// What the peer takes the method's signature for.
    pub(crate) fn fingerprint(&self, method: u32) -> Option<u64> {
        self.peer.as_ref()?.methods.get(&method).copied()
    }

    fn is_sink(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| stream::is_sink(&peer.name))
    }

    pub(crate) fn uplink_number(&self) -> Option<u64> {
        self.uplink.number()
    }
}

impl Named for RemoteObject {
    fn name(&self) -> String {
        match &self.place {
            Place::Object(key) | Place::Nowhere(key) => key.to_string(),
            Place::Result(call, path) => {
                // Results of results of results: their name would be as long as they are many.
                let of = match &call.object.place {
                    Place::Result(before, _) => format!("….{}()", before.method.name),
                    _ => call.object.name(),
                };
                let mut name = format!("{of}.{}()", call.method.name);
                for field in &**path {
                    name.push('.');
                    name.push_str(field);
                }
                name
            }
            Place::Root | Place::Import | Place::Promise(_) | Place::Group => self.known().name().to_owned(),
        }
    }
}

impl Capability for Remote {
    fn deliver(&self, call: Incoming) {
        self.0.uplink.clone().deliver(&self.0, call);
    }

    fn remote(&self) -> Option<&Remote> {
        Some(self)
    }

    fn interface(&self) -> Known {
        self.0.known()
    }

    fn hosted_key(&self) -> Option<&ObjectKey> {
        None
    }

    fn broken(&self) -> Broken {
        let uplink = self.0.uplink.clone();
        uplink.broken(&self.0)
    }

    fn missed(&self, error: &RpcError) {
        if self.0.is_sink() {
            self.0.binding.lock().break_with(error);
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Calls for Remote {
    fn key(&self) -> Option<&ObjectKey> {
        self.0.key().map(|key| &**key)
    }

    fn remote(&self) -> Option<&Remote> {
        Some(self)
    }

    fn broken(&self) -> Broken {
        Capability::broken(self)
    }
}

impl Drop for RemoteObject {
    fn drop(&mut self) {
        self.uplink.release(self.binding.get_mut());
        if let Place::Result(call, _) = std::mem::replace(&mut self.place, Place::Group) {
            let_go(call);
        }
    }
}

thread_local! {
    /// Calls that this thread is to let go, after the one it is at.
    static LET_GO: RefCell<Option<Vec<Arc<RemoteCall>>>> = const { RefCell::new(None) };
}

/// Lets go of a call whose result was used. It may hold the result of another one, and so on: a chain as long as a peer
/// likes, which must not take a stack as deep.
fn let_go(call: Arc<RemoteCall>) {
    let mut next = Some(call);
    // The outermost of these on the stack takes the others over, unless the thread is about to end.
    let outermost = LET_GO.try_with(|waiting| match &mut *waiting.borrow_mut() {
        Some(waiting) => {
            waiting.extend(next.take());
            false
        }
        none => {
            *none = Some(Vec::new());
            true
        }
    });
    while let Some(call) = next {
        drop(call);
        next = LET_GO.try_with(|waiting| waiting.borrow_mut().as_mut().and_then(Vec::pop)).ok().flatten();
    }
    if outermost == Ok(true) {
        let _ = LET_GO.try_with(RefCell::take);
    }
}

impl Named for ObjectKey {
    fn name(&self) -> String {
        self.to_string()
    }
}

/// A stub of the object that `id` names, at the other end of `uplink`.
pub(crate) fn stub<S: Stub>(uplink: Arc<dyn Uplink>, id: impl ToObjectId<S>, class: &str) -> S {
    match id.into_key(class) {
        Ok(key) => of_remote(&Remote::new(uplink, Place::Object(Arc::new(key)))),
        Err(error) => {
            nowhere(ObjectKey::refused(class), RpcError::new(ErrorKind::NoSuchClass, error.to_string()))
        }
    }
}

/// A stub of whatever that is.
pub(crate) fn of_remote<S: Stub>(remote: &Remote) -> S {
    S::from_core(StubCore::new(S::remote(remote.known_as(S::INTERFACE))))
}

/// A capability whose calls all fail with `refusal`.
pub(crate) fn nowhere_cap(refusal: RpcError) -> Cap {
    let key = Arc::new(ObjectKey::refused("nowhere"));
    Arc::new(Remote::new(Arc::new(Nowhere(refusal)), Place::Nowhere(key)))
}

/// A stub whose calls all fail with `refusal`.
pub(crate) fn nowhere<S: Stub>(key: ObjectKey, refusal: RpcError) -> S {
    of_remote(&Remote::new(Arc::new(Nowhere(refusal)), Place::Nowhere(Arc::new(key))))
}

/// Where calls go that can go nowhere.
struct Nowhere(RpcError);

impl Uplink for Nowhere {
    fn send(self: Arc<Self>, call: OutgoingCall<'_>) {
        call.call.complete(Err(self.0.clone()));
    }

    fn release(&self, _: &Binding) {}

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        None
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        let error = self.0.clone();
        async move { error }.boxed()
    }
}

/// The capability of a stub.
pub(crate) fn cap_of<S: Stub>(stub: &S) -> Cap {
    Arc::new(stub.clone())
}
