//! A call that starts on the thread that makes it: where the object has nothing to do, most end there, and cost neither
//! a task nor a place in a queue.
//!
//! What such a call goes through is always inlined where it returns a struct: to move what was written just before makes the
//! processor wait as long as for an atomic operation.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arc_swap::Guard;
use futures::future::BoxFuture;
use tokio::runtime::{self, Handle};
use tokio::task;

use crate::object::control::Control;
use crate::object::drive::Driver;
use crate::object::job::{self, Access, End, Place, Reply, Returned, answered, parted};
use crate::object::pace::Pace;
use crate::object::storage::ledger;
use crate::object::strand::{Activation, Begun, Entered, Entry, MadeAtOnce};
use crate::rpc::chain::Link;
use crate::rpc::error::RpcError;
use crate::rpc::info::{Facts, Waiting};
use crate::rpc::method::Run;

/// How many calls of a thread may start within each other: each takes its part of the stack.
const DEPTH: u8 = 16;

thread_local! {
    /// How many calls that were started here have not returned.
    static NESTED: Cell<u8> = const { Cell::new(0) };
    /// The task that was last asked for its runtime: a task stays with one.
    static LAST: Cell<Option<(task::Id, runtime::Id)>> = const { Cell::new(None) };
    /// Whether what this thread calls starts here however long it takes.
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs what belongs to that runtime: what a method starts here (timers, tasks) belongs to it, too.
fn is_at_home(runtime: &Handle) -> bool {
    let task = task::try_id();
    let known = LAST.get().filter(|(of, _)| Some(*of) == task).map(|(_, known)| known);
    let current = known.or_else(|| {
        let current = Handle::try_current().ok()?.id();
        LAST.set(task.map(|task| (task, current)));
        Some(current)
    });
    current == Some(runtime.id())
}

/// Has all calls that `deliver` makes queued, and none started here.
pub(crate) fn queued<R>(deliver: impl FnOnce() -> R) -> R {
    let _nested = Nested::at(DEPTH);
    deliver()
}

/// Starts the calls that `deliver` makes before it returns, also those of methods that are not short. What they call in
/// turn follows the rule.
#[cfg(feature = "capnweb")]
pub(crate) fn at_once<R>(deliver: impl FnOnce() -> R) -> R {
    /// Also when it panics.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            AT_ONCE.set(false);
        }
    }
    AT_ONCE.set(true);
    let _over = Over;
    deliver()
}

/// Restores how deep this thread was.
struct Nested(u8);

impl Nested {
    fn at(depth: u8) -> Self {
        Self(NESTED.replace(depth))
    }

    /// A call that is started here.
    fn enter(control: &Control) -> Option<Self> {
        let depth = NESTED.get();
        (depth < DEPTH && is_at_home(control.runtime())).then(|| Self::at(depth + 1))
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        NESTED.set(self.0);
    }
}

/// The turn of a call that did not have to queue: its object had nothing to do.
pub(crate) struct Turn<'a, O: Send + Sync + 'static> {
    held: Held<'a, O>,
    entered: Entered<O>,
    access: Access,
}

/// An activation, as its caller has found it: without a count of its own.
pub(crate) enum Found<'a, O> {
    Always(&'a Arc<Activation<O>>),
    Last(Guard<Option<Arc<Activation<O>>>>),
}

impl<O> Found<'_, O> {
    /// The one that took the last call, if there is one.
    pub(crate) fn last(last: Guard<Option<Arc<Activation<O>>>>) -> Option<Self> {
        last.is_some().then_some(Self::Last(last))
    }
}

impl<O> Deref for Found<'_, O> {
    type Target = Arc<Activation<O>>;

    fn deref(&self) -> &Arc<Activation<O>> {
        match self {
            Self::Always(activation) => activation,
            Self::Last(last) => last.as_ref().expect("there was one"),
        }
    }
}

/// An activation that nobody else works on.
struct Held<'a, O: Send + Sync + 'static> {
    activation: Found<'a, O>,
    is_let_go: bool,
    /// Also while the answer is given, which may start calls that wait for it.
    _nested: Nested,
}

