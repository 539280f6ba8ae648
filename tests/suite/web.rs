//! A node on the web: what its paths lead to, who is let in, and calls without a session.

#![allow(unreachable_pub, clippy::needless_pass_by_value)]

use opendo::prelude::*;
use opendo::value::ErrorValue;
use opendo::{DynStub, ErrorKind, NodeBuilder, Origins, Value};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Default)]
pub struct Counter {
    value: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum CounterError {
    #[error("the counter is full")]
    Full { most: u64 },
}

#[durable_object(rename_all = "camelCase")]
impl Counter {
    pub fn increment(&mut self, by: u64) -> Result<u64, CounterError> {
        if by > 100 {
            return Err(CounterError::Full { most: 100 });
        }
        self.value += by;
        Ok(self.value)
    }

    #[method(property)]
    pub fn value(&self) -> u64 {
        self.value
    }

    pub fn describe_all(
        &self,
        names: Vec<String>,
        big: u64,
        nothing: Option<u8>,
    ) -> (usize, u64, Option<u8>) {
        (names.len(), big, nothing)
    }

    pub fn throw(&self) -> Result<(), ErrorValue> {
        Err(ErrorValue::new("RangeError", "too far").with("code", "E_FAR"))
    }
}

impl DurableObject for Counter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self::default())
    }
}

async fn serve(node: NodeBuilder) -> (Node, String) {
    let node = node.object::<Counter>().start().await.unwrap();
    let address = node.listen("ws://127.0.0.1:0").await.unwrap().to_string();
    (node, address)
}

async fn text(url: &str) -> Client {
    Client::builder(url).text().patience(std::time::Duration::ZERO).connect().await.unwrap()
}

fn http(address: &str) -> String {
    address.replace("ws://", "http://")
}

