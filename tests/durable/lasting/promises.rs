//! What holds wherever the caller is.

use std::time::Duration;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::testing::{self, hibernate, reset};
use opendo::{ErrorKind, NodeBuilder};

use super::room::{self, Does, RoomStub};
use crate::by_name::{Gate, Log};
use crate::world::{World, failure, is_pending, let_others_run};

fn hosted() -> NodeBuilder {
    room::hosted()
}

every_way! {
    async fn nothing_runs_before_it_is_called_and_it_is_made_once_for_all_stubs(world: &World) {
        let (room, log): (RoomStub, _) = (world.get("a"), Log::new());
        let door = room.door("front".into(), Does::Log(log.clone())).await?;
        let same = room.door("front".into(), Does::Log(log.clone())).await?;
        room.written().await?;
        assert!(log.take().is_empty());
        let (one, two) = (door.knock(), same.knock());
        let mut knocks = [one.await?, two.await?];
        knocks.sort_unstable();
        assert_eq!(knocks, [1, 2]);
        assert_eq!(log.take(), [0]);
        assert_eq!(room.plain("back".into()).await?.knock().await?, 1);
        assert_eq!(world.get::<RoomStub>("b").door("front".into(), Does::Log(log.clone())).await?.knock().await?, 1);
    }

    async fn its_stub_survives_hibernation_and_its_memory_does_not(world: &World) {
        let room: RoomStub = world.get("a");
        let door = room.plain("front".into()).await?;
        assert_eq!(door.knock().await?, 1);
        assert_eq!(door.knock().await?, 2);
        hibernate(&world.node, &room).await;
        assert!(world.node.live::<RoomStub>().is_empty());
        assert_eq!(door.knock().await?, 1);
        assert_eq!(door.name().await?, "front");
        assert_eq!(world.node.live::<RoomStub>().len(), 1);
    }

    async fn calls_start_in_order_also_while_it_is_made(world: &World) {
        let (room, log, gate): (RoomStub, _, _) = (world.get("a"), Log::new(), Gate::new());
        let door = room.door("front".into(), Does::Pass(gate.clone())).await?;
        for round in 0..2 {
            let mut notes: Vec<_> = (0..50).map(|entry| door.note(log.clone(), entry)).collect();
            gate.reached().await;
            notes.extend((50..100).map(|entry| door.note(log.clone(), entry)));
            assert!(is_pending(&mut notes[99]).await);
            gate.open();
            for note in notes {
                note.await?;
            }
            assert_eq!(log.take(), (0..100).collect::<Vec<_>>(), "round {round}");
            hibernate(&world.node, &room).await;
        }
    }

    async fn it_is_made_in_the_turn_of_its_object_and_then_runs_beside_it(world: &World) {
        let (room, log, gate): (RoomStub, _, _) = (world.get("a"), Log::new(), Gate::new());
        let door = room.door("front".into(), Does::Log(log.clone())).await?;
        let stands = room.stand(gate.clone());
        gate.reached().await;
        let mut knock = door.knock();
        assert!(is_pending(&mut knock).await);
        assert!(log.take().is_empty());
        gate.open();
        stands.await?;
        assert_eq!(knock.await?, 1);

        let stands = room.stand(gate.clone());
        gate.reached().await;
        assert_eq!(door.knock().await?, 2);
        gate.open();
        stands.await?;
    }

    async fn an_error_of_restore_fails_the_calls_that_wait_and_the_next_one_tries_again(world: &World) {
        let room: RoomStub = world.get("a");
        let door = room.door("front".into(), Does::Ask).await?;
        let (one, two) = (door.knock(), door.knock());
        let error = one.await.unwrap_err();
        assert!(error.to_string().contains("the room is closed"), "{error}");
        assert_eq!(failure(two.await), (ErrorKind::NotRestored, false));
        assert_eq!(failure(door.knock().await), (ErrorKind::NotRestored, false));
        room.open().await?;
        assert_eq!(door.knock().await?, 1);
        assert_eq!(door.knock().await?, 2);
    }

    async fn a_panic_of_restore_resets_the_object(world: &World) {
        let room: RoomStub = world.get("a");
        room.open().await?;
        let door = room.door("front".into(), Does::Panic).await?;
        assert_eq!(failure(door.knock().await), (ErrorKind::Reset, false));
        assert_eq!(failure(door.knock().await), (ErrorKind::Reset, false));
        assert_eq!(failure(room.written().await).0, ErrorKind::Reset);
        let asking = room.fresh().door("side".into(), Does::Ask).await?;
        assert_eq!(failure(asking.knock().await), (ErrorKind::NotRestored, false));
    }

    async fn a_panic_in_it_resets_it_alone(world: &World) {
        let room: RoomStub = world.get("a");
        let door = room.plain("front".into()).await?;
        assert_eq!(door.knock().await?, 1);
        let (panics, behind) = (door.panic(), door.knock());
        assert_eq!(failure(panics.await), (ErrorKind::Reset, true));
        assert_eq!(failure(behind.await), (ErrorKind::Reset, false));
        assert_eq!(failure(door.knock().await), (ErrorKind::Reset, false));
        room.written().await?;
        assert_eq!(door.fresh().knock().await?, 1);
    }

    async fn a_reset_of_its_object_resets_it(world: &World) {
        let (room, gate): (RoomStub, _) = (world.get("a"), Gate::new());
        let door = room.plain("front".into()).await?;
        let (stands, behind) = (door.stand(gate.clone()), door.knock());
        gate.reached().await;
        assert!(reset(&world.node, &room, "as the test wants").await);
        gate.left().await;
        assert_eq!(failure(stands.await), (ErrorKind::Reset, true));
        assert_eq!(failure(behind.await), (ErrorKind::Reset, false));
        assert_eq!(failure(door.knock().await), (ErrorKind::Reset, false));
        assert_eq!(door.fresh().knock().await?, 1);
    }

    async fn a_reset_while_it_is_made_fails_its_calls(world: &World) {
        let (room, gate): (RoomStub, _) = (world.get("a"), Gate::new());
        let door = room.door("front".into(), Does::Pass(gate.clone())).await?;
        let (one, two) = (door.knock(), door.knock());
        gate.reached().await;
        reset(&world.node, &room, "as the test wants").await;
        assert_eq!(failure(one.await), (ErrorKind::Reset, false));
        assert_eq!(failure(two.await), (ErrorKind::Reset, false));
        gate.open();
        assert_eq!(door.fresh().knock().await?, 1);
    }

    async fn its_object_stays_as_long_as_a_call_of_it_runs(world: &World) {
        let (room, gate): (RoomStub, _) = (world.get("a"), Gate::new());
        let door = room.plain("front".into()).await?;
        let stands = door.stand(gate.clone());
        gate.reached().await;
        assert_eq!(room.reasons().await?, "[Targets(1)]");
        let mut asleep = Box::pin(hibernate(&world.node, &room));
        assert!(is_pending(&mut asleep).await);
        gate.open();
        stands.await?;
        asleep.await;
        assert!(world.node.live::<RoomStub>().is_empty());
    }

    async fn its_object_stays_as_long_as_a_stream_of_it_is_open(world: &World) {
        let (room, gate): (RoomStub, _) = (world.get("a"), Gate::new());
        let mut numbers = room.plain("front".into()).await?.numbers(gate.clone()).await?;
        let mut next = numbers.next();
        assert!(is_pending(&mut next).await);
        assert_eq!(room.reasons().await?, "[Streams(1)]");
        gate.open();
        assert_eq!(next.await.transpose()?, Some(7));
    }

    async fn what_it_says_waits_for_what_its_object_has_written(world: &World) {
        let room: RoomStub = world.get("a");
        let door = room.plain("front".into()).await?;
        door.knock().await?;
        let before = world.disk.commits();
        world.disk.hold();
        let mut wrote = door.write("one".into(), 1);
        world.disk.reached(before + 1).await;
        assert!(is_pending(&mut wrote).await);
        let mut knock = door.knock();
        assert!(is_pending(&mut knock).await);
        world.disk.release();
        assert_eq!(wrote.await?, 1);
        assert_eq!(knock.await?, 2);
    }

    async fn what_restore_has_written_is_durable_before_the_target_says_anything(world: &World) {
        let room: RoomStub = world.get("a");
        let door = room.door("front".into(), Does::Write("made ".into())).await?;
        let before = world.disk.commits();
        world.disk.hold();
        let mut knock = door.knock();
        world.disk.reached(before + 1).await;
        assert!(is_pending(&mut knock).await);
        world.disk.release();
        assert_eq!(knock.await?, 1);
        assert_eq!(room.written().await?, "made ");
    }

    async fn it_calls_its_object_as_others_do(world: &World) {
        let room: RoomStub = world.get("a");
        let door = room.plain("front".into()).await?;
        door.write_in_turn("hello".into()).await?;
        assert_eq!(room.written().await?, "hello");
    }

    async fn an_object_that_waits_for_a_target_it_has_to_make_is_told_so(world: &World) {
        let (room, gate): (RoomStub, _) = (world.get("a"), Gate::new());
        let door = room.plain("front".into()).await?;
        assert_eq!(failure_of(room.knock(door.clone()).await), ErrorKind::Reentrant);
        assert_eq!(door.knock().await?, 1);
        assert_eq!(room.knock(door.clone()).await?, 2);

        // Others wait for the same target, and get it.
        hibernate(&world.node, &room).await;
        let knocks = room.stand_and_knock(gate.clone(), door.clone());
        gate.reached().await;
        let mut other = door.knock();
        assert!(is_pending(&mut other).await);
        gate.open();
        assert_eq!(failure_of(knocks.await), ErrorKind::Reentrant);
        assert_eq!(other.await?, 1);
    }

    async fn a_cycle_through_restore_is_refused(world: &World) {
        let room: RoomStub = world.get("a");
        let front = room.plain("front".into()).await?;
        let back = room.door("back".into(), Does::Knock(Box::new(front.clone()))).await?;
        let error = back.knock().await.unwrap_err();
        assert!(error.to_string().contains("waits for this very call"), "{error}");
        front.knock().await?;
        assert_eq!(back.knock().await?, 1);
    }

    async fn it_is_stored_by_its_own_object_and_by_others(world: &World) {
        let (a, b): (RoomStub, RoomStub) = (world.get("a"), world.get("b"));
        let door = a.plain("front".into()).await?;
        assert_eq!(door.knock().await?, 1);
        a.keep(door.clone()).await?;
        b.keep(door.clone()).await?;
        assert_eq!(b.kept().await?[0].knock().await?, 2);
        hibernate(&world.node, &a).await;
        hibernate(&world.node, &b).await;
        assert_eq!(b.kept().await?[0].knock().await?, 1);
        assert_eq!(a.kept().await?[0].knock().await?, 2);
        assert_eq!(door.knock().await?, 3);
    }

    async fn parameters_hold_stubs_and_have_a_limit(world: &World) {
        let (a, b): (RoomStub, RoomStub) = (world.get("a"), world.get("b"));
        let front = a.plain("front".into()).await?;
        let other = b.door("other".into(), Does::Knock(Box::new(front.clone()))).await?;
        assert_eq!(other.knock().await?, 1);
        assert_eq!(front.knock().await?, 2);
        // Two bytes of length, one of what it does.
        assert_eq!(a.plain("x".repeat(16 * 1024 - 3)).await?.knock().await?, 1);
        let error = a.plain("x".repeat(16 * 1024 - 2)).await.unwrap_err();
        assert!(error.to_string().contains("16384 are the most"), "{error}");
    }

    async fn one_that_nobody_registered_refuses_calls(world: &World) {
        let room: RoomStub = world.get("a");
        assert_eq!(failure(room.window().await?.look().await).0, ErrorKind::NoSuchClass);
    }

    async fn many_targets_leave_memory_when_they_have_nothing_to_do(world: &World) {
        let (room, gate): (RoomStub, _) = (world.get("a"), Gate::new());
        let (first, busy) = (room.plain("first".into()).await?, room.plain("busy".into()).await?);
        assert_eq!(first.knock().await?, 1);
        busy.knock().await?;
        let stands = busy.stand(gate.clone());
        gate.reached().await;
        for number in 0..1100 {
            room.plain(format!("{number}")).await?.knock().await?;
        }
        assert_eq!(first.knock().await?, 1, "it was made anew");
        gate.open();
        stands.await?;
        assert_eq!(busy.knock().await?, 2, "it was not");
    }
}

