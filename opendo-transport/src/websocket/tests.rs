#![allow(clippy::result_large_err, reason = "it is how tungstenite's callback is typed")]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::*;

type Halves<K> = (Box<dyn Sender<K>>, Box<dyn Receiver<K>>);

const LIMITS: Limits = Limits { max_message: 1000 };

async fn end<K: Framed>(stream: DuplexStream, role: Role) -> Halves<K> {
    WebSocket::<_, K>::new(stream, role, Peer::local("ws", "test"), &LIMITS).await.split()
}

async fn pair<K: Framed>() -> (Halves<K>, Halves<K>) {
    let (client, server) = duplex(64 * 1024);
    (end(client, Role::Client).await, end(server, Role::Server).await)
}

/// A client, and the bare stream of its server.
async fn client<K: Framed>() -> (Halves<K>, DuplexStream) {
    let (client, server) = duplex(64 * 1024);
    (end(client, Role::Client).await, server)
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A frame as servers send it.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match payload.len() {
        size @ ..126 => frame.push(size as u8),
        size => {
            frame.push(126);
            frame.extend((size as u16).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The next frame of a client, unmasked; small ones only.
async fn read_frame(stream: &mut DuplexStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    stream.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).await.unwrap();
    payload.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    (head[0], payload)
}

/// What a close frame says.
async fn read_close(stream: &mut DuplexStream) -> (u16, String) {
    let (head, payload) = read_frame(stream).await;
    assert_eq!(head, CLOSE);
    (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap())
}

fn lines(messages: &[&str]) -> Lines {
    let mut lines = Lines::default();
    messages.iter().for_each(|message| lines.push((*message).to_owned()));
    lines
}

fn frames(messages: &[&[u8]]) -> Frames {
    let mut frames = Frames::default();
    messages.iter().for_each(|message| frames.push(message));
    frames
}

async fn last_error<K: Framed>(receiver: &mut dyn Receiver<K>) -> TransportError {
    let error = receiver.receive().await.unwrap().unwrap_err();
    assert!(receiver.receive().await.is_none());
    error
}

#[tokio::test]
async fn a_batch_is_one_frame_a_message() {
    let ((mut sender, _receiver), mut server) = client::<kind::Text>().await;
    let mut batch = lines(&["one", "", "three"]);
    assert_eq!(sender.send(&mut batch).await.unwrap(), Sent::Size(8));
    assert!(batch.is_empty());
    for message in ["one", "", "three"] {
        assert_eq!(read_frame(&mut server).await, (TEXT, message.as_bytes().to_vec()));
    }
    let ((mut sender, _receiver), mut server) = client::<kind::Bytes>().await;
    sender.send(&mut frames(&[b"one", b""])).await.unwrap();
    assert_eq!(read_frame(&mut server).await, (BINARY, b"one".to_vec()));
    assert_eq!(read_frame(&mut server).await, (BINARY, b"".to_vec()));
}

#[tokio::test]
async fn a_batch_that_waits_for_the_peer_goes_on_where_it_stopped() {
    let (client, mut server) = duplex(16);
    let (mut sender, _receiver) = end::<kind::Bytes>(client, Role::Client).await;
    let message = [7; 100];
    let mut batch = frames(&[&message, &message]);
    let mut received = Vec::new();
    let mut chunk = [0; 10];
    let sent = loop {
        tokio::select! {
            biased;
            sent = sender.send(&mut batch) => break sent.unwrap(),
            count = server.read(&mut chunk) => received.extend_from_slice(&chunk[..count.unwrap()]),
        }
    };
    assert_eq!(sent, Sent::Size(208));
    drop((sender, _receiver));
    server.read_to_end(&mut received).await.unwrap();
    // Each behind its header and mask; and as much of a close as there was room for.
    assert_eq!([0, 106, 212].map(|at| received[at]), [BINARY, BINARY, CLOSE]);
}

#[tokio::test]
async fn a_connection_may_break_at_any_byte() {
    // Whole, empty, in fragments with a ping between them, and long enough for a longer header.
    let parts: [(Vec<u8>, usize); 5] = [
        (frame(TEXT, b"one"), 1),
        (frame(TEXT, b""), 1),
        ([frame(0x01, b"th"), frame(PING, b"?"), frame(0x80, b"ree")].concat(), 1),
        (frame(PONG, b""), 0),
        (frame(TEXT, &[b'x'; 300]), 1),
    ];
    let wire: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    for cut in 0..=wire.len() {
        let ((_sender, mut receiver), mut server) = client::<kind::Text>().await;
        server.write_all(&wire[..cut]).await.unwrap();
        server.shutdown().await.unwrap();
        let mut end = 0;
        let whole = |(bytes, messages): &(Vec<u8>, usize)| {
            end += bytes.len();
            if end <= cut { *messages } else { 0 }
        };
        let expected: usize = parts.iter().map(whole).sum();
        for _ in 0..expected {
            receiver.receive().await.unwrap().unwrap();
        }
        let error = last_error(&mut *receiver).await;
        assert!(matches!(error, TransportError::PeerClosed { code: 1006, .. }), "{cut}: {error}");
    }
}

#[tokio::test]
async fn frames_may_be_split_anywhere() {
    let wire =
        [frame(BINARY, b"one"), frame(0x02, b"tw"), frame(0x80, b"o"), frame(CLOSE, &[3, 232])].concat();
    for cut in 1..wire.len() {
        let ((_sender, mut receiver), mut server) = client::<kind::Bytes>().await;
        server.write_all(&wire[..cut]).await.unwrap();
        let mut received = Vec::new();
        // Whatever is there is taken first, so that the rest is another read.
        while let Poll::Ready(Some(message)) = receiver.poll_receive(&mut Context::from_waker(Waker::noop()))
        {
            received.push(message.unwrap());
        }
        server.write_all(&wire[cut..]).await.unwrap();
        while let Some(message) = receiver.receive().await {
            received.push(message.unwrap());
        }
        assert_eq!(received, [&b"one"[..], b"two"], "{cut}");
    }
}

#[tokio::test]
async fn the_limit_is_exact_and_fragments_count_together() {
    let x = |size| vec![b'x'; size];
    let over = [
        (frame(TEXT, &x(1001)), 1001),
        ([frame(0x01, &x(600)), frame(0x80, &x(401))].concat(), 1001),
        // Announced, and never sent.
        ([&[TEXT, 127][..], &u64::from(u32::MAX).to_be_bytes()].concat(), u32::MAX as usize),
    ];
    for (wire, expected) in over {
        let ((mut sender, mut receiver), mut server) = client::<kind::Text>().await;
        server.write_all(&frame(TEXT, &x(1000))).await.unwrap();
        server.write_all(&wire).await.unwrap();
        assert_eq!(receiver.receive().await.unwrap().unwrap().len(), 1000);
        let error = last_error(&mut *receiver).await;
        let TransportError::TooLarge { size, limit: 1000 } = error else { panic!("{error}") };
        assert_eq!(size, expected);
        sender.close().await.unwrap();
        assert_eq!(read_close(&mut server).await, (1009, String::new()));
    }
}

#[tokio::test]
async fn the_wrong_kind_of_frame_ends_the_connection() {
    let ((mut sender, mut receiver), mut server) = client::<kind::Text>().await;
    server.write_all(&[frame(TEXT, b"fine"), frame(BINARY, b"not")].concat()).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "fine");
    let error = last_error(&mut *receiver).await;
    assert!(error.to_string().ends_with("a binary frame came where text is spoken"), "{error}");
    // The session may still say why, before it closes.
    sender.send(&mut lines(&["why"])).await.unwrap();
    sender.close().await.unwrap();
    assert_eq!(read_frame(&mut server).await, (TEXT, b"why".to_vec()));
    assert_eq!(read_close(&mut server).await, (1003, String::new()));

    let ((_sender, mut receiver), mut server) = client::<kind::Bytes>().await;
    server.write_all(&frame(TEXT, b"not")).await.unwrap();
    let error = last_error(&mut *receiver).await;
    assert!(error.to_string().ends_with("a text frame came where binary messages are spoken"), "{error}");
}

#[tokio::test]
async fn what_is_no_websocket_ends_the_connection() {
    let cases: [(&[u8], u16); 6] = [
        (&[0x81, 2, 0xc3, 0x28], 1007),
        (&[0x81, 0x80, 0, 0, 0, 0], 1002),
        (&[0xf1, 0], 1002),
        (&[0x80, 0], 1002),
        (&[0x83, 0], 1002),
        (&[0x89, 126, 0, 126], 1002),
    ];
    for (wire, code) in cases {
        let ((mut sender, mut receiver), mut server) = client::<kind::Text>().await;
        server.write_all(wire).await.unwrap();
        server.write_all(&[0; 200]).await.unwrap();
        let error = last_error(&mut *receiver).await;
        assert!(matches!(error, TransportError::Protocol { .. }), "{wire:?}: {error}");
        sender.close().await.unwrap();
        assert_eq!(read_close(&mut server).await.0, code, "{wire:?}");
    }
}

#[tokio::test]
async fn pings_are_answered_while_receiving() {
    let ((_sender, mut receiver), mut server) = client::<kind::Text>().await;
    server.write_all(&[frame(PING, b"there?"), frame(TEXT, b"x")].concat()).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "x");
    let waiting = tokio::spawn(async move { receiver.receive().await.is_none() });
    assert_eq!(read_frame(&mut server).await, (PONG, b"there?".to_vec()));
    waiting.abort();
}

#[tokio::test]
async fn messages_of_any_size_arrive_masked_or_not() {
    let limits = Limits { max_message: 100_000 };
    let end =
        |stream, role| WebSocket::<_, kind::Bytes>::new(stream, role, Peer::local("ws", "test"), &limits);
    let (client, server) = duplex(1000);
    let (client, server) = (end(client, Role::Client).await.split(), end(server, Role::Server).await.split());
    for (mut sender, mut receiver) in [(client.0, server.1), (server.0, client.1)] {
        for size in [0, 1, 3, 125, 126, 127, 65_535, 65_536, 100_000] {
            let message: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
            let mut batch = frames(&[&message]);
            let (sent, received) = tokio::join!(sender.send(&mut batch), receiver.receive());
            sent.unwrap();
            assert!(received.unwrap().unwrap() == message, "{size}");
        }
    }
}

#[tokio::test]
async fn frames_right_behind_the_upgrade_are_received() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    // More than the handshake takes at a time.
    let long = "x".repeat(10_000);
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(key.as_bytes())
        );
        let early = [frame(TEXT, long.as_bytes()), frame(TEXT, b"bird")].concat();
        stream.write_all(&[head.as_bytes(), &early].concat()).await.unwrap();
        stream
    };
    let options = ConnectOptions::default().text();
    let (connection, _open) = tokio::join!(connect_to(&url, &options), serving);
    let AnyConnection::Text(connection) = connection.unwrap() else { panic!("text was asked for") };
    let (_sender, mut receiver) = connection.split();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), long);
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "bird");
}

