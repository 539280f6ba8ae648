#![cfg(all(feature = "websocket", feature = "http"))]

use std::sync::Arc;

use opendo_transport::socket::listen;
use opendo_transport::{
    Address, AnyConnection, CloseReason, ConnectOptions, Frames, Lines, ListenOptions, Transport as _,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;

const LIMITS: Limits = Limits { max_message: 1000 };

/// Answers each message with itself, and keeps what was asked.
#[derive(Clone, Default)]
struct Echo {
    asked: Arc<Mutex<Vec<WebRequest>>>,
    started: Arc<Notify>,
    hung_up: Arc<Notify>,
}

impl Echo {
    async fn echo(self, connection: Connection<kind::Text>, batch: bool) {
        let (mut sender, mut receiver) = connection.split();
        let mut lines = Lines::default();
        while let Some(Ok(message)) = receiver.receive().await {
            match message.as_str() {
                "abort" => {
                    lines.push("[\"abort\"]".into());
                    let _ = sender.send(&mut lines).await;
                    let _ = sender.close_with(&CloseReason::aborted("as asked")).await;
                    return;
                }
                "hang" => {
                    let _told = TellDrop(self.hung_up.clone());
                    self.started.notify_one();
                    std::future::pending::<()>().await;
                }
                _ => lines.push(message),
            }
            if !batch {
                sender.send(&mut lines).await.unwrap();
            }
        }
        let _ = sender.send(&mut lines).await;
    }
}

impl Served for Echo {
    async fn binary(&self, connection: Connection<kind::Bytes>, request: WebRequest) {
        self.asked.lock().push(request);
        let (mut sender, mut receiver) = connection.split();
        while let Some(Ok(message)) = receiver.receive().await {
            let mut batch = Frames::default();
            batch.push(&message);
            sender.send(&mut batch).await.unwrap();
        }
    }

    async fn socket(&self, _: String, _: String, _: Asked) -> Answer {
        Err(crate::websocket::Refusal::new(418, "no sockets here"))
    }

    fn text(
        self,
        connection: Connection<kind::Text>,
        request: WebRequest,
        batch: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.asked.lock().push(request);
        self.echo(connection, batch)
    }

    async fn plain(
        &self,
        class: String,
        name: String,
        method: String,
        body: Bytes,
        request: WebRequest,
    ) -> (u16, String) {
        self.asked.lock().push(request);
        (418, format!("{class} {name} {method} {}", String::from_utf8_lossy(&body)))
    }
}

struct TellDrop(Arc<Notify>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

struct Server {
    echo: Echo,
    address: Address,
    closing: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    _guard: DropGuard,
}

async fn server(origins: Origins) -> Server {
    let echo = Echo::default();
    let router = router(echo.clone(), WebOptions { origins, limits: LIMITS });
    start(echo, router).await
}

async fn start(echo: Echo, router: Router) -> Server {
    start_at("http://127.0.0.1:0", &ListenOptions::default(), 10, echo, router).await
}

async fn start_at(
    address: &str,
    options: &ListenOptions,
    max_connections: usize,
    echo: Echo,
    router: Router,
) -> Server {
    let closing = CancellationToken::new();
    let listener = listen(&address.parse().unwrap(), options).await.unwrap();
    let address = listener.address().clone();
    let serving = tokio::spawn(serve(listener, router, max_connections, closing.clone()));
    Server { echo, address, _guard: closing.clone().drop_guard(), closing, serving }
}

impl Server {
    fn at(&self, scheme: &str, path: &str) -> Address {
        let authority = self.address.to_string();
        format!("{scheme}{}{path}", authority.trim_start_matches("http")).parse().unwrap()
    }

    fn authority(&self) -> String {
        self.address.to_string().trim_start_matches("http://").to_owned()
    }

    /// Sends a request as it is, and gives head and body of the answer.
    async fn raw(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.authority()).await.unwrap();
        let request = request.replace("HOST", &self.authority());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let size = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: {size}\r\n{headers}\r\n{body}"
        );
        let (head, body) = self.raw(&request).await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body)
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let (status, _, body) = self.request("POST", path, "", body).await;
        (status, body)
    }
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn websockets_speak_what_they_offer() {
    let server = server(Origins::default()).await;
    let address = server.at("ws", "/Room/a%20b/?token=x");
    let binary = address.connect_any(&ConnectOptions::default()).await.unwrap();
    let AnyConnection::Bytes(binary) = binary else { panic!("{binary:?}") };
    let (mut sender, mut receiver) = binary.split();
    let mut batch = Frames::default();
    batch.push(b"bytes");
    sender.send(&mut batch).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "bytes");
    sender.close().await.unwrap();
    assert!(receiver.receive().await.is_none());

    let text = address.connect_any(&ConnectOptions::default().text()).await.unwrap();
    let AnyConnection::Text(text) = text else { panic!("{text:?}") };
    let (mut sender, mut receiver) = text.split();
    let mut batch = Lines::default();
    batch.push("text".into());
    sender.send(&mut batch).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "text");
    batch.push("abort".into());
    sender.send(&mut batch).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "[\"abort\"]");
    let error = receiver.receive().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "Peer closed WebSocket: 3000 as asked");

    let asked = server.echo.asked.lock();
    for request in &*asked {
        assert_eq!(request.path, ["Room", "a b"]);
        assert!(request.peer.is_local());
        assert_eq!(request.headers["host"], *server.authority());
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_subprotocol_is_chosen_only_if_it_is_offered() {
    let server = server(Origins::default()).await;
    let table = [
        ("", None),
        ("Sec-WebSocket-Protocol: chat, opendo.v1\r\n", Some("opendo.v1")),
        ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: opendo.v1\r\n", Some("opendo.v1")),
        ("Sec-WebSocket-Protocol: capnweb\r\n", Some("capnweb")),
        ("Sec-WebSocket-Protocol: chat, OPENDO.v1\r\n", None),
    ];
    for (offer, expected) in table {
        let mut stream = TcpStream::connect(server.authority()).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{UPGRADE}{offer}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        let chosen =
            head.split_once("sec-websocket-protocol: ").map(|(_, rest)| rest.lines().next().unwrap());
        assert_eq!(chosen, expected, "{offer}");
    }
}

#[tokio::test]
async fn a_post_is_a_batch() {
    let server = server(Origins::default()).await;
    assert_eq!(server.post("/", "one\r\ntwo").await, (200, "one\ntwo".into()));
    assert_eq!(server.post("/Room/a", "").await, (200, String::new()));
    assert_eq!(server.post("/", "one\nabort\nmore").await, (400, "[\"abort\"]".into()));
    assert_eq!(server.post("/a%ff", "one").await.0, 400);
    let large = "x".repeat(1000);
    assert_eq!(server.post("/", &large).await, (200, large.clone()));
    assert_eq!(server.post("/", &(large + "y")).await, (413, "the body is too large".into()));

    let client = opendo_transport::http::connect(&server.at("http", "/Room/a"), &ConnectOptions::default());
    let (mut sender, mut receiver) = client.unwrap().split();
    let mut batch = Lines::default();
    ["one", "two"].iter().for_each(|line| batch.push((*line).into()));
    sender.send(&mut batch).await.unwrap();
    sender.close().await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "one");
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "two");
    assert!(receiver.receive().await.is_none());
}

