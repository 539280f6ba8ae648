//! Errors concern their caller; panics, aborts and failed constructors concern the instance.

use futures::future::join_all;
use opendo::prelude::*;
use opendo::testing::{hibernate, reset};
use opendo::{ErrorKind, NodeBuilder};

use super::actor::{Actor, ActorStub, Construction, Hibernation, Life, Refusal, arrived};
use super::by_name::{Gate, Log};
use super::world::{Way, World, let_others_run, unique};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>()
}

/// The kind of a call's failure, and whether it may have run.
pub(super) fn failure<T, E>(result: Result<T, CallError<E>>) -> (ErrorKind, bool) {
    match result {
        Err(CallError::Rpc(error)) => (error.kind(), error.may_have_run()),
        Err(CallError::App(_)) => panic!("an error of the method"),
        Ok(_) => panic!("no error"),
    }
}

const RAN: (ErrorKind, bool) = (ErrorKind::Reset, true);
const DID_NOT_RUN: (ErrorKind, bool) = (ErrorKind::Reset, false);

every_way! {
    /// Checklist 2.5, 5.15.
    #[batch]
    async fn an_error_of_a_method_changes_nothing_else(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        assert_eq!(actor.count().await?, 1);
        assert_eq!(actor.refuse(Refusal::NotToday).await, Err(CallError::App(Refusal::NotToday)));
        assert_eq!(actor.count().await?, 3); // memory
        assert_eq!(actor.kept().await?, Some(2)); // storage
        assert_eq!(Life::of(&name).made(), 1);
    }

    /// Checklist 2.6: the running call may have run, those behind it did not.
    async fn a_panic_fails_the_running_call_and_all_behind_it(world: &World) {
        let name = unique("actor");
        let (actor, other): (ActorStub, ActorStub) = (world.get(name.as_str()), world.get(name.as_str()));
        let gate = Gate::new();
        let running = actor.panic(1, gate.clone());
        gate.reached().await;
        let queued = [actor.count(), actor.clone().count(), other.count()];
        arrived(world).await;
        gate.open();
        assert_eq!(failure(running.await), RAN);
        for call in queued {
            assert_eq!(failure(call.await), DID_NOT_RUN);
        }
        assert_eq!(Life::of(&name).live(), 0);
    }

    /// Checklist 2.6, 2.7.
    #[batch]
    async fn a_stub_stays_broken_and_a_fresh_one_reaches_a_new_instance(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        assert_eq!(actor.count().await?, 1);
        let copy = actor.clone();
        assert_eq!(failure(actor.panic_now().await), RAN);
        assert_eq!(failure(actor.count().await), DID_NOT_RUN);
        assert_eq!(failure(copy.count().await), DID_NOT_RUN);
        assert_eq!(failure(copy.with_timeout(std::time::Duration::from_secs(9)).count().await), DID_NOT_RUN);
        let fresh = actor.fresh();
        assert_eq!(fresh.count().await?, 1);
        assert_eq!(world.get::<ActorStub>(name.as_str()).count().await?, 2);
        assert_eq!(failure(actor.count().await), DID_NOT_RUN); // also now
        assert_eq!(Life::of(&name).made(), 2);
    }

    /// Checklist 2.6: only stubs that were connected to the instance break.
    #[batch]
    async fn a_stub_that_was_not_used_before_a_reset_works(world: &World) {
        let name = unique("actor");
        let (used, unused): (ActorStub, ActorStub) = (world.get(name.as_str()), world.get(name.as_str()));
        assert_eq!(failure(used.panic_now().await), RAN);
        assert_eq!(unused.count().await?, 1);
    }

    #[batch]
    async fn the_error_of_a_reset_is_retryable_and_says_what_was_called(world: &World) {
        let name = unique("actor");
        let error = world.get::<ActorStub>(name.as_str()).panic_now().await.unwrap_err();
        assert!(error.is_retryable());
        let error = RpcError::from(error);
        assert!(error.is_reset());
        assert_eq!(error.target(), Some(format!("Actor/{name}.panic_now").as_str()));
        assert!(
            !error.to_string().contains("as the test wants"),
            "a panic's text is not for callers: {error}"
        );
    }

    /// Checklist 2.7, 3.20.
    #[batch]
    async fn a_panic_loses_its_own_writes_and_keeps_those_before(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        actor.keep(1).await?;
        let gate = Gate::new();
        gate.open();
        assert_eq!(failure(actor.panic(2, gate).await), RAN);
        assert_eq!(actor.fresh().kept().await?, Some(1));
    }

    /// Checklist 3.19, 3.20.
    async fn abort_gives_its_reason_and_loses_its_own_writes(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        let running = actor.abort(2, gate.clone());
        gate.reached().await;
        let queued = actor.count();
        arrived(world).await;
        gate.open();
        let error = RpcError::from(running.await.unwrap_err());
        assert_eq!((error.kind(), error.message()), (ErrorKind::Reset, "as the test wants"));
        let error = RpcError::from(queued.await.unwrap_err());
        assert_eq!((error.message(), error.may_have_run()), ("as the test wants", false));
        assert_eq!(actor.fresh().kept().await?, None);
    }

    /// Checklist 2.6: also those that run beside each other.
    async fn a_reset_fails_every_call_that_runs(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        let (log, gate) = (Log::new(), Gate::new());
        let running: Vec<_> =
            (0..3).map(|entry| actor.note_beside(log.clone(), entry, gate.clone())).collect();
        for _ in 0..3 {
            gate.reached().await;
        }
        assert!(reset(&world.node, &actor, "enough").await);
        for _ in 0..3 {
            gate.left().await; // they were dropped, not finished
        }
        for call in running {
            assert_eq!(failure(call.await), RAN);
        }
        assert!(!reset(&world.node, &actor, "again").await);
        assert_eq!(actor.fresh().count().await?, 1);
    }

    /// Checklist 3.22.
    #[batch]
    async fn a_panic_beside_the_calls_concerns_nobody(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let gate = Gate::new();
        actor.panic_later(gate.clone()).await?;
        gate.reached().await;
        gate.open();
        gate.left().await;
        let_others_run().await;
        assert_eq!(actor.count().await?, 1);
    }

    /// An object that idles has no task that would see it.
    async fn an_abort_beside_the_calls_resets_an_idle_object(world: &World) {
        let name = unique("actor");
        let actor: ActorStub = world.get(name.as_str());
        let gate = Gate::new();
        actor.abort_later(gate.clone()).await?;
        gate.reached().await;
        gate.open();
        gate.left().await;
        let_others_run().await;
        let fresh = tokio::time::timeout(std::time::Duration::from_secs(5), actor.fresh().count()).await;
        assert_eq!(fresh.expect("the old instance was never dropped")?, 1);
        assert_eq!(failure(actor.count().await), DID_NOT_RUN);
        assert_eq!((Life::of(&name).made(), Life::of(&name).live()), (2, 1));
    }

    async fn an_abort_beside_the_calls_resets_a_busy_object(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        let (abort, busy) = (Gate::new(), Gate::new());
        actor.abort_later(abort.clone()).await?;
        let running = actor.hold(busy.clone());
        busy.reached().await;
        abort.open();
        assert_eq!(failure(running.await), RAN);
        busy.left().await;
        assert_eq!(actor.fresh().count().await?, 1);
    }

    /// Checklist 3.3.
    async fn a_failed_constructor_fails_all_first_calls_and_leaves_nothing(world: &World) {
        let name = unique("actor");
        let life = Life::of(&name);
        let gate = Gate::new();
        life.construct(Construction::WaitsAndFails(gate.clone()));
        let stubs: Vec<ActorStub> = (0..50).map(|_| world.get(name.as_str())).collect();
        let calls: Vec<_> = stubs.iter().map(|stub| stub.count()).collect();
        gate.reached().await;
        arrived(world).await;
        gate.open();
        for result in join_all(calls).await {
            let error = RpcError::from(result.unwrap_err());
            assert_eq!((error.kind(), error.may_have_run()), DID_NOT_RUN);
            assert_eq!(error.message(), "the constructor failed: no room");
        }
        assert_eq!((life.made(), life.live()), (1, 0));
        let live = world.node.live::<ActorStub>();
        assert!(live.iter().all(|id| id.name() == Some("barrier")), "{live:?}");
    }

    /// Checklist 2.8.
    #[batch]
    async fn after_a_failed_constructor_only_a_fresh_stub_tries_again(world: &World) {
        let name = unique("actor");
        let life = Life::of(&name);
        life.construct(Construction::Fails);
        let actor: ActorStub = world.get(name.as_str());
        assert_eq!(failure(actor.count().await), DID_NOT_RUN);
        life.construct(Construction::Succeeds);
        assert_eq!(failure(actor.count().await), DID_NOT_RUN);
        assert_eq!(life.made(), 1);
        assert_eq!(actor.fresh().count().await?, 1);
        assert_eq!(life.made(), 2);
    }

    #[batch]
    async fn a_constructor_may_panic_or_abort(world: &World) {
        for (construction, text) in
            [(Construction::Panics, "the constructor panicked"), (Construction::Aborts, "as the test wants")]
        {
            let name = unique("actor");
            Life::of(&name).construct(construction);
            let actor: ActorStub = world.get(name.as_str());
            let error = RpcError::from(actor.count().await.unwrap_err());
            assert_eq!((error.kind(), error.message()), (ErrorKind::Reset, text));
            Life::of(&name).construct(Construction::Succeeds);
            assert_eq!(actor.fresh().count().await?, 1);
            assert_eq!(Life::of(&name).live(), 1);
        }
    }

    /// Nothing that a constructor wrote counts when it fails; what it wrote when it succeeds does.
    #[batch]
    async fn a_constructors_writes_are_stored_with_its_success(world: &World) {
        let name = unique("actor");
        Life::of(&name).construct(Construction::Writes(7));
        let actor: ActorStub = world.get(name.as_str());
        assert_eq!(actor.count().await?, 1);
        Life::of(&name).construct(Construction::Succeeds);
        reset(&world.node, &actor, "to look into storage").await;
        assert_eq!(actor.fresh().kept().await?, Some(7));
    }

    #[batch]
    async fn a_hook_that_panics_leaves_no_instance(world: &World) {
        let name = unique("actor");
        Life::of(&name).hibernate(Hibernation::Panics);
        let actor: ActorStub = world.get(name.as_str());
        assert_eq!(actor.count().await?, 1);
        hibernate(&world.node, &actor).await;
        assert_eq!(Life::of(&name).live(), 0);
        assert_eq!(actor.fresh().count().await?, 1);
    }
}

