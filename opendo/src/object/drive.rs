//! The task that works on the queue of an activation.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, ready as now};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use crate::object::job::{Access, Job, Place, Running, panicked};
use crate::object::strand::{Activation, Phase, Queued, Retreat, Work};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::method::MethodDesc;

/// Jobs run before others of the runtime get a turn: those that are queued, if there are more, up to so many. What is
/// then done with its queue is idle again, and calls need none.
const BUDGET: std::ops::Range<usize> = 64..1024;

/// The sequence of the constructor: before every call.
const CONSTRUCTOR: u64 = 0;

/// What a driver is at.
enum Doing<O> {
    Nothing,
    Making(BoxFuture<'static, std::thread::Result<Result<O, RpcError>>>),
    One(u64, Running<O>),
    Several(FuturesUnordered<BoxFuture<'static, (u64, Option<Arc<O>>)>>),
    Hibernating(u64, BoxFuture<'static, ()>, Option<oneshot::Sender<bool>>),
}

/// Works on the queue until it is empty or the instance is gone.
pub(super) struct Driver<O: Send + Sync + 'static> {
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
    pub(super) fn new(activation: Arc<Activation<O>>, object: Option<Arc<O>>) -> Self {
        Self { activation, object, doing: Doing::Nothing, finished: false }
    }

    fn place(&self, sequence: u64) -> Place {
        Place { sequence, control: self.activation.control.clone() }
    }

    /// Goes on with a call that has its turn.
    pub(super) fn go_on(mut self, sequence: u64, access: Access, running: Running<O>) {
        self.runs(sequence, access, running);
        let control = self.activation.control.clone();
        control.drive(self.run());
    }

    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.finished = true;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let queued = self.activation.state.lock().queue.len();
        // One more turn finds that there is nothing left.
        for _ in 0..=queued.clamp(BUDGET.start, BUDGET.end) {
            // Before the reset and the queue are looked at: what comes later wakes.
            self.register(cx);
            if let Some(error) = self.activation.control.is_reset() {
                let error = error.clone();
                self.drop_instance(cx);
                self.activation.end(Some(&error));
                return Poll::Ready(());
            }
            if self.start() {
                return Poll::Ready(());
            }
            if self.advance(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn register(&self, cx: &Context<'_>) {
        let mut state = self.activation.state.lock();
        if !state.driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
    }

    /// Starts what may start now. True when there is nothing left to do.
    fn start(&mut self) -> bool {
        loop {
            let mut state = self.activation.state.lock();
            if matches!(state.phase, Phase::Gone(_)) {
                return true;
            }
            let Some(next) = state.queue.front() else {
                if matches!(self.doing, Doing::Nothing) {
                    if self.activation.control.takes_what_was_written_outside() {
                        drop(state);
                        self.activation.control.seal();
                        continue;
                    }
                    state.phase = Phase::Idle(self.object.take());
                    // It would keep the memory of this task as long as the object is there.
                    let waker = state.driver.take();
                    drop(state);
                    drop(waker);
                    return true;
                }
                return false;
            };
            match (&self.doing, next.work.access()) {
                (Doing::Nothing, _) | (Doing::Several(_), Access::Shared) => {}
                // Only a shared job that is running can be joined by what comes next.
                _ => return false,
            }
            if self.object.is_none() && matches!(next.work, Work::Hibernate(_)) {
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
                    Work::Hibernate(_) => None,
                };
                state.access = Access::Exclusive;
                state.running.push(CONSTRUCTOR);
                drop(state);
                let info =
                    self.activation.own_work(const { &MethodDesc::of_own_work("new") }, CONSTRUCTOR, chain);
                let birth = self.activation.birth.as_ref().expect("a target is there from the start");
                // Even the call that only *makes* the future is user code.
                let making = catch_unwind(AssertUnwindSafe(|| birth.cradle.make(&self.activation, info)));
                self.doing = Doing::Making(match making {
                    Ok(making) => AssertUnwindSafe(making).catch_unwind().boxed(),
                    Err(panic) => now(Err(panic)).boxed(),
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
                Work::Hibernate(Retreat { hibernate, if_idle, done }) => {
                    drop(state);
                    let control = self.activation.control.clone();
                    if control.refuses(if_idle) || !control.targets().sleep() {
                        // Nobody left to be told is as good.
                        let _ = done.send(false);
                        continue;
                    }
                    let mut state = self.activation.state.lock();
                    state.access = Access::Exclusive;
                    state.running.push(sequence);
                    drop(state);
                    self.object = None;
                    let info = self.activation.own_work(
                        const { &MethodDesc::of_own_work("hibernate") },
                        sequence,
                        None,
                    );
                    let hibernating = async move {
                        let run = AssertUnwindSafe(info.scope(hibernate(object))).catch_unwind().await;
                        match run {
                            Ok(()) => control.drain().await,
                            Err(_) if control.is_reset().is_some() => {}
                            Err(panic) => drop(control.reset(panicked("`hibernate`", &*panic)).clone()),
                        }
                    };
                    self.doing = Doing::Hibernating(sequence, hibernating.boxed(), Some(done));
                    return false;
                }
            }
        }
    }

    fn start_call(&mut self, sequence: u64, access: Access, job: Box<dyn Job<O>>, object: Arc<O>) {
        if access == Access::Exclusive {
            self.object = None; // so that `object` is the only one
        }
        match job.start(object, self.place(sequence)) {
            Ok(running) => self.runs(sequence, access, running),
            Err(object) => {
                if access == Access::Exclusive {
                    self.object = Some(object);
                }
                self.ended(sequence);
            }
        }
    }

    fn runs(&mut self, sequence: u64, access: Access, running: Running<O>) {
        if access == Access::Exclusive {
            self.doing = Doing::One(sequence, running);
            return;
        }
        let running = running.map(move |object| (sequence, object)).boxed();
        match &mut self.doing {
            Doing::Several(several) => several.push(running),
            doing => *doing = Doing::Several(FuturesUnordered::from_iter([running])),
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
                let made = ready!(making.poll_unpin(cx));
                self.doing = Doing::Nothing;
                self.ended(CONSTRUCTOR);
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
            Doing::One(sequence, running) => {
                let object = ready!(running.poll_unpin(cx));
                let sequence = *sequence;
                self.object = object;
                self.doing = Doing::Nothing;
                self.ended(sequence);
                Poll::Ready(())
            }
            Doing::Several(several) => {
                match ready!(several.poll_next_unpin(cx)) {
                    Some((sequence, _object)) => self.ended(sequence),
                    None => self.doing = Doing::Nothing,
                }
                Poll::Ready(())
            }
            Doing::Hibernating(sequence, hibernating, done) => {
                ready!(hibernating.poll_unpin(cx));
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
