//! The caller's side of a call that goes over a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::encoding::with_encoder;
use crate::object::id::{ObjectKey, ToObjectId};
use crate::rpc::call::{Call, Named, deadline_after};
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;
use crate::rpc::method::{Interface, Method, MethodDesc};
use crate::rpc::session::{Binding, Core};
use crate::rpc::slot::Slot;
use crate::rpc::stub::{CallOptions, Calls, Stub, StubCore};
use opendo_transport::envelope::TraceContext;

/// An object of another process: encodes calls and hands them to the way that leads there.
pub struct Remote(Arc<RemoteObject>);

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.0.key)
    }
}

/// A named object and its place in the current session.
pub(crate) struct RemoteObject {
    uplink: Arc<dyn Uplink>,
    pub(crate) key: Arc<ObjectKey>,
    pub(crate) interface: &'static Interface,
    pub(crate) binding: Mutex<Binding>,
}

/// A way to the peer: a session, or a client that keeps making new ones.
pub(crate) trait Uplink: Send + Sync {
    /// Sends the call, keeps it until it can be sent, or completes it with an error. In order.
    fn send(self: Arc<Self>, call: OutgoingCall<'_>);
    /// The stub is gone: the peer need not keep its place.
    fn release(&self, binding: &Binding);
    /// The timeout of calls that have none of their own.
    fn default_timeout(&self) -> Option<Duration>;
}

/// An encoded call on its way out.
pub(crate) struct OutgoingCall<'a> {
    pub(crate) call: &'a Arc<RemoteCall>,
    pub(crate) parts: CallParts,
    pub(crate) body: &'a [u8],
}

/// What the header of a call says, beside where it goes.
#[derive(Clone)]
pub(crate) struct CallParts {
    pub(crate) method: MethodDesc,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
}

/// What came back: the encoding of the result, or of the method's error.
#[derive(Debug)]
pub(crate) enum Body {
    Ok(Bytes),
    App(Bytes),
}

/// One call over a session, as its caller, the client's queue and the session's table share it.
pub(crate) struct RemoteCall {
    pub(crate) slot: Slot<Body>,
    pub(crate) object: Arc<RemoteObject>,
    method: MethodDesc,
    route: Mutex<Route>,
    /// For an idempotent method: what it takes to make the call again on another connection.
    again: Option<(CallParts, Box<[u8]>)>,
    /// An earlier attempt may have run.
    tried: AtomicBool,
}

enum Route {
    Unsent,
    Sent(Arc<Core>, u64),
    Over,
}

impl RemoteCall {
    /// Notes where the call went; false when it was withdrawn before.
    pub(crate) fn sent(&self, core: &Arc<Core>, id: u64) -> bool {
        let mut route = self.route.lock();
        match *route {
            Route::Unsent => {
                *route = Route::Sent(core.clone(), id);
                true
            }
            Route::Sent(..) | Route::Over => false,
        }
    }

    /// The method's signature as the caller knows it.
    pub(crate) fn signature(&self) -> &'static str {
        self.method.signature
    }

    /// The connection was lost before the answer came: makes the call again if that does no harm.
    pub(crate) fn lost(self: Arc<Self>, error: RpcError) {
        match &self.again {
            Some((parts, body)) if error.kind() == ErrorKind::Disconnected => {
                {
                    let mut route = self.route.lock();
                    if matches!(*route, Route::Over) {
                        return; // withdrawn
                    }
                    *route = Route::Unsent;
                }
                self.tried.fetch_or(error.may_have_run(), Ordering::Relaxed);
                let outgoing = OutgoingCall { call: &self, parts: parts.clone(), body };
                self.object.uplink.clone().send(outgoing);
            }
            _ => self.complete(Err(error)),
        }
    }

    /// The answer, from the session or from whatever prevented one.
    pub(crate) fn complete(&self, answer: Result<Body, RpcError>) {
        let answer = match answer {
            Err(error) if self.tried.load(Ordering::Relaxed) => Err(error.may_run(true)),
            answer => answer,
        };
        *self.route.lock() = Route::Over;
        if let Err(error) = &answer
            && error.is_reset()
        {
            self.object.binding.lock().break_with(error);
        }
        self.slot.complete(answer);
    }

    /// The caller is gone. Returns whether the method may have run.
    pub(crate) fn withdraw(&self) -> bool {
        let route = std::mem::replace(&mut *self.route.lock(), Route::Over);
        self.slot.abandon();
        match route {
            Route::Sent(core, id) => {
                core.cancel(id);
                true
            }
            Route::Unsent => self.tried.load(Ordering::Relaxed),
            Route::Over => true,
        }
    }
}