/// Checklist 3.7. Time that stands still passes at once when nothing else can happen: not beside real sockets.
#[tokio::test(start_paused = true)]
async fn a_constructor_that_never_finishes_fails_in_time() {
    let limits =
        opendo::Limits { construction_timeout: std::time::Duration::from_secs(7), ..Default::default() };
    World::run(Way::Memory, hosted().limits(limits), async |world| {
        let name = unique("actor");
        Life::of(&name).construct(Construction::Waits(Gate::new()));
        let (near, far): (ActorStub, ActorStub) = (world.node.get(name.as_str()), world.get(name.as_str()));
        let begun = tokio::time::Instant::now();
        let (near_failed, far_failed) = tokio::join!(near.count(), far.count());
        assert_eq!(begun.elapsed().as_secs(), 7);
        assert_eq!(failure(near_failed), DID_NOT_RUN);
        let error = RpcError::from(far_failed.unwrap_err());
        assert_eq!((error.kind(), error.may_have_run()), DID_NOT_RUN);
        assert!(error.message().contains("longer than 7s"), "{error}");
        assert_eq!(Life::of(&name).live(), 0);
        Life::of(&name).construct(Construction::Succeeds);
        assert_eq!(far.fresh().count().await?, 1);
        Ok(())
    })
    .await;
}
