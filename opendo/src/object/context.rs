//! What an object is given of the world.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::node::WeakNode;
use crate::object::id::{ObjectKey, ToObjectId};
use crate::object::storage::ledger::Ledger;
use crate::object::storage::{Storage, StorageError, Stored};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;
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

    /// A part of this object that is kept under `key`; its default if nothing is stored there. For fields: see
    /// [`Stored`].
    ///
    /// # Errors
    /// [`StorageError::Decode`] when something else is stored there; [`StorageError::Engine`].
    pub async fn stored<T: Serialize + DeserializeOwned + Default>(
        &self,
        key: &str,
    ) -> Result<Stored<T>, StorageError> {
        Stored::load(&self.0.storage, key).await
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
    /// What it writes is committed with the next thing that leaves the object, or when it has finished.
    pub fn wait_until(&self, future: impl Future<Output = ()> + Send + 'static) {
        let control = &self.0.control;
        let weak = Arc::downgrade(control);
        let info = CallInfo::of_own_work("wait_until", control, Some(self.0.key.clone()));
        control.spawn(info.scope(async move {
            future.await;
            if let Some(control) = weak.upgrade() {
                control.seal();
            }
        }));
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
    /// Of the activation: in call chains.
    number: u64,
    runtime: Handle,
    reset: OnceLock<RpcError>,
    /// `None` for a target.
    ledger: Option<Arc<Ledger>>,
    /// Has the activation look at the reset.
    on_reset: OnceLock<Box<dyn Fn() + Send + Sync>>,
    background: Mutex<JoinSet<()>>,
}

impl Control {
    pub(crate) fn new(runtime: Handle, ledger: Option<Arc<Ledger>>) -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Numbers travel in call chains between processes: the random half keeps those apart.
        static PROCESS: LazyLock<u64> =
            LazyLock::new(|| getrandom::u64().expect("the operating system gives random bytes") << 32);
        let control = Arc::new(Self {
            number: *PROCESS ^ NUMBER.fetch_add(1, Ordering::Relaxed),
            runtime,
            reset: OnceLock::new(),
            ledger,
            on_reset: OnceLock::new(),
            background: Mutex::default(),
        });
        if let Some(ledger) = &control.ledger {
            let condemned = Arc::downgrade(&control);
            ledger.on_failure(move |error| {
                if let Some(control) = condemned.upgrade() {
                    control.reset(error);
                }
            });
        }
        control
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Condemns the instance; the first reason counts and is returned.
    pub(crate) fn reset(&self, error: RpcError) -> &RpcError {
        let reason = self.reset.get_or_init(|| error);
        if let Some(ledger) = &self.ledger {
            ledger.close();
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

    /// Lets `output` go when everything that was written is durable: at once, if it is.
    pub(crate) fn hold(&self, output: impl FnOnce(Result<(), RpcError>) + Send + 'static) {
        match &self.ledger {
            Some(ledger) => ledger.hold(output),
            None => output(Ok(())),
        }
    }

    /// Whether what leaves now has to wait.
    pub(crate) fn holds(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.holds())
    }

    /// Commits what was written, without waiting for it. A failure resets the instance.
    pub(crate) fn seal(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.seal();
        }
    }

    /// Commits what was written. Resolves when it is durable, or the instance is lost.
    pub(crate) async fn drain(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.drained().await;
        }
    }

    /// Whether something was written that is not durable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.is_dirty())
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
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
