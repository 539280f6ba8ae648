//! An activation: a live instance, the queue of what it is to do, and the rules by which that runs.
//!
//! Jobs start in the order in which they were submitted. Exclusive ones run alone, shared ones beside each other.
//! Whoever submits to an idle activation starts its [`Driver`], a task that runs until the queue is empty.
//! An idle activation is a value, not a task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::object::context::Control;
use crate::object::id::ObjectKey;
use crate::object::job::{Access, Job, Place, Running, panicked};
use crate::rpc::chain::{Link, Walk};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::{CallInfo, Caller};
use crate::rpc::method::{MethodDesc, MethodFlags};
use crate::rpc::slot::Slot;

/// Makes an instance: at the first job, and at the first one after a hibernation.
pub(crate) type Make<O> = Box<dyn Fn(CallInfo) -> BoxFuture<'static, crate::Result<O>> + Send + Sync>;

/// What an instance does before it leaves memory.
type Hibernate<O> = Box<dyn FnOnce(Arc<O>) -> BoxFuture<'static, ()> + Send>;

/// Told once when an instance has left memory.
type OnEnd<O> = Box<dyn Fn(&Arc<Activation<O>>) + Send + Sync>;

/// Which methods overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Durable objects: those marked `#[method(concurrent)]`.
    Marked,
    /// Targets: those that take `&self`.
    Shared,
}

/// A live instance, or one that is being made.
pub(crate) struct Activation<O> {
    number: u64,
    key: Option<Arc<ObjectKey>>,
    overlap: Overlap,
    max_mailbox: usize,
    control: Arc<Control>,
    make: Option<Make<O>>,
    on_end: OnEnd<O>,
    state: Mutex<State<O>>,
}

struct State<O> {
    phase: Phase<O>,
    queue: VecDeque<Queued<O>>,
    /// The length of the queue at which it is next searched for calls that were withdrawn.
    sweep_at: usize,
    /// The calls that run, by sequence, and how.
    running: Vec<u64>,
    access: Access,
    next_sequence: u64,
    driver: Option<Waker>,
    /// Told when the instance is gone.
    watchers: Vec<oneshot::Sender<()>>,
}

enum Phase<O> {
    /// Nothing runs. `None`: not made yet.
    Idle(Option<Arc<O>>),
    /// A driver has the object.
    Driven,
    /// For good: by a reset, or (`None`) because it went to sleep.
    Gone(Option<RpcError>),
}

struct Queued<O> {
    sequence: u64,
    work: Work<O>,
}

enum Work<O> {
    Call(Access, Box<dyn Job<O>>),
    Hibernate(Hibernate<O>, oneshot::Sender<()>),
}

/// The shortest queue that is searched for calls that were withdrawn.
const SWEEP: usize = 64;

impl<O> State<O> {
    /// Takes withdrawn calls out of a queue that has doubled since the last time: they cost no more memory than
    /// those that are wanted, and the search costs each call next to nothing.
    fn sweep(&mut self) -> Vec<Box<dyn Job<O>>> {
        if self.queue.len() < self.sweep_at {
            return Vec::new();
        }
        let mut withdrawn = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            match queued.work {
                Work::Call(_, job) if !job.is_wanted() => withdrawn.push(job),
                work => self.queue.push_back(Queued { sequence: queued.sequence, work }),
            }
        }
        self.sweep_at = SWEEP.max(2 * self.queue.len());
        withdrawn
    }
}

impl<O> Work<O> {
    fn access(&self) -> Access {
        match self {
            Self::Call(access, _) => *access,
            Self::Hibernate(..) => Access::Exclusive,
        }
    }
}

