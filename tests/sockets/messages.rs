//! What comes: in order, one at a time, also to objects that sleep.

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use opendo::prelude::*;
use opendo::{Limits, testing};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::room::{GATES, Room, RoomStub};
use crate::world::{connect, let_others_run, until};

async fn node() -> Node {
    Node::builder().object::<Room>().start().await.unwrap()
}

/// 8.9, 8.11, 8.12: in order, and each to its end.
#[tokio::test]
async fn messages_arrive_in_order_and_are_handled_one_at_a_time() {
    let node = node().await;
    let mut peer = connect(&node, "/Room/a/socket").await;
    for number in 0..100 {
        peer.0.feed(Message::from(format!("echo {number}"))).await.unwrap();
        peer.0.feed(Message::Binary(Bytes::from(vec![number]))).await.unwrap();
    }
    peer.0.flush().await.unwrap();
    for number in 0..100 {
        assert_eq!(peer.hear_text().await, number.to_string());
        assert_eq!(peer.hear().await, Message::Binary(Bytes::from(vec![number])));
    }
}

/// 8.10: constructor, then handler, with the same socket. Nothing keeps the object but what it does.
#[tokio::test(start_paused = true)]
async fn a_message_wakes_the_object_and_finds_everything_as_it_was() {
    let node = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann&x").await;
    peer.say("count").await;
    assert_eq!(peer.hear_text().await, r#"ann 1 ["x"]"#);
    for said in 2..5 {
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert!(node.live::<RoomStub>().is_empty());
        peer.say("count").await;
        assert_eq!(peer.hear_text().await, format!(r#"ann {said} ["x"]"#));
        assert_eq!(node.get::<RoomStub>("a").heard().await.unwrap(), 1);
    }
}

/// 8.7: exact, text only, asleep and awake, until it is taken back. 8.21: pings need nobody either.
#[tokio::test(start_paused = true)]
async fn an_auto_response_and_a_ping_do_not_wake_the_object() {
    let node = testing::with_tokio_clock(Node::builder().object::<Room>()).start().await.unwrap();
    let room: RoomStub = node.get("a");
    let mut peer = connect(&node, "/Room/a/socket").await;
    room.auto_response("echo ping".into(), "pong".into()).await.unwrap();
    assert_eq!(room.auto_responded_at().await.unwrap(), None);
    peer.say("echo ping").await; // awake
    assert_eq!(peer.hear_text().await, "pong");
    let first = room.auto_responded_at().await.unwrap().unwrap();
    assert_eq!(room.heard().await.unwrap(), 0);

    testing::hibernate(&node, &room).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    peer.say("echo ping").await;
    assert_eq!(peer.hear_text().await, "pong");
    peer.0.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(peer.0.next().await.unwrap().unwrap(), Message::Pong("x".into()));
    assert!(node.live::<RoomStub>().is_empty());
    assert!(room.auto_responded_at().await.unwrap().unwrap() >= first + Duration::from_secs(5));

    peer.say("echo ping ").await; // not exactly that
    assert_eq!(peer.hear_text().await, "ping ");
    peer.0.send(Message::Binary("echo ping".into())).await.unwrap();
    assert_eq!(peer.hear().await, Message::Binary("echo ping".into()));
    assert_eq!(room.heard().await.unwrap(), 2);
    room.no_auto_response().await.unwrap();
    peer.say("echo ping").await;
    assert_eq!(peer.hear_text().await, "ping");
}

/// 8.7.
#[tokio::test]
async fn an_auto_response_has_a_limit() {
    let node = node().await;
    let room: RoomStub = node.get("a");
    let long = |size| "x".repeat(size);
    room.auto_response(long(2048), long(2048)).await.unwrap();
    assert!(room.auto_response(long(2049), String::new()).await.is_err());
    assert!(room.auto_response(String::new(), long(2049)).await.is_err());
}

/// 8.13, and a panic, which is another matter (8.20).
#[tokio::test]
async fn a_handler_that_fails_changes_nothing_and_one_that_panics_ends_all_sockets() {
    let node = node().await;
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    let mut other = connect(&node, "/Room/a/socket?ben").await;
    peer.say("fail").await;
    peer.say("echo x").await;
    assert_eq!(peer.hear_text().await, "x");
    assert_eq!(node.get::<RoomStub>("a").heard().await.unwrap(), 2);

    peer.say("panic").await;
    let reset = (1012, "the object was reset".to_owned());
    assert_eq!((peer.hear_close().await, other.hear_close().await), (reset.clone(), reset));
    let room: RoomStub = node.get("a");
    until(async || room.log().await.unwrap().len() == 2).await;
    let mut log = room.log().await.unwrap();
    log.sort();
    assert_eq!(log, ["ann", "ben"].map(|name| format!("{name} left lost: 1012 the object was reset")));
}

/// 8.18.
#[tokio::test]
async fn a_message_has_a_limit() {
    let limits = Limits { max_message: 1000, ..Limits::default() };
    let node = Node::builder().object::<Room>().limits(limits).start().await.unwrap();
    let mut peer = connect(&node, "/Room/a/socket?ann").await;
    peer.0.send(Message::Binary(vec![1; 1000].into())).await.unwrap();
    assert_eq!(peer.hear().await.len(), 1000);
    peer.0.send(Message::Binary(vec![1; 1001].into())).await.unwrap();
    assert_eq!(peer.hear_close().await.0, 1009);
    let room: RoomStub = node.get("a");
    until(async || room.log().await.unwrap().len() == 1).await;
    let log = room.log().await.unwrap();
    assert!(log[0].starts_with("ann left lost: 1009"), "{log:?}");
}

/// What the object does not take is not read.
#[tokio::test]
async fn a_peer_that_is_quicker_than_the_object_has_to_wait() {
    let node = node().await;
    let mut peer = connect(&node, "/Room/a/socket").await;
    peer.say("wait 0").await;
    GATES[0].started.notified().await;
    // More than what is taken in advance, and what the connection and buffers hold.
    let big = Message::Binary(vec![1; 32 * 1024].into());
    let mut sent = 0;
    while sent < 100 && peer.0.send(big.clone()).now_or_never().is_some() {
        sent += 1;
        let_others_run().await;
    }
    assert!((8..20).contains(&sent), "{sent}");
    GATES[0].go_on.add_permits(1);
    assert_eq!(peer.hear_text().await, "waited");
    let mut heard = 0;
    // The one that did not fit was accepted, too.
    while heard < sent + 1 {
        peer.0.flush().now_or_never();
        assert_eq!(peer.hear().await, big);
        heard += 1;
    }
}

/// 8.19b: a message that cannot be delivered is the end of its socket, and no other's. The object is told of it when it
/// takes something again.
#[tokio::test(start_paused = true)]
async fn a_message_that_finds_no_room_ends_its_socket() {
    let limits = Limits { max_mailbox: 2, ..Limits::default() };
    let node = Node::builder().object::<Room>().limits(limits).start().await.unwrap();
    let mut ann = connect(&node, "/Room/a/socket?ann").await;
    let mut ben = connect(&node, "/Room/a/socket?ben").await;
    ann.say("wait 1").await;
    GATES[1].started.notified().await;
    ann.say("echo one").await;
    ann.say("echo two").await;
    let_others_run().await;
    ben.say("echo three").await;
    assert_eq!(ben.hear_close().await, (1013, "the object takes no more messages now".into()));
    GATES[1].go_on.add_permits(1);
    for expected in ["waited", "one", "two"] {
        assert_eq!(ann.hear_text().await, expected);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let room: RoomStub = node.get("a");
    assert_eq!(room.names(None).await.unwrap(), ["ann"]);
    assert_eq!(room.log().await.unwrap(), ["ben left lost: 1013 the object takes no more messages now"]);
}

/// A peer that asks for auto-responses and does not read them is not read, either.
#[tokio::test]
async fn auto_responses_do_not_pile_up() {
    let node = node().await;
    let room: RoomStub = node.get("a");
    room.auto_response("?".into(), "!".repeat(2048)).await.unwrap();
    let mut peer = connect(&node, "/Room/a/socket").await;
    let mut sent = 0;
    while sent < 100_000 && peer.0.send(Message::from("?")).now_or_never().is_some() {
        sent += 1;
        if sent % 100 == 0 {
            let_others_run().await;
        }
    }
    assert!(sent < 100_000);
    for _ in 0..sent {
        assert_eq!(peer.hear_text().await.len(), 2048);
    }
}

/// What waits for a peer that does not read has a bound, and the object learns it.
#[tokio::test]
async fn a_peer_that_does_not_read_is_sent_no_more() {
    let limits = Limits { max_socket_unsent: 1 << 20, ..Limits::default() };
    let node = Node::builder().object::<Room>().limits(limits).start().await.unwrap();
    let room: RoomStub = node.get("a");
    let mut peer = connect(&node, "/Room/a/socket").await;
    let sent = room.flood(1000).await.unwrap();
    assert!(((1 << 20) - 100_000..2 << 20).contains(&sent), "{sent}");
    for _ in 0..sent / 1000 {
        assert_eq!(peer.hear().await.len(), 1000);
    }
    // There is room again; one message of any size has room where nothing else is.
    until(async || room.tell(None, "x".repeat(2 << 20)).await.is_ok()).await;
    assert_eq!(peer.hear().await.len(), 2 << 20);
}
