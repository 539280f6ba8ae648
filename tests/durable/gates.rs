//! Nothing that an object says leaves before what it wrote is durable.

use std::time::Duration;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::testing::{Disk, Fault, on_disk, reset};
use opendo::{ErrorKind, NodeBuilder, pipe};

use crate::by_name::{Gate, Log};
use crate::desk::{Desk, DeskStub};
use crate::world::{World, failure, is_pending, let_others_run};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Desk>()
}

/// A callback that notes what it is told.
fn noting(log: &Log) -> Callback<u64, ()> {
    let log = log.clone();
    Callback::new(move |value| {
        let log = log.clone();
        async move { log.push(value) }
    })
}

every_way! {
    /// Checklist 4.10, 4.11.
    async fn a_reply_waits_for_what_was_written_before_it_and_no_longer(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let (mut one, mut two) = (desk.put("one".into(), 1), desk.put("two".into(), 2));
        world.disk.reached(1).await;
        assert!(is_pending(&mut one).await);
        assert!(world.disk.release_one());
        assert_eq!(one.await?, 1);
        world.disk.reached(2).await;
        assert!(is_pending(&mut two).await);
        world.disk.release();
        assert_eq!(two.await?, 2);
    }

    /// Checklist 4.11, 5.15: what is returned as an error says as much as what is returned.
    async fn an_error_waits_too_and_takes_nothing_back(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let mut refused = desk.refuse("one".into(), 1);
        world.disk.reached(1).await;
        assert!(is_pending(&mut refused).await);
        world.disk.release();
        assert!(matches!(refused.await, Err(CallError::App(text)) if text == "as the test wants"));
        assert_eq!(desk.get("one".into()).await?, Some(1));
    }

    /// Checklist 4.10: the object goes on, and what it says of unconfirmed writes waits for them.
    async fn later_calls_run_meanwhile_and_their_replies_wait_in_turn(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let log = Log::new();
        let mut first = desk.put("one".into(), 1);
        let (mut read, mut marked, mut count) =
            (desk.get("one".into()), desk.mark(log.clone(), 7), desk.calls());
        world.disk.reached(1).await;
        assert!(is_pending(&mut first).await);
        assert!(is_pending(&mut read).await);
        assert!(is_pending(&mut marked).await);
        assert!(is_pending(&mut count).await);
        assert_eq!(log.take(), [7], "it ran meanwhile");
        world.disk.release();
        assert_eq!(count.await?, 3);
        assert_eq!((read.await?, first.await?), (Some(1), 1));
        marked.await?;
    }

    /// Checklist 4.11.
    async fn callbacks_wait(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let log = Log::new();
        let told = desk.put_and_tell("one".into(), 1, noting(&log));
        world.disk.reached(1).await;
        let_others_run().await;
        assert!(log.take().is_empty());
        world.disk.release();
        told.await?;
        desk.calls().await?;
        let_others_run().await;
        assert_eq!(log.take(), [1]);
    }

    /// Checklist 4.11, 9.28.
    async fn calls_that_are_awaited_wait_and_are_answered(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let log = Log::new();
        let asked = log.clone();
        let ask = Callback::new(move |value| {
            let asked = asked.clone();
            async move {
                asked.push(value);
                value + 1
            }
        });
        let mut answer = desk.put_and_ask("one".into(), 1, ask);
        world.disk.reached(1).await;
        assert!(is_pending(&mut answer).await);
        assert!(log.take().is_empty());
        world.disk.release();
        assert_eq!(answer.await?, 2);
        assert_eq!(log.take(), [1]);
    }

    /// Checklist 4.11.
    async fn calls_of_other_objects_and_calls_on_their_results_wait(world: &World) {
        let desk: DeskStub = world.get("a");
        world.get::<DeskStub>("b").calls().await?;
        desk.calls().await?;
        world.disk.hold();
        let log = Log::new();
        let mut chained = desk.put_and_chain("b".into(), log.clone());
        world.disk.reached(1).await;
        assert!(is_pending(&mut chained).await);
        assert!(log.take().is_empty());
        world.disk.release();
        assert_eq!(chained.await?, 12);
        assert_eq!(log.take(), [1, 2]);
    }

    /// Checklist 4.11.
    async fn calls_of_groups_wait(world: &World) {
        let desk: DeskStub = world.get("a");
        let log = Log::new();
        for _ in 0..3 {
            desk.join(noting(&log)).await?;
        }
        world.disk.hold();
        let told = desk.put_and_tell_all(5);
        world.disk.reached(1).await;
        let_others_run().await;
        assert!(log.take().is_empty());
        world.disk.release();
        told.await?;
        desk.calls().await?;
        let_others_run().await;
        assert_eq!(log.take(), [5, 5, 5]);
    }

    /// What was said to a group and then to one of it arrives so.
    async fn calls_of_groups_keep_their_place(world: &World) {
        let desk: DeskStub = world.get("a");
        let log = Log::new();
        let one = noting(&log);
        desk.join(one.clone()).await?;
        world.disk.hold();
        let told: Vec<_> =
            (1..=30).step_by(2).map(|value| desk.put_and_tell_all_and_one(value, one.clone())).collect();
        world.disk.reached(1).await;
        while world.disk.release_one() {
            let_others_run().await;
        }
        world.disk.release();
        for told in told {
            told.await?;
        }
        let_others_run().await;
        assert_eq!(log.take(), (1..=30).collect::<Vec<_>>());
    }

    /// What an object serves says no more than the object itself.
    async fn targets_of_objects_wait(world: &World) {
        let desk: DeskStub = world.get("a");
        let drawer = desk.drawer().await?;
        world.disk.hold();
        let mut kept = drawer.put("one".into(), 1);
        world.disk.reached(1).await;
        assert!(is_pending(&mut kept).await);
        world.disk.release();
        assert_eq!(kept.await?, 1);
        // A panic costs the target, not the object.
        assert_eq!(failure(drawer.panic().await), (ErrorKind::Reset, true));
        desk.put("two".into(), 2).await?;
        world.disk.inject_next(Fault::Fail);
        let other = desk.drawer().await?;
        assert_eq!(failure(other.put("three".into(), 3).await), (ErrorKind::Reset, true));
        assert_eq!(desk.fresh().all().await?, [("one".to_owned(), 1), ("two".to_owned(), 2)]);
    }

    /// What leaves keeps its order, whether it had to wait or not.
    async fn what_leaves_keeps_its_order(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        let log = Log::new();
        let tell = noting(&log);
        world.disk.hold();
        let mut told = Vec::new();
        for value in (1..=30).step_by(3) {
            told.push(desk.tell(value, tell.clone()));
            Call::detach(desk.put_and_tell(format!("{value}"), value + 1, tell.clone()));
            told.push(desk.tell(value + 2, tell.clone()));
        }
        world.disk.reached(1).await;
        while world.disk.release_one() {
            let_others_run().await;
        }
        world.disk.release();
        for told in told {
            told.await?;
        }
        desk.calls().await?;
        let_others_run().await;
        assert_eq!(log.take(), (1..=30).collect::<Vec<_>>());
    }

    /// Checklist 4.12, 2.6, 2.7.
    async fn nothing_leaves_that_waited_for_a_commit_that_failed(world: &World) {
        let desk: DeskStub = world.get("a");
        let log = Log::new();
        desk.put("kept".into(), 1).await?;
        desk.join(noting(&log)).await?;
        world.disk.hold();
        world.disk.inject(3.., Fault::Fail);
        let first = desk.put("one".into(), 1);
        world.disk.reached(2).await;
        let waiting = [desk.put_and_tell("two".into(), 2, noting(&log)), desk.put_and_tell_all(3)];
        let (calls, refused) = (desk.calls(), desk.refuse("three".into(), 3));
        let_others_run().await;
        assert!(world.disk.release_one());
        assert_eq!(first.await?, 1, "what was durable before is told");
        for call in waiting {
            assert_eq!(failure(call.await), (ErrorKind::Reset, true));
        }
        assert_eq!(failure(calls.await), (ErrorKind::Reset, true));
        assert_eq!(failure(refused.await), (ErrorKind::Reset, true));
        world.disk.release();
        let_others_run().await;
        assert!(log.take().is_empty(), "nobody was told");
        // The stub is as lost as what it was connected to; a fresh one reaches what is durable.
        assert_eq!(failure(desk.calls().await).0, ErrorKind::Reset);
        let desk = desk.fresh();
        assert_eq!(desk.calls().await?, 1);
        assert_eq!(desk.all().await?, [("kept".to_owned(), 1), ("one".to_owned(), 1)]);
    }

    /// A call that waits to leave, and is not wanted any more, never does.
    async fn a_call_that_is_dropped_while_it_is_held_never_runs(world: &World) {
        let desk: DeskStub = world.get("a");
        world.get::<DeskStub>("b").calls().await?;
        desk.calls().await?;
        world.disk.hold();
        let (log, gate) = (Log::new(), Gate::new());
        let dropped = desk.put_and_drop("b".into(), log.clone(), gate.clone());
        gate.reached().await;
        world.disk.reached(1).await;
        gate.open();
        gate.left().await;
        world.disk.release();
        dropped.await?;
        world.get::<DeskStub>("b").calls().await?;
        assert!(log.take().is_empty());
    }

    /// Checklist 3.19, 3.20: what was said before an abort was said for good, and what it waits for is durable.
    async fn what_was_said_before_an_abort_leaves_and_what_was_written_behind_it_is_lost(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let log = Log::new();
        assert_eq!(failure(desk.put_tell_put_abort(noting(&log)).await), (ErrorKind::Reset, true));
        world.disk.reached(1).await;
        let_others_run().await;
        assert!(log.take().is_empty());
        world.disk.release();
        let desk = desk.fresh();
        assert_eq!(desk.all().await?, [("first".to_owned(), 1)]);
        let_others_run().await;
        assert_eq!(log.take(), [1]);
    }

    /// The next instance does not begin before it is known what the last one wrote.
    async fn a_reset_instance_is_followed_when_its_commits_have_landed(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let mut written = desk.increment();
        world.disk.reached(1).await;
        assert!(is_pending(&mut written).await);
        let (node, stub) = (world.node.clone(), desk.clone());
        let reset = tokio::spawn(async move { reset(&node, &stub, "as the test wants").await });
        let_others_run().await;
        let mut next = desk.fresh().increment();
        assert!(is_pending(&mut next).await);
        world.disk.release();
        assert_eq!(written.await?, 1, "its reply was only waiting for the disk");
        assert!(reset.await?);
        assert_eq!(next.await?, 2);
    }

    /// Checklist 5.26: not for what is written later.
    async fn sync_waits_for_what_was_written_before_it_and_no_longer(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let log = Log::new();
        let (one, mut two) =
            (desk.put_and_sync("one".into(), 1, log.clone()), desk.put_and_sync("two".into(), 2, log.clone()));
        world.disk.reached(1).await;
        assert!(is_pending(&mut two).await);
        assert!(log.take().is_empty());
        world.disk.release_one();
        world.disk.reached(2).await;
        assert!(is_pending(&mut two).await);
        assert_eq!(log.take(), [1]);
        world.disk.release();
        two.await?;
        one.await?; // behind what the other one had written before it returned
        assert_eq!(log.take(), [2]);
    }

    /// Checklist 5.26, 4.12.
    async fn sync_does_not_resolve_when_the_commit_fails(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        let log = Log::new();
        world.disk.inject_next(Fault::Fail);
        let lost = desk.put_and_sync("one".into(), 1, log.clone()).await;
        assert_eq!(failure(lost), (ErrorKind::Reset, true));
        assert!(log.take().is_empty());
        assert_eq!(desk.fresh().get("one".into()).await?, None);
    }

    /// A commit whose answer was lost is sent again, and counts once.
    async fn a_lost_answer_applies_once(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.inject(1..=3, Fault::LoseAnswer);
        assert_eq!(desk.increment().await?, 1);
        assert_eq!(world.disk.commits(), 4, "sent until it is answered");
        assert_eq!(desk.increment().await?, 2);
        assert_eq!(desk.all().await?, [("count".to_owned(), 2)]);
    }

    /// A stream says what its values say (checklist 4.11).
    async fn the_values_of_a_stream_wait_for_what_was_written_before_them(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let mut values = desk.values(2).await?;
        {
            let mut next = values.next();
            assert!(is_pending(&mut next).await, "it says what is not durable");
            world.disk.reached(1).await;
            world.disk.release();
            assert_eq!(next.await.unwrap()?, 1);
        }
        assert_eq!(values.next().await.unwrap()?, 2);
        assert!(values.next().await.is_none());
    }

    /// The same for what is written to a sink (checklist 4.11).
    async fn what_goes_into_a_sink_waits_for_what_was_written_before_it(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let (sink, mut values) = pipe::<u64>();
        let poured = desk.pour(2, sink);
        world.disk.reached(1).await;
        {
            let mut next = values.next();
            assert!(is_pending(&mut next).await, "it says what is not durable");
            world.disk.release();
            assert_eq!(next.await.unwrap()?, 1);
        }
        assert_eq!(values.next().await.unwrap()?, 2);
        assert!(values.next().await.is_none());
        poured.await?;
    }

    /// Checklist 3.23: work beside the calls is the object's, too; the last it wrote is committed when it ends.
    async fn what_is_said_beside_the_calls_waits_too(world: &World) {
        let desk: DeskStub = world.get("a");
        let (log, gate) = (Log::new(), Gate::new());
        desk.put_and_tell_later(4, noting(&log), gate.clone()).await?;
        world.disk.hold();
        gate.reached().await;
        gate.open();
        gate.left().await;
        world.disk.reached(1).await;
        let_others_run().await;
        assert!(log.take().is_empty());
        assert!(world.disk.release_one());
        world.disk.reached(2).await;
        let_others_run().await;
        assert_eq!(log.take(), [4]);
        world.disk.release();
        reset(&world.node, &desk, "to look again").await;
        assert_eq!(desk.fresh().all().await?, [("last".to_owned(), 4), ("later".to_owned(), 4)]);
    }

    /// Checklist 4.10: what the constructor writes comes before every reply.
    async fn replies_wait_for_what_the_constructor_wrote(world: &World) {
        world.disk.hold();
        let desk: DeskStub = world.get("counts-its-instances");
        let mut calls = desk.calls();
        world.disk.reached(1).await;
        assert!(is_pending(&mut calls).await);
        world.disk.release();
        assert_eq!(calls.await?, 1);
        assert_eq!(desk.all().await?, [("made".to_owned(), 1)]);
    }

    /// A panic loses what its call wrote; what earlier calls said waits on for what they wrote.
    async fn a_panic_does_not_take_held_replies_along(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.calls().await?;
        world.disk.hold();
        let gate = Gate::new();
        let mut first = desk.put("one".into(), 1);
        let panics = desk.panic("two".into(), 2, gate.clone());
        gate.reached().await;
        gate.open();
        assert_eq!(failure(panics.await), (ErrorKind::Reset, true));
        assert!(is_pending(&mut first).await);
        world.disk.release();
        assert_eq!(first.await?, 1);
        assert_eq!(desk.fresh().all().await?, [("one".to_owned(), 1)]);
    }

    /// A value that cannot be read fails the call and nothing more.
    async fn a_read_that_fails_is_an_error_of_the_method(world: &World) {
        let desk: DeskStub = world.get("a");
        desk.put("one".into(), 1).await?;
        world.disk.fail_reads(true);
        assert!(matches!(desk.get("one".into()).await, Err(CallError::App(_))));
        assert!(matches!(desk.all().await, Err(CallError::App(_))));
        // Nothing is known of one that is not in memory.
        assert_eq!(failure(world.get::<DeskStub>("b").calls().await), (ErrorKind::Reset, false));
        world.disk.fail_reads(false);
        assert_eq!(desk.get("one".into()).await?, Some(1));
        assert_eq!(world.get::<DeskStub>("b").calls().await?, 1);
    }
}

