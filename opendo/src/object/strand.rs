//! An activation: a live instance, the queue of what it is to do, and the rules by which that runs.
//!
//! Jobs start in the order in which they were submitted. Exclusive ones run alone, shared ones beside each other.
//! Whoever submits to an idle activation starts its [`Driver`], a task that runs until the queue is empty.
//! An idle activation is a value, not a task.

mod ending;

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use futures::future::{BoxFuture, Shared};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::object::control::{Control, Watch};
use crate::object::drive::Driver;
use crate::object::id::ObjectKey;
use crate::object::job::{Access, Job};
use crate::object::pace::Pace;
use crate::rpc::chain::{Link, Walk};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;
use crate::rpc::method::{MethodDesc, MethodFlags};

pub(crate) use self::ending::Pin;

/// What an instance does before it leaves memory.
pub(crate) type Hibernate<O> = fn(Arc<O>) -> BoxFuture<'static, ()>;

/// Resolves when an instance is gone, and all before it.
pub(crate) type Ended = Shared<BoxFuture<'static, ()>>;

/// How instances come to be, and where they are missed: their class, or the object that makes a target again.
pub(crate) trait Cradle<O>: Send + Sync {
    /// Makes an instance: at the first job, and at the first one after a hibernation.
    fn make(
        &self,
        activation: &Arc<Activation<O>>,
        info: CallInfo,
    ) -> BoxFuture<'static, Result<O, RpcError>>;

    /// Whether a call of that chain would wait for itself before the instance is made: of a target that is made in the turn
    /// of an object.
    fn within(&self, _chain: &Arc<Link>) -> Walk {
        Walk::Clear
    }

    /// How long that takes, where it may begin on the thread of whoever makes the first call.
    fn pace(&self) -> Option<&Pace> {
        None
    }

    /// Told once when an instance has left memory.
    fn ended(&self, ended: &Arc<Activation<O>>);
}

/// Of an instance that is made when it is called.
pub(crate) struct Birth<O> {
    pub(crate) cradle: Arc<dyn Cradle<O>>,
    /// The end of the instance before this one: it is waited for.
    pub(crate) predecessor: Option<Box<Ended>>,
}

/// A live instance, or one that is being made.
///
/// Many are live and idle: what only those have that are at work is in a box.
pub(crate) struct Activation<O> {
    /// `None` for what was there from the start.
    pub(super) birth: Option<Birth<O>>,
    pub(crate) control: Arc<Control>,
    pub(super) running: Running,
    /// Whether a driver has it, as far as that is known without the lock: what is called then is queued.
    pub(super) driven: AtomicBool,
    pub(super) state: Mutex<State<O>>,
}

/// The call that runs, by its sequence, or the first of those; 0 if none does.
///
/// Not behind the lock: where calls follow each other, it would be taken for each. Whoever asks whether a call runs was
/// called by it, so it has seen the call begin.
pub(super) struct Running(AtomicU64);

/// The sequence of the constructor: before every call.
pub(super) const CONSTRUCTOR: u64 = 1;

pub(super) struct State<O> {
    pub(super) phase: Phase<O>,
    /// There as long as there is something in it.
    pub(super) busy: Option<Box<Busy<O>>>,
    next_sequence: u64,
    /// How what runs does.
    pub(super) access: Access,
    /// For the next call that starts on its caller's thread, which gives it back: counting costs more than moving.
    hold: Option<Arc<Control>>,
    /// It was not idle all the time since it was last looked at.
    touched: bool,
    /// How often in a row it was found idle.
    quiet: u8,
}

/// What waits for an instance, and who.
pub(super) struct Busy<O> {
    pub(super) queue: VecDeque<Queued<O>>,
    /// The length of the queue at which it is next searched for calls that were withdrawn.
    sweep_at: usize,
    /// How many calls came since the last search.
    since_sweep: usize,
    /// The calls that run beside the first one.
    beside: Vec<u64>,
    pub(super) driver: Option<Waker>,
    /// How many have something for the instance to do that they have not queued yet.
    pins: usize,
    /// Told when the instance is gone.
    watchers: Vec<oneshot::Sender<()>>,
}

impl<O> Default for Busy<O> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            sweep_at: SWEEP,
            since_sweep: 0,
            beside: Vec::new(),
            driver: None,
            pins: 0,
            watchers: Vec::new(),
        }
    }
}