/// How far it came.
pub(crate) enum Started<'a, O: Send + Sync + 'static, M: Run<O>> {
    Ended(Ended<'a, O>, End<M>),
    Waits(Waits<'a, O, M>),
}

/// The method is at its end: what it has written is not sealed yet, and the object is not free.
#[must_use]
pub(crate) struct Ended<'a, O: Send + Sync + 'static> {
    held: Held<'a, O>,
    /// Unless it is lost.
    object: Option<Arc<O>>,
    /// As it was given to the call.
    control: Arc<Control>,
}

/// The method has not come to its end.
#[must_use]
pub(crate) struct Waits<'a, O: Send + Sync + 'static, M: Run<O>> {
    held: Held<'a, O>,
    /// Others may join what overlaps.
    shared: Option<Arc<O>>,
    sequence: u64,
    access: Access,
    rest: BoxFuture<'static, Result<Returned<O, M>, RpcError>>,
}

impl<'a, O: Send + Sync + 'static> Turn<'a, O> {
    /// The object's turn, if the object is there or can be made at once, has nothing to do, and calls to it may start
    /// here. Otherwise the call is to be queued, before what this returns is dropped.
    #[inline(always)]
    pub(crate) fn take(
        activation: Found<'a, O>,
        pace: Option<&Pace>,
        access: Access,
        chain: Option<&Arc<Link>>,
    ) -> Result<Self, Option<Begun<O>>> {
        if activation.control.is_of_lasting() {
            return Err(None); // its object has to stay in memory meanwhile
        }
        let is_outermost = NESTED.get() == 0;
        let at_once = is_outermost && AT_ONCE.get();
        let starts_here = |pace: Option<&Pace>| pace.is_some_and(|pace| at_once || pace.is_short());
        if !starts_here(pace) {
            return Err(None);
        }
        let nested = Nested::enter(&activation.control).ok_or(None)?;
        // What is called within another call may have to wait for that one.
        let entered = match activation.enter(access, is_outermost) {
            Entry::Entered(entered) => entered,
            Entry::No => return Err(None),
            Entry::NotMade => match activation.make_at_once(access, chain, starts_here) {
                MadeAtOnce::Made(entered) => entered,
                MadeAtOnce::No(begun) => return Err(begun),
            },
        };
        let held = Held { activation, is_let_go: false, _nested: nested };
        Ok(Self { held, entered, access })
    }

    /// Starts the method: until it first waits.
    pub(crate) fn start<M: Run<O>>(
        self,
        args: M::Args,
        facts: Facts,
        waiting: Option<Arc<dyn Waiting>>,
    ) -> Started<'a, O, M> {
        let Self { held, entered: Entered { object, control, sequence }, access } = self;
        let place = Place { sequence, control };
        let shared = (access == Access::Shared).then(|| object.clone());
        let info = job::info_of::<M>(facts, place, waiting);
        let (ended, control) = if M::WAITS {
            // Polled again by the task that goes on with it, so nothing is lost by a waker that does nothing.
            let cx = &mut Context::from_waker(Waker::noop());
            // What was polled cannot be moved any more.
            let mut run = Box::pin(job::run::<O, M>(object, args, info));
            match ledger::outside_of_transactions(|| run.as_mut().poll(cx)) {
                Poll::Ready(ended) => (ended, run.as_mut().control()),
                Poll::Pending => {
                    return Started::Waits(Waits { held, shared, sequence, access, rest: run });
                }
            }
        } else {
            ledger::outside_of_transactions(|| job::run_to_end::<O, M>(object, args, info))
        };
        drop(shared);
        let (object, end) = parted::<O, M>(ended);
        Started::Ended(Ended { held, object, control }, end)
    }
}

impl<O: Send + Sync + 'static> Held<'_, O> {
    fn let_go(mut self) -> Arc<Activation<O>> {
        self.is_let_go = true;
        self.activation.clone()
    }
}

impl<O: Send + Sync + 'static> Drop for Held<'_, O> {
    /// By a panic that is not the method's: nobody works on the activation any more.
    fn drop(&mut self) {
        if !self.is_let_go {
            drop(Driver::new(self.activation.clone(), None));
        }
    }
}

impl<O: Send + Sync + 'static> Ended<'_, O> {
    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Leaves the object to others: idle, or to a task that works on what came meanwhile.
    pub(crate) fn leave(self) {
        let Self { mut held, object, control } = self;
        held.is_let_go = true;
        held.activation.leave(object, control);
    }
}

impl<O: Send + Sync + 'static, M: Run<O>> Waits<'_, O, M> {
    /// Goes on in a task, and answers from there.
    pub(crate) fn go_on(self, reply: Reply<M::Ok, M::Err>) {
        let Self { held, shared, sequence, access, rest } = self;
        let running = answered::<O, M>(rest, held.activation.control.clone(), reply);
        Driver::new(held.let_go(), shared).go_on(sequence, access, running);
    }
}
