//! Calls start in the order in which they are made, and each one runs once.

use futures::future::join_all;
use opendo::NodeBuilder;
use opendo::prelude::*;

use super::actor::{Actor, ActorStub};
use super::by_name::{Gate, Log};
use super::values::{Echo, EchoStub};
use super::world::{World, unique};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>().object::<Echo>()
}

every_way! {
    /// Checklist 2.1.
    #[batch]
    async fn calls_start_in_the_order_made_awaited_or_not(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let log = Log::new();
        let calls: Vec<_> = (0..100).map(|entry| actor.note(log.clone(), entry)).collect();
        for call in calls.into_iter().rev() {
            call.await?; // in whatever order they are awaited
        }
        assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    }

    /// Checklist 4.7.
    async fn ten_thousand_increments_count_to_ten_thousand_in_order(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let calls: Vec<_> = (0..10_000).map(|_| actor.count_slowly()).collect();
        let mut counts = Vec::new();
        for call in calls {
            counts.push(call.await?);
        }
        assert_eq!(counts, (1..=10_000).collect::<Vec<_>>());
    }

    async fn each_of_several_stubs_has_its_own_order(world: &World) {
        const STUBS: u64 = 10;
        let name = unique("actor");
        let stubs: Vec<ActorStub> = (0..STUBS).map(|_| world.get(name.as_str())).collect();
        let log = Log::new();
        let calls =
            (0..10_000).map(|entry| stubs[usize::try_from(entry % STUBS).unwrap()].note(log.clone(), entry));
        for result in join_all(calls.collect::<Vec<_>>()).await {
            result?;
        }
        let log = log.take();
        assert_eq!(log.len(), 10_000);
        for stub in 0..STUBS {
            assert!(log.iter().filter(|entry| *entry % STUBS == stub).is_sorted());
        }
    }

    async fn a_clone_shares_the_order_of_its_original(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let views = [actor.clone(), actor.with_timeout(std::time::Duration::from_secs(60)), actor];
        let log = Log::new();
        let calls: Vec<_> = (0..999).map(|entry| views[entry % 3].note(log.clone(), entry as u64)).collect();
        for result in join_all(calls).await {
            result?;
        }
        assert_eq!(log.take(), (0..999).collect::<Vec<_>>());
    }

    async fn calls_of_different_methods_keep_one_order(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (log, gate) = (Log::new(), Gate::new());
        let mut beside = Vec::new();
        let mut alone = Vec::new();
        for entry in 0..30 {
            if entry % 3 == 0 {
                alone.push(actor.note(log.clone(), entry));
            } else {
                gate.open();
                beside.push(actor.note_beside(log.clone(), entry, gate.clone()));
            }
        }
        for result in join_all(beside).await.into_iter().chain(join_all(alone).await) {
            result?;
        }
        assert_eq!(log.take(), (0..30).collect::<Vec<_>>());
    }

    async fn calls_of_many_tasks_run_once_each(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let log = Log::new();
        let tasks = (0..100).map(|task| {
            let (actor, log) = (actor.clone(), log.clone());
            tokio::spawn(async move {
                for call in 0..20 {
                    actor.note(log.clone(), task * 20 + call).await.unwrap();
                }
            })
        });
        for task in join_all(tasks).await {
            task?;
        }
        let mut log = log.take();
        log.sort_unstable();
        assert_eq!(log, (0..2_000).collect::<Vec<_>>());
    }

    #[test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_of_many_threads_run_once_each_and_in_their_order(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let log = Log::new();
        let tasks = (0..8_u64).map(|task| {
            let (actor, log) = (actor.clone(), log.clone());
            tokio::spawn(async move {
                let calls: Vec<_> =
                    (0..250).map(|call| actor.note(log.clone(), task * 1_000 + call)).collect();
                for call in calls {
                    call.await.unwrap();
                }
            })
        });
        for task in join_all(tasks).await {
            task?;
        }
        let log = log.take();
        assert_eq!(log.len(), 2_000);
        for task in 0..8 {
            let own: Vec<_> =
                log.iter().filter(|entry| **entry / 1_000 == task).map(|entry| entry % 1_000).collect();
            assert_eq!(own, (0..250).collect::<Vec<_>>());
        }
    }

    #[batch]
    async fn a_thousand_objects_at_once(world: &World) {
        let prefix = unique("actor");
        let actors: Vec<ActorStub> = (0..1_000).map(|at| world.get(format!("{prefix}/{at}"))).collect();
        let calls: Vec<_> = (0..3).flat_map(|_| &actors).map(|actor| actor.count()).collect();
        let counts: Result<Vec<_>, _> = join_all(calls).await.into_iter().collect();
        assert_eq!(counts?, [1, 2, 3].into_iter().flat_map(|count| [count; 1_000]).collect::<Vec<_>>());
        assert_eq!(world.node.live::<ActorStub>().len(), 1_000);
    }

    #[batch]
    async fn large_and_small_calls_mixed(world: &World) {
        let echo: EchoStub = world.get("echo");
        let text = |at: usize| at.to_string().repeat([1, 50_000, 10, 300_000][at % 4]);
        let calls: Vec<_> = (0..40).map(|at| echo.text(text(at))).collect();
        for (at, call) in calls.into_iter().enumerate() {
            assert!(call.await? == text(at), "call {at}");
        }
    }

    /// Checklist 2.3: an answer does not wait for that of an earlier call to another object.
    async fn a_slow_object_does_not_hold_up_another_one(world: &World) {
        let (slow, quick): (ActorStub, ActorStub) = (world.get(unique("slow")), world.get(unique("quick")));
        let gate = Gate::new();
        let held = slow.hold(gate.clone());
        assert_eq!(quick.count().await?, 1);
        gate.open();
        assert_eq!(held.await?, 1);
    }
}
