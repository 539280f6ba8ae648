//! What becomes of calls that nobody waits for.

use opendo::prelude::*;
use opendo::{ErrorKind, Limits, NodeBuilder};

use super::actor::{Actor, ActorStub, arrived};
use super::by_name::{Gate, Log, Signal};
use super::errors::failure;
use super::world::{World, let_others_run, unique};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>().object::<Waiter>()
}

every_way! {
    async fn a_queued_call_that_is_dropped_never_runs(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        let running = actor.hold(gate.clone());
        gate.reached().await;
        let (first, second, third) =
            (actor.note(log.clone(), 1), actor.note(log.clone(), 2), actor.note(log.clone(), 3));
        arrived(world).await;
        drop(second);
        arrived(world).await;
        gate.open();
        running.await?;
        first.await?;
        third.await?;
        // Over text the other side learns only that nobody wants to know what comes of it.
        assert_eq!(log.take(), if world.is_text() { vec![1, 2, 3] } else { vec![1, 3] });
    }

    async fn a_call_that_is_dropped_at_once_may_still_be_stopped(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        let running = actor.hold(gate.clone());
        for entry in 0..100 {
            drop(actor.note(log.clone(), entry)); // never polled
        }
        arrived(world).await;
        gate.open();
        running.await?;
        let noted = if world.is_text() { 100 } else { 0 };
        assert_eq!(actor.count().await?, 2);
        assert_eq!(log.take(), (0..noted).collect::<Vec<_>>());
    }

    /// A withdrawn call does not count as one that waits.
    async fn dropped_calls_make_room_for_others(world: &World) {
        let limits = Limits { max_mailbox: 3, ..Default::default() };
        let node = Node::builder().object::<Actor>().limits(limits).start().await?;
        let address = node.listen(&format!("memory:{}", unique("narrow"))).await?.to_string();
        let client = opendo::connect(&address).await?;
        let name = unique("actor");
        let actor: ActorStub = if world.is_remote() { client.get(name) } else { node.get(name) };
        let barrier: ActorStub = if world.is_remote() { client.get("barrier") } else { node.get("barrier") };
        let gate = Gate::new();
        let running = actor.hold(gate.clone());
        gate.reached().await;
        drop([actor.count(), actor.count(), actor.count()]);
        barrier.count().await?;
        let queued = [actor.count(), actor.count(), actor.count()];
        let one_more = actor.count();
        assert_eq!(failure(one_more.await), (ErrorKind::Overloaded, false));
        gate.open();
        running.await?;
        for call in queued {
            call.await?;
        }
        client.close().await;
    }

    /// Checklist 10.17.
    async fn a_full_mailbox_refuses_and_recovers(world: &World) {
        let limits = Limits { max_mailbox: 2, ..Default::default() };
        let node = Node::builder().object::<Actor>().limits(limits).start().await?;
        let address = node.listen(&format!("memory:{}", unique("narrow"))).await?.to_string();
        let client = opendo::connect(&address).await?;
        let name = unique("actor");
        let actor: ActorStub = if world.is_remote() { client.get(name) } else { node.get(name) };
        let gate = Gate::new();
        let running = actor.hold(gate.clone());
        gate.reached().await;
        let queued = [actor.count(), actor.count()];
        let error = RpcError::from(actor.count().await.unwrap_err());
        assert_eq!(
            (error.kind(), error.may_have_run(), error.is_retryable()),
            (ErrorKind::Overloaded, false, false)
        );
        gate.open();
        assert_eq!(running.await?, 1);
        for (call, count) in queued.into_iter().zip([2, 3]) {
            assert_eq!(call.await?, count);
        }
        assert_eq!(actor.count().await?, 4); // the same stub, and the refused one left no trace
        client.close().await;
    }

    /// Checklist 2.17.
    async fn a_running_call_that_is_dropped_learns_it_and_goes_on(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (started, gone, gate) = (Signal::new(), Signal::new(), Gate::new());
        let running = actor.hold_watchful(started.clone(), gone.clone(), gate.clone());
        started.wait().await;
        let_others_run().await;
        assert_eq!(gone.left(), 0);
        drop(running);
        gone.wait().await;
        gate.open();
        assert_eq!(actor.count().await?, 2); // it ran to its end before
    }

    async fn a_method_may_agree_to_be_dropped(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        let running = actor.hold_cancel(gate.clone());
        gate.reached().await;
        let queued = actor.count();
        drop(running);
        gate.left().await; // it was never opened
        assert_eq!(queued.await?, 1);
        assert_eq!(actor.count().await?, 2); // no reset
    }

    async fn a_method_that_agrees_to_be_dropped_answers_those_who_wait(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        let running = actor.hold_cancel(gate.clone());
        gate.reached().await;
        gate.open();
        running.await?;
    }

    async fn a_detached_call_runs(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        Call::detach(actor.note_and_hold(log.clone(), 1, gate.clone()));
        Call::detach(actor.note(log.clone(), 2));
        gate.reached().await;
        gate.open();
        assert_eq!(actor.count().await?, 1);
        assert_eq!(log.take(), [1, 2]);
    }

    async fn a_detached_call_is_not_cancelled(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        Call::detach(actor.hold_cancel(gate.clone()));
        gate.reached().await;
        arrived(world).await;
        let_others_run().await;
        gate.open();
        actor.count().await?;
        gate.left().await;
    }

    /// Checklist 2.17, over a connection of its own; in process the stub is all there is to drop.
    async fn a_call_outlives_its_client(world: &World) {
        let name = unique("actor");
        let (started, gone, gate) = (Signal::new(), Signal::new(), Gate::new());
        if world.is_remote() {
            let client = world.dial().connect().await?;
            let actor: ActorStub = client.get(name.as_str());
            let running = actor.hold_watchful(started.clone(), gone.clone(), gate.clone());
            started.wait().await;
            drop((running, actor, client));
        } else {
            let actor: ActorStub = world.get(name.as_str());
            let running = actor.hold_watchful(started.clone(), gone.clone(), gate.clone());
            started.wait().await;
            drop((running, actor));
        }
        gone.wait().await;
        gate.open();
        assert_eq!(world.get::<ActorStub>(name.as_str()).count().await?, 2);
    }

    async fn a_detached_call_outlives_its_client(world: &World) {
        let name = unique("actor");
        let (log, gate) = (Log::new(), Gate::new());
        {
            let client = world.dial().connect().await?;
            let actor: ActorStub =
                if world.is_remote() { client.get(name.as_str()) } else { world.get(name.as_str()) };
            Call::detach(actor.note_and_hold(log.clone(), 1, gate.clone()));
            Call::detach(actor.note(log.clone(), 2));
        }
        gate.reached().await;
        gate.open();
        gate.left().await;
        let_others_run().await;
        let actor: ActorStub = world.get(name.as_str());
        actor.count().await?;
        assert_eq!(log.take(), [1, 2]);
    }

    async fn everybody_who_waits_for_the_caller_to_go_is_told(world: &World) {
        let waiter: WaiterStub = world.get("waiter");
        let (ready, told) = (Signal::new(), Signal::new());
        let running = waiter.wait_in_many_places(ready.clone(), told.clone());
        for _ in 0..3 {
            ready.wait().await;
        }
        drop(running);
        for _ in 0..3 {
            let told = tokio::time::timeout(std::time::Duration::from_secs(5), told.wait()).await;
            told.expect("only the last one to wait was told");
        }
    }

    async fn dropping_the_result_of_a_finished_call_is_nothing_special(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let unread = actor.count();
        assert_eq!(actor.count().await?, 2);
        drop(unread);
        assert_eq!(actor.count().await?, 3);
    }
}

pub struct Waiter;

#[durable_object]
impl Waiter {
    /// Waits for its caller to go in three tasks.
    pub async fn wait_in_many_places(&mut self, #[call] call: &CallInfo, ready: Signal, told: Signal) {
        let tasks = (0..3).map(|_| {
            let (call, ready, told) = (call.clone(), ready.clone(), told.clone());
            async move {
                let gone = call.cancelled();
                let mut gone = std::pin::pin!(gone);
                assert!(futures::poll!(&mut gone).is_pending());
                ready.raise();
                gone.await;
                told.raise();
            }
        });
        for task in tasks.map(tokio::spawn).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
}

impl DurableObject for Waiter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}