#[tokio::test]
async fn how_a_peers_close_is_told() {
    async fn told<K: Framed>(payload: &[u8]) -> Option<String> {
        let ((_sender, mut receiver), mut server) = client::<K>().await;
        server.write_all(&frame(CLOSE, payload)).await.unwrap();
        let end = receiver.receive().await.map(|end| end.unwrap_err().to_string());
        assert!(receiver.receive().await.is_none());
        assert_eq!(read_frame(&mut server).await, (CLOSE, payload.to_vec()), "the answer");
        end
    }
    let code = |code: u16, reason: &str| [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    assert_eq!(told::<kind::Bytes>(&code(1000, "bye")).await, None);
    assert_eq!(told::<kind::Text>(&code(1000, "")).await.unwrap(), "Peer closed WebSocket: 1000 ");
    assert_eq!(told::<kind::Text>(&[]).await.unwrap(), "Peer closed WebSocket: 1005 ");
    assert_eq!(told::<kind::Bytes>(&[]).await.unwrap(), "Peer closed WebSocket: 1005 ");
    assert_eq!(
        told::<kind::Text>(&code(3000, "test error")).await.unwrap(),
        "Peer closed WebSocket: 3000 test error"
    );
    assert_eq!(told::<kind::Bytes>(&code(1001, "away")).await.unwrap(), "Peer closed WebSocket: 1001 away");
}

#[tokio::test]
async fn a_reason_is_sent_and_cut_between_characters() {
    let long = "é".repeat(100);
    for (text, expected) in [("short", "short"), (&*long, &*"é".repeat(61))] {
        let ((mut sender, mut receiver), (_theirs, mut at_server)) = pair::<kind::Text>().await;
        sender.close_with(&CloseReason::aborted(text)).await.unwrap();
        let error = last_error(&mut *at_server).await;
        assert_eq!(error.to_string(), format!("Peer closed WebSocket: 3000 {expected}"));
        // Its answer is the end of what it said.
        assert!(receiver.receive().await.is_none());
        assert!(matches!(sender.send(&mut lines(&["x"])).await, Err(TransportError::Closed)));
        sender.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_sent_before_the_answer_to_a_close_is_received() {
    let ((mut sender, mut receiver), (mut theirs, mut at_server)) = pair::<kind::Bytes>().await;
    sender.close().await.unwrap();
    theirs.send(&mut frames(&[b"late"])).await.unwrap();
    assert!(at_server.receive().await.is_none());
    assert!(matches!(theirs.send(&mut frames(&[b"too late"])).await, Err(TransportError::Closed)));
    theirs.close().await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "late");
    assert!(receiver.receive().await.is_none());
}

#[tokio::test]
async fn a_close_without_a_receiver_waits_for_the_answer() {
    let ((mut sender, receiver), mut server) = client::<kind::Bytes>().await;
    drop(receiver);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sender.poll_close(&mut cx).is_pending());
    server.write_all(&frame(BINARY, b"nobody wants this")).await.unwrap();
    assert!(sender.poll_close(&mut cx).is_pending());
    assert_eq!(read_close(&mut server).await.0, 1000);
    server.write_all(&frame(CLOSE, &[3, 232])).await.unwrap();
    assert!(matches!(sender.poll_close(&mut cx), Poll::Ready(Ok(()))));
    // Nor does it wait for a peer that is gone.
    let ((mut sender, receiver), server) = client::<kind::Bytes>().await;
    drop((receiver, server));
    sender.close().await.unwrap();
}

#[tokio::test]
async fn dropping_the_sender_closes() {
    let ((sender, mut receiver), (_theirs, mut at_server)) = pair::<kind::Bytes>().await;
    drop(sender);
    assert!(at_server.receive().await.is_none());
    assert!(receiver.receive().await.is_none());
}

/// A server that agrees to one upgrade after another, as `choose` says.
async fn server(
    choose: impl Fn(&Request, Response) -> Result<Response, ErrorResponse> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let choose = &choose;
            if let Ok(mut stream) =
                accept_hdr_async(stream, move |request: &Request, response| choose(request, response)).await
            {
                let _ = stream.close(None).await;
            }
        }
    });
    format!("ws://{address}")
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn connect_to(url: &str, options: &ConnectOptions) -> Result<AnyConnection, TransportError> {
    connect(&url.parse().unwrap(), options).await
}

