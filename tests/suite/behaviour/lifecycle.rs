//! Instances come and go; there is never more than one of an object.

use std::sync::mpsc;
use std::time::Duration;

use futures::future::join_all;
use opendo::prelude::*;
use opendo::testing::{hibernate, reset};
use opendo::{ErrorKind, NodeBuilder};

use super::actor::{Actor, ActorStub, Construction, Hibernation, Life, arrived};
use super::by_name::{ByName, Gate, Signal};
use super::errors::failure;
use super::world::{World, let_others_run, unique};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>().object::<Blocking>()
}

every_way! {
    /// Checklist 1.14.
    async fn making_ids_and_stubs_starts_nothing(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        let id = world.namespace::<ActorStub>().id_from_name(&name);
        let others = [world.get::<ActorStub>(&id), actor.clone(), actor.fresh()];
        assert!(others.iter().all(|stub| stub.id().as_ref() == Some(&id)));
        arrived(world).await;
        assert_eq!(Life::of(&name).made(), 0);
        assert_eq!(actor.count().await?, 1);
        assert_eq!(Life::of(&name).made(), 1);
    }

    /// One object, whichever way leads to it.
    async fn all_ways_lead_to_the_same_instance(world: &World) {
        let name = unique("actor");
        let client = world.dial().connect().await?;
        let stubs: [ActorStub; 4] = [
            world.get(name.as_str()),
            world.node.get(name.as_str()),
            client.get(name.as_str()),
            world.get(name.as_str()),
        ];
        for (stub, count) in stubs.iter().zip(1..) {
            assert_eq!(stub.count().await?, count);
        }
        hibernate(&world.node, &stubs[2]).await;
        for (stub, count) in stubs.iter().zip(1..) {
            assert_eq!(stub.count().await?, count);
        }
        assert_eq!((Life::of(&name).made(), Life::of(&name).most()), (2, 1));
        client.close().await;
    }

    /// Checklist 2.4, 3.1.
    async fn a_thousand_racing_first_calls_share_one_construction(world: &World) {
        let name = unique("actor");
        let gate = Gate::new();
        Life::of(&name).construct(Construction::Waits(gate.clone()));
        let stubs: Vec<ActorStub> = (0..1_000).map(|_| world.get(name.as_str())).collect();
        let calls: Vec<_> = stubs.iter().map(|stub| stub.count()).collect();
        gate.reached().await;
        arrived(world).await;
        gate.open();
        let counts: Result<Vec<_>, _> = join_all(calls).await.into_iter().collect();
        let mut counts = counts?;
        counts.sort_unstable();
        assert_eq!(counts, (1..=1_000).collect::<Vec<_>>());
        assert_eq!((Life::of(&name).made(), gate.waiting()), (1, 0));
    }

    #[test(flavor = "multi_thread", worker_threads = 2)]
    async fn racing_threads_share_one_construction(world: &World) {
        for _ in 0..20 {
            let name = unique("actor");
            let tasks = (0..16).map(|_| {
                let actor: ActorStub = world.get(name.as_str());
                tokio::spawn(async move { actor.count().await })
            });
            let mut counts = Vec::new();
            for count in join_all(tasks).await {
                counts.push(count??);
            }
            counts.sort_unstable();
            assert_eq!(counts, (1..=16).collect::<Vec<_>>());
            assert_eq!(Life::of(&name).made(), 1);
        }
    }

    #[test(flavor = "multi_thread", worker_threads = 2)]
    async fn resets_racing_with_fresh_stubs_never_give_two_instances(world: &World) {
        let name = unique("actor");
        let callers = (0..4).map(|_| {
            let actor: ActorStub = world.get(name.as_str());
            tokio::spawn(async move {
                for _ in 0..100 {
                    match actor.fresh().count_slowly().await {
                        Ok(count) => assert!(count > 0),
                        Err(error) => assert_eq!(error.rpc().map(RpcError::kind), Some(ErrorKind::Reset)),
                    }
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        let actor: ActorStub = world.get(name.as_str());
        for _ in 0..100 {
            reset(&world.node, &actor, "again").await;
            hibernate(&world.node, &actor).await;
            tokio::task::yield_now().await;
        }
        for caller in callers {
            caller.await?;
        }
        let life = Life::of(&name);
        assert_eq!(life.most(), 1);
        assert!(life.live() <= 1);
        actor.fresh().count().await?;
        assert_eq!(life.live(), 1);
    }

    /// A method that does not yield keeps its instance in memory; nobody gets another one before it is gone.
    #[test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_resets_do_not_outrun_an_instance_that_cannot_be_dropped_yet(world: &World) {
        let name = unique("blocking");
        let (release, blocked) = mpsc::channel();
        let block = Block::new();
        *block.until.lock().unwrap() = Some(blocked);
        let (stub, blocks): (BlockingStub, _) = (world.get(name.as_str()), block.clone());
        // It may start on the thread that makes the call, and then blocks that.
        let running = tokio::spawn(async move { stub.block(blocks).await });
        block.started.wait().await;
        let mut waiting = Vec::new();
        let mut resets = Vec::new();
        for _ in 0..3 {
            let stub: BlockingStub = world.get(name.as_str());
            let (node, object) = (world.node.clone(), stub.clone());
            resets.push(tokio::spawn(async move { reset(&node, &object, "again").await }));
            for _ in 0..50 {
                let_others_run().await;
            }
            waiting.push(tokio::spawn(async move { stub.nothing().await }));
            for _ in 0..50 {
                let_others_run().await;
            }
        }
        let most = Life::of(&name).most();
        release.send(())?;
        assert_eq!(failure(running.await?), (ErrorKind::Reset, true));
        for reset in resets {
            reset.await?;
        }
        for call in waiting {
            let _ = call.await?; // some met a reset
        }
        assert_eq!(most, 1);
        assert_eq!(Life::of(&name).most(), 1);
    }

    /// Checklist 2.9, 3.15.
    async fn hibernation_loses_memory_keeps_storage_and_stubs_do_not_notice(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        actor.keep(5).await?;
        assert_eq!((actor.count().await?, actor.count().await?), (1, 2));
        hibernate(&world.node, &actor).await;
        assert_eq!(Life::of(&name).live(), 0);
        assert!(!world.node.live::<ActorStub>().contains(&actor.id().unwrap()));
        assert_eq!((actor.count().await?, actor.kept().await?), (1, Some(5)));
        assert_eq!(actor.clone().count().await?, 2);
        assert_eq!(Life::of(&name).made(), 2);
    }

    async fn the_hook_runs_before_the_instance_leaves(world: &World) {
        let name = unique("actor");
        let told = Signal::new();
        Life::of(&name).hibernate(Hibernation::Tells(told.clone()));
        let actor: ActorStub = world.get(name.as_str());
        hibernate(&world.node, &actor).await;
        assert_eq!((told.left(), Life::of(&name).made()), (0, 0)); // not in memory: nothing to do
        actor.count().await?;
        hibernate(&world.node, &actor).await;
        assert_eq!(told.left(), 1);
        actor.count().await?;
        reset(&world.node, &actor, "not sleep").await;
        assert_eq!(told.left(), 1); // thrown away, not asleep
    }

    async fn what_the_hook_writes_is_stored(world: &World) {
        let name = unique("actor");
        Life::of(&name).hibernate(Hibernation::Writes(9));
        let actor: ActorStub = world.get(name.as_str());
        actor.keep(1).await?;
        hibernate(&world.node, &actor).await;
        assert_eq!(actor.kept().await?, Some(9));
    }

    async fn calls_behind_a_hibernation_get_a_new_instance(world: &World) {
        let name = unique("actor");
        let gate = Gate::new();
        Life::of(&name).hibernate(Hibernation::Waits(gate.clone()));
        let actor: ActorStub = world.get(name.as_str());
        assert_eq!(actor.count().await?, 1);
        let (node, object) = (world.node.clone(), actor.clone());
        let sleeping = tokio::spawn(async move { hibernate(&node, &object).await });
        gate.reached().await;
        let calls = [actor.count(), world.get::<ActorStub>(name.as_str()).count(), actor.count()];
        arrived(world).await;
        gate.open();
        sleeping.await?;
        let counts: Result<Vec<_>, _> = join_all(calls).await.into_iter().collect();
        let mut counts = counts?;
        counts.sort_unstable();
        assert_eq!(counts, [1, 2, 3]);
        assert_eq!((Life::of(&name).made(), Life::of(&name).most()), (2, 1));
    }

    async fn hibernation_waits_for_the_calls_before_it(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        let gate = Gate::new();
        let (first, second) = (actor.hold(gate.clone()), actor.count());
        gate.reached().await;
        arrived(world).await;
        let (node, object) = (world.node.clone(), actor.clone());
        let sleeping = tokio::spawn(async move { hibernate(&node, &object).await });
        let_others_run().await;
        assert!(!sleeping.is_finished());
        gate.open();
        assert_eq!((first.await?, second.await?), (1, 2));
        sleeping.await?;
        assert_eq!(actor.count().await?, 1);
    }

    /// Checklist 3.11, 3.23.
    async fn work_beside_the_calls_keeps_the_object_awake(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        let gate = Gate::new();
        actor.later(gate.clone()).await?;
        gate.reached().await;
        let (node, object) = (world.node.clone(), actor.clone());
        let sleeping = tokio::spawn(async move { hibernate(&node, &object).await });
        let_others_run().await;
        assert_eq!((sleeping.is_finished(), Life::of(&name).live()), (false, 1));
        gate.open();
        sleeping.await?;
        gate.left().await;
        assert_eq!(Life::of(&name).live(), 0);
    }

    async fn work_beside_the_calls_is_cancelled_by_a_reset(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        actor.later(gate.clone()).await?;
        gate.reached().await;
        reset(&world.node, &actor, "enough").await;
        gate.left().await; // never opened: it was dropped
    }

    async fn what_work_beside_the_calls_writes_is_stored(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        actor.keep_later(3, gate.clone()).await?;
        gate.open();
        hibernate(&world.node, &actor).await;
        assert_eq!(actor.kept().await?, Some(3));
    }

    /// A cycle too: the object would wait for its work, and that for a call behind the hibernation.
    async fn work_beside_the_calls_may_call_its_own_object_while_that_falls_asleep(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (gate, done) = (Gate::new(), Signal::new());
        actor.count_later(gate.clone(), done.clone()).await?;
        gate.reached().await;
        let (node, object) = (world.node.clone(), actor.clone());
        let sleeping = tokio::spawn(async move { hibernate(&node, &object).await });
        let_others_run().await;
        gate.open();
        tokio::time::timeout(Duration::from_secs(5), done.wait()).await.expect("it hangs");
        sleeping.await?;
    }

    async fn live_names_the_objects_in_memory(world: &World) {
        let (one, two) = (unique("actor"), unique("actor"));
        assert!(world.node.live::<ActorStub>().is_empty());
        let (first, second): (ActorStub, ActorStub) = (world.get(one.as_str()), world.get(two.as_str()));
        first.count().await?;
        second.count().await?;
        let mut names: Vec<_> =
            world.node.live::<ActorStub>().iter().filter_map(|id| id.name().map(str::to_owned)).collect();
        names.sort_unstable();
        let mut expected = vec![one, two];
        expected.sort_unstable();
        assert_eq!(names, expected);
        hibernate(&world.node, &first).await;
        assert_eq!(world.node.live::<ActorStub>(), [second.id().unwrap()]);
    }

    async fn a_node_that_shuts_down_sends_its_objects_to_sleep(world: &World) {
        let name = unique("actor");
        let told = Signal::new();
        Life::of(&name).hibernate(Hibernation::Tells(told.clone()));
        let actor: ActorStub = world.get(name.as_str());
        let gate = Gate::new();
        let running = actor.hold(gate.clone());
        gate.reached().await;
        let node = world.node.clone();
        let shutdown = tokio::spawn(async move { node.shutdown(Duration::from_secs(60)).await });
        let_others_run().await;
        gate.open();
        assert_eq!(running.await?, 1); // what runs is answered
        shutdown.await?;
        assert_eq!((told.left(), Life::of(&name).live()), (1, 0));
        if !world.is_remote() {
            let refused = world.get::<ActorStub>(name.as_str()).count().await;
            assert_eq!(failure(refused), (ErrorKind::Closed, false));
        }
    }
}

/// An object with a method that blocks its thread.
pub struct Blocking(#[allow(dead_code)] super::actor::Alive);

#[derive(Default)]
pub struct BlockOn {
    started: super::by_name::Times,
    until: std::sync::Mutex<Option<mpsc::Receiver<()>>>,
}

type Block = ByName<BlockOn>;

#[durable_object]
impl Blocking {
    pub fn block(&mut self, block: Block) {
        let until = block.until.lock().unwrap().take().unwrap();
        block.started.raise();
        until.recv().unwrap();
    }

    pub fn nothing(&self) {}
}

impl DurableObject for Blocking {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(super::actor::Alive::new(Life::of(ctx.key().name().unwrap()))))
    }
}
