//! Calls that come back: refused at once where they would wait for themselves, run where they need not.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use opendo::prelude::*;
use opendo::testing::hibernate;
use opendo::{ErrorKind, NodeBuilder};
use serde::{Deserialize, Serialize};

use super::by_name::{Gate, Log, Signal};
use super::world::{World, unique};

/// What an object does next, and with whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Calls `visit` of that object and waits.
    Visit(String),
    /// Calls the concurrent `pass_by` of that object and waits.
    PassBy(String),
    /// Calls `visit` of that object and does not wait.
    Notify(String),
    /// Calls `visit` of that object, does something else first, then waits.
    VisitLater(String),
    /// Visits the object that [`ABROAD`] knows, at another node.
    Cross,
    /// The same, by `pass_by`.
    CrossBy,
    /// Visits the object of that name at the node that called.
    VisitCaller(String),
    /// The same, by `pass_by`.
    PassByCaller(String),
    /// Waits at the gate.
    Hold(Gate),
}

type Way = Vec<Step>;

/// An object that follows the steps it is given, the rest of which it hands on.
pub struct Hop(Ctx);

/// What went wrong on the way: how far one came, and what the framework said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}: {1}")]
pub struct Stopped(String, String);

type Went = Result<u32, Stopped>;

#[durable_object]
impl Hop {
    /// Goes the way; gives the number of objects on it.
    pub async fn visit(&mut self, #[call] call: &CallInfo, way: Way, log: Log) -> Went {
        log.push(way.len() as u64);
        self.go(call, way, log).await
    }

    /// The same, beside others.
    #[method(concurrent)]
    pub async fn pass_by(&self, #[call] call: &CallInfo, way: Way, log: Log) -> Went {
        log.push(way.len() as u64);
        self.go(call, way, log).await
    }
}

/// Stubs that lead to other nodes, by the name of the object that uses them.
static ABROAD: Plans<HopStub> = LazyLock::new(Mutex::default);

impl Hop {
    fn abroad(&self) -> HopStub {
        ABROAD.lock().unwrap()[self.0.key().name().unwrap()].clone()
    }

    async fn go(&self, call: &CallInfo, mut way: Way, log: Log) -> Went {
        if way.is_empty() {
            return Ok(1);
        }
        let step = way.remove(0);
        let hop = |name: String| self.0.get::<HopStub>(name);
        let answer = match step {
            Step::Visit(name) => hop(name).visit(way, log).await,
            Step::PassBy(name) => hop(name).pass_by(way, log).await,
            Step::Notify(name) => {
                Call::detach(hop(name).visit(way, log));
                return Ok(1);
            }
            Step::VisitLater(name) => {
                let visit = hop(name).visit(way, log);
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                visit.await
            }
            Step::Cross => self.abroad().visit(way, log).await,
            Step::CrossBy => self.abroad().pass_by(way, log).await,
            Step::VisitCaller(name) => call.session().unwrap().get::<HopStub>(name).visit(way, log).await,
            Step::PassByCaller(name) => call.session().unwrap().get::<HopStub>(name).pass_by(way, log).await,
            Step::Hold(gate) => {
                gate.pass().await;
                return Box::pin(self.go(call, way, log)).await;
            }
        };
        answer.map(|hops| hops + 1).map_err(|error| match error {
            CallError::App(stopped) => stopped,
            CallError::Rpc(error) => Stopped(format!("{:?}", error.kind()), error.to_string()),
        })
    }
}

/// By the names of objects.
type Plans<T> = LazyLock<Mutex<HashMap<String, T>>>;

/// What an object does while it is made.
static AT_BIRTH: Plans<(Way, Log)> = LazyLock::new(Mutex::default);

/// What it does while it falls asleep, where it is to be refused.
static AT_SLEEP: Plans<(Way, Log, Signal)> = LazyLock::new(Mutex::default);

impl Hop {
    /// Goes a way that no call asked for, to the first object on it.
    async fn set_out(&self, mut way: Way, log: Log) -> Result<u32, CallError<Stopped>> {
        match way.remove(0) {
            Step::Visit(name) => self.0.get::<HopStub>(name).visit(way, log).await,
            Step::PassBy(name) => self.0.get::<HopStub>(name).pass_by(way, log).await,
            step => panic!("{step:?}"),
        }
    }
}