impl Remote {
    fn new(uplink: Arc<dyn Uplink>, key: Arc<ObjectKey>, interface: &'static Interface) -> Self {
        Self(Arc::new(RemoteObject { uplink, key, interface, binding: Mutex::default() }))
    }

    /// The same object in an order of its own, not broken.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(self.0.uplink.clone(), self.0.key.clone(), self.0.interface)
    }

    /// Encodes and sends.
    #[allow(clippy::needless_pass_by_value)] // the stub gives its arguments away, however they travel
    pub fn call<M: Method>(&self, options: &CallOptions, args: M::Args) -> Call<M::Ok, M::Err> {
        let object = &self.0;
        let timeout = options.timeout.or_else(|| object.uplink.default_timeout());
        let deadline = deadline_after(timeout);
        let (chain, inherited) = CallInfo::with_current(|current| match current {
            None => (None, None),
            Some(info) => (Some(Link::new(info.activation, info.sequence, info.chain.clone())), info.trace),
        });
        let parts =
            CallParts { method: M::DESC, deadline, trace: options.trace.or(inherited), chain: chain.clone() };
        let sent = with_encoder(
            |out| M::encode_args(&args, out),
            |body| {
                let body = body
                    .map_err(|error| RpcError::new(ErrorKind::Encode, format!("the arguments: {error}")))?;
                let again = M::DESC.flags.idempotent.then(|| (parts.clone(), body.into()));
                let (slot, route) = (Slot::new(), Mutex::new(Route::Unsent));
                let (object, method, tried) = (object.clone(), M::DESC, AtomicBool::new(false));
                let call = Arc::new(RemoteCall { slot, object, method, route, again, tried });
                call.object.uplink.clone().send(OutgoingCall { call: &call, parts, body });
                Ok(call)
            },
        );
        let call = match sent {
            Ok(call) => Call::remote::<M>(call, chain, deadline),
            Err(error) => Call::failed(error),
        };
        call.named(object.key.clone(), M::DESC.name)
    }
}

/// A stub of the object that `id` names, at the other end of `uplink`.
pub(crate) fn stub<S: Stub>(uplink: Arc<dyn Uplink>, id: impl ToObjectId<S>, class: &str) -> S {
    let (uplink, key) = match id.into_key(class) {
        Ok(key) => (uplink, key),
        Err(error) => {
            return nowhere(
                ObjectKey::refused(class),
                RpcError::new(ErrorKind::NoSuchClass, error.to_string()),
            );
        }
    };
    S::from_core(StubCore::new(S::remote(Remote::new(uplink, Arc::new(key), S::INTERFACE))))
}

/// A stub whose calls all fail with `refusal`.
pub(crate) fn nowhere<S: Stub>(key: ObjectKey, refusal: RpcError) -> S {
    S::from_core(StubCore::new(S::remote(Remote::new(
        Arc::new(Nowhere(refusal)),
        Arc::new(key),
        S::INTERFACE,
    ))))
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
}

impl Calls for Remote {
    fn key(&self) -> Option<&ObjectKey> {
        Some(&self.0.key)
    }
}

impl Drop for RemoteObject {
    fn drop(&mut self) {
        self.uplink.release(self.binding.get_mut());
    }
}

impl Named for ObjectKey {
    fn name(&self) -> String {
        self.to_string()
    }
}