/// Status and body of the answer to one request.
async fn ask(address: &str, request: &str, headers: &str, body: &str) -> (u16, String) {
    let host = address.trim_start_matches("ws://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).await.unwrap();
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn call(address: &str, path: &str, body: &str) -> (u16, String) {
    ask(address, &format!("POST /rpc/{path}"), "", body).await
}

#[tokio::test]
async fn a_path_leads_to_an_object_and_the_root_gives_out_all_of_them() {
    let (node, address) = serve(Node::builder()).await;
    let named: CounterStub = node.get("room 1");
    named.increment(1).await.unwrap();

    let client = text(&format!("{address}/Counter/room%201")).await;
    assert_eq!(client.root::<CounterStub>().increment(2).await.unwrap(), 3);
    let batch = opendo::connect(&format!("{}/Counter/room%201", http(&address))).await.unwrap();
    assert_eq!(batch.root::<CounterStub>().increment(1).await.unwrap(), 4);

    let client = text(&address).await;
    assert_eq!(client.get::<CounterStub>("room 1").increment(1).await.unwrap(), 5);
    let id = named.id().unwrap();
    assert_eq!(
        client.get::<CounterStub>(&id.to_string().parse::<ObjectId<_>>().unwrap()).value().await.unwrap(),
        5
    );

    // The same without a type.
    let batch = opendo::connect(&http(&address)).await.unwrap();
    let root: CounterStub = batch.root();
    let root = DynStub::from(root);
    let counter = root.call("object", ["Counter", "room 1"]);
    assert_eq!(counter.get("value").await.unwrap(), Value::Number(5.0));
}

#[tokio::test]
async fn what_is_not_there_is_said_to_whoever_asks() {
    let (_node, address) = serve(Node::builder()).await;
    for path in ["Nobody/x", "Counter", "Counter/a/b"] {
        let client = text(&format!("{address}/{path}")).await;
        let error = client.root::<CounterStub>().increment(1).await.unwrap_err();
        assert!(error.rpc().is_some(), "{path}: {error}");
    }
    let client = text(&address).await;
    let counters: opendo::Namespace<CounterStub> = client.class("Nobody");
    let error = counters.get("x").increment(1).await.unwrap_err();
    assert_eq!(error.rpc().unwrap().kind(), ErrorKind::NoSuchClass, "{error}");
}

#[tokio::test]
async fn a_token_is_what_an_authenticator_sees() {
    let judge = |session: &opendo::Session| match session.credentials() {
        b"sesame" => Ok(()),
        _ => Err("who are you?".to_owned()),
    };
    let (_node, address) = serve(Node::builder().authenticate(judge)).await;
    for url in [address.clone(), http(&address)] {
        let friend = Client::builder(&url).text().credentials("sesame").connect().await.unwrap();
        assert_eq!(friend.get::<CounterStub>(url.as_str()).increment(1).await.unwrap(), 1);
        let stranger = text(&url).await;
        assert!(stranger.get::<CounterStub>("a").increment(1).await.is_err());
    }
    let friend = Client::builder(&address).credentials("sesame").connect().await.unwrap();
    assert_eq!(friend.get::<CounterStub>("binary").increment(1).await.unwrap(), 1);
    let (status, answer) = call(&address, "Counter/a/increment", r#"{"params":[1]}"#).await;
    assert_eq!((status, answer.contains("who are you?")), (401, true), "{answer}");
    let token = "Authorization: Bearer sesame\r\n";
    let (status, _) = ask(&address, "POST /rpc/Counter/a/increment", token, "[1]").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_node_with_a_root_gives_out_nothing_by_name() {
    let (_node, address) = serve(Node::builder().accept(|session| {
        let counter: CounterStub = session.objects().get("the only one");
        Ok(counter)
    }))
    .await;
    let client = text(&address).await;
    assert_eq!(client.root::<CounterStub>().increment(1).await.unwrap(), 1);
    assert!(client.get::<CounterStub>("another").increment(1).await.is_err());
    let client = text(&format!("{address}/Counter/another")).await;
    assert_eq!(client.root::<CounterStub>().increment(1).await.unwrap(), 2); // a path leads to the root, too
    assert_eq!(call(&address, "Counter/another/increment", "[1]").await.0, 404);
}

#[tokio::test]
async fn one_call_takes_and_gives_plain_json() {
    let (_node, address) = serve(Node::builder()).await;
    let path = "Counter/a/increment";
    let ok = |result: &str| (200, format!(r#"{{"success":true,"result":{result}}}"#));
    assert_eq!(call(&address, path, r#"{"params":[3]}"#).await, ok("3"));
    assert_eq!(call(&address, path, "[4]").await, ok("7"));
    let all = r#"{"params":[["x","y"],9007199254740993,null]}"#;
    assert_eq!(call(&address, "Counter/a/describeAll", all).await.0, 200);

    let (status, answer) = call(&address, path, r#"{"params":[1000]}"#).await;
    assert_eq!((status, answer.contains("the counter is full")), (422, true), "{answer}");
    let (status, answer) = call(&address, path, r#"{"params":["x"]}"#).await;
    assert_eq!((status, answer.contains("\"code\":\"Decode\"")), (400, true), "{answer}");
    assert_eq!(call(&address, path, "{").await.0, 400);
    assert_eq!(call(&address, "Counter/a/nothing", "[]").await.0, 404);
    assert_eq!(call(&address, "Nobody/a/increment", "[]").await.0, 404);
    // None of it cost the object anything.
    assert_eq!(call(&address, path, "[0]").await, ok("7"));
}

#[tokio::test]
async fn errors_are_typed_for_rust_and_properties_for_others() {
    let (_node, address) = serve(Node::builder()).await;
    let client = text(&address).await;
    let counter: CounterStub = client.get("a");
    let error = counter.increment(1000).await.unwrap_err();
    assert_eq!(error.app(), Some(&CounterError::Full { most: 100 }));
    let untyped = DynStub::from(counter.clone());
    let CallError::App(Value::Error(thrown)) = untyped.call("increment", [1000]).await.unwrap_err() else {
        panic!("an error that was thrown")
    };
    assert_eq!((thrown.message.as_str(), thrown.get("code").as_str()), ("the counter is full", Some("Full")));
    assert_eq!(thrown.get("value").get("Full").get("most").as_f64(), Some(100.0));
    let error = counter.throw().await.unwrap_err();
    let thrown = error.app().unwrap();
    assert_eq!((thrown.name.as_str(), thrown.get("code").as_str()), ("RangeError", Some("E_FAR")));
    let missing = untyped.call("constructor", [1]).await.unwrap_err();
    assert!(missing.to_string().contains("is not a function"), "{missing}");
}

#[tokio::test]
async fn pages_of_others_are_turned_away_unless_they_may_come() {
    let origin = "Origin: https://evil.example\r\n";
    let (_node, address) = serve(Node::builder()).await;
    assert_eq!(ask(&address, "POST /rpc/Counter/a/increment", origin, "[1]").await.0, 403);
    assert_eq!(ask(&address, "POST /Counter/a", origin, "").await.0, 403);
    let (_node, address) = serve(Node::builder().origins(Origins::Any)).await;
    assert_eq!(ask(&address, "POST /rpc/Counter/a/increment", origin, "[1]").await.0, 200);
}

#[tokio::test]
async fn a_node_is_a_part_of_an_application() {
    let node = Node::builder().object::<Counter>().start().await.unwrap();
    let app = axum::Router::new()
        .route("/health", axum::routing::get(|| async { "fine" }))
        .nest("/api", node.into_router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    assert_eq!(ask(&address, "GET /health", "", "").await, (200, "fine".to_owned()));
    let client = text(&format!("{address}/api/Counter/a")).await;
    assert_eq!(client.root::<CounterStub>().increment(2).await.unwrap(), 2);
    let (status, _) = ask(&address, "POST /api/rpc/Counter/a/increment", "", "[1]").await;
    assert_eq!(status, 200);
    let value: CounterStub = node.get("a");
    assert_eq!(value.value().await.unwrap(), 3);
}
