//! The text protocol on a WebSocket, from somebody who writes the bytes by hand.

use opendo::prelude::*;
use opendo::testing::node_stats;
use opendo::{Limits, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::text::{Api, ApiStub, counters, held};
use super::world::{panics, soon, watch_panics};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

async fn start(limits: Limits) -> (Node, String) {
    watch_panics();
    let root = |_: &Session| Ok(opendo::serve::<ApiStub, _>(Api::default()));
    let node = Node::builder().limits(limits).accept(root).start().await.unwrap();
    let address = node.listen("ws://127.0.0.1:0").await.unwrap().to_string();
    (node, address.trim_start_matches("ws://").to_owned())
}

/// What a client says first.
fn opening(address: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// A frame of a client: masked, with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ ..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend((long as u16).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
    out
}

fn whole(kind: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x80 | kind, payload.as_ref())
}

struct Socket(TcpStream);

impl Socket {
    async fn open(address: &str) -> Self {
        let mut io = TcpStream::connect(address).await.unwrap();
        io.set_nodelay(true).unwrap();
        io.write_all(&opening(address)).await.unwrap();
        let mut socket = Self(io);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(socket.0.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        socket
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next frame; `None` at the end.
    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = soon(self.0.read_u8()).await.ok()?;
        let size = match soon(self.0.read_u8()).await.unwrap() {
            126 => self.0.read_u16().await.unwrap().into(),
            size => usize::from(size),
        };
        let mut payload = vec![0; size];
        soon(self.0.read_exact(&mut payload)).await.unwrap();
        Some((first & 0x0f, payload))
    }

    async fn text(&mut self) -> String {
        let (kind, payload) = self.hear().await.expect("a frame");
        assert_eq!(kind, TEXT);
        String::from_utf8(payload).unwrap()
    }

    /// The code with which it is closed, after whatever else.
    async fn closed(&mut self) -> u16 {
        let mut code = None;
        while let Some((kind, payload)) = self.hear().await {
            if kind == CLOSE {
                code = Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
        code.expect("a reason for the end")
    }

    async fn works(&mut self, id: u32) {
        self.say(whole(TEXT, format!(r#"["push",["pipeline",0,["square"],[{id}]]]"#))).await;
        self.say(whole(TEXT, format!(r#"["pull",{id}]"#))).await;
        assert_eq!(self.text().await, format!(r#"["resolve",{id},{}]"#, id * id));
        self.say(whole(TEXT, format!(r#"["release",{id},1]"#))).await;
    }
}

/// Of all sessions only this many are left, and nothing of the others.
async fn left(node: &Node, sessions: usize) {
    soon(async {
        while node_stats(node).len() > sessions || counters() != 0 || held() != 0 {
            yield_now().await;
        }
    })
    .await;
    assert_eq!(panics(), 0);
}

#[tokio::test]
async fn frames_that_are_no_text_end_the_session_with_a_code() {
    let (node, address) = start(Limits { max_message: 60_000, ..Limits::default() }).await;
    let mut bystander = Socket::open(&address).await;
    let mut unmasked = whole(TEXT, "[\"pipe\"]");
    unmasked[1] &= 0x7f;
    unmasked.drain(2..6);
    let mut huge = vec![0x81, 0xff];
    huge.extend(u64::MAX.to_be_bytes());
    huge.extend([0; 4]);
    for (id, (bytes, code)) in [
        (whole(BINARY, "[\"pipe\"]"), 1003),
        (whole(TEXT, b"[\"push\",\"\xff\"]"), 1007),
        (whole(TEXT, b"[\"push\",\"\xed\xa0\x80\"]"), 1007),
        (whole(TEXT, "nonsense"), 3000),
        (whole(TEXT, "x".repeat(60_001)), 3000),
        (whole(0x40 | TEXT, "[\"pipe\"]"), 1002),
        (whole(3, "?"), 1002),
        (whole(0, "continued"), 1002),
        (unmasked, 1002),
        (huge, 3000),
    ]
    .into_iter()
    .enumerate()
    {
        let mut socket = Socket::open(&address).await;
        socket.works(1).await;
        socket.say(whole(TEXT, r#"["push",["pipeline",0,["makeCounter"],[1]]]"#)).await;
        socket.say(whole(TEXT, r#"["push",["pipeline",0,["hold"],[]]]"#)).await;
        socket.say(&bytes).await;
        assert_eq!(socket.closed().await, code, "{:?}", &bytes[..bytes.len().min(40)]);
        left(&node, 1).await;
        bystander.works(id as u32 + 1).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_at_any_byte_leaves_nothing() {
    let (node, address) = start(Limits::default()).await;
    let mut bystander = Socket::open(&address).await;
    let mut script = opening(&address);
    for line in [
        r#"["push",["pipeline",0,["makeCounter"],[4]]]"#,
        r#"["pull",1]"#,
        r#"["push",["pipeline",0,["keep"],[{"a":["export",-2],"b":["pipeline",1]}]]]"#,
        r#"["push",["pipeline",0,["hold"],[]]]"#,
        r#"["release",1,1]"#,
    ] {
        script.extend(whole(TEXT, line));
    }
    for (id, end) in (0..=script.len()).enumerate() {
        let mut io = TcpStream::connect(&address).await.unwrap();
        io.write_all(&script[..end]).await.unwrap();
        // Some part of it is read before the end.
        for _ in 0..end % 7 {
            yield_now().await;
        }
        drop(io);
        bystander.works(id as u32 + 1).await;
    }
    left(&node, 1).await;
    bystander.works(script.len() as u32 + 2).await;
}

#[tokio::test]
async fn one_byte_at_a_time_and_a_message_in_pieces_are_as_good_as_any() {
    let (node, address) = start(Limits::default()).await;
    let mut socket = Socket::open(&address).await;
    for byte in whole(TEXT, r#"["push",["pipeline",0,["square"],[3]]]"#) {
        socket.say([byte]).await;
        yield_now().await;
    }
    socket.say(frame(TEXT, b"[\"pu")).await;
    socket.say(whole(PING, "?")).await;
    assert_eq!(socket.hear().await, Some((PONG, b"?".to_vec())));
    socket.say(frame(0, b"ll\"")).await;
    socket.say(whole(0, ",1]")).await;
    assert_eq!(socket.text().await, r#"["resolve",1,9]"#);
    socket.say(whole(CLOSE, [0x03, 0xe8])).await;
    assert_eq!(socket.closed().await, 1000);
    left(&node, 0).await;
}
