use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LIMITS: Limits = Limits { max_message: 100 };

fn lines(messages: &[&str]) -> Lines {
    let mut lines = Lines::default();
    messages.iter().for_each(|message| lines.push((*message).to_owned()));
    lines
}

async fn all(receiver: &mut dyn Receiver<kind::Text>) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(message) = receiver.receive().await {
        messages.push(message.unwrap());
    }
    messages
}

fn served(body: &[u8]) -> (Connection<kind::Text>, impl Future<Output = BatchReply>) {
    batch(Bytes::copy_from_slice(body), &LIMITS, Peer::local("http", "test"))
}

#[tokio::test]
async fn a_body_is_its_lines() {
    let table: [(&str, &[&str]); 6] = [
        ("", &[]),
        ("one", &["one"]),
        ("one\ntwo", &["one", "two"]),
        ("one\r\ntwo\r", &["one", "two"]),
        ("one\n", &["one", ""]),
        ("\n", &["", ""]),
    ];
    for (body, expected) in table {
        let (_sender, mut receiver) = served(body.as_bytes()).0.split();
        assert_eq!(all(&mut *receiver).await, expected, "{body:?}");
        assert!(receiver.receive().await.is_none());
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_or_too_large_is_the_first_error() {
    for (body, expected) in [(&[0xff][..], "not UTF-8"), (&[b'x'; 101], "a message of 101 bytes")] {
        let (connection, reply) = served(body);
        let (sender, mut receiver) = connection.split();
        let error = receiver.receive().await.unwrap().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(receiver.receive().await.is_none());
        drop(sender);
        assert_eq!(reply.await, BatchReply::Complete(String::new()));
    }
}

#[tokio::test]
async fn a_reply_is_what_was_sent() {
    for sent in [&[][..], &["one"], &["one", "", "three"], &["", ""]] {
        let (connection, reply) = served(b"");
        let (mut sender, _receiver) = connection.split();
        assert_eq!(sender.send(&mut lines(sent)).await.unwrap(), Sent::Size(sent.concat().len()));
        sender.close().await.unwrap();
        sender.close().await.unwrap();
        assert!(matches!(sender.send(&mut lines(&["late"])).await, Err(TransportError::Closed)));
        assert_eq!(reply.await, BatchReply::Complete(sent.join("\n")));
    }
}

#[tokio::test]
async fn an_aborted_batch_says_so_and_nothing_else() {
    let reason = CloseReason::aborted("reason");
    for (sent, expected) in [(&["one", "[\"abort\"]"][..], "[\"abort\"]"), (&[], "reason")] {
        let (connection, reply) = served(b"");
        let (mut sender, _receiver) = connection.split();
        sender.send(&mut lines(sent)).await.unwrap();
        sender.close_with(&reason).await.unwrap();
        drop(sender);
        assert_eq!(reply.await, BatchReply::Aborted(expected.into()));
    }
}

#[tokio::test]
async fn a_reply_is_bounded_as_a_whole() {
    let (connection, reply) = served(b"");
    let (mut sender, _receiver) = connection.split();
    sender.send(&mut lines(&[&"x".repeat(50), &"x".repeat(49)])).await.unwrap();
    let error = sender.send(&mut lines(&[""])).await.unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { size: 101, limit: 100 }), "{error}");
    sender.close_with(&CloseReason::aborted("too large")).await.unwrap();
    assert_eq!(reply.await, BatchReply::TooLarge);
}

#[tokio::test]
async fn a_line_break_cannot_be_smuggled_in() {
    let (connection, _reply) = served(b"");
    let (mut sender, _receiver) = connection.split();
    let error = sender.send(&mut lines(&["[\"one\"]\n[\"two\"]"])).await.unwrap_err();
    assert!(matches!(error, TransportError::LineBreak));
}

#[tokio::test]
async fn nothing_is_sent_to_a_client_that_hung_up() {
    let (connection, reply) = served(b"one");
    let (mut sender, _receiver) = connection.split();
    drop(reply);
    assert!(matches!(sender.send(&mut lines(&["x"])).await, Err(TransportError::Closed)));
}