#[tokio::test]
async fn a_body_beyond_what_the_framework_allows_by_itself() {
    let echo = Echo::default();
    let router = router(echo.clone(), WebOptions::default());
    let server = start(echo, router).await;
    let large = "x".repeat(4 * 1024 * 1024);
    assert!(server.post("/", &large).await == (200, large));
}

#[tokio::test]
async fn three_segments_below_rpc_are_one_call() {
    let server = server(Origins::default()).await;
    let (status, head, body) = server.request("POST", "/rpc/Room/a%2Fb/say", "", "[1]").await;
    assert_eq!((status, &*body), (418, "Room a/b say [1]"));
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(server.post("/rpc/Room/a", "batch").await, (200, "batch".into()));
    assert_eq!(server.post("/rpc/Room/a/say/more", "batch").await, (200, "batch".into()));
}

#[tokio::test]
async fn what_is_neither_is_refused() {
    let server = server(Origins::default()).await;
    for method in ["PUT", "DELETE", "PATCH"] {
        let (status, head, _) = server.request(method, "/", "", "").await;
        assert_eq!(status, 405);
        assert!(head.contains("allow: get, post, options"), "{head}");
    }
    assert_eq!(server.request("GET", "/", "", "").await.0, 405);
    let old = UPGRADE.replace("13", "8");
    assert_eq!(server.request("GET", "/", &old, "").await.0, 426);
    assert!(server.echo.asked.lock().is_empty());
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_anything_happens() {
    let server = server(Origins::default()).await;
    let own = format!("Origin: http://{}\r\n", server.authority());
    let rebound = "Host: rebound.example\r\nOrigin: http://rebound.example\r\n";
    for origin in
        ["Origin: https://elsewhere.example\r\n", "Origin: null\r\n", "Origin: http://127.0.0.1:1\r\n"]
    {
        assert_eq!(server.request("POST", "/", origin, "x").await.0, 403, "{origin}");
        assert_eq!(server.request("GET", "/", &(UPGRADE.to_owned() + origin), "").await.0, 403, "{origin}");
        assert_eq!(server.request("OPTIONS", "/", origin, "").await.0, 403, "{origin}");
    }
    let rebound = format!("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n{rebound}\r\nx");
    assert!(server.raw(&rebound).await.0.starts_with("http/1.1 403"));
    assert!(server.echo.asked.lock().is_empty());
    let (status, head, body) = server.request("POST", "/", &own, "x").await;
    assert_eq!((status, &*body), (200, "x"));
    assert!(!head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn origins_that_may_ask_are_told_so_and_never_with_credentials() {
    let listed = "https://app.example";
    let table = [
        (Origins::Any, "https://elsewhere.example", Some("*")),
        (Origins::Any, "null", Some("*")),
        (Origins::List(vec![listed.into()]), listed, Some(listed)),
        (Origins::List(vec![listed.into()]), "https://app.example.evil.example", None),
        (Origins::List(vec![]), listed, None),
    ];
    for (origins, origin, allowed) in table {
        let server = server(origins).await;
        let origin = format!("Origin: {origin}\r\n");
        for (method, expected) in [("POST", 200), ("OPTIONS", 204)] {
            let (status, head, _) = server.request(method, "/", &origin, "").await;
            let Some(allowed) = allowed else {
                assert_eq!(status, 403);
                continue;
            };
            assert_eq!(status, expected);
            assert!(head.contains(&format!("access-control-allow-origin: {allowed}\r\n")), "{head}");
            assert!(!head.contains("credentials"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_batch() {
    let server = server(Origins::default()).await;
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhang").await.unwrap();
    server.echo.started.notified().await;
    drop(stream);
    server.echo.hung_up.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_more_is_not_waited_for() {
    let server = server(Origins::default()).await;
    let (head, _) = server.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\none").await;
    assert!(head.starts_with("http/1.1 408"), "{head}");
    for begun in ["", "POST / HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(server.authority()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("200"), "{answer}");
    }
    assert!(server.echo.asked.lock().is_empty());
}

#[tokio::test]
async fn closing_lets_requests_end_and_takes_no_more() {
    let server = server(Origins::default()).await;
    let mut idle = TcpStream::connect(server.authority()).await.unwrap();
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n";
    idle.write_all((request.to_owned() + "x").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.closing.cancel();
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.address.to_string().trim_start_matches("http://")).await.is_err());
}

#[tokio::test]
async fn a_router_may_be_mounted_below_a_path() {
    let echo = Echo::default();
    let inner = router(echo.clone(), WebOptions { origins: Origins::Same, limits: LIMITS });
    let server = start(echo, Router::new().nest("/api/v1", inner)).await;
    assert_eq!(server.post("/api/v1/Room/a", "x").await, (200, "x".into()));
    assert_eq!(server.post("/api/v1", "x").await, (200, "x".into()));
    assert_eq!(server.post("/other", "x").await.0, 404);
    let address = server.at("ws", "/api/v1/Room/a");
    address.connect(&LIMITS).await.unwrap();
    for request in server.echo.asked.lock().iter() {
        assert!(matches!(&*request.path, [] | [_, _]), "{request:?}");
    }
}

/// One request and its answer, on a connection that stays.
async fn post_on(stream: &mut TcpStream, body: &str) {
    let request = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_others_leave() {
    let echo = Echo::default();
    let router = router(echo.clone(), WebOptions::default());
    let server = start_at("http://127.0.0.1:0", &ListenOptions::default(), 1, echo, router).await;
    let mut first = TcpStream::connect(server.authority()).await.unwrap();
    post_on(&mut first, "first").await;
    let mut second = TcpStream::connect(server.authority()).await.unwrap();
    let waiting = tokio::spawn(async move { post_on(&mut second, "second").await });
    for _ in 0..10 {
        post_on(&mut first, "first").await;
    }
    assert_eq!(server.echo.asked.lock().len(), 11);
    drop(first);
    waiting.await.unwrap();
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn all_of_it_over_tls() {
    use opendo_transport::tls::{Identity, Trust};
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem()).unwrap();
    let echo = Echo::default();
    let router = router(echo.clone(), WebOptions::default());
    let options = ListenOptions::default().identity(identity);
    let server = start_at("https://127.0.0.1:0", &options, 10, echo, router).await;

    let options = ConnectOptions::default().trust(Trust::only(cert.pem()).unwrap());
    let client = server.address.connect_any(&options).await.unwrap();
    let AnyConnection::Batch(client) = client else { panic!("{client:?}") };
    let (mut sender, mut receiver) = client.split();
    let mut batch = Lines::default();
    batch.push("one".into());
    sender.send(&mut batch).await.unwrap();
    sender.close().await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "one");

    let address: Address = server.address.to_string().replace("https", "wss").parse().unwrap();
    let client = address.connect_any(&options).await.unwrap();
    let AnyConnection::Bytes(client) = client else { panic!("{client:?}") };
    let (mut sender, mut receiver) = client.split();
    let mut batch = Frames::default();
    batch.push(b"bytes");
    sender.send(&mut batch).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "bytes");
    sender.close().await.unwrap();
    assert!(receiver.receive().await.is_none());
}