impl<O: Send + Sync + 'static> Activation<O> {
    fn build(
        key: Option<Arc<ObjectKey>>,
        object: Option<Arc<O>>,
        make: Option<Make<O>>,
        overlap: Overlap,
        control: Arc<Control>,
        max_mailbox: usize,
        on_end: OnEnd<O>,
    ) -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Numbers travel in call chains between processes: the random half keeps those apart.
        static PROCESS: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
            getrandom::u64().expect("the operating system gives random bytes") << 32
        });
        Arc::new(Self {
            number: *PROCESS ^ NUMBER.fetch_add(1, Ordering::Relaxed),
            key,
            overlap,
            max_mailbox,
            control,
            make,
            on_end,
            state: Mutex::new(State {
                phase: Phase::Idle(object),
                queue: VecDeque::new(),
                sweep_at: SWEEP,
                running: Vec::new(),
                access: Access::Exclusive,
                next_sequence: 1,
                driver: None,
                watchers: Vec::new(),
            }),
        })
    }

    /// A target: made already, never asleep.
    pub(crate) fn of_target(target: O, control: Arc<Control>, max_mailbox: usize) -> Arc<Self> {
        let object = Some(Arc::new(target));
        Self::build(None, object, None, Overlap::Shared, control, max_mailbox, Box::new(|_| ()))
    }

    /// A durable object: made at its first call. `on_end` runs once, when it leaves memory.
    pub(crate) fn of_object(
        key: Arc<ObjectKey>,
        make: Make<O>,
        control: Arc<Control>,
        max_mailbox: usize,
        on_end: impl Fn(&Arc<Activation<O>>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::build(Some(key), None, Some(make), Overlap::Marked, control, max_mailbox, Box::new(on_end))
    }

    pub(crate) fn key(&self) -> Option<&Arc<ObjectKey>> {
        self.key.as_ref()
    }

    fn name(&self) -> String {
        self.key.as_ref().map_or_else(|| short_type_name::<O>().to_owned(), |key| key.to_string())
    }

    /// Queues a call. Gives it back when the instance has gone to sleep: a new activation takes it.
    pub(crate) fn submit(self: &Arc<Self>, job: Box<dyn Job<O>>) -> Result<(), Box<dyn Job<O>>> {
        let flags = job.flags();
        let overlaps = match self.overlap {
            Overlap::Marked => flags.concurrent,
            Overlap::Shared => flags.shared,
        };
        let access = if overlaps { Access::Shared } else { Access::Exclusive };
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Gone(None) => return Err(job),
            Phase::Gone(Some(error)) => {
                let error = error.clone();
                drop(state);
                job.fail(error);
                return Ok(());
            }
            Phase::Idle(_) | Phase::Driven => {}
        }
        // Dropped at the end, after the lock.
        let _withdrawn = state.sweep();
        if state.queue.len() >= self.max_mailbox {
            let text = format!("{} calls wait for {}", state.queue.len(), self.name());
            drop(state);
            job.fail(RpcError::new(ErrorKind::Overloaded, text));
            return Ok(());
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let walk = job.chain().map_or(Walk::Clear, |chain| self.walk(&state, chain));
        let unawaited = match walk {
            Walk::Clear => None,
            // Shared beside shared: no need to wait, and behind an exclusive job it would wait for ever.
            Walk::Cycle | Walk::Unless(_) if access == Access::Shared && state.access == Access::Shared => {
                state.queue.push_front(Queued { sequence, work: Work::Call(access, job) });
                self.kick(state);
                return Ok(());
            }
            Walk::Cycle => {
                drop(state);
                job.fail(self.reentrant());
                return Ok(());
            }
            Walk::Unless(link) => Some(link),
        };
        state.queue.push_back(Queued { sequence, work: Work::Call(access, job) });
        self.kick(state);
        if let Some(link) = unawaited {
            self.look_again(&link, sequence);
        }
        Ok(())
    }

    fn walk(&self, state: &State<O>, chain: &Arc<Link>) -> Walk {
        chain.walk(self.number, |sequence| state.running.contains(&sequence))
    }

    fn reentrant(&self) -> RpcError {
        RpcError::new(
            ErrorKind::Reentrant,
            format!(
                "{} waits for this very call, so it can never take it; do not await it, or mark both methods `#[method(concurrent)]`",
                self.name()
            ),
        )
    }

    /// Checks a queued call again once `link` is awaited.
    fn look_again(self: &Arc<Self>, link: &Arc<Link>, sequence: u64) {
        let this = Arc::downgrade(self);
        link.when_awaited(Box::new(move || {
            if let Some(this) = Weak::upgrade(&this) {
                this.recheck(sequence);
            }
        }));
    }

    fn recheck(self: &Arc<Self>, sequence: u64) {
        let mut state = self.state.lock();
        let Some(at) = state.queue.iter().position(|queued| queued.sequence == sequence) else { return };
        let Work::Call(_, job) = &state.queue[at].work else { return };
        match job.chain().map_or(Walk::Clear, |chain| self.walk(&state, chain)) {
            Walk::Clear => {}
            Walk::Unless(link) => {
                drop(state);
                self.look_again(&link, sequence);
            }
            Walk::Cycle => {
                let removed = state.queue.remove(at);
                drop(state);
                if let Some(Queued { work: Work::Call(_, job), .. }) = removed {
                    job.fail(self.reentrant());
                }
            }
        }
    }

    /// The facts of work that is not a call of somebody's.
    fn own_work(&self, name: &'static str, sequence: u64, chain: Option<Arc<Link>>) -> CallInfo {
        let flags = MethodFlags { shared: false, concurrent: false, idempotent: false, cancel: false };
        CallInfo {
            caller: Caller::Local,
            object: self.key.clone(),
            method: MethodDesc::new(name, "", flags),
            deadline: None,
            trace: None,
            chain,
            activation: self.number,
            sequence,
            waiting: Arc::new(Slot::<()>::new()),
        }
    }

    /// Sees to it that somebody works on the queue.
    fn kick(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State<O>>) {
        match std::mem::replace(&mut state.phase, Phase::Driven) {
            Phase::Idle(object) => {
                drop(state);
                let driver =
                    Driver { activation: self.clone(), object, doing: Doing::Nothing, finished: false };
                self.control.runtime().spawn(driver.run());
            }
            Phase::Driven => {
                let driver = state.driver.take();
                drop(state);
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
            gone @ Phase::Gone(_) => state.phase = gone,
        }
    }

    /// Sends the instance to sleep after what is queued now. Resolves when it has left memory, or has gone
    /// otherwise.
    pub(crate) async fn hibernate(
        self: &Arc<Self>,
        hibernate: impl FnOnce(Arc<O>) -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        let (done, wait) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Gone(_)) {
                return;
            }
            let sequence = state.next_sequence;
            state.next_sequence += 1;
            state.queue.push_back(Queued { sequence, work: Work::Hibernate(Box::new(hibernate), done) });
            self.kick(state);
        }
        // The sender is dropped unused when the instance is reset first.
        let _ = wait.await;
    }

    /// Resolves when the instance is gone; `None` if it is.
    pub(crate) fn watch_end(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Gone(_)) {
            return None;
        }
        let (gone, watch) = oneshot::channel();
        state.watchers.push(gone);
        Some(watch)
    }

    /// Throws the instance away; the receiver resolves when it is gone. `None` if it is already.
    pub(crate) fn condemn(self: &Arc<Self>, reason: RpcError) -> Option<oneshot::Receiver<()>> {
        let gone = self.watch_end();
        self.control.reset(reason);
        // An idle one has no driver that would see it.
        self.kick(self.state.lock());
        gone
    }

    /// Whether an instance is in memory: made, or being made.
    pub(crate) fn is_live(&self) -> bool {
        self.control.is_reset().is_none() && !matches!(self.state.lock().phase, Phase::Gone(_))
    }

    /// The instance is gone, by a reset or (`None`) asleep. Calls queued behind a hibernation need a new one: then
    /// the activation goes on.
    fn end(self: &Arc<Self>, reason: Option<&RpcError>) {
        match reason {
            // Before the phase: whoever is refused finds the registry ready for a new instance.
            Some(_) => (self.on_end)(self),
            None => {
                let mut state = self.state.lock();
                if !state.queue.is_empty() {
                    return;
                }
                state.phase = Phase::Gone(None);
                drop(state);
                // After the phase: whoever still finds this one sees that it sleeps, and makes another.
                (self.on_end)(self);
            }
        }
        let mut state = self.state.lock();
        if let Some(error) = reason {
            state.phase = Phase::Gone(Some(error.clone().may_run(false)));
        }
        let queue = std::mem::take(&mut state.queue);
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        drop(watchers);
        for queued in queue {
            if let (Work::Call(_, job), Some(error)) = (queued.work, reason) {
                job.fail(error.clone().may_run(false));
            }
        }
    }
}

