//! What an object is given of the world.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::node::WeakNode;
use crate::object::id::{ObjectKey, ToObjectId};
use crate::object::storage::Storage;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::stub::Stub;

/// What a durable object has of the world: its own id and storage, other objects, and its own end.
///
/// Handed to [`DurableObject::new`](crate::DurableObject::new), to be kept in a field. Clones are the same context.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

struct Inner {
    key: Arc<ObjectKey>,
    storage: Storage,
    control: Arc<Control>,
    node: WeakNode,
}

impl Ctx {
    pub(crate) fn new(key: Arc<ObjectKey>, storage: Storage, control: Arc<Control>, node: WeakNode) -> Self {
        Self(Arc::new(Inner { key, storage, control, node }))
    }

    /// This object's class and id, with its name if it was started by name (checklist 1.10 to 1.12).
    pub fn key(&self) -> &ObjectKey {
        &self.0.key
    }

    /// This object's keys and values.
    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// A stub of another object of this node. No I/O, no `Result`: a call tells whether there is such a
    /// class.
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.0.node.get(id)
    }

    /// A stub of this object itself, for others to use. Awaiting a call to it from one of its own methods fails with
    /// [`Reentrant`](ErrorKind::Reentrant); work given to [`wait_until`](Self::wait_until) may.
    pub fn this<S: Stub>(&self) -> S {
        self.0.node.stub_of((*self.0.key).clone())
    }

    /// Runs `future` beside the calls. The object does not hibernate before it has finished; it is cancelled when
    /// the instance is thrown away. A panic in it concerns nobody else (checklist 3.22).
    ///
    /// What it writes is committed with the next call that ends, or when it has finished.
    pub fn wait_until(&self, future: impl Future<Output = ()> + Send + 'static) {
        let control = Arc::downgrade(&self.0.control);
        self.0.control.spawn(async move {
            future.await;
            if let Some(control) = control.upgrade() {
                // A failure resets the instance; there is nobody else to tell.
                let _ = control.commit().await;
            }
        });
    }

    /// Throws this instance away: every call in flight or queued fails with [`Reset`](ErrorKind::Reset) and this
    /// reason, writes that were not committed are lost, and a fresh stub reaches a new instance made from what
    /// is stored.
    ///
    /// It does not return: it unwinds out of the method that calls it, without a panic message. Storage is closed
    /// first, so nothing that is dropped on the way can write (checklist 3.19, 3.20).
    pub fn abort(&self, reason: impl fmt::Display) -> ! {
        let error = RpcError::new(ErrorKind::Reset, reason.to_string());
        tracing::info!(object = %self.0.key, %reason, "aborted");
        self.0.control.reset(error);
        std::panic::resume_unwind(Box::new(Aborted))
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctx({})", self.0.key)
    }
}

/// What `ctx.abort` unwinds with.
struct Aborted;

/// The parts of an activation that do not depend on the object's type.
pub(crate) struct Control {
    runtime: Handle,
    reset: OnceLock<RpcError>,
    storage: Option<Storage>,
    /// Has the activation look at the reset.
    on_reset: OnceLock<Box<dyn Fn() + Send + Sync>>,
    background: Mutex<JoinSet<()>>,
}

impl Control {
    pub(crate) fn new(runtime: Handle, storage: Option<Storage>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            reset: OnceLock::new(),
            storage,
            on_reset: OnceLock::new(),
            background: Mutex::default(),
        })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Condemns the instance; the first reason counts and is returned.
    pub(crate) fn reset(&self, error: RpcError) -> &RpcError {
        let reason = self.reset.get_or_init(|| error);
        if let Some(storage) = &self.storage {
            storage.close();
        }
        self.background.lock().abort_all();
        if let Some(on_reset) = self.on_reset.get() {
            on_reset();
        }
        reason
    }

    pub(crate) fn is_reset(&self) -> Option<&RpcError> {
        self.reset.get()
    }

    /// Has `notify` called after each reset. Once.
    pub(crate) fn on_reset(&self, notify: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_reset.set(Box::new(notify));
    }

    /// Commits what was written. A failure resets the instance.
    pub(crate) async fn commit(&self) -> Result<(), RpcError> {
        let Some(storage) = &self.storage else { return Ok(()) };
        match storage.commit().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.reset(RpcError::new(ErrorKind::Reset, error.to_string())).clone()),
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut background = self.background.lock();
        if self.reset.get().is_some() {
            return;
        }
        while background.try_join_next().is_some() {}
        background.spawn_on(future, &self.runtime);
    }

    /// Whether something that was given to `wait_until` has not finished.
    pub(crate) fn has_background(&self) -> bool {
        let mut background = self.background.lock();
        while background.try_join_next().is_some() {}
        !background.is_empty()
    }

    /// Waits for everything given to `wait_until`.
    pub(crate) async fn finish_background(&self) {
        while poll_fn(|cx| self.background.lock().poll_join_next(cx)).await.is_some() {}
    }
}
