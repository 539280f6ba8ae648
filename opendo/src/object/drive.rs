//! The task that works on the queue of an activation.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use crate::object::control::Control;
use crate::object::job::{Access, Job, Place, Progress, Running, panicked};
use crate::object::pace::Pace;
use crate::object::storage::ledger::outside_of_transactions;
use crate::object::strand::{Activation, Birth, CONSTRUCTOR, Phase, Queued, Retreat, Work};
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;
use crate::rpc::method::MethodDesc;

/// Jobs run before others of the runtime get a turn: those that are queued, if there are more, up to so many. What is
/// then done with its queue is idle again, and calls need none.
const BUDGET: std::ops::Range<usize> = 64..1024;

/// So many calls are taken out of the queue together: its lock is wanted by all who call.
const BATCH: usize = 16;

/// What a driver is at.
enum Doing<O> {
    Nothing,
    /// Whether it was polled.
    Making(BoxFuture<'static, Result<O, RpcError>>, bool),
    One(Running<O>),
    Several(FuturesUnordered<BoxFuture<'static, (u64, Option<Arc<O>>)>>),
    Hibernating(BoxFuture<'static, ()>, Option<oneshot::Sender<bool>>),
}

/// What a driver does next.
enum Next {
    /// Looks again whether something may start.
    More,
    /// Polls what runs.
    Runs,
    /// There is nothing left to do.
    Over,
}

/// Works on the queue until it is empty or the instance is gone.
pub(super) struct Driver<O: Send + Sync + 'static> {
    activation: Arc<Activation<O>>,
    /// Held here unless an exclusive job has it.
    object: Option<Arc<O>>,
    doing: Doing<O>,
    /// The first calls of the queue, which run alone. They are there again whenever this task waits. Until then nobody has
    /// to find them: they were queued before what runs began, so none of them is in a cycle with it.
    taken: Taken<O>,
    /// For the next call, which gives it back: counting costs more than moving.
    hold: Option<Arc<Control>>,
    finished: bool,
}

type Taken<O> = VecDeque<(u64, Box<dyn Job<O>>)>;

/// Takes the calls that follow one which runs alone, and do so, too.
fn take<O>(queue: &mut VecDeque<Queued<O>>, taken: &mut Taken<O>) {
    while taken.len() < BATCH {
        match queue.pop_front() {
            Some(Queued { sequence, work: Work::Call(Access::Exclusive, job) }) => {
                taken.push_back((sequence, job));
            }
            Some(other) => return queue.push_front(other),
            None => return,
        }
    }
}

impl<O: Send + Sync + 'static> Drop for Driver<O> {
    /// The runtime is shutting down: nobody will work on the queue any more.
    fn drop(&mut self) {
        if !self.finished {
            self.put_back();
            let error = RpcError::new(ErrorKind::Closed, "the runtime was shut down").may_run(true);
            let error = self.activation.control.reset(error).clone();
            self.activation.end(Some(&error));
        }
    }
}

impl<O: Send + Sync + 'static> Driver<O> {
    pub(super) fn new(activation: Arc<Activation<O>>, object: Option<Arc<O>>) -> Self {
        activation.driven.store(true, Ordering::Relaxed);
        Self {
            activation,
            object,
            doing: Doing::Nothing,
            taken: VecDeque::new(),
            hold: None,
            finished: false,
        }
    }

    fn place(&mut self, sequence: u64) -> Place {
        Place { sequence, control: self.hold.take().unwrap_or_else(|| self.activation.control.clone()) }
    }

    /// Goes on with a call that has its turn.
    pub(super) fn go_on(mut self, sequence: u64, access: Access, running: Running<O>) {
        self.activation.state.lock().phase = Phase::Driven;
        self.runs(sequence, access, running);
        self.go();
    }

    /// Goes on in a task.
    pub(super) fn go(self) {
        let control = self.activation.control.clone();
        control.drive(self.run());
    }

    /// Makes the instance here and now, if the constructor, which has begun, does not wait.
    pub(super) fn make_at_once(mut self, chain: Option<Arc<Link>>) -> Result<Arc<O>, Self> {
        self.make(chain);
        // Polled again when it is spawned, so nothing is lost by a waker that does nothing.
        let mut advance = || self.advance(&mut Context::from_waker(Waker::noop()));
        let _ = outside_of_transactions(|| CallInfo::in_no_call(&mut advance));
        if self.activation.control.is_reset().is_none()
            && let Some(object) = self.object.take()
        {
            self.finished = true;
            self.activation.driven.store(false, Ordering::Relaxed);
            return Ok(object);
        }
        Err(self)
    }