pub(super) enum Phase<O> {
    /// Nothing runs. `None`: not made yet.
    Idle(Option<Arc<O>>),
    /// A call that starts on its caller's thread has the object: soon it is idle or driven.
    Turn,
    /// A driver has the object.
    Driven,
    /// For good: by a reset, or (`None`) because it went to sleep.
    Gone(Option<RpcError>),
}

pub(super) struct Queued<O> {
    pub(super) sequence: u64,
    pub(super) work: Work<O>,
}

pub(super) enum Work<O> {
    Call(Access, Box<dyn Job<O>>),
    Hibernate(Retreat<O>),
}

/// A hibernation that waits for its turn.
pub(super) struct Retreat<O> {
    pub(super) hibernate: Hibernate<O>,
    /// Only if nothing keeps the object in memory. Otherwise: not beside work that was given to `wait_until`.
    pub(super) if_idle: bool,
    /// Told whether it was done.
    pub(super) done: oneshot::Sender<bool>,
}

/// The shortest queue that is searched for calls that were withdrawn.
const SWEEP: usize = 64;

impl<O> State<O> {
    pub(super) fn busy(&mut self) -> &mut Busy<O> {
        self.busy.get_or_insert_default()
    }

    pub(super) fn queued(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.queue.len())
    }

    fn next_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }
}

impl Running {
    /// A call begins that runs alone.
    pub(super) fn begin(&self, sequence: u64) {
        self.0.store(sequence, Ordering::Relaxed);
    }

    /// A call that ran alone has ended.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn first(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|sequence| *sequence != 0)
    }
}

impl<O> Busy<O> {
    pub(super) fn is_over(&self) -> bool {
        let Self { queue, beside, driver, pins, watchers, sweep_at: _, since_sweep: _ } = self;
        queue.is_empty() && beside.is_empty() && driver.is_none() && *pins == 0 && watchers.is_empty()
    }

    /// Takes withdrawn calls out of a queue that has doubled since the last time, or is full: they cost no more
    /// memory than those that are wanted, nor their place, and the search costs each call next to nothing.
    fn sweep(&mut self, max_mailbox: usize) -> Vec<Box<dyn Job<O>>> {
        self.since_sweep += 1;
        let length = self.queue.len();
        if length < self.sweep_at && (length < max_mailbox || self.since_sweep <= length) {
            return Vec::new();
        }
        self.since_sweep = 0;
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
    pub(super) fn access(&self) -> Access {
        match self {
            Self::Call(access, _) => *access,
            Self::Hibernate(_) => Access::Exclusive,
        }
    }
}

impl<O: Send + Sync + 'static> Activation<O> {
    /// A target: made already, never asleep.
    pub(crate) fn of_target(target: O, control: impl FnOnce(Weak<dyn Watch>) -> Arc<Control>) -> Arc<Self> {
        Self::start(None, Some(Arc::new(target)), control)
    }

    /// A durable object, or a target that one makes again: made at its first call.
    pub(crate) fn to_be_made(
        birth: Birth<O>,
        control: impl FnOnce(Weak<dyn Watch>) -> Arc<Control>,
    ) -> Arc<Self> {
        Self::start(Some(birth), None, control)
    }

