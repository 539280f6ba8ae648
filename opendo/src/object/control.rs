//! The parts of an activation that do not depend on the object's type: its end, and what keeps it in memory.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::engine::Changes;
use crate::node::WeakNode;
use crate::object::clock::Clock;
use crate::object::id::ObjectKey;
use crate::object::inbox::Receipt;
use crate::object::lasting::Targets;
use crate::object::outbox::Outbox;
use crate::object::storage::Storage;
use crate::object::storage::ledger::Ledger;
use crate::registry::retained::Keeper;
use crate::rpc::error::RpcError;
use crate::rpc::info::CallInfo;
use crate::rpc::limits::Limits;

/// See the module.
///
/// There is one for each live object: what only some of them need is in boxes.
pub(crate) struct Control {
    /// Of the activation: in call chains.
    number: u64,
    place: Place,
    /// Something was written that no call commits.
    wrote_outside: AtomicBool,
    /// A target that the object has made again was called since this was last asked.
    visited: AtomicBool,
    /// The object is there: its messages may go.
    made: AtomicBool,
    /// The activation. Told of each reset, and when something was written outside of calls.
    watched_by: Weak<dyn Watch>,
    /// From the first of them on.
    extras: OnceLock<Box<Extras>>,
}

/// Looks at the reset, and at what was written outside of calls.
pub(crate) trait Watch: Send + Sync {
    fn changed(self: Arc<Self>);
}

/// What most never have.
#[derive(Default)]
struct Extras {
    reset: OnceLock<RpcError>,
    /// How many streams, guards, and messages that are on their way keep the object in memory.
    kept: [AtomicU32; 3],
    /// Of an object that has sent a message.
    outbox: OnceLock<Arc<Outbox>>,
    /// `None` when there is nothing.
    background: Mutex<Option<Box<Background>>>,
    /// The targets that the object has made again.
    targets: Targets,
}

/// What the objects of a class have in common.
pub(crate) struct Common {
    pub(crate) runtime: Handle,
    pub(crate) node: WeakNode,
    pub(crate) clock: Clock,
    pub(crate) max_messages: usize,
    pub(crate) max_mailbox: usize,
    pub(crate) keeper: Weak<dyn Keeper>,
}

/// What it is of, and where that is.
enum Place {
    Object(Arc<Common>, Storage),
    /// With what has to be durable before it says something, if an object has made it.
    Target(Handle, Option<Arc<Ledger>>),
    Lasting(Box<Lasting>),
}

/// A target that an object has made again.
struct Lasting {
    runtime: Handle,
    object: Weak<Control>,
    /// The object's.
    gate: Option<Arc<Ledger>>,
    max_mailbox: usize,
}

/// Tasks that the object does not leave memory before.
#[derive(Default)]
struct Background {
    /// What was given to `wait_until`: it ends with the instance.
    work: JoinSet<()>,
    /// Targets at work: they see themselves that the instance was reset.
    targets: JoinSet<()>,
}

impl Background {
    /// How many have not finished.
    fn count(background: &mut Option<Box<Self>>) -> (usize, usize) {
        let counts = background.as_mut().map_or((0, 0), |background| background.unfinished());
        background.take_if(|_| counts == (0, 0));
        counts
    }

    fn unfinished(&mut self) -> (usize, usize) {
        for tasks in [&mut self.work, &mut self.targets] {
            while tasks.try_join_next().is_some() {}
        }
        (self.work.len(), self.targets.len())
    }
}

/// What keeps an object in memory. See [`Ctx::keepalive_reasons`](crate::Ctx::keepalive_reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepaliveReason {
    /// So many futures that were given to [`Ctx::wait_until`](crate::Ctx::wait_until) have not finished.
    WaitUntil(usize),
    /// So many streams that its methods have made are open.
    Streams(usize),
    /// So many [`KeepAlive`] guards are held.
    Guards(usize),
    /// So many of its [lasting](crate::Lasting) targets have calls that run or wait.
    Targets(usize),
    /// So many [messages](crate::Ctx::send) are on their way. Those that wait for another attempt do not count.
    Messages(usize),
    /// Something it has written is not durable yet.
    Unconfirmed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Keeping {
    Stream,
    Guard,
    Message,
}