fn failure_of<T>(result: Result<T, CallError<RpcError>>) -> ErrorKind {
    match result {
        Err(CallError::Rpc(error) | CallError::App(error)) => error.kind(),
        Ok(_) => panic!("it did not fail"),
    }
}

#[tokio::test]
async fn a_stub_of_one_is_no_stub_of_an_object() {
    let node = hosted().start().await.unwrap();
    let room: RoomStub = node.get("a");
    let door = room.plain("front".into()).await.unwrap();
    assert!(door.key().is_none());
    assert_eq!(format!("{door:?}"), "DoorStub(Room/a:door)");
    testing::hibernate(&node, &door).await;
    assert_eq!(node.live::<RoomStub>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_not_idle_while_its_targets_are_called() {
    let node = hosted().start().await.unwrap();
    let room: RoomStub = node.get("a");
    let door = room.plain("front".into()).await.unwrap();
    for knocks in 1..60 {
        assert_eq!(door.knock().await.unwrap(), knocks);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    let_others_run().await;
    assert!(node.live::<RoomStub>().is_empty());
    assert_eq!(door.knock().await.unwrap(), 1);
}

#[tokio::test]
async fn more_calls_than_may_wait_are_refused_while_it_is_made() {
    let limits = opendo::Limits { max_mailbox: 10, ..Default::default() };
    let node = hosted().limits(limits).start().await.unwrap();
    let (room, gate): (RoomStub, _) = (node.get("a"), Gate::new());
    let door = room.door("front".into(), Does::Pass(gate.clone())).await.unwrap();
    let calls: Vec<_> = (0..11).map(|_| door.knock()).collect();
    gate.reached().await;
    gate.open();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await);
    }
    assert_eq!(failure(answers.pop().unwrap()), (ErrorKind::Overloaded, false));
    for (answer, knocks) in answers.into_iter().zip(1..) {
        assert_eq!(answer.unwrap(), knocks);
    }
}
