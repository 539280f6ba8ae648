//! What leaves, and what it waits for.

use opendo::prelude::*;
use opendo::testing::{self, Disk, Fault};

use crate::room::{Room, RoomStub};
use crate::world::{ask, connect, let_others_run, until};

async fn on(disk: &Disk) -> (Node, RoomStub) {
    let node = testing::on_disk(Node::builder().object::<Room>(), disk).start().await.unwrap();
    let room = node.get("a");
    (node, room)
}

/// 8.19: `send` and `close` wait for the gate, in call order.
#[tokio::test]
async fn what_is_sent_waits_until_what_was_written_before_is_durable() {
    let disk = Disk::new();
    let (node, room) = on(&disk).await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    disk.hold();
    let next = disk.commits() + 1;
    let written = room.tell_what_is_written("one".into());
    let told = room.tell(None, "two".into());
    let closed = room.close(4000, "three".into());
    disk.reached(next).await;
    peer.hears_nothing().await;
    disk.release();
    assert_eq!(peer.hear_text().await, "one");
    assert_eq!(peer.hear_text().await, "two");
    assert_eq!(peer.hear_close().await, (4000, "three".into()));
    for done in [written, told, closed] {
        done.await.unwrap();
    }
}

/// 8.19: an auto-response bypasses the gate, except behind a send of the same socket that waits.
#[tokio::test]
async fn an_auto_response_does_not_wait_for_the_gate_but_for_its_turn() {
    let disk = Disk::new();
    let (node, room) = on(&disk).await;
    room.auto_response("ping".into(), "pong".into()).await.unwrap();
    let mut ann = connect(&node, "/Room/a/socket?ann&told").await;
    let mut ben = connect(&node, "/Room/a/socket?ben").await;
    disk.hold();
    ben.say("log something").await;
    disk.reached(disk.commits() + 1).await;
    let told = room.tell(Some("told".into()), "told".into());
    let_others_run().await;
    ann.say("ping").await;
    ben.say("ping").await;
    assert_eq!(ben.hear_text().await, "pong");
    ann.hears_nothing().await;
    disk.release();
    assert_eq!(ann.hear_text().await, "told");
    assert_eq!(ann.hear_text().await, "pong");
    told.await.unwrap();
}

/// That a client is let in is something that the object says.
#[tokio::test]
async fn a_client_is_in_when_what_was_written_before_is_durable() {
    let disk = Disk::new();
    let (node, _) = on(&disk).await;
    disk.hold();
    let asking = tokio::spawn({
        let node = node.clone();
        async move { connect(&node, "/Room/a/socket/hello?ann").await }
    });
    disk.reached(disk.commits() + 1).await;
    let_others_run().await;
    assert!(!asking.is_finished());
    disk.release();
    assert_eq!(asking.await.unwrap().hear_text().await, "hello");
}

/// 8.19b, 8.20: what waited for a commit that fails never leaves.
#[tokio::test]
async fn a_failed_commit_sends_nothing_and_ends_the_sockets() {
    let disk = Disk::new();
    let (node, room) = on(&disk).await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    disk.inject_next(Fault::Fail);
    assert!(room.tell_what_is_written("never".into()).await.is_err());
    assert_eq!(peer.hear_close().await.0, 1012);
    let room = room.fresh();
    until(async || room.log().await.unwrap().len() == 1).await;
    assert_eq!(room.log().await.unwrap(), ["ann left lost: 1012 the object was reset"]);

    disk.inject_next(Fault::Fail);
    assert_eq!(ask(&node, "/Room/a/socket/hello?ben", &[]).await.err().unwrap().0, 503);
    let room = room.fresh();
    until(async || room.log().await.is_ok_and(|log| log.len() == 2)).await;
    assert_eq!(room.names(None).await.unwrap(), [""; 0]);
}

/// 8.19b: what was sent before the object goes to sleep arrives.
#[tokio::test]
async fn a_sleep_does_not_lose_what_was_sent() {
    let disk = Disk::new();
    let (node, room) = on(&disk).await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    disk.hold();
    let next = disk.commits() + 1;
    let told = room.tell_what_is_written("one".into());
    disk.reached(next).await;
    let sleeping = tokio::spawn({
        let (node, room) = (node.clone(), room.clone());
        async move { testing::hibernate(&node, &room).await }
    });
    let_others_run().await;
    disk.release();
    sleeping.await.unwrap();
    told.await.unwrap();
    assert_eq!(peer.hear_text().await, "one");
}