#[tokio::test]
async fn the_server_chooses_the_kind() {
    let options = ConnectOptions::default();
    let ours = server(|request, mut response| {
        if let Some(offer) = header(request, "sec-websocket-protocol") {
            assert_eq!(offer, format!("{TEXT_SUBPROTOCOL}, {SUBPROTOCOL}"));
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(response)
    })
    .await;
    let connection = connect_to(&ours, &options).await.unwrap();
    assert!(matches!(connection, AnyConnection::Bytes(_)));
    assert_eq!(connection.peer(), Peer::local("ws", ours.trim_start_matches("ws://")));
    assert!(matches!(connect_to(&ours, &options.clone().text()).await.unwrap(), AnyConnection::Text(_)));

    // As the most used server for Node.js does.
    let blind = server(|request, mut response| {
        let first = header(request, "sec-websocket-protocol").unwrap().split(',').next().unwrap();
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, first.parse().unwrap());
        Ok(response)
    })
    .await;
    assert!(matches!(connect_to(&blind, &options).await.unwrap(), AnyConnection::Text(_)));

    let foreign = server(|_, response| Ok(response)).await;
    assert!(matches!(connect_to(&foreign, &options).await.unwrap(), AnyConnection::Text(_)));
    let address: Address = foreign.parse().unwrap();
    let error = address.connect(&Limits::default()).await.unwrap_err();
    assert!(matches!(error, TransportError::OtherKind { carries: "text", .. }), "{error}");
}

#[tokio::test]
async fn path_query_and_host_arrive_and_a_refusal_is_told() {
    let url = server(|request, response| {
        assert!(header(request, "host").unwrap().starts_with("127.0.0.1:"));
        if request.uri() == "/rooms/a%20b?token=x" {
            return Ok(response);
        }
        Err(Response::builder().status(403).body(None).unwrap())
    })
    .await;
    let options = ConnectOptions::default().text();
    connect_to(&format!("{url}/rooms/a%20b?token=x"), &options).await.unwrap();
    let error = connect_to(&url, &options).await.unwrap_err();
    assert_eq!(error.to_string(), "RPC request failed: 403 Forbidden");
}

#[tokio::test]
async fn a_server_that_speaks_something_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await.unwrap();
        stream
    };
    let options = ConnectOptions::default();
    let (result, _open) = tokio::join!(connect_to(&url, &options), serving);
    let error = result.unwrap_err();
    assert!(matches!(error, TransportError::Protocol { .. }), "{error}");
}
