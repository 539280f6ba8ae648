//! From the name of a lasting target to the target.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Ended, Lasting, LastingName};
use crate::node::WeakNode;
use crate::object::control::Control;
use crate::object::job::{Job, Place, Progress, UntilLost};
use crate::object::local::Local;
use crate::object::strand::{Activation, Birth, Cradle, Pin};
use crate::registry::class::{Class, HostedClass};
use crate::rpc::cap::Cap;
use crate::rpc::chain::{Link, Walk};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::{CallInfo, listened_to};
use crate::rpc::method::{MethodDesc, MethodFlags};
use crate::rpc::stub::{ServedBy, Stub, StubCore};

/// Makes stubs of a target, where only the stub's type is known.
pub(crate) type StubMaker<S> = Box<dyn Fn(Arc<LastingName>) -> S + Send + Sync>;

/// A kind of target that objects of a class can make again, as their node keeps it.
pub(crate) struct HostedTarget {
    /// A [`StubMaker`] of its stub type.
    pub(crate) stubs: Box<dyn Any + Send + Sync>,
    pub(crate) cap: Box<dyn Fn(Arc<LastingName>) -> Cap + Send + Sync>,
}

/// Registers a target at its class; `None` when that is another type of the same name.
pub(crate) type HostTarget = fn(&HostedClass) -> Option<HostedTarget>;

pub(crate) fn host_target<T: Lasting>(class: &HostedClass) -> Option<HostedTarget> {
    const { assert!(T::NAME.len() <= 256, "the name of a lasting target has 256 bytes at most") }
    let class = class.class.as_any().downcast_ref::<Arc<Class<T::Object>>>()?.clone();
    let stub = move |name| {
        let origin = Restorer::<T> { class: class.clone(), name };
        T::Stub::from_core(StubCore::new(T::Stub::local(Local::of_lasting(Arc::new(origin)))))
    };
    let stubs: StubMaker<T::Stub> = Box::new(stub.clone());
    Some(HostedTarget { stubs: Box::new(stubs), cap: Box::new(move |name| Arc::new(stub(name))) })
}

/// Where a lasting target comes from.
pub(crate) trait Origin<T>: Send + Sync {
    fn name(&self) -> &LastingName;
    fn node(&self) -> &WeakNode;
    /// The live one, or one that is made at its first call.
    fn activation(&self) -> Result<Arc<Activation<T>>, RpcError>;
}

struct Restorer<T: Lasting> {
    class: Arc<Class<T::Object>>,
    name: Arc<LastingName>,
}

impl<T: Lasting> Origin<T> for Restorer<T> {
    fn name(&self) -> &LastingName {
        &self.name
    }

    fn node(&self) -> &WeakNode {
        self.class.node()
    }

    fn activation(&self) -> Result<Arc<Activation<T>>, RpcError> {
        loop {
            let object = self.class.activation(&self.name.object)?;
            // Otherwise it has gone meanwhile, and there will be another.
            if let Some(pin) = object.pin() {
                return Ok(object.control.targets().find_or(&self.name, |before| self.activate(pin, before)));
            }
        }
    }
}

impl<T: Lasting> Restorer<T> {
    /// A target that is restored by the object that is pinned, which therefore stays until it has been asked.
    fn activate(&self, pin: Pin<T::Object>, before: Option<Ended>) -> Arc<Activation<T>> {
        let host = pin.activation().control.clone();
        let cradle = OfObject {
            object: Arc::downgrade(pin.activation()),
            name: self.name.clone(),
            is_made: Arc::new(AtomicBool::new(false)),
            once: Mutex::new(Some((pin, before))),
        };
        let birth = Birth { cradle: Arc::new(cradle), predecessor: None };
        Activation::to_be_made(birth, |watch| Control::of_lasting(&host, watch))
    }
}

/// The object, which stays until it has been asked, and the end of the target before.
type First<O> = (Pin<O>, Option<Ended>);