    fn start(
        birth: Option<Birth<O>>,
        object: Option<Arc<O>>,
        control: impl FnOnce(Weak<dyn Watch>) -> Arc<Control>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            birth,
            control: control(this.clone()),
            running: Running(AtomicU64::new(0)),
            driven: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::Idle(object),
                busy: None,
                next_sequence: CONSTRUCTOR + 1,
                access: Access::Exclusive,
                hold: None,
                touched: true,
                quiet: 0,
            }),
        })
    }

    pub(crate) fn key(&self) -> Option<&Arc<ObjectKey>> {
        self.control.key()
    }

    fn name(&self) -> String {
        self.key().map_or_else(|| short_type_name::<O>().to_owned(), |key| key.to_string())
    }

    /// Queues a call. Gives it back when the instance has gone to sleep: a new activation takes it.
    pub(crate) fn submit(self: &Arc<Self>, job: Box<dyn Job<O>>) -> Result<(), Box<dyn Job<O>>> {
        let access = self.access(job.flags());
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Gone(None) => return Err(job),
            Phase::Gone(Some(error)) => {
                let error = error.clone();
                drop(state);
                job.fail(error);
                return Ok(());
            }
            Phase::Idle(_) | Phase::Turn | Phase::Driven => {}
        }
        state.touched = true;
        // Dropped at the end, after the lock.
        let max_mailbox = self.control.max_mailbox();
        let _withdrawn = state.busy().sweep(max_mailbox);
        let queued = state.queued();
        if queued >= max_mailbox {
            let text = format!("{queued} calls wait for {}", self.name());
            drop(state);
            job.fail(RpcError::new(ErrorKind::Overloaded, text));
            return Ok(());
        }
        let sequence = state.next_sequence();
        let walk = job.chain().map_or(Walk::Clear, |chain| self.walk(&state, chain));
        let unawaited = match walk {
            Walk::Clear => None,
            // Shared beside shared: no need to wait, and behind an exclusive job it would wait for ever.
            Walk::Cycle | Walk::Unless(_) if access == Access::Shared && state.access == Access::Shared => {
                // Behind those that start before it for the same reason.
                let queue = &mut state.busy().queue;
                let at = queue.iter().position(|queued| queued.work.access() == Access::Exclusive);
                queue.insert(at.unwrap_or(queue.len()), Queued { sequence, work: Work::Call(access, job) });
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
        state.busy().queue.push_back(Queued { sequence, work: Work::Call(access, job) });
        // What runs alone is not disturbed: its driver looks at the queue when it has ended.
        if matches!(state.phase, Phase::Idle(_)) || state.access == Access::Shared {
            self.kick(state);
        } else {
            drop(state);
        }
        if let Some(link) = unawaited {
            self.look_again(&link, sequence);
        }
        Ok(())
    }

    /// What overlaps: in objects what is marked, in targets what the receiver says.
    pub(crate) fn access(&self, flags: MethodFlags) -> Access {
        let overlaps = if self.key().is_some() { flags.concurrent } else { flags.shared };
        if overlaps { Access::Shared } else { Access::Exclusive }
    }

    /// Gives a call the object at once, with its sequence, if it is there and has nothing to do. With `patience`, it
    /// waits for the turn of another thread, whose end is nearer than that of a queue.
    #[inline(always)]
    pub(super) fn enter(&self, access: Access, patience: bool) -> Entry<O> {
        // Many call it at once then, and all want the lock.
        if self.driven.load(Ordering::Relaxed) {
            return Entry::No;
        }
        for pauses in [0, 1, 2, 4, 8, 16, 32] {
            (0..pauses).for_each(|_| spin_loop());
            let mut state = self.state.lock();
            let queued = state.queued();
            match &mut state.phase {
                Phase::Idle(object) => {
                    return match object.take() {
                        Some(object) => Entry::Entered(self.entered(state, access, object)),
                        None => Entry::NotMade,
                    };
                }
                Phase::Turn if patience && queued == 0 => {}
                Phase::Turn | Phase::Driven | Phase::Gone(_) => return Entry::No,
            }
        }
        Entry::No
    }

    #[inline(always)]
    fn entered(&self, mut state: MutexGuard<'_, State<O>>, access: Access, object: Arc<O>) -> Entered<O> {
        state.phase = Phase::Turn;
        state.touched = true;
        let sequence = state.next_sequence();
        state.access = access;
        self.running.begin(sequence);
        let control = state.hold.take().unwrap_or_else(|| self.control.clone());
        Entered { object, control, sequence }
    }

    /// Gives a call the object, which is made for it at once, if nobody has begun with that. If the constructor waits, or
    /// fails, a task goes on: not before the call is queued.
    pub(super) fn make_at_once(
        self: &Arc<Self>,
        access: Access,
        chain: Option<&Arc<Link>>,
        starts_here: impl FnOnce(Option<&Pace>) -> bool,
    ) -> MadeAtOnce<O> {
        if !starts_here(self.birth.as_ref().and_then(|birth| birth.cradle.pace())) {
            return MadeAtOnce::No(None);
        }
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Idle(None)) {
                return MadeAtOnce::No(None);
            }
            state.phase = Phase::Driven;
            state.touched = true;
            self.begin(&mut state, CONSTRUCTOR, Access::Exclusive);
        }
        match Driver::new(self.clone(), None).make_at_once(chain.cloned()) {
            Ok(object) => MadeAtOnce::Made(self.entered(self.state.lock(), access, object)),
            Err(driver) => MadeAtOnce::No(Some(Begun(Some(driver)))),
        }
    }

    /// Takes it back from that call. Where there is something to do by now, or it is lost, a task sees to that.
    pub(super) fn leave(self: &Arc<Self>, object: Option<Arc<O>>, control: Arc<Control>) {
        let mut state = self.state.lock();
        let _before = state.hold.replace(control);
        self.running.end();
        state.busy.take_if(|busy| busy.is_over());
        if object.is_some() && state.queued() == 0 && !self.control.has_something_to_do() {
            state.phase = Phase::Idle(object);
            return;
        }
        state.phase = Phase::Driven;
        drop(state);
        Driver::new(self.clone(), object).go();
    }

    /// A call begins to run, beside others where it may.
    pub(super) fn begin(&self, state: &mut State<O>, sequence: u64, access: Access) {
        state.access = access;
        match self.running.first() {
            None => self.running.begin(sequence),
            Some(_) => state.busy().beside.push(sequence),
        }
    }

    /// One of those has ended.
    pub(super) fn ended(&self, sequence: u64) {
        let mut state = self.state.lock();
        let beside = state.busy.as_mut().map(|busy| &mut busy.beside);
        if self.running.first() == Some(sequence) {
            match beside.and_then(Vec::pop) {
                Some(other) => self.running.begin(other),
                None => self.running.end(),
            }
        } else if let Some(beside) = beside {
            beside.retain(|running| *running != sequence);
        }
    }

    fn runs(&self, state: &State<O>, sequence: u64) -> bool {
        self.running.first() == Some(sequence)
            || state.busy.as_ref().is_some_and(|busy| busy.beside.contains(&sequence))
    }

    fn walk(&self, state: &State<O>, chain: &Arc<Link>) -> Walk {
        let own = chain.walk(self.control.number(), |sequence| self.runs(state, sequence));
        match &self.birth {
            Some(birth) if matches!(own, Walk::Clear) => birth.cradle.within(chain),
            _ => own,
        }
    }

    /// Whether something of that chain that is queued here would wait for itself.
    pub(crate) fn walk_running(&self, chain: &Arc<Link>) -> Walk {
        self.walk(&self.state.lock(), chain)
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
        let Some(queue) = state.busy.as_ref().map(|busy| &busy.queue) else { return };
        let Some(at) = queue.iter().position(|queued| queued.sequence == sequence) else { return };
        let Work::Call(_, job) = &queue[at].work else { return };
        match job.chain().map_or(Walk::Clear, |chain| self.walk(&state, chain)) {
            Walk::Clear => {}
            Walk::Unless(link) => {
                drop(state);
                self.look_again(&link, sequence);
            }
            Walk::Cycle => {
                let removed = state.busy().queue.remove(at);
                drop(state);
                if let Some(Queued { work: Work::Call(_, job), .. }) = removed {
                    job.fail(self.reentrant());
                }
            }
        }
    }

    /// The facts of work that is not a call of somebody's.
    pub(super) fn own_work(
        &self,
        what: &'static MethodDesc,
        sequence: u64,
        chain: Option<Arc<Link>>,
    ) -> CallInfo {
        let mut info = CallInfo::of_own_work(what, &self.control);
        (info.sequence, info.facts.chain) = (sequence, chain);
        info
    }

    /// Sees to it that somebody works on the queue.
    fn kick(self: &Arc<Self>, mut state: MutexGuard<'_, State<O>>) {
        match std::mem::replace(&mut state.phase, Phase::Driven) {
            Phase::Idle(object) => {
                drop(state);
                Driver::new(self.clone(), object).go();
            }
            Phase::Turn | Phase::Driven => {
                let driver = state.busy.as_mut().and_then(|busy| busy.driver.take());
                drop(state);
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
            gone @ Phase::Gone(_) => state.phase = gone,
        }
    }
}

/// What has come of [`Activation::enter`].
pub(super) enum Entry<O> {
    Entered(Entered<O>),
    /// There is no instance yet.
    NotMade,
    No,
}

/// What a call is given that starts on its caller's thread.
pub(super) struct Entered<O> {
    pub(super) object: Arc<O>,
    pub(super) control: Arc<Control>,
    pub(super) sequence: u64,
}

/// What has come of [`Activation::make_at_once`].
pub(super) enum MadeAtOnce<O: Send + Sync + 'static> {
    Made(Entered<O>),
    No(Option<Begun<O>>),
}

/// An instance that is being made: a task goes on with that when this is dropped.
pub(crate) struct Begun<O: Send + Sync + 'static>(Option<Driver<O>>);

impl<O: Send + Sync + 'static> Drop for Begun<O> {
    fn drop(&mut self) {
        if let Some(driver) = self.0.take() {
            driver.go();
        }
    }
}

impl<O: Send + Sync + 'static> Watch for Activation<O> {
    fn changed(self: Arc<Self>) {
        self.kick(self.state.lock());
    }
}

pub(super) fn short_type_name<O>() -> &'static str {
    let name = std::any::type_name::<O>();
    name.rsplit("::").next().unwrap_or(name)
}
