//! What overlaps and what does not.

use opendo::NodeBuilder;
use opendo::prelude::*;

use super::actor::{Actor, ActorStub, arrived};
use super::by_name::{Gate, Log};
use super::world::{World, let_others_run, unique};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>()
}

every_way! {
    /// Checklist 4.19: `&self` makes no difference to a durable object.
    async fn exclusive_methods_never_overlap(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        let running = actor.hold_shared(gate.clone());
        gate.reached().await;
        let queued = [actor.hold_shared(gate.clone()), actor.hold_shared(gate.clone())];
        arrived(world).await;
        let_others_run().await;
        assert_eq!(gate.waiting(), 0);
        gate.open();
        running.await?;
        for call in queued {
            gate.reached().await;
            assert_eq!(gate.waiting(), 0);
            gate.open();
            call.await?;
        }
    }

    async fn concurrent_methods_overlap(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        let running: Vec<_> =
            (0..100).map(|entry| actor.note_beside(log.clone(), entry, gate.clone())).collect();
        for _ in 0..100 {
            gate.reached().await; // all of them, before any is let through
        }
        assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
        for _ in 0..100 {
            gate.open();
        }
        for call in running {
            call.await?;
        }
    }

    async fn an_exclusive_method_waits_for_concurrent_ones_and_holds_up_later_ones(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, before, alone, after) = (Log::new(), Gate::new(), Gate::new(), Gate::new());
        let first = [
            actor.note_beside(log.clone(), 1, before.clone()),
            actor.note_beside(log.clone(), 2, before.clone()),
        ];
        let exclusive = actor.note_and_hold(log.clone(), 3, alone.clone());
        let last = [
            actor.note_beside(log.clone(), 4, after.clone()),
            actor.note_beside(log.clone(), 5, after.clone()),
        ];
        for _ in 0..2 {
            before.reached().await;
        }
        arrived(world).await;
        let_others_run().await;
        assert_eq!(log.take(), [1, 2]);
        before.open();
        let_others_run().await;
        assert!(log.take().is_empty()); // one of the two still runs
        before.open();
        alone.reached().await;
        arrived(world).await;
        let_others_run().await;
        assert_eq!(log.take(), [3]);
        alone.open();
        for _ in 0..2 {
            after.reached().await;
        }
        assert_eq!(log.take(), [4, 5]);
        after.open();
        after.open();
        for call in first.into_iter().chain([exclusive]).chain(last) {
            call.await?;
        }
    }

    async fn concurrent_calls_finish_in_any_order(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, slow, quick) = (Log::new(), Gate::new(), Gate::new());
        let first = actor.note_beside(log.clone(), 1, slow.clone());
        let second = actor.note_beside(log.clone(), 2, quick.clone());
        quick.open();
        second.await?;
        slow.open();
        first.await?;
        assert_eq!(log.take(), [1, 2]);
    }

    async fn objects_do_not_wait_for_each_other(world: &World) {
        let gate = Gate::new();
        let running: Vec<_> =
            (0..50).map(|_| world.get::<ActorStub>(unique("actor")).hold(gate.clone())).collect();
        for _ in 0..50 {
            gate.reached().await;
        }
        for _ in 0..50 {
            gate.open();
        }
        for call in running {
            assert_eq!(call.await?, 1);
        }
    }
}