/// The object that makes a target.
struct OfObject<T: Lasting> {
    object: Weak<Activation<T::Object>>,
    name: Arc<LastingName>,
    is_made: Arc<AtomicBool>,
    once: Mutex<Option<First<T::Object>>>,
}

impl<T: Lasting> Cradle<T> for OfObject<T> {
    fn make(&self, _: &Arc<Activation<T>>, info: CallInfo) -> BoxFuture<'static, Result<T, RpcError>> {
        let (once, name, made) = (self.once.lock().take(), self.name.clone(), self.is_made.clone());
        async move {
            let (pin, before) = once.ok_or_else(not_asked)?;
            if let Some(before) = before {
                let _ = before.await; // its sender is dropped, not used
            }
            // So that a cycle through `restore` is seen.
            let chain = Some(Link::new(info.control.number(), info.sequence, info.facts.chain));
            let (done, restored) = oneshot::channel();
            if let Err(job) = pin.activation().submit(Box::new(Restore::<T> { name, chain, done })) {
                job.fail(not_asked());
            }
            drop(pin);
            let target = restored.await.unwrap_or_else(|_| Err(not_asked()))?;
            made.store(true, Ordering::Relaxed);
            Ok(target)
        }
        .boxed()
    }

    /// Until then its calls wait for the object: one that the object waits for would wait for ever.
    fn within(&self, chain: &Arc<Link>) -> Walk {
        match self.object.upgrade() {
            Some(object) if !self.is_made.load(Ordering::Relaxed) => object.walk_running(chain),
            _ => Walk::Clear,
        }
    }

    fn ended(&self, ended: &Arc<Activation<T>>) {
        if let Some(object) = self.object.upgrade() {
            object.control.targets().remove(&self.name, ended);
        }
    }
}

fn not_asked() -> RpcError {
    RpcError::new(ErrorKind::Reset, "the target's object is gone")
}

/// Has the object make a target, when its turn comes.
struct Restore<T: Lasting> {
    name: Arc<LastingName>,
    /// Of the first call of the target.
    chain: Option<Arc<Link>>,
    done: oneshot::Sender<Result<T, RpcError>>,
}

impl<T: Lasting> Job<T::Object> for Restore<T> {
    fn flags(&self) -> MethodFlags {
        MethodFlags::default()
    }

    fn chain(&self) -> Option<&Arc<Link>> {
        // One that closes a cycle is refused where it waits for this: others may wait for this, too.
        None
    }

    fn is_wanted(&self) -> bool {
        !self.done.is_closed()
    }

    fn start(self: Box<Self>, mut object: Arc<T::Object>, place: Place) -> Progress<T::Object> {
        if !self.is_wanted() {
            return Progress::Ended(Some(object), place.control);
        }
        let Self { name, chain, done } = *self;
        let Place { sequence, control } = place;
        let span = tracing::debug_span!("restore", target = %name);
        let mut info = CallInfo::of_own_work(const { &MethodDesc::of_own_work("restore") }, &control);
        (info.sequence, info.facts.chain) = (sequence, chain);
        let storage = control.storage().expect("an object restores them").clone();
        let run = async move {
            let alone = Arc::get_mut(&mut object).expect("targets are restored alone");
            let restored = match storage.decode(T::NAME, &name.params) {
                Ok(params) => T::restore(alone, params).await,
                Err(error) => Err(error.into()),
            };
            (object, restored)
        };
        let ended = move |ended: Result<(Arc<T::Object>, crate::Result<T>), RpcError>| {
            let (object, restored) = match ended {
                Ok((object, restored)) => {
                    control.seal();
                    let error = |error| RpcError::new(ErrorKind::NotRestored, format!("{error}"));
                    (Some(object), restored.map_err(error))
                }
                Err(lost) => (None, Err(lost.may_run(false))),
            };
            let _ = done.send(restored); // nobody is left who wants it
            object
        };
        Progress::Runs(UntilLost::new(info, listened_to(span), run).map(ended).boxed())
    }

    fn fail(self: Box<Self>, error: RpcError) {
        let _ = self.done.send(Err(error));
    }
}
