//! A call that starts on the thread that makes it: where the object has nothing to do, most end there, and cost neither
//! a task nor a place in a queue.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use tokio::runtime::{self, Handle};
use tokio::task;

use crate::object::control::Control;
use crate::object::drive::Driver;
use crate::object::job::{Access, End, Facts, Reply, run};
use crate::object::storage::ledger;
use crate::object::strand::Activation;
use crate::rpc::info::Waiting;
use crate::rpc::method::{Method, Run};

/// How many calls of a thread may start within each other: each takes its part of the stack.
const DEPTH: u8 = 16;

thread_local! {
    /// How many calls that were started here have not returned.
    static NESTED: Cell<u8> = const { Cell::new(0) };
    /// The task that was last asked for its runtime: a task stays with one.
    static LAST: Cell<Option<(task::Id, runtime::Id)>> = const { Cell::new(None) };
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

/// The turn of a call that has not come to the object's queue: it had nothing to do.
pub(crate) struct Turn<O: Send + Sync + 'static> {
    driver: Driver<O>,
    object: Arc<O>,
    sequence: u64,
    access: Access,
    _nested: Nested,
}

/// How far it came.
pub(crate) enum Started<O: Send + Sync + 'static, M: Method> {
    Ended(Ended<O>, End<Result<M::Ok, M::Err>>),
    Waits(Waits<O, M>),
}

/// The method is at its end: what it has written is not sealed yet, and the object is not free.
#[must_use]
pub(crate) struct Ended<O: Send + Sync + 'static> {
    driver: Driver<O>,
    object: Arc<O>,
}

/// The method has not come to its end.
#[must_use]
pub(crate) struct Waits<O: Send + Sync + 'static, M: Method> {
    driver: Driver<O>,
    sequence: u64,
    access: Access,
    rest: Rest<O, M>,
}

type Rest<O, M> =
    Pin<Box<dyn Future<Output = (Arc<O>, End<Result<<M as Method>::Ok, <M as Method>::Err>>)> + Send>>;

impl<O: Send + Sync + 'static> Turn<O> {
    /// The object's turn, if the object is there, has nothing to do, and calls to it may start here.
    pub(crate) fn take(activation: Arc<Activation<O>>, access: Access) -> Option<Self> {
        if activation.control.is_of_lasting() {
            return None; // its object has to stay in memory meanwhile
        }
        let nested = Nested::enter(&activation.control)?;
        let (object, sequence) = activation.enter(access)?;
        // Others may join what overlaps.
        let shared = (access == Access::Shared).then(|| object.clone());
        Some(Self { driver: Driver::new(activation, shared), object, sequence, access, _nested: nested })
    }

    /// Starts the method: until it first waits.
    pub(crate) fn start<M: Run<O>>(
        self,
        args: M::Args,
        facts: Facts,
        waiting: Option<Arc<dyn Waiting>>,
    ) -> Started<O, M> {
        let Self { driver, object, sequence, access, _nested } = self;
        let info = facts.of::<M>(driver.place(sequence), waiting);
        let cx = &mut Context::from_waker(Waker::noop());
        ledger::outside_of_transactions(|| {
            if !M::WAITS {
                let polled = pin!(run::<O, M>(object, args, info)).poll_unpin(cx);
                let Poll::Ready((object, end)) = polled else {
                    unreachable!("a method that is no `async fn` does not wait")
                };
                return Started::Ended(Ended { driver, object }, end);
            }
            let mut rest: Rest<O, M> = Box::pin(run::<O, M>(object, args, info));
            // Polled again by the task that goes on with it, so nothing is lost by a waker that does nothing.
            match rest.poll_unpin(cx) {
                Poll::Ready((object, end)) => Started::Ended(Ended { driver, object }, end),
                Poll::Pending => Started::Waits(Waits { driver, sequence, access, rest }),
            }
        })
    }
}

impl<O: Send + Sync + 'static> Ended<O> {
    pub(crate) fn control(&self) -> &Arc<Control> {
        self.driver.control()
    }

    /// Leaves the object to others: idle, or to a task that works on what came meanwhile.
    pub(crate) fn leave(self) {
        let Self { driver, object } = self;
        driver.leave(object);
    }
}

impl<O: Send + Sync + 'static, M: Run<O>> Waits<O, M> {
    /// Goes on in a task, and answers from there.
    pub(crate) fn go_on(self, reply: Reply<M::Ok, M::Err>) {
        let Self { driver, sequence, access, rest } = self;
        let control = driver.control().clone();
        let running = rest.map(move |(object, end)| {
            reply.answer::<M>(&control, end);
            object
        });
        driver.go_on(sequence, access, running.boxed());
    }
}