/// Keeps an object in memory. See [`Ctx::keep_alive`](crate::Ctx::keep_alive).
#[must_use = "the object may hibernate when this is dropped"]
pub struct KeepAlive {
    control: Arc<Control>,
    what: Keeping,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.control.extras().kept[self.what as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeepAlive").field(&self.what).finish()
    }
}

impl Control {
    /// Keeps the object in memory, also for one of its lasting targets.
    pub(crate) fn keep_alive(self: &Arc<Self>, what: Keeping) -> KeepAlive {
        if let Some(object) = self.object_of_lasting() {
            return object.keep_alive(what);
        }
        self.extras().kept[what as usize].fetch_add(1, Ordering::Relaxed);
        KeepAlive { control: self.clone(), what }
    }

    pub(super) fn keepalive_reasons(&self) -> Vec<KeepaliveReason> {
        let extras = self.extras.get();
        let kept = |what: Keeping| {
            extras.map_or(0, |extras| extras.kept[what as usize].load(Ordering::Relaxed) as usize)
        };
        let (background, targets) =
            extras.map_or((0, 0), |extras| Background::count(&mut extras.background.lock()));
        let counted = [
            (background, KeepaliveReason::WaitUntil(background)),
            (kept(Keeping::Stream), KeepaliveReason::Streams(kept(Keeping::Stream))),
            (kept(Keeping::Guard), KeepaliveReason::Guards(kept(Keeping::Guard))),
            (targets, KeepaliveReason::Targets(targets)),
            (kept(Keeping::Message), KeepaliveReason::Messages(kept(Keeping::Message))),
            (usize::from(self.is_dirty()), KeepaliveReason::Unconfirmed),
        ];
        counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, reason)| reason).collect()
    }

    /// Whether the object must not hibernate now, because it is idle or because it has to.
    pub(crate) fn refuses(&self, if_idle: bool) -> bool {
        if if_idle { self.is_kept_alive() } else { self.has_background() }
    }

    /// Whether something keeps the object in memory.
    pub(crate) fn is_kept_alive(&self) -> bool {
        self.extras
            .get()
            .is_some_and(|extras| extras.kept.iter().any(|kept| kept.load(Ordering::Relaxed) > 0))
            || self.has_background()
            || self.is_dirty()
    }

    /// Of an object.
    pub(crate) fn new(
        common: Arc<Common>,
        watched_by: Weak<dyn Watch>,
        storage: impl FnOnce(Weak<Self>) -> Storage,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self::of(Place::Object(common, storage(this.clone())), watched_by))
    }

    /// Of a target: what it says waits for what the object has written that serves it, if one does.
    pub(crate) fn of_target(runtime: Handle, watched_by: Weak<dyn Watch>) -> Arc<Self> {
        let gate = CallInfo::with_current(|current| current?.control.ledger().cloned());
        Arc::new(Self::of(Place::Target(runtime, gate), watched_by))
    }

    /// Of a target that an object has made again.
    pub(crate) fn of_lasting(object: &Arc<Self>, watched_by: Weak<dyn Watch>) -> Arc<Self> {
        let (runtime, gate) = (object.runtime().clone(), object.ledger().cloned());
        let max_mailbox = object.max_mailbox();
        let object = Arc::downgrade(object);
        let lasting = Box::new(Lasting { runtime, object, gate, max_mailbox });
        Arc::new(Self::of(Place::Lasting(lasting), watched_by))
    }

    fn of(place: Place, watched_by: Weak<dyn Watch>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Numbers travel in call chains between processes: the random half keeps those apart.
        static PROCESS: LazyLock<u64> =
            LazyLock::new(|| getrandom::u64().expect("the operating system gives random bytes") << 32);
        Self {
            number: *PROCESS ^ NUMBER.fetch_add(1, Ordering::Relaxed),
            place,
            wrote_outside: AtomicBool::new(false),
            visited: AtomicBool::new(false),
            made: AtomicBool::new(false),
            watched_by,
            extras: OnceLock::new(),
        }
    }

    fn extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        match &self.place {
            Place::Object(common, _) => &common.runtime,
            Place::Target(runtime, _) => runtime,
            Place::Lasting(lasting) => &lasting.runtime,
        }
    }

    /// How many calls may wait.
    pub(crate) fn max_mailbox(&self) -> usize {
        match &self.place {
            Place::Object(common, _) => common.max_mailbox,
            Place::Target(..) => Limits::default().max_mailbox,
            Place::Lasting(lasting) => lasting.max_mailbox,
        }
    }

    /// Of an object: what its class has for all of them.
    pub(crate) fn common(&self) -> Option<&Arc<Common>> {
        match &self.place {
            Place::Object(common, _) => Some(common),
            Place::Target(..) | Place::Lasting(_) => None,
        }
    }

    pub(crate) fn targets(&self) -> &Targets {
        &self.extras().targets
    }

    /// Lets go of the targets that have nothing to do. Whether that is all.
    pub(crate) fn targets_sleep(&self) -> bool {
        self.extras.get().is_none_or(|extras| extras.targets.sleep())
    }

    /// Whether it is that of a target that an object has made again.
    pub(crate) fn is_of_lasting(&self) -> bool {
        matches!(self.place, Place::Lasting(_))
    }

    fn object_of_lasting(&self) -> Option<Arc<Self>> {
        match &self.place {
            Place::Lasting(lasting) => lasting.object.upgrade(),
            Place::Object(..) | Place::Target(..) => None,
        }
    }

    /// Has a task work on the queue of the activation. The object of a lasting target stays in memory meanwhile.
    pub(crate) fn drive(&self, driver: impl Future<Output = ()> + Send + 'static) {
        let Some(object) = self.object_of_lasting() else {
            self.runtime().spawn(driver);
            return;
        };
        object.visited.store(true, Ordering::Relaxed);
        let kept = object.clone();
        let mut background = object.extras().background.lock();
        Background::count(&mut background);
        background.get_or_insert_default().targets.spawn_on(
            async move {
                driver.await;
                drop(kept);
            },
            self.runtime(),
        );
    }

    /// Whether a lasting target was called since this was last asked.
    pub(crate) fn takes_visit(&self) -> bool {
        self.visited.swap(false, Ordering::Relaxed)
    }

    /// Condemns the instance; the first reason counts and is returned.
    pub(crate) fn reset(&self, error: RpcError) -> &RpcError {
        let extras = self.extras();
        let reason = extras.reset.get_or_init(|| error);
        if let Some(storage) = self.storage() {
            storage.ledger().close();
        }
        if let Some(background) = &mut *extras.background.lock() {
            background.work.abort_all();
        }
        extras.targets.reset(reason);
        self.notify();
        reason
    }

    pub(crate) fn is_reset(&self) -> Option<&RpcError> {
        self.extras.get()?.reset.get()
    }

    /// Something was written that no call commits: the activation does so, when no call runs.
    pub(crate) fn wrote_outside(&self) {
        if !self.wrote_outside.swap(true, Ordering::AcqRel) {
            self.notify();
        }
    }

    /// Whether something was, since this was last asked.
    pub(crate) fn takes_what_was_written_outside(&self) -> bool {
        self.wrote_outside.load(Ordering::Relaxed) && self.wrote_outside.swap(false, Ordering::AcqRel)
    }

    /// Whether the activation has to look at the reset, or at the writes.
    pub(crate) fn has_something_to_do(&self) -> bool {
        self.is_reset().is_some() || self.wrote_outside.load(Ordering::Acquire)
    }

    fn notify(&self) {
        if let Some(watch) = self.watched_by.upgrade() {
            watch.changed();
        }
    }

    pub(crate) fn storage(&self) -> Option<&Storage> {
        match &self.place {
            Place::Object(_, storage) => Some(storage),
            Place::Target(..) | Place::Lasting(_) => None,
        }
    }

    /// The object; `None` for a target.
    pub(crate) fn key(&self) -> Option<&Arc<ObjectKey>> {
        Some(self.storage()?.ledger().key())
    }

    /// The messages of the object, if it has any.
    pub(crate) fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.extras.get()?.outbox.get()
    }

    /// Of an object: where it records messages.
    pub(crate) fn make_outbox(self: &Arc<Self>) -> Option<&Arc<Outbox>> {
        let (storage, common) = (self.storage()?, self.common()?);
        let outbox = self.extras().outbox.get_or_init(|| Outbox::new(storage, self, common));
        // Either this sees that the object is there, or whoever says so sees the outbox.
        fence(Ordering::SeqCst);
        if self.made.load(Ordering::Relaxed) {
            outbox.start();
        }
        Some(outbox)
    }

    /// The object is there: its messages may go.
    pub(crate) fn has_made(&self) {
        self.made.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if let Some(outbox) = self.outbox() {
            outbox.start();
        }
    }

    /// A commit is durable.
    pub(crate) fn committed(&self, changes: &Changes) {
        if let Some(outbox) = self.outbox() {
            outbox.committed(changes);
        }
    }

    pub(crate) fn ledger(&self) -> Option<&Arc<Ledger>> {
        match &self.place {
            Place::Object(_, storage) => Some(storage.ledger()),
            Place::Target(_, gate) => gate.as_ref(),
            Place::Lasting(lasting) => lasting.gate.as_ref(),
        }
    }

    /// Lets `output` go when everything that was written is durable: at once, if it is.
    pub(crate) fn hold(&self, output: impl FnOnce(Result<(), RpcError>) + Send + 'static) {
        match self.ledger() {
            Some(ledger) => ledger.hold(output),
            None => output(Ok(())),
        }
    }

    /// The same for the answer to a call: a message was taken once that is durable, too.
    pub(crate) fn hold_answer(
        &self,
        message: Option<&Receipt>,
        output: impl FnOnce(Result<(), RpcError>) + Send + 'static,
    ) {
        match (message, self.ledger()) {
            (Some(message), Some(ledger)) => message.take(ledger, output),
            _ => self.hold(output),
        }
    }

    /// Resolves when everything that was written is durable.
    pub(crate) fn durable(&self) -> impl Future<Output = Result<(), RpcError>> + Send + use<> {
        let durable = self.ledger().map(Ledger::durable);
        async move {
            match durable {
                Some(durable) => durable.await,
                None => Ok(()),
            }
        }
    }

    /// Whether what leaves now has to wait.
    pub(crate) fn holds(&self) -> bool {
        self.ledger().is_some_and(|ledger| ledger.holds())
    }

    /// Commits what was written, without waiting for it. A failure resets the instance.
    pub(crate) fn seal(&self) {
        if let Some(ledger) = self.ledger() {
            ledger.seal();
        }
    }

    /// Commits what was written. Resolves when it is durable, or the instance is lost.
    pub(crate) async fn drain(&self) {
        if let Some(ledger) = self.ledger() {
            let _ = ledger.durable().await;
        }
    }

    /// Whether another instance would have to wait for this one, which is gone.
    pub(crate) fn lingers(&self) -> bool {
        self.ledger().is_some_and(|ledger| ledger.lingers())
    }

    /// Resolves when another instance may have the object.
    pub(crate) async fn left(&self) {
        if let Some(ledger) = self.ledger() {
            ledger.clone().left().await;
        }
    }

    /// Whether something was written that is not durable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.ledger().is_some_and(|ledger| ledger.is_dirty())
    }

    /// Whether a commit has failed: the instance is lost by that.
    pub(crate) fn storage_has_failed(&self) -> bool {
        self.ledger().is_some_and(|ledger| ledger.has_failed())
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut background = self.extras().background.lock();
        if self.is_reset().is_some() {
            return;
        }
        Background::count(&mut background);
        background.get_or_insert_default().work.spawn_on(future, self.runtime());
    }

    /// Whether something that was given to `wait_until` has not finished, or a lasting target is at work.
    pub(crate) fn has_background(&self) -> bool {
        let extras = self.extras.get();
        extras.is_some_and(|extras| Background::count(&mut extras.background.lock()) != (0, 0))
    }

    /// Waits for all of that.
    pub(crate) async fn finish_background(&self) {
        let Some(extras) = self.extras.get() else { return };
        let next = |cx: &mut Context<'_>| {
            let mut background = extras.background.lock();
            let Some(Background { work, targets }) = background.as_deref_mut() else {
                return Poll::Ready(None);
            };
            match work.poll_join_next(cx) {
                Poll::Ready(None) => targets.poll_join_next(cx),
                finished => finished,
            }
        };
        while poll_fn(next).await.is_some() {}
    }
}