impl DurableObject for Hop {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let own = Self(ctx);
        let plan = AT_BIRTH.lock().unwrap().get(own.0.key().name().unwrap()).cloned();
        if let Some((way, log)) = plan {
            own.set_out(way, log).await?;
        }
        Ok(own)
    }

    async fn hibernate(&mut self) {
        let plan = AT_SLEEP.lock().unwrap().get(self.0.key().name().unwrap()).cloned();
        if let Some((way, log, refused)) = plan {
            match self.set_out(way, log).await {
                Err(CallError::App(Stopped(kind, _))) if kind == "Reentrant" => refused.raise(),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Hop>()
}

/// Three names that nothing else has.
fn names() -> [String; 3] {
    [unique("a"), unique("b"), unique("c")]
}

fn assert_reentrant(went: Result<u32, CallError<Stopped>>, object: &str) {
    match went {
        Err(CallError::App(Stopped(kind, text))) => {
            assert_eq!(kind, "Reentrant", "{text}");
            assert!(text.contains(object), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

every_way! {
    /// Checklist 4.16, 4.20.
    async fn an_object_that_awaits_a_call_to_itself(world: &World) {
        let [a, ..] = names();
        let hop: HopStub = world.get(a.as_str());
        assert_reentrant(hop.visit(vec![Step::Visit(a.clone())], Log::new()).await, &a);
        assert_eq!(hop.visit(vec![], Log::new()).await?, 1); // nothing is broken
    }

    async fn a_circle_of_three(world: &World) {
        let [a, b, c] = names();
        let log = Log::new();
        let way = vec![Step::Visit(b), Step::Visit(c), Step::Visit(a.clone())];
        assert_reentrant(world.get::<HopStub>(a.as_str()).visit(way, log.clone()).await, &a);
        assert_eq!(log.take(), [3, 2, 1]); // the last one never ran
    }

    /// The cycle may close anywhere on the way.
    async fn a_circle_behind_the_first_object(world: &World) {
        let [a, b, c] = names();
        let way = vec![Step::Visit(b.clone()), Step::Visit(c), Step::Visit(b.clone())];
        assert_reentrant(world.get::<HopStub>(a).visit(way, Log::new()).await, &b);
    }

    async fn a_long_way_without_a_circle(world: &World) {
        let way = (0..50).map(|_| Step::Visit(unique("hop"))).collect();
        assert_eq!(world.get::<HopStub>(unique("hop")).visit(way, Log::new()).await?, 51);
    }

    async fn a_call_back_that_nobody_awaits_runs(world: &World) {
        let [a, b, _] = names();
        let log = Log::new();
        let hop: HopStub = world.get(a.as_str());
        // b is visited and awaited; its call back is not.
        assert_eq!(hop.visit(vec![Step::Visit(b.clone()), Step::Notify(a.clone())], log.clone()).await?, 2);
        hop.visit(vec![], Log::new()).await?; // queued behind the call back
        assert_eq!(log.take(), [2, 1, 0]);
    }

    async fn a_call_back_to_one_who_does_not_wait_runs(world: &World) {
        let [a, b, _] = names();
        let log = Log::new();
        let hop: HopStub = world.get(a.as_str());
        // b is told, nobody waits; b itself waits for its call back.
        let gate = Gate::new();
        let way = vec![Step::Notify(b.clone()), Step::Visit(a.clone()), Step::Hold(gate.clone())];
        assert_eq!(hop.visit(way, log.clone()).await?, 1);
        gate.reached().await; // a was visited again
        gate.open();
        let other: HopStub = world.get(b);
        assert_eq!(other.visit(vec![], Log::new()).await?, 1); // b came to its end
        assert_eq!(log.take(), [3, 2, 1]);
    }

    async fn a_call_to_itself_that_nobody_awaits_runs_next(world: &World) {
        let [a, ..] = names();
        let log = Log::new();
        let hop: HopStub = world.get(a.as_str());
        hop.visit(vec![Step::Notify(a.clone())], log.clone()).await?;
        hop.visit(vec![], Log::new()).await?;
        assert_eq!(log.take(), [1, 0]);
    }

    /// The call is queued already when it turns out that somebody waits for it.
    async fn a_call_that_is_awaited_later_is_refused_then(world: &World) {
        let [a, b, _] = names();
        let hop: HopStub = world.get(a.as_str());
        assert_reentrant(hop.visit(vec![Step::VisitLater(a.clone())], Log::new()).await, &a);
        let way = vec![Step::VisitLater(b), Step::VisitLater(a.clone())];
        assert_reentrant(hop.visit(way, Log::new()).await, &a);
        assert_eq!(hop.visit(vec![], Log::new()).await?, 1);
    }

    async fn concurrent_methods_may_call_in_a_circle(world: &World) {
        let [a, b, _] = names();
        let hop: HopStub = world.get(a.as_str());
        let way = vec![Step::PassBy(b), Step::PassBy(a.clone()), Step::PassBy(a)];
        assert_eq!(hop.pass_by(way, Log::new()).await?, 4);
    }

    /// An exclusive call that waits between them would hold up the inner one for ever.
    async fn a_circle_of_concurrent_methods_overtakes_what_waits_for_it(world: &World) {
        let [a, ..] = names();
        let hop: HopStub = world.get(a.as_str());
        let gate = Gate::new();
        let circle = hop.pass_by(vec![Step::Hold(gate.clone()), Step::PassBy(a.clone())], Log::new());
        gate.reached().await;
        let exclusive = hop.visit(vec![], Log::new());
        world.get::<HopStub>(unique("barrier")).visit(vec![], Log::new()).await?;
        gate.open();
        assert_eq!(circle.await?, 2);
        assert_eq!(exclusive.await?, 1);
    }

    async fn a_circle_with_one_exclusive_method_is_refused(world: &World) {
        let [a, b, _] = names();
        let hop: HopStub = world.get(a.as_str());
        assert_reentrant(
            hop.visit(vec![Step::PassBy(b.clone()), Step::PassBy(a.clone())], Log::new()).await,
            &a,
        );
        assert_reentrant(hop.pass_by(vec![Step::PassBy(b), Step::Visit(a.clone())], Log::new()).await, &a);
    }

    async fn a_circle_through_a_constructor_is_refused(world: &World) {
        let [a, b, _] = names();
        AT_BIRTH.lock().unwrap().insert(b.clone(), (vec![Step::Visit(a.clone())], Log::new()));
        // b is made on behalf of a's call, and calls a.
        let went = world.get::<HopStub>(a.as_str()).visit(vec![Step::Visit(b)], Log::new()).await;
        let Err(CallError::App(Stopped(kind, text))) = went else { panic!("{went:?}") };
        assert_eq!(kind, "Reset");
        assert!(text.contains("the constructor failed") && text.contains("reentrant"), "{text}");
    }

    async fn a_constructor_that_calls_its_own_object_is_refused(world: &World) {
        let [a, b, _] = names();
        let way = vec![Step::Visit(b), Step::PassBy(a.clone())];
        AT_BIRTH.lock().unwrap().insert(a.clone(), (way, Log::new()));
        let error = world.get::<HopStub>(a).visit(vec![], Log::new()).await.unwrap_err();
        let error = error.rpc().expect("a failed constructor");
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Reset, false));
        assert!(error.message().contains("reentrant"), "{error}");
    }

    /// Whatever ran last: nothing runs beside the end of an instance.
    async fn a_circle_through_the_hibernation_hook_is_refused(world: &World) {
        let [a, b, _] = names();
        let (log, refused) = (Log::new(), Signal::new());
        let way = vec![Step::Visit(b), Step::PassBy(a.clone())];
        AT_SLEEP.lock().unwrap().insert(a.clone(), (way, log.clone(), refused.clone()));
        let hop: HopStub = world.get(a.as_str());
        assert_eq!(hop.pass_by(vec![], Log::new()).await?, 1);
        let asleep =
            tokio::time::timeout(std::time::Duration::from_secs(5), hibernate(&world.node, &hop)).await;
        asleep.expect("it hangs");
        assert_eq!(refused.left(), 1);
    }

    /// The chain goes with the calls, over the session there and back.
    async fn a_circle_over_two_nodes_is_refused(world: &World) {
        let home = Node::builder().object::<Hop>().start().await?;
        let client = home.client(world.address()).connect().await?;
        let [a, b, c] = names();
        ABROAD.lock().unwrap().insert(a.clone(), client.get(b.as_str()));
        let hop: HopStub = home.get(a.as_str());
        // From a at home to b abroad, and on: to others there and here, or in a circle.
        assert_eq!(hop.visit(vec![Step::Cross, Step::Visit(c.clone())], Log::new()).await?, 3);
        assert_eq!(hop.visit(vec![Step::Cross, Step::VisitCaller(c)], Log::new()).await?, 3);
        assert_reentrant(hop.visit(vec![Step::Cross, Step::VisitCaller(a.clone())], Log::new()).await, &a);
        assert_reentrant(hop.visit(vec![Step::Cross, Step::Visit(b.clone())], Log::new()).await, &b);
        assert_eq!(hop.pass_by(vec![Step::CrossBy, Step::PassByCaller(a.clone())], Log::new()).await?, 3);
        ABROAD.lock().unwrap().remove(&a);
        client.close().await;
    }
}
