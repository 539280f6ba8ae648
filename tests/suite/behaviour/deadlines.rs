//! Calls whose time runs out. Short times really pass here: beside real sockets a paused clock would jump.

use std::time::Duration;

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};

use super::actor::{Actor, ActorStub, arrived};
use super::by_name::{Gate, Log, Signal};
use super::errors::failure;
use super::world::{Way, World, let_others_run, unique};

/// Enough for a method to start, and soon over.
const SOON: Duration = Duration::from_millis(400);
const AT_ONCE: Duration = Duration::from_millis(5);
const NEVER: Duration = Duration::from_secs(3_600);

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>().object::<Clock>()
}

every_way! {
    async fn a_running_method_that_takes_too_long_may_have_run(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        let running = actor.with_timeout(SOON).hold(gate.clone());
        gate.reached().await;
        let error = RpcError::from(running.await.unwrap_err());
        assert_eq!(
            (error.kind(), error.may_have_run(), error.is_retryable()),
            (ErrorKind::Deadline, true, false)
        );
        assert!(error.target().is_some_and(|target| target.ends_with(".hold")), "{error}");
        gate.open();
        assert_eq!(actor.count().await?, 2); // it ran to its end all the same
    }

    async fn a_queued_call_whose_time_is_over_never_runs(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        let running = actor.hold(gate.clone());
        gate.reached().await;
        let expired = actor.with_timeout(AT_ONCE).note(log.clone(), 1);
        arrived(world).await;
        let (kind, may_have_run) = failure(expired.await);
        assert_eq!(kind, ErrorKind::Deadline);
        // From afar nobody can know.
        assert!(world.is_remote() || !may_have_run);
        tokio::time::sleep(AT_ONCE).await; // it has arrived: its time is over there, too
        gate.open();
        running.await?;
        actor.note(log.clone(), 2).await?;
        // Over text it is the caller alone who knows of a deadline.
        assert_eq!(log.take(), if world.is_text() { vec![1, 2] } else { vec![2] });
    }

    /// The object itself refuses it: nobody is there to withdraw it.
    async fn a_detached_call_whose_time_is_over_never_runs(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        let running = actor.hold(gate.clone());
        gate.reached().await;
        Call::detach(actor.with_timeout(AT_ONCE).note(log.clone(), 1));
        Call::detach(actor.with_timeout(NEVER).note(log.clone(), 2));
        arrived(world).await;
        tokio::time::sleep(2 * AT_ONCE).await; // time itself is what this is about
        gate.open();
        running.await?;
        actor.note(log.clone(), 3).await?;
        assert_eq!(log.take(), if world.is_text() { vec![1, 2, 3] } else { vec![2, 3] });
    }

    async fn a_deadline_tells_the_method_that_its_caller_is_gone(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (started, gone, gate) = (Signal::new(), Signal::new(), Gate::new());
        let running = actor.with_timeout(SOON).hold_watchful(started.clone(), gone.clone(), gate.clone());
        started.wait().await;
        assert_eq!(failure(running.await).0, ErrorKind::Deadline);
        gone.wait().await;
        gate.open();
        assert_eq!(actor.count().await?, 2);
    }

    async fn a_deadline_drops_a_method_that_agrees(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        let running = actor.with_timeout(SOON).hold_cancel(gate.clone());
        gate.reached().await;
        assert_eq!(failure(running.await), (ErrorKind::Deadline, true));
        gate.left().await;
        assert_eq!(actor.count().await?, 1);
    }

    #[batch]
    async fn the_method_sees_how_much_time_is_left(world: &World) {
        let clock: ClockStub = world.get("clock");
        assert_eq!(clock.remaining().await?, None);
        let remaining = clock.with_timeout(NEVER).remaining().await?;
        if world.is_text() {
            assert_eq!(remaining, None);
            return Ok(());
        }
        let remaining = remaining.expect("a deadline");
        assert!(remaining <= NEVER && remaining > NEVER - Duration::from_secs(60), "{remaining:?}");
        assert_eq!(clock.remaining().await?, None); // the view has it, not the stub
    }

    async fn a_deadline_is_not_inherited(world: &World) {
        let clock: ClockStub = world.get("clock");
        assert_eq!(clock.with_timeout(NEVER).anothers_remaining().await?, None);
    }

    async fn a_deadline_beyond_the_clock_is_none(world: &World) {
        let clock: ClockStub = world.get("clock");
        assert_eq!(clock.with_timeout(Duration::MAX).remaining().await?, None);
    }

    #[batch]
    async fn no_time_at_all_is_over_at_once(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let log = Log::new();
        assert_eq!(
            failure(actor.with_timeout(Duration::ZERO).note(log.clone(), 1).await).0,
            ErrorKind::Deadline
        );
        arrived(world).await;
        let_others_run().await;
        assert!(log.take().is_empty());
    }

    async fn the_last_timeout_counts(world: &World) {
        let clock: ClockStub = world.get("clock");
        if world.is_text() {
            // Nothing tells but the time that passes.
            let (actor, gate): (ActorStub, _) = (world.get(unique("actor")), Gate::new());
            let held = actor.with_timeout(NEVER).with_timeout(AT_ONCE).hold(gate.clone());
            assert_eq!(failure(held.await).0, ErrorKind::Deadline);
            gate.open();
            return Ok(());
        }
        let both = clock.with_timeout(Duration::from_secs(60)).with_timeout(NEVER);
        assert!(both.remaining().await? > Some(Duration::from_secs(120)));
        let fresh = both.fresh();
        assert!(fresh.remaining().await? > Some(Duration::from_secs(120)));
    }

    async fn a_client_has_a_timeout_for_all_its_calls(world: &World) {
        let client = world.dial().timeout(SOON).connect().await?;
        let name = unique("actor");
        let (actor, clock): (ActorStub, ClockStub) = (client.get(name.as_str()), client.get("clock"));
        assert!(clock.remaining().await? <= Some(SOON));
        if !world.is_text() {
            assert!(clock.with_timeout(NEVER).remaining().await? > Some(SOON));
        }
        let gate = Gate::new();
        let running = actor.hold(gate.clone());
        gate.reached().await;
        assert_eq!(failure(running.await), (ErrorKind::Deadline, true));
        gate.open();
        client.close().await;
    }
}

/// With the clock in our hands: in process and over memory nothing happens beside it.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_exact() {
    for way in [Way::InProcess, Way::Memory] {
        World::run(way, hosted(), async |world| {
            let actor: ActorStub = world.get(unique("actor"));
            let gate = Gate::new();
            let begun = tokio::time::Instant::now();
            let running = actor.with_timeout(Duration::from_secs(7)).hold(gate.clone());
            let queued = actor.with_timeout(Duration::from_secs(3)).count();
            assert_eq!(failure(queued.await).0, ErrorKind::Deadline);
            assert_eq!(begun.elapsed().as_millis() / 10, 300);
            assert_eq!(failure(running.await), (ErrorKind::Deadline, true));
            assert_eq!(begun.elapsed().as_millis() / 10, 700);
            gate.open();
            assert_eq!(actor.count().await?, 2);
            Ok(())
        })
        .await;
    }
}

pub struct Clock(Ctx);

#[durable_object]
impl Clock {
    pub fn remaining(&self, #[call] call: &CallInfo) -> Option<Duration> {
        assert_eq!(call.deadline().is_some(), call.remaining().is_some());
        call.remaining()
    }

    pub async fn anothers_remaining(&self) -> Option<Duration> {
        self.0.get::<ClockStub>("another").remaining().await.unwrap()
    }
}

impl DurableObject for Clock {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx))
    }
}
