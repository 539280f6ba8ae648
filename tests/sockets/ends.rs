//! How sockets end, and that the object is told, once.

use std::time::Duration;

use futures::SinkExt;
use opendo::prelude::*;
use opendo::testing::{self, Disk};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::room::{Fragile, FragileStub, MAKEABLE, Room, RoomStub};
use crate::world::{connect, let_others_run, until};

async fn node() -> (Node, RoomStub) {
    let node = Node::builder().object::<Room>().object::<Fragile>().start().await.unwrap();
    let room = node.get("a");
    (node, room)
}

async fn logged(room: &RoomStub, expected: &[&str]) {
    until(async || room.log().await.unwrap().len() >= expected.len()).await;
    let_others_run().await;
    assert_eq!(room.log().await.unwrap(), expected);
}

/// 8.14, 8.15: the peer closes; the answer comes from the node, also while the object sleeps.
#[tokio::test]
async fn a_peer_that_closes_is_answered_and_its_object_is_told_once() {
    let (node, room) = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    testing::hibernate(&node, &room).await;
    peer.say("log last words").await;
    peer.close(4321, "enough").await;
    assert_eq!(peer.hear_close().await, (4321, "enough".into()));
    logged(&room, &["last words", "ann left cleanly: 4321 enough"]).await;

    let mut peer = connect(&node, "/Room/b/socket?ben").await;
    peer.0.close(None).await.unwrap();
    logged(&node.get("b"), &["ben left cleanly: 1005 "]).await;
}

/// 8.14: the peer vanishes.
#[tokio::test]
async fn a_peer_that_vanishes_is_gone_with_1006() {
    let (node, room) = node().await;
    let peer = connect(&node, "/Room/a/socket?ann").await;
    testing::hibernate(&node, &room).await;
    drop(peer);
    logged(&room, &["ann left lost: 1006 the connection ended without a close frame"]).await;
    assert_eq!(room.names(None).await.unwrap(), [""; 0]);
}

/// A peer that says nothing, not even that it is gone, is noticed.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_is_given_up_and_one_that_answers_pings_is_not() {
    let (node, room) = node().await;
    let _silent = connect(&node, "/Room/a/socket?ann").await; // nobody reads: no pong
    let mut there = connect(&node, "/Room/a/socket?ben").await;
    let reading = tokio::spawn(async move { there.hear_text().await });
    tokio::time::sleep(Duration::from_secs(100)).await;
    logged(&room, &["ann left lost: 1006 the connection ended without a close frame"]).await;
    room.tell(None, "still there".into()).await.unwrap();
    assert_eq!(reading.await.unwrap(), "still there");
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let (node, room) = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    peer.0.get_mut().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]).await.unwrap(); // no UTF-8
    assert_eq!(peer.hear_close().await.0, 1007);
    until(async || room.log().await.unwrap().len() == 1).await;
    assert!(room.log().await.unwrap()[0].starts_with("ann left lost: 1007"));
}

/// 8.16: what is behind a close; the second close is nothing.
#[tokio::test]
async fn the_object_closes_once() {
    let (node, room) = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    peer.say("echo before").await;
    peer.say("close enough").await;
    peer.say("log never").await; // not delivered any more
    assert_eq!(peer.hear_text().await, "before");
    assert_eq!(peer.hear_close().await, (4000, "enough".into()));
    logged(&room, &["ann left cleanly: 4000 enough"]).await;
    assert_eq!(room.heard().await.unwrap(), 2);
}

/// 8.4: a socket that is closing is there until the peer agrees, or has had time to.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_close_is_given_up() {
    let (node, room) = node().await;
    let _peer = connect(&node, "/Room/a/socket?ann").await; // nobody reads
    room.close(1000, String::new()).await.unwrap();
    assert_eq!(room.names(None).await.unwrap(), ["ann"]);
    assert!(room.tell(None, "x".into()).await.is_err());
    tokio::time::sleep(Duration::from_secs(11)).await;
    logged(&room, &["ann left lost: 1006 the connection ended without a close frame"]).await;
}

/// 8.17.
#[tokio::test]
async fn codes_and_reasons_of_a_close_have_rules() {
    let (node, room) = node().await;
    let mut peer = connect(&node, "/Room/a/socket").await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 5000] {
        assert!(room.close(code, String::new()).await.is_err(), "{code}");
    }
    assert!(room.close(1000, "x".repeat(124)).await.is_err());
    room.close(4999, "x".repeat(123)).await.unwrap();
    assert_eq!(peer.hear_close().await, (4999, "x".repeat(123)));
}