    /// After it has begun.
    fn make(&mut self, chain: Option<Arc<Link>>) {
        let info = self.activation.own_work(const { &MethodDesc::of_own_work("new") }, CONSTRUCTOR, chain);
        self.doing = Doing::Making(self.birth().cradle.make(&self.activation, info), false);
    }

    fn birth(&self) -> &Birth<O> {
        self.activation.birth.as_ref().expect("a target is there from the start")
    }

    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.finished = true;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.work(cx);
        self.put_back();
        polled
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Before the reset and the queue are looked at: what comes later wakes.
        let queued = self.register(cx);
        // One more turn finds that there is nothing left.
        for _ in 0..=queued.clamp(BUDGET.start, BUDGET.end) {
            if let Some(error) = self.activation.control.is_reset() {
                let error = error.clone();
                self.drop_instance(cx);
                self.put_back();
                self.activation.end(Some(&error));
                return Poll::Ready(());
            }
            match self.start() {
                Next::Over => return Poll::Ready(()),
                // What runs goes on between what starts beside it, which may never stop to come.
                Next::More => _ = self.advance(cx),
                Next::Runs => ready!(self.advance(cx)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has this task woken when there is something to do. Returns how much is queued.
    fn register(&self, cx: &Context<'_>) -> usize {
        let mut state = self.activation.state.lock();
        let driver = &mut state.busy().driver;
        if !driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        state.queued()
    }

    /// Starts what comes next, if it may start now.
    fn start(&mut self) -> Next {
        if let Some((sequence, job)) = self.taken.pop_front() {
            self.activation.running.begin(sequence);
            let object = self.object.take().expect("the one before it has ended");
            return self.start_call(sequence, Access::Exclusive, job, object);
        }
        let mut state = self.activation.state.lock();
        if matches!(state.phase, Phase::Gone(_)) {
            return Next::Over;
        }
        let Some(next) = state.busy.as_ref().and_then(|busy| busy.queue.front()) else {
            if matches!(self.doing, Doing::Nothing) {
                if self.activation.control.takes_what_was_written_outside() {
                    drop(state);
                    self.activation.control.seal();
                    return Next::More;
                }
                state.phase = Phase::Idle(self.object.take());
                self.activation.driven.store(false, Ordering::Relaxed);
                // It would keep the memory of this task as long as the object is there.
                let waker = state.busy.as_mut().and_then(|busy| busy.driver.take());
                let over = state.busy.take_if(|busy| busy.is_over());
                drop(state);
                drop((waker, over));
                return Next::Over;
            }
            return Next::Runs;
        };
        match (&self.doing, next.work.access()) {
            (Doing::Nothing, _) | (Doing::Several(_), Access::Shared) => {}
            // Only a shared job that is running can be joined by what comes next.
            _ => return Next::Runs,
        }
        if self.object.is_none() && matches!(next.work, Work::Hibernate(_)) {
            // Not made yet, or asleep already.
            state.busy().queue.pop_front();
            drop(state);
            self.activation.end(None);
            return Next::More;
        }
        let Some(object) = &self.object else {
            // It is made on behalf of the first call, so that a cycle through the constructor is seen.
            let chain = match &next.work {
                Work::Call(_, job) => job.chain().cloned(),
                Work::Hibernate(_) => None,
            };
            self.activation.begin(&mut state, CONSTRUCTOR, Access::Exclusive);
            drop(state);
            self.make(chain);
            return Next::Runs;
        };
        let Some(Queued { sequence, work }) = state.busy().queue.pop_front() else { return Next::Runs };
        match work {
            Work::Call(access, job) => {
                self.activation.begin(&mut state, sequence, access);
                if access == Access::Exclusive {
                    take(&mut state.busy().queue, &mut self.taken);
                }
                drop(state);
                // What runs alone has the only one.
                let kept = (access == Access::Shared).then(|| object.clone());
                let object = std::mem::replace(&mut self.object, kept).expect("seen above");
                self.start_call(sequence, access, job, object)
            }
            Work::Hibernate(Retreat { hibernate, if_idle, done }) => {
                drop(state);
                let control = self.activation.control.clone();
                if control.refuses(if_idle) || !control.targets_sleep() {
                    // Nobody left to be told is as good.
                    let _ = done.send(false);
                    return Next::More;
                }
                self.activation.begin(&mut self.activation.state.lock(), sequence, Access::Exclusive);
                let object = self.object.take().expect("seen above");
                let info =
                    self.activation.own_work(const { &MethodDesc::of_own_work("hibernate") }, sequence, None);
                let hibernating = async move {
                    let run = AssertUnwindSafe(info.scope(hibernate(object))).catch_unwind().await;
                    match run {
                        Ok(()) => control.drain().await,
                        Err(_) if control.is_reset().is_some() => {}
                        Err(panic) => drop(control.reset(panicked("`hibernate`", &*panic)).clone()),
                    }
                };
                self.doing = Doing::Hibernating(hibernating.boxed(), Some(done));
                Next::Runs
            }
        }
    }

    fn start_call(&mut self, sequence: u64, access: Access, job: Box<dyn Job<O>>, object: Arc<O>) -> Next {
        let place = self.place(sequence);
        match job.start(object, place) {
            Progress::Runs(mut running) => {
                // What overlaps begins in the order of the queue. It is polled again beside the others, so nothing is lost
                // by a waker that does nothing.
                let mut begin = || running.poll_unpin(&mut Context::from_waker(Waker::noop()));
                if access == Access::Shared && begin().is_ready() {
                    self.ended(sequence, access);
                } else {
                    self.runs(sequence, access, running);
                }
            }
            Progress::Ended(object, control) => {
                self.hold = Some(control);
                self.ended(sequence, access);
                if access == Access::Exclusive {
                    self.object = object;
                }
            }
        }
        // Only what overlaps may start beside it.
        if matches!(self.doing, Doing::One(..)) { Next::Runs } else { Next::More }
    }

    fn runs(&mut self, sequence: u64, access: Access, running: Running<O>) {
        if access == Access::Exclusive {
            self.doing = Doing::One(running);
            return;
        }
        let running = running.map(move |object| (sequence, object)).boxed();
        match &mut self.doing {
            Doing::Several(several) => several.push(running),
            doing => *doing = Doing::Several(FuturesUnordered::from_iter([running])),
        }
    }

    fn ended(&self, sequence: u64, access: Access) {
        match access {
            Access::Exclusive => self.activation.running.end(),
            Access::Shared => self.activation.ended(sequence),
        }
    }

    /// Where they were.
    fn put_back(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut state = self.activation.state.lock();
        let queue = &mut state.busy().queue;
        for (sequence, job) in self.taken.drain(..).rev() {
            queue.push_front(Queued { sequence, work: Work::Call(Access::Exclusive, job) });
        }
    }

    /// Polls what runs. Ready when something changed.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.doing {
            Doing::Nothing => Poll::Ready(()),
            Doing::Making(making, polled) => {
                let first = !std::mem::replace(polled, true);
                let birth = self.activation.birth.as_ref();
                let pace = birth.filter(|_| first).and_then(|birth| birth.cradle.pace());
                let poll = || catch_unwind(AssertUnwindSafe(|| making.poll_unpin(cx)));
                let made = match Pace::poll(pace, poll) {
                    Ok(made) => Ok(ready!(made)),
                    Err(panic) => Err(panic),
                };
                self.doing = Doing::Nothing;
                self.activation.running.end();
                let failed = match made {
                    Ok(Ok(object)) => {
                        self.object = Some(Arc::new(object));
                        return Poll::Ready(());
                    }
                    Ok(Err(error)) => error,
                    // `ctx.abort` has given its reason.
                    Err(_) if self.activation.control.is_reset().is_some() => return Poll::Ready(()),
                    Err(panic) => panicked("the constructor", &*panic),
                };
                self.activation.control.reset(failed);
                Poll::Ready(())
            }
            Doing::One(running) => {
                let object = ready!(running.poll_unpin(cx));
                self.activation.running.end();
                self.object = object;
                self.doing = Doing::Nothing;
                Poll::Ready(())
            }
            Doing::Several(several) => {
                match ready!(several.poll_next_unpin(cx)) {
                    Some((sequence, _object)) => self.ended(sequence, Access::Shared),
                    None => self.doing = Doing::Nothing,
                }
                Poll::Ready(())
            }
            Doing::Hibernating(hibernating, done) => {
                ready!(hibernating.poll_unpin(cx));
                let done = done.take();
                self.activation.running.end();
                self.doing = Doing::Nothing;
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
            Doing::One(mut running) => drop(running.poll_unpin(cx)),
            Doing::Several(several) => {
                for mut running in several {
                    drop(running.poll_unpin(cx));
                }
            }
            Doing::Nothing | Doing::Making(..) | Doing::Hibernating(..) => {}
        }
        self.object = None;
    }
}
