//! Who comes in, where, and with what.

use opendo::prelude::*;
use opendo::{Limits, Origins};

use crate::room::{Plain, Room, RoomStub};
use crate::world::{ask, ask_over, connect, until};

async fn node() -> Node {
    Node::builder().object::<Room>().object::<Plain>().start().await.unwrap()
}

#[tokio::test]
async fn a_client_over_tcp_is_let_in_and_answered() {
    let node = node().await;
    let address = node.listen("ws://127.0.0.1:0").await.unwrap().to_string();
    let stream = tokio::net::TcpStream::connect(address.trim_start_matches("ws://")).await.unwrap();
    let (mut peer, _) = ask_over(stream, "/Room/a%20b/socket/hello?ann", &[]).await.unwrap();
    assert_eq!(peer.hear_text().await, "hello");
    peer.say("echo some text").await;
    assert_eq!(peer.hear_text().await, "some text");
    let room: RoomStub = node.get("a b");
    assert_eq!(room.names(None).await.unwrap(), ["ann"]);
    peer.close(1000, "bye").await;
    until(async || room.log().await.unwrap().len() == 2).await;
    assert_eq!(room.log().await.unwrap(), ["ann came", "ann left cleanly: 1000 bye"]);
}

#[tokio::test]
async fn the_object_sees_what_was_asked_for() {
    let node = node().await;
    let headers = [("sec-websocket-protocol", "chat.v3, chat.v2"), ("x-key", "k")];
    let (mut peer, response) = ask(&node, "/Room/a/socket/facts?q=%20", &headers).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
    let heard = peer.hear_text().await;
    assert_eq!(heard, r#"["chat.v3", "chat.v2"] Some("k") q=%20 http memory"#);
}

#[tokio::test]
async fn who_is_refused_is_told_so() {
    let node = node().await;
    let refused = async |path: &str| ask(&node, path, &[]).await.err().expect("let in");
    assert_eq!(refused("/Room/a/socket/refuse?418").await, (418, "not you".into()));
    assert_eq!(refused("/Room/a/socket/refuse?200").await.0, 500);
    assert_eq!(refused("/Room/a/socket/a/b").await, (404, "there is no /a/b".into()));
    assert_eq!(refused("/Room/a/socket/ignore").await.0, 403);
    let (status, text) = refused("/Room/a/socket/fail").await;
    assert_eq!((status, text.contains("secret")), (500, false));
    assert_eq!(refused("/Room/a/socket/panic").await.0, 503);
    assert_eq!(refused("/Plain/a/socket").await.0, 404);
    assert_eq!(refused("/Nobody/a/socket").await.0, 404);
    assert_eq!(node.get::<RoomStub>("a").names(None).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_opening_that_is_kept_is_too_late() {
    let node = node().await;
    assert_eq!(ask(&node, "/Room/a/socket/keep", &[]).await.err().unwrap().0, 403);
    let room: RoomStub = node.get("a");
    let error = room.accept_what_is_kept().await.unwrap_err();
    assert!(error.to_string().contains("too late"), "{error}");
    assert_eq!(room.names(None).await.unwrap(), [""; 0]);
}

/// 8.13: an error is logged, and changes nothing for a socket that is in.
#[tokio::test]
async fn who_was_accepted_is_in_although_the_handler_failed() {
    let node = node().await;
    let mut peer = connect(&node, "/Room/a/socket/accept-and-fail?ann").await;
    peer.say("echo x").await;
    assert_eq!(peer.hear_text().await, "x");
}

#[tokio::test]
async fn who_may_not_name_objects_does_not_connect_to_them() {
    let judge = |session: &opendo::Session| match session.credentials() {
        b"sesame" => Ok(()),
        _ => Err("who are you?".to_owned()),
    };
    let node = Node::builder().object::<Room>().authenticate(judge).start().await.unwrap();
    assert_eq!(ask(&node, "/Room/a/socket", &[]).await.err().unwrap(), (401, "who are you?".into()));
    assert!(ask(&node, "/Room/a/socket", &[("authorization", "Bearer sesame")]).await.is_ok());

    let root = |session: &opendo::Session| Ok(session.objects().get::<RoomStub>("the only one"));
    let node = Node::builder().object::<Room>().accept(root).start().await.unwrap();
    assert_eq!(ask(&node, "/Room/a/socket", &[]).await.err().unwrap().0, 404);
    let node = Node::builder().object::<Room>().accept(root).allow_names().start().await.unwrap();
    assert!(ask(&node, "/Room/a/socket", &[]).await.is_ok());
}

#[tokio::test]
async fn pages_of_others_are_turned_away_unless_they_may_come() {
    let origin = [("origin", "https://evil.example")];
    assert_eq!(ask(&node().await, "/Room/a/socket", &origin).await.err().unwrap().0, 403);
    let node = Node::builder().object::<Room>().origins(Origins::Any).start().await.unwrap();
    assert!(ask(&node, "/Room/a/socket", &origin).await.is_ok());
}

#[tokio::test]
async fn an_application_hands_requests_over() {
    use axum::extract::{Path, Request, State};

    async fn chat(
        State(node): State<Node>,
        Path(room): Path<String>,
        request: Request,
    ) -> axum::response::Response {
        node.web_socket::<RoomStub>(room, request).await
    }
    let node = node().await;
    let app = axum::Router::new().route("/chat/{room}", axum::routing::get(chat)).with_state(node.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let stream = || async { tokio::net::TcpStream::connect(address).await.unwrap() };
    // The object gets to see the whole path, and does not know this one.
    let refused = ask_over(stream().await, "/chat/lobby", &[]).await.err().unwrap();
    assert_eq!(refused, (404, "there is no /chat/lobby".into()));
    let evil = [("origin", "https://evil.example")];
    assert_eq!(ask_over(stream().await, "/chat/lobby", &evil).await.err().unwrap().0, 403);

    let app = axum::Router::new().nest("/api", node.into_router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut peer, _) = ask_over(stream, "/api/Room/lobby/socket", &[]).await.unwrap();
    peer.say("echo x").await;
    assert_eq!(peer.hear_text().await, "x");
}

/// 8.1: at most 10 tags of 256 characters; duplicates count once.
#[tokio::test]
async fn tags_have_limits() {
    let node = node().await;
    let room: RoomStub = node.get("a");
    let _ten = connect(&node, "/Room/a/socket/many?10").await;
    assert!(ask(&node, "/Room/a/socket/many?11", &[]).await.is_err());
    let _long = connect(&node, "/Room/a/socket/long?256").await;
    assert!(ask(&node, "/Room/a/socket/long?257", &[]).await.is_err());
    assert_eq!(
        room.log().await.unwrap(),
        [
            "10 tags",
            "a WebSocket has at most 10 tags, and these are 11",
            "1 tags",
            "a tag of a WebSocket has at most 256 characters, and one has 257"
        ]
    );
    let _same = connect(&node, "/Room/b/socket?ann&x,y,x,x,x,x,x,x,x,x,x,x,y").await;
    assert_eq!(node.get::<RoomStub>("b").set_tags("ann".into(), vec!["z".into(); 20]).await.unwrap(), ["z"]);
}

/// 8.2.
#[tokio::test]
async fn an_object_has_so_many_sockets() {
    let limits = Limits { max_sockets: 2, ..Limits::default() };
    let node = Node::builder().object::<Room>().limits(limits).start().await.unwrap();
    let mut first = connect(&node, "/Room/a/socket").await;
    let _second = connect(&node, "/Room/a/socket").await;
    assert_eq!(ask(&node, "/Room/a/socket", &[]).await.err().unwrap().0, 503);
    assert!(ask(&node, "/Room/b/socket", &[]).await.is_ok());
    first.close(1000, "").await;
    assert_eq!(first.hear_close().await.0, 1000);
    let room: RoomStub = node.get("a");
    until(async || room.names(None).await.unwrap().len() == 1).await;
    assert!(ask(&node, "/Room/a/socket", &[]).await.is_ok());
}

/// 8.4, 8.5, and tags that change.
#[tokio::test]
async fn sockets_are_found_by_their_tags_the_oldest_first() {
    let node = node().await;
    let room: RoomStub = node.get("a");
    let mut peers = Vec::new();
    for member in ["ann&red,blue", "ben&blue", "cem&red"] {
        peers.push(connect(&node, &format!("/Room/a/socket?{member}")).await);
    }
    let names = async |tag: Option<&str>| room.names(tag.map(str::to_owned)).await.unwrap();
    assert_eq!(names(None).await, ["ann", "ben", "cem"]);
    assert_eq!(names(Some("red")).await, ["ann", "cem"]);
    assert_eq!(names(Some("re")).await, [""; 0]);
    room.set_tags("ann".into(), vec!["blue".into(), "green".into()]).await.unwrap();
    assert_eq!(names(Some("red")).await, ["cem"]);
    assert_eq!(names(Some("blue")).await, ["ann", "ben"]);
    room.tell(Some("green".into()), "you".into()).await.unwrap();
    assert_eq!(peers[0].hear_text().await, "you");
    peers[1].hears_nothing().await;
    opendo::testing::hibernate(&node, &room).await;
    assert_eq!(names(Some("green")).await, ["ann"]);
    drop(peers.remove(0));
    until(async || names(None).await.len() == 2).await;
    assert_eq!(names(Some("green")).await, [""; 0]);
    assert_eq!(names(Some("blue")).await, ["ben"]);
}

/// 8.6.
#[tokio::test]
async fn an_attachment_has_a_limit_and_is_a_copy() {
    let node = node().await;
    let room: RoomStub = node.get("a");
    // Two bytes say how many follow.
    let _peer = connect(&node, "/Room/a/socket/attached?16382").await;
    assert_eq!(room.attached().await.unwrap(), 16382);
    assert!(ask(&node, "/Room/a/socket/attached?16383", &[]).await.is_err());
    room.attach(5).await.unwrap();
    assert!(room.attach(16383).await.unwrap_err().to_string().contains("takes 16385 bytes"));
    opendo::testing::hibernate(&node, &room).await;
    assert_eq!(room.attached().await.unwrap(), 5);
    let log = room.log().await.unwrap();
    assert!(log[1].contains("takes 16385 bytes, and 16384 are the most"), "{log:?}");
    assert!(room.names(None).await.unwrap_err().to_string().contains("attachment")); // of another type
}