/// 8.20: an abort ends the sockets, idleness never does.
#[tokio::test(start_paused = true)]
async fn an_abort_ends_the_sockets_and_a_sleep_does_not() {
    let (node, room) = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    let reading = tokio::spawn(async move { (peer.hear_close().await, peer) });
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(node.live::<RoomStub>().is_empty());
    assert_eq!(room.names(None).await.unwrap(), ["ann"]);
    assert!(room.abort().await.is_err());
    assert_eq!(reading.await.unwrap().0, (1012, "the object was reset".into()));
    logged(&room.fresh(), &["ann left lost: 1012 the object was reset"]).await;
}

/// Exactly once: a reset in the midst of it does not keep the others from being told.
#[tokio::test(start_paused = true)]
async fn a_reset_while_sockets_end_loses_none_of_them() {
    let (node, room) = node().await;
    let mut peers = Vec::new();
    for name in ["ann", "ben", "cem", "dan"] {
        peers.push(connect(&node, &format!("/Room/a/socket?{name}")).await);
    }
    peers[1].close(4000, "panic").await;
    let_others_run().await;
    let room = room.fresh();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut log = room.log().await.unwrap();
    log.sort();
    // What the handler that panicked has written is lost, as always.
    assert_eq!(log, ["ann", "cem", "dan"].map(|name| format!("{name} left lost: 1012 the object was reset")));
}

/// An object that cannot be made is told when it can.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_made_is_told_later() {
    let (node, _) = node().await;
    MAKEABLE.add_permits(1);
    let peer = connect(&node, "/Fragile/a/socket").await;
    let object: FragileStub = node.get("a");
    testing::hibernate(&node, &object).await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(object.fresh().log().await.is_err());
    MAKEABLE.add_permits(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    MAKEABLE.add_permits(1);
    assert_eq!(object.fresh().log().await.unwrap(), ["1006"]);
}

/// 8.20: a node that shuts down says so, behind what its objects have sent; it wakes nobody.
#[tokio::test]
async fn a_shutdown_closes_the_sockets() {
    let disk = Disk::new();
    let start = async || testing::on_disk(Node::builder().object::<Room>(), &disk).start().await.unwrap();
    let node = start().await;
    let room: RoomStub = node.get("a");
    let mut awake = connect(&node, "/Room/a/socket?ann").await;
    let mut asleep = connect(&node, "/Room/b/socket?ben").await;
    testing::hibernate(&node, &node.get::<RoomStub>("b")).await;
    disk.hold();
    let next = disk.commits() + 1;
    let told = room.tell_what_is_written("the last thing".into());
    disk.reached(next).await;
    let closing = tokio::spawn(async move { node.shutdown(Duration::from_secs(60)).await });
    assert_eq!(asleep.hear_close().await.0, 1001);
    awake.hears_nothing().await;
    disk.release();
    assert_eq!(awake.hear_text().await, "the last thing");
    assert_eq!(awake.hear_close().await, (1001, "the node was shut down".into()));
    told.await.unwrap();
    closing.await.unwrap();
    let node = start().await;
    assert_eq!(node.get::<RoomStub>("a").log().await.unwrap(), ["the last thing"]);
    assert_eq!(node.get::<RoomStub>("b").log().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_crash_says_nothing() {
    let (node, _) = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    testing::crash(&node).await;
    assert_eq!(peer.hear_close().await.0, 1006);
}

/// A client that is gone before it is let in was in, for its object, and has left.
#[tokio::test]
async fn a_client_that_goes_while_it_is_accepted_is_told_as_lost() {
    let disk = Disk::new();
    let node = testing::on_disk(Node::builder().object::<Room>(), &disk).start().await.unwrap();
    disk.hold();
    let asking = tokio::spawn({
        let node = node.clone();
        async move { connect(&node, "/Room/a/socket/hello?ann").await }
    });
    disk.reached(disk.commits() + 1).await;
    asking.abort();
    let_others_run().await;
    disk.release();
    let room: RoomStub = node.get("a");
    logged(&room, &["ann came", "ann left lost: 1006 the connection ended without a close frame"]).await;
}

/// Nothing of a socket is left when it has ended: neither for the object nor for a later message.
#[tokio::test]
async fn a_socket_that_was_cut_with_messages_on_the_way_delivers_none() {
    let (node, room) = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    peer.0.feed(Message::from("panic")).await.unwrap();
    for _ in 0..4 {
        peer.0.feed(Message::from("log late")).await.unwrap();
    }
    peer.0.flush().await.unwrap();
    assert_eq!(peer.hear_close().await.0, 1012);
    logged(&room.fresh(), &["ann left lost: 1012 the object was reset"]).await;
}