/// Checklist 3.18: whoever is not the owner any more cannot write, and says nothing.
#[tokio::test]
async fn a_former_owner_cannot_write_and_says_nothing() {
    let disk = Disk::new();
    let first = on_disk(hosted(), &disk).start().await.unwrap();
    let second = on_disk(hosted(), &disk).start().await.unwrap();
    let (here, there): (DeskStub, DeskStub) = (first.get("a"), second.get("a"));
    assert_eq!(here.increment().await.unwrap(), 1);
    assert_eq!(there.increment().await.unwrap(), 2);
    let log = Log::new();
    assert_eq!(failure(here.put_and_tell("lost".into(), 1, noting(&log)).await), (ErrorKind::Reset, true));
    let_others_run().await;
    assert!(log.take().is_empty());
    // It may take it back.
    assert_eq!(here.fresh().increment().await.unwrap(), 3);
    assert_eq!(here.fresh().all().await.unwrap(), [("count".to_owned(), 3)]);
    assert_eq!(failure(there.increment().await), (ErrorKind::Reset, true));
    assert_eq!(there.fresh().increment().await.unwrap(), 4);
}

/// Checklist 4.13, 5.31.
#[tokio::test]
async fn what_was_answered_survives_a_crash_and_what_was_not_may_be_lost() {
    let disk = Disk::new();
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    let desk: DeskStub = node.get("a");
    assert_eq!(desk.increment().await.unwrap(), 1);
    disk.hold();
    let held = desk.increment();
    let behind = desk.increment();
    disk.reached(2).await;
    opendo::testing::crash(&node).await;
    for lost in [held, behind] {
        assert!(matches!(lost.await, Err(CallError::Rpc(error)) if error.may_have_run()));
    }
    assert_eq!(failure(desk.fresh().calls().await), (ErrorKind::Closed, false));
    disk.release();
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    assert_eq!(node.get::<DeskStub>("a").increment().await.unwrap(), 2);
    node.shutdown(Duration::from_secs(1)).await;
}

/// A commit that was applied and not acknowledged is there after a crash, and not twice.
#[tokio::test]
async fn what_was_written_and_not_acknowledged_survives_a_crash_once() {
    let disk = Disk::new();
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    let desk: DeskStub = node.get("a");
    disk.inject_next(Fault::HoldAnswer);
    let mut held = desk.increment();
    disk.reached(1).await;
    assert!(is_pending(&mut held).await);
    opendo::testing::crash(&node).await;
    assert!(held.await.is_err());
    disk.release();
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    assert_eq!(node.get::<DeskStub>("a").increment().await.unwrap(), 2);
}
