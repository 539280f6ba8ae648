//! Many sockets, many threads, and an object that keeps falling asleep.

use opendo::prelude::*;
use opendo::testing;

use crate::room::{Room, RoomStub};
use crate::world::{connect, until};

const PEERS: u32 = 40;
const MESSAGES: u32 = 50;

/// Nothing is lost, doubled or out of order, and each end is told once (8.10, 8.11, 8.14).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_is_served_in_order_by_an_object_that_sleeps_all_the_time() {
    let node = Node::builder().object::<Room>().start().await.unwrap();
    let room: RoomStub = node.get("a");
    let peers: Vec<_> = (0..PEERS)
        .map(|peer| {
            let node = node.clone();
            tokio::spawn(async move {
                let mut socket = connect(&node, &format!("/Room/a/socket?{peer}")).await;
                for said in 1..=MESSAGES {
                    socket.say("count").await;
                    assert_eq!(socket.hear_text().await, format!("{peer} {said} []"));
                    // Several at once, too.
                    socket.say("echo a").await;
                    socket.say("echo b").await;
                    assert_eq!(socket.hear_text().await, "a");
                    assert_eq!(socket.hear_text().await, "b");
                }
                match peer % 3 {
                    0 => drop(socket),
                    1 => socket.close(4000, "done").await,
                    _ => {
                        socket.say("close done").await;
                        assert_eq!(socket.hear_close().await.0, 4000);
                    }
                }
            })
        })
        .collect();
    let sleeping = tokio::spawn({
        let (node, room) = (node.clone(), room.clone());
        async move {
            loop {
                testing::hibernate(&node, &room).await;
                tokio::task::yield_now().await;
            }
        }
    });
    for peer in peers {
        peer.await.unwrap();
    }
    sleeping.abort();
    until(async || room.log().await.unwrap().len() == PEERS as usize).await;
    let mut log = room.log().await.unwrap();
    log.sort();
    let mut expected: Vec<_> = (0..PEERS)
        .map(|peer| match peer % 3 {
            0 => format!("{peer} left lost: 1006 the connection ended without a close frame"),
            _ => format!("{peer} left cleanly: 4000 done"),
        })
        .collect();
    expected.sort();
    assert_eq!(log, expected);
    assert_eq!(room.names(None).await.unwrap(), [""; 0]);
}
