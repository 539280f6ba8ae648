//! What is called by encoding, wherever it is: its name, and the way to it.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;

use crate::encoding::{Form, Shape, with_encoder};
use crate::node::WeakNode;
use crate::object::id::{ObjectKey, ToObjectId};
use crate::object::lasting::LastingName;
use crate::rpc::any_core::AnyCore;
use crate::rpc::call::{Call, Named, deadline_after};
use crate::rpc::cap::{AllPassed, Cap, Capability, Known, PeerInterface, Reference};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::info::{CallInfo, Caller, Origin};
use crate::rpc::limits::Limits;
use crate::rpc::method::{Interface, Method, MethodDesc};
use crate::rpc::outgoing::{Body, CallParts, OutgoingCall, RemoteCall, let_go, pass_on, send};
use crate::rpc::promise::Promise;
use crate::rpc::stub::{Broken, CallOptions, Calls, Stub, StubCore};
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
    pub(super) uplink: Arc<dyn Uplink>,
    /// What the way says of itself, which does not change.
    pub(crate) number: Option<u64>,
    pub(super) form: Form,
    pub(super) stays: bool,
    timeout: Option<Duration>,
    pub(crate) place: Place,
    /// As this program knows it; not known while nobody has asked for a stub of it.
    pub(super) interface: OnceLock<&'static Interface>,
    /// As the peer described it, for what the peer gave us.
    pub(super) peer: Option<Arc<PeerInterface>>,
    pub(crate) binding: Mutex<Binding>,
    /// The client whose session it belongs to, which lives as long as its stubs.
    _client: Option<Arc<dyn Uplink>>,
}

/// What is called, in words that outlive a session, as far as they do.
pub(crate) enum Place {
    /// An object, by name: it is found again in every session.
    Object(Arc<ObjectKey>),
    /// A target that an object of the peer's makes again: the same.
    Lasting(Arc<LastingName>),
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
#[derive(Default)]
pub(crate) struct Binding {
    /// The session's number; 0 before the first.
    pub(crate) session: u64,
    pub(crate) import: i64,
    /// The session that took the last call: the next one goes straight there, as long as it takes any.
    way: Option<Arc<dyn AnyCore>>,
    pub(crate) broken: Option<RpcError>,
    /// Who wants to know.
    watchers: Vec<Waker>,
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

    /// The encoding of what goes this way.
    fn form(&self) -> Form {
        Form::Postcard
    }

    /// The timeout of calls that have none of their own.
    fn default_timeout(&self) -> Option<Duration>;

    /// What is reached by the same number is reached by the same sessions. `None`: by no session.
    fn number(&self) -> Option<u64>;

    /// What goes this way does not leave the object that says it: nothing has to be durable before.
    fn stays(&self) -> bool {
        false
    }

    /// How many bytes of one stream the other side keeps for its reader.
    fn stream_buffer(&self) -> u64 {
        Limits::default().max_stream_buffer as u64
    }