fn short_type_name<O>() -> &'static str {
    let name = std::any::type_name::<O>();
    name.rsplit("::").next().unwrap_or(name)
}

/// Jobs run before others of the runtime get a turn.
const BUDGET: usize = 64;

/// The sequence of the constructor: before every call.
const CONSTRUCTOR: u64 = 0;

/// What a driver is at.
enum Doing<O> {
    Nothing,
    Making(BoxFuture<'static, std::thread::Result<crate::Result<O>>>),
    One(u64, Running<O>),
    Several(FuturesUnordered<BoxFuture<'static, (u64, Arc<O>)>>),
    Hibernating(u64, BoxFuture<'static, ()>, Option<oneshot::Sender<()>>),
}

/// Works on the queue until it is empty or the instance is gone.
struct Driver<O: Send + Sync + 'static> {
    activation: Arc<Activation<O>>,
    /// Held here unless an exclusive job has it.
    object: Option<Arc<O>>,
    doing: Doing<O>,
    finished: bool,
}

impl<O: Send + Sync + 'static> Drop for Driver<O> {
    /// The runtime is shutting down: nobody will work on the queue any more.
    fn drop(&mut self) {
        if !self.finished {
            let error = RpcError::new(ErrorKind::Closed, "the runtime was shut down").may_run(true);
            let error = self.activation.control.reset(error).clone();
            self.activation.end(Some(&error));
        }
    }
}

impl<O: Send + Sync + 'static> Driver<O> {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.finished = true;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..BUDGET {
            self.activation.control.wake_on_reset(cx.waker());
            if let Some(error) = self.activation.control.is_reset() {
                let error = error.clone();
                self.drop_instance(cx);
                self.activation.end(Some(&error));
                return Poll::Ready(());
            }
            if self.start(cx) {
                return Poll::Ready(());
            }
            if self.advance(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Starts what may start now. True when there is nothing left to do.
    fn start(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let mut state = self.activation.state.lock();
            if matches!(state.phase, Phase::Gone(_)) {
                return true;
            }
            let Some(next) = state.queue.front() else {
                if matches!(self.doing, Doing::Nothing) {
                    state.phase = Phase::Idle(self.object.take());
                    return true;
                }
                state.driver = Some(cx.waker().clone());
                return false;
            };
            match (&self.doing, next.work.access()) {
                (Doing::Nothing, _) | (Doing::Several(_), Access::Shared) => {}
                // Only a shared job that is running can be joined by what comes next.
                _ => {
                    state.driver = Some(cx.waker().clone());
                    return false;
                }
            }
            if self.object.is_none() && matches!(next.work, Work::Hibernate(..)) {
                // Not made yet, or asleep already.
                state.queue.pop_front();
                drop(state);
                self.activation.end(None);
                continue;
            }
            let Some(object) = self.object.clone() else {
                // It is made on behalf of the first call, so that a cycle through the constructor is seen.
                let chain = match &next.work {
                    Work::Call(_, job) => job.chain().cloned(),
                    Work::Hibernate(..) => None,
                };
                state.running.push(CONSTRUCTOR);
                drop(state);
                let info = self.activation.own_work("new", CONSTRUCTOR, chain);
                let make = self.activation.make.as_ref().expect("a target is there from the start");
                // Even the call that only *makes* the future is user code.
                let making = std::panic::catch_unwind(AssertUnwindSafe(|| make(info)));
                self.doing = Doing::Making(match making {
                    Ok(making) => AssertUnwindSafe(making).catch_unwind().boxed(),
                    Err(panic) => futures::future::ready(Err(panic)).boxed(),
                });
                return false;
            };
            let Some(Queued { sequence, work }) = state.queue.pop_front() else { return false };
            match work {
                Work::Call(access, job) => {
                    state.access = access;
                    state.running.push(sequence);
                    drop(state);
                    self.start_call(sequence, access, job, object);
                    if !matches!(self.doing, Doing::Several(_)) {
                        return false;
                    }
                }
                Work::Hibernate(hibernate, done) => {
                    state.running.push(sequence);
                    drop(state);
                    self.object = None;
                    let control = self.activation.control.clone();
                    let info = self.activation.own_work("hibernate", sequence, None);
                    let hibernating = async move {
                        control.finish_background().await;
                        let run = AssertUnwindSafe(info.scope(hibernate(object))).catch_unwind().await;
                        if let Err(panic) = run
                            && control.is_reset().is_none()
                        {
                            control.reset(panicked("`hibernate`", &*panic));
                        }
                    };
                    self.doing = Doing::Hibernating(sequence, hibernating.boxed(), Some(done));
                    return false;
                }
            }
        }
    }

