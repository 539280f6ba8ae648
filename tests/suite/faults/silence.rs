//! Browsers that go without a word.

use std::time::Duration;

use opendo::Node;
use opendo::transport::websocket::{Role, WebSocket};
use opendo::transport::{Connection, Limits, Peer, Transport, kind};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

async fn session(node: &Node) -> (opendo::Session, DuplexStream) {
    let (ours, theirs) = duplex(4096);
    let peer = Peer::local("ws", "browser");
    let socket = WebSocket::<_, kind::Text>::new(ours, Role::Server, peer, &Limits::default()).await;
    (node.serve_connection(Connection::new(socket)).await.unwrap(), theirs)
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_gives_no_sign_of_life_is_given_up() {
    let node = Node::builder().start().await.unwrap();
    let begun = Instant::now();
    let (session, mut silent) = session(&node).await;
    timeout(Duration::from_secs(120), session.closed()).await.expect("it is given up");
    let limits = opendo::Limits::default();
    assert!(begun.elapsed() >= limits.keepalive_interval + limits.keepalive_timeout);
    // It was asked: an empty ping, from a server without a mask.
    let mut asked = [0; 2];
    silent.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, [0x89, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_only_answers_pings_stays() {
    let node = Node::builder().start().await.unwrap();
    let (session, theirs) = session(&node).await;
    let peer = Peer::local("ws", "node");
    let socket = WebSocket::<_, kind::Text>::new(theirs, Role::Client, peer, &Limits::default()).await;
    // Answers are given while receiving.
    let (_sender, mut receiver) = socket.split();
    let listening = tokio::spawn(async move { receiver.receive().await });
    let stays = timeout(Duration::from_secs(3600), session.closed()).await;
    assert!(stays.is_err() && !listening.is_finished());
}