/// A server that takes one request and answers with `answer`, as it is.
async fn server(answer: &'static [u8]) -> (Address, impl Future<Output = String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/a?b=c", listener.local_addr().unwrap()).parse().unwrap();
    let serving = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        request
    };
    (address, serving)
}

/// Until the blank line, and what that announced.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let size =
                head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            if body.len() == size.parse::<usize>().unwrap() {
                return request;
            }
        }
        let count = stream.read(&mut chunk).await.unwrap();
        request.push_str(str::from_utf8(&chunk[..count]).unwrap());
    }
}

/// Sends one batch; gives the request and what came of it.
async fn ask(answer: &'static [u8], sent: &[&str]) -> (String, Vec<Result<String, TransportError>>) {
    let (address, serving) = server(answer).await;
    let transport = connect(&address, &LIMITS.into()).unwrap();
    assert!(transport.peer().is_local());
    let (mut sender, mut receiver) = transport.split();
    sender.send(&mut lines(sent)).await.unwrap();
    sender.close().await.unwrap();
    let receiving = async {
        let mut received = Vec::new();
        while let Some(message) = receiver.receive().await {
            received.push(message);
        }
        received
    };
    tokio::join!(serving, receiving)
}

#[tokio::test]
async fn a_batch_is_one_request_and_its_reply_the_response() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\none\r\ntwo";
    let (request, received) = ask(answer, &["1", "", "3"]).await;
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nhost: 127.0.0.1:"), "{request}");
    assert!(request.ends_with("\r\n\r\n1\n\n3"), "{request}");
    let received: Vec<_> = received.into_iter().map(Result::unwrap).collect();
    assert_eq!(received, ["one", "two"]);
    // Without a length, and in chunks.
    let (_, received) = ask(b"HTTP/1.1 200 OK\r\n\r\none", &["x"]).await;
    assert_eq!(received[0].as_ref().unwrap(), "one");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n";
    assert_eq!(ask(chunked, &["x"]).await.1[0].as_ref().unwrap(), "one");
    assert!(ask(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &["x"]).await.1.is_empty());
}

#[tokio::test]
async fn what_a_failed_request_says() {
    let over = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(101);
    let table: [(&'static [u8], &str); 7] = [
        (
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            "RPC request failed: 500 Internal Server Error",
        ),
        (b"HTTP/1.1 403 Not You\r\nContent-Length: 2\r\n\r\nno", "RPC request failed: 403 Not You"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\n\r\n",
            "RPC request failed: 301 Moved Permanently",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none", "could not send a batch"),
        (b"220 mail.example ESMTP\r\n\r\n", "could not send a batch"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff",
            "the peer does not keep to the protocol: a body is not UTF-8",
        ),
        (over.leak().as_bytes(), "a message of 101 bytes is over the limit of 100"),
    ];
    for (answer, expected) in table {
        let (_, received) = ask(answer, &["x"]).await;
        let [Err(error)] = &*received else { panic!("{expected}: {received:?}") };
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let (address, serving) = server(b"").await;
    drop(serving);
    let (mut sender, mut receiver) = connect(&address, &LIMITS.into()).unwrap().split();
    sender.send(&mut lines(&["x"])).await.unwrap();
    drop(sender);
    let error = receiver.receive().await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Io { .. }), "{error}");
    assert!(receiver.receive().await.is_none());
}

#[tokio::test]
async fn nothing_goes_out_before_a_batch_is_complete_nor_if_it_never_is() {
    let address: Address = "http://127.0.0.1:9/".parse().unwrap();
    let open = || connect(&address, &LIMITS.into()).unwrap().split();

    let (mut sender, mut receiver) = open();
    sender.send(&mut lines(&["x"])).await.unwrap();
    assert!(receiver.poll_receive(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    sender.close_with(&CloseReason::aborted("never mind")).await.unwrap();
    assert!(receiver.receive().await.is_none());
    assert!(matches!(sender.send(&mut lines(&["x"])).await, Err(TransportError::Closed)));

    let (sender, mut receiver) = open();
    drop(sender);
    assert!(receiver.receive().await.is_none());

    let (mut sender, receiver) = open();
    drop(receiver);
    assert!(matches!(sender.send(&mut lines(&["x"])).await, Err(TransportError::Closed)));
}