    fn start_call(&mut self, sequence: u64, access: Access, job: Box<dyn Job<O>>, object: Arc<O>) {
        let place = Place {
            key: self.activation.key.clone(),
            activation: self.activation.number,
            sequence,
            control: self.activation.control.clone(),
        };
        if access == Access::Exclusive {
            self.object = None; // so that `object` is the only one
        }
        match (job.start(object, place), access) {
            (Ok(running), Access::Exclusive) => self.doing = Doing::One(sequence, running),
            (Ok(running), Access::Shared) => {
                let running = running.map(move |object| (sequence, object)).boxed();
                match &mut self.doing {
                    Doing::Several(several) => several.push(running),
                    doing => *doing = Doing::Several(FuturesUnordered::from_iter([running])),
                }
            }
            (Err(object), access) => {
                if access == Access::Exclusive {
                    self.object = Some(object);
                }
                self.ended(sequence);
            }
        }
    }

    fn ended(&self, sequence: u64) {
        self.activation.state.lock().running.retain(|running| *running != sequence);
    }

    /// Polls what runs. Ready when something changed.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.doing {
            Doing::Nothing => Poll::Ready(()),
            Doing::Making(making) => {
                let made = std::task::ready!(making.poll_unpin(cx));
                self.doing = Doing::Nothing;
                self.ended(CONSTRUCTOR);
                let failed = match made {
                    Ok(Ok(object)) => {
                        self.object = Some(Arc::new(object));
                        return Poll::Ready(());
                    }
                    Ok(Err(error)) => {
                        RpcError::new(ErrorKind::Reset, format!("the constructor failed: {error}"))
                    }
                    // `ctx.abort` has given its reason.
                    Err(_) if self.activation.control.is_reset().is_some() => return Poll::Ready(()),
                    Err(panic) => panicked("the constructor", &*panic),
                };
                self.activation.control.reset(failed);
                Poll::Ready(())
            }
            Doing::One(sequence, running) => {
                let object = std::task::ready!(running.poll_unpin(cx));
                let sequence = *sequence;
                self.object = Some(object);
                self.doing = Doing::Nothing;
                self.ended(sequence);
                Poll::Ready(())
            }
            Doing::Several(several) => {
                match std::task::ready!(several.poll_next_unpin(cx)) {
                    Some((sequence, _object)) => self.ended(sequence),
                    None => self.doing = Doing::Nothing,
                }
                Poll::Ready(())
            }
            Doing::Hibernating(sequence, hibernating, done) => {
                std::task::ready!(hibernating.poll_unpin(cx));
                let (sequence, done) = (*sequence, done.take());
                self.doing = Doing::Nothing;
                self.ended(sequence);
                if self.activation.control.is_reset().is_none() {
                    // If calls came meanwhile, `start` makes a new instance for them here.
                    self.activation.end(None);
                }
                drop(done);
                Poll::Ready(())
            }
        }
    }

    /// Drops the instance: each running call sees that it was reset and answers so.
    fn drop_instance(&mut self, cx: &mut Context<'_>) {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::One(_, mut running) => drop(running.poll_unpin(cx)),
            Doing::Several(several) => {
                for mut running in several {
                    drop(running.poll_unpin(cx));
                }
            }
            Doing::Nothing | Doing::Making(_) | Doing::Hibernating(..) => {}
        }
        self.object = None;
    }
}