    /// Resolves when calls on the object can never succeed any more.
    fn broken(self: Arc<Self>, object: &RemoteObject) -> Broken;
}

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
        Self(Arc::new(RemoteObject {
            number: uplink.number(),
            form: uplink.form(),
            stays: uplink.stays(),
            timeout: uplink.default_timeout(),
            uplink,
            place,
            interface: OnceLock::new(),
            peer,
            binding: Mutex::new(binding),
            _client: client,
        }))
    }

    /// What a peer gave us, under its number in that session. What has a `place` of its own goes by the client, if there
    /// is one, and heals; everything else is bound to the session.
    pub(crate) fn import(
        core: Arc<dyn AnyCore>,
        import: i64,
        peer: Option<Arc<PeerInterface>>,
        place: Option<Place>,
    ) -> Self {
        let binding = Binding { session: core.life().number, import, ..Binding::default() };
        let client = core.life().client();
        match (place, client) {
            (Some(place), Some(client)) => Self::bound(client, place, peer, binding, None),
            (Some(place), None) => Self::bound(core.as_uplink(), place, peer, binding, None),
            (None, client) => Self::bound(core.as_uplink(), Place::Import, peer, binding, client),
        }
    }

    #[cfg(feature = "capnweb")]
    pub(crate) fn of_object(object: Arc<RemoteObject>) -> Self {
        Self(object)
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

    /// The encoding of what goes there.
    pub(crate) fn form(&self) -> Form {
        self.0.form
    }

    pub(crate) fn object(&self) -> &Arc<RemoteObject> {
        &self.0
    }

    /// The same object in an order of its own, not broken. What belongs to one session stays what it is.
    #[must_use]
    pub fn fresh(&self) -> Arc<Self> {
        let place = match &self.0.place {
            Place::Object(key) => Place::Object(key.clone()),
            Place::Lasting(name) => Place::Lasting(name.clone()),
            Place::Root => Place::Root,
            _ => return Arc::new(self.clone()),
        };
        let fresh = Self::new(self.0.uplink.clone(), place);
        Arc::new(self.0.interface.get().map_or(fresh.clone(), |interface| fresh.known_as(interface)))
    }

    /// How much of one stream the other side keeps for its reader.
    pub(crate) fn stream_buffer(&self) -> u64 {
        self.0.uplink.stream_buffer()
    }

    /// Sends a call whose arguments are encoded already. Nobody else awaits it, so nothing checks for cycles.
    pub(crate) fn call_raw(&self, method: MethodDesc, body: &[u8], passed: AllPassed) -> Arc<RemoteCall> {
        let call = RemoteCall::awaited(self.0.clone(), method, false, None);
        let form = self.0.form;
        let parts = CallParts {
            method,
            form,
            member: None,
            deadline: None,
            trace: None,
            chain: None,
            caller: Caller::Local,
        };
        send(&call, &parts, body, passed);
        call
    }

    /// Sends a call on a group to this one of its members.
    pub(crate) fn call_one_of_many(
        &self,
        whole: &RemoteCall,
        parts: &CallParts,
        body: &[u8],
        passed: AllPassed,
        answered: impl FnOnce(Result<Body, RpcError>) + Send + 'static,
    ) {
        let object = &self.0;
        if let Some(refusal) = object.peer.as_ref().and_then(|peer| peer.refusal(&parts.method)) {
            return answered(Err(refusal));
        }
        send(&RemoteCall::for_hook(whole, object.clone(), answered), parts, body, passed);
    }

    /// Encodes and sends.
    #[allow(clippy::needless_pass_by_value)] // the stub gives its arguments away, however they travel
    pub fn call<M: Method>(&self, options: &CallOptions, args: M::Args) -> Call<M::Ok, M::Err> {
        let object = &self.0;
        if let Some(refusal) = object.peer.as_ref().and_then(|peer| peer.refusal(&M::DESC)) {
            return Call::<M::Ok, M::Err>::failed(refusal).named(object.clone(), M::DESC.name);
        }
        let timeout = options.timeout.or_else(|| object.timeout);
        let deadline = deadline_after(timeout);
        let Origin { caller, chain, trace } = CallInfo::origin();
        let form = object.form;
        let parts = CallParts {
            method: M::DESC,
            form,
            member: None,
            deadline,
            trace: options.trace.or(trace),
            chain: chain.clone(),
            caller,
        };
        let sent = with_encoder(
            form,
            Shape::Arguments,
            |out| M::encode_args(&args, out),
            |encoded| {
                let (body, passed) = encoded
                    .map_err(|error| RpcError::new(ErrorKind::Encode, format!("the arguments: {error}")))?;
                let keep = options.keep || M::PIPELINE.is_some();
                // What was passed with it may be gone with the connection, so such a call is not made again.
                let again =
                    (M::DESC.flags.idempotent && passed.is_empty()).then(|| (parts.clone(), body.into()));
                let call = RemoteCall::awaited(object.clone(), M::DESC, keep, again);
                send(&call, &parts, body, passed);
                Ok(call)
            },
        );
        match sent {
            Ok(call) => Call::remote::<M>(call, chain, deadline),
            Err(error) => Call::<M::Ok, M::Err>::failed(error).named(object.clone(), M::DESC.name),
        }
    }
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

    /// The session that takes its calls, and its number there, where both are known.
    pub(super) fn way(&self) -> Option<(Arc<dyn AnyCore>, i64)> {
        let binding = self.binding.lock();
        let way = binding.way.as_ref().filter(|way| way.life().number == binding.session)?;
        binding.broken.is_none().then(|| (way.clone(), binding.import))
    }

    /// Nothing waits to be sent before what goes there from now on.
    pub(crate) fn goes_by(&self, session: &Arc<dyn AnyCore>) {
        let before = self.binding.lock().way.replace(session.clone());
        drop(before); // after the lock: it may be the last of it
    }

    /// What it leads to is gone: every later call fails the same way (checklist 2.6).
    pub(crate) fn break_with(&self, error: &RpcError) {
        let watchers = {
            let mut binding = self.binding.lock();
            binding.broken.get_or_insert_with(|| error.clone().may_run(false));
            std::mem::take(&mut binding.watchers)
        };
        watchers.into_iter().for_each(Waker::wake);
    }

    fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<RpcError> {
        let mut binding = self.binding.lock();
        if let Some(error) = &binding.broken {
            return Poll::Ready(error.clone());
        }
        if !binding.watchers.iter().any(|known| known.will_wake(cx.waker())) {
            binding.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Why a call on a group has an empty result, if it should not.
    pub(crate) fn without_members(&self, is_empty: bool) -> Option<RpcError> {
        let empty = is_empty && matches!(self.place, Place::Group);
        empty.then(|| RpcError::new(ErrorKind::Broken, "the group has no members, so nobody gave a result"))
    }

    /// What the peer takes the method's signature for.
    pub(crate) fn fingerprint(&self, method: u32) -> Option<u64> {
        self.peer.as_ref()?.methods.get(&method).copied()
    }

    pub(crate) fn is_sink(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| stream::is_sink(&peer.name))
    }
}

impl Named for RemoteObject {
    fn name(&self) -> String {
        match &self.place {
            Place::Object(key) | Place::Nowhere(key) => key.to_string(),
            Place::Lasting(name) => name.to_string(),
            Place::Result(call, path) => {
                // Results of results of results: their name would be as long as they are many.
                let of = match &call.object.place {
                    Place::Result(before, _) => format!("….{}()", before.method),
                    _ => call.object.name(),
                };
                let mut name = format!("{of}.{}()", call.method);
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

    fn hosted(&self, _: &WeakNode) -> Option<Reference<'_>> {
        None
    }

    fn broken(&self) -> Broken {
        let way = self.0.uplink.clone().broken(&self.0);
        // A watch is no hold.
        let object = Arc::downgrade(&self.0);
        if let Place::Result(call, _) = &self.0.place {
            let (object, result) = (object.clone(), Arc::downgrade(call));
            call.when_done(Box::new(move |_| {
                if let (Some(object), Some(result)) = (object.upgrade(), result.upgrade())
                    && let Some(failure) = result.failed()
                {
                    object.break_with(failure);
                }
            }));
        }
        let found =
            poll_fn(move |cx| object.upgrade().map_or(Poll::Pending, |object| object.poll_broken(cx)));
        async move { futures::future::select(way, found).await.factor_first().0 }.boxed()
    }

    fn missed(&self, error: &RpcError) {
        if self.0.is_sink() {
            self.0.break_with(error);
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

    #[allow(private_interfaces)]
    fn lasting(&self) -> Option<&LastingName> {
        match &self.0.place {
            Place::Lasting(name) => Some(name),
            _ => None,
        }
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
