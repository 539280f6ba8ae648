use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const LIMITS: Limits = Limits { max_message: 100 };

type Halves = (Box<dyn Sender<kind::Text>>, Box<dyn Receiver<kind::Text>>);

/// A transport, and the streams of its peer: what it reads, and where it writes.
fn open(size: usize) -> (Halves, DuplexStream, DuplexStream) {
    let ((read, to_us), (write, from_us)) = (duplex(size), duplex(size));
    let transport = LineStream::new(read, write, Peer::local("stdio", "test"), &LIMITS);
    (transport.split(), to_us, from_us)
}

async fn drain(receiver: &mut dyn Receiver<kind::Text>) -> (Vec<String>, Option<TransportError>) {
    let mut messages = Vec::new();
    loop {
        match receiver.receive().await {
            Some(Ok(message)) => messages.push(message),
            Some(Err(error)) => {
                assert!(receiver.receive().await.is_none());
                return (messages, Some(error));
            }
            None => return (messages, None),
        }
    }
}

const WIRE: &str = "one\n\nthree\r\né\n";
const MESSAGES: [&str; 4] = ["one", "", "three", "é"];

#[tokio::test]
async fn reads_may_be_split_anywhere_and_end_only_after_a_line() {
    for cut in 0..=WIRE.len() {
        let ((_sender, mut receiver), mut peer, _open) = open(1024);
        peer.write_all(&WIRE.as_bytes()[..cut]).await.unwrap();
        let mut messages = Vec::new();
        while let Poll::Ready(Some(message)) =
            receiver.poll_receive(&mut Context::from_waker(std::task::Waker::noop()))
        {
            messages.push(message.unwrap());
        }
        peer.write_all(&WIRE.as_bytes()[cut..]).await.unwrap();
        drop(peer);
        let (rest, end) = drain(&mut *receiver).await;
        messages.extend(rest);
        assert_eq!(messages, MESSAGES, "{cut}");
        assert!(end.is_none());
    }
    for cut in 0..=WIRE.len() {
        let ((_sender, mut receiver), mut peer, _open) = open(1024);
        let wire = &WIRE.as_bytes()[..cut];
        peer.write_all(wire).await.unwrap();
        drop(peer);
        let (messages, end) = drain(&mut *receiver).await;
        assert_eq!(messages.len(), wire.iter().filter(|byte| **byte == b'\n').count());
        let whole = wire.last().is_none_or(|byte| *byte == b'\n');
        assert_eq!(matches!(end, Some(TransportError::Truncated)), !whole, "{cut}");
    }
}

#[tokio::test]
async fn the_limit_is_exact_and_no_more_is_held() {
    for end in ["\n", "\r\n"] {
        let ((_sender, mut receiver), mut peer, _open) = open(4096);
        let line = |size| "x".repeat(size) + end;
        peer.write_all((line(100) + &line(101)).as_bytes()).await.unwrap();
        let (messages, error) = drain(&mut *receiver).await;
        assert_eq!(messages, ["x".repeat(100)]);
        assert!(matches!(error, Some(TransportError::TooLarge { size: 101, limit: 100 })), "{error:?}");
    }
    // A line that never ends is not read on.
    let (read, mut peer) = duplex(4096);
    let transport = LineStream::new(read, tokio::io::sink(), Peer::local("stdio", "test"), &LIMITS);
    peer.write_all(&[b'x'; 4096]).await.unwrap();
    let mut reader = transport.reader;
    let error = std::future::poll_fn(|cx| reader.poll_receive(cx)).await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { limit: 100, .. }), "{error}");
    let mut unread = [0; 4096];
    let held = 4096 - reader.io.read(&mut unread).await.unwrap();
    assert!(held <= 102, "{held}");
}

#[tokio::test]
async fn what_is_no_text_ends_the_connection() {
    let ((_sender, mut receiver), mut peer, _open) = open(1024);
    peer.write_all(b"fine\n\xc3\x28\n").await.unwrap();
    let (messages, error) = drain(&mut *receiver).await;
    assert_eq!(messages, ["fine"]);
    assert!(matches!(error, Some(TransportError::Protocol { .. })), "{error:?}");
}

#[tokio::test]
async fn a_line_break_cannot_be_smuggled_in() {
    let ((mut sender, _receiver), _peer, mut from_us) = open(1024);
    let mut batch = Lines::default();
    ["fine", "not\nfine"].iter().for_each(|line| batch.push((*line).to_owned()));
    assert!(matches!(sender.send(&mut batch).await, Err(TransportError::LineBreak)));
    drop(sender);
    let mut sent = String::new();
    from_us.read_to_string(&mut sent).await.unwrap();
    assert!(!sent.contains("not"), "{sent}");
}

#[tokio::test]
async fn a_send_that_is_given_up_goes_on_where_it_stopped() {
    let ((mut sender, _receiver), _peer, mut from_us) = open(7);
    let mut batch = Lines::default();
    (0..50).for_each(|number| batch.push(format!("line {number}")));
    let size = batch.byte_len();
    let expected: String = batch.iter().map(|line| format!("{line}\n")).collect();
    let (mut sent, mut chunk) = (Vec::new(), [0; 5]);
    let result = loop {
        tokio::select! {
            biased;
            result = sender.send(&mut batch) => break result,
            count = from_us.read(&mut chunk) => sent.extend_from_slice(&chunk[..count.unwrap()]),
        }
    };
    assert_eq!(result.unwrap(), Sent::Size(size));
    drop(sender);
    from_us.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, expected.as_bytes());
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_process_is_a_peer() {
    use std::process::Stdio as Pipe;
    let mut child =
        tokio::process::Command::new("cat").stdin(Pipe::piped()).stdout(Pipe::piped()).spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let transport = LineStream::new(stdout, stdin, Peer::local("stdio", "cat"), &LIMITS);
    let (mut sender, mut receiver) = transport.split();
    let mut batch = Lines::default();
    MESSAGES.iter().for_each(|line| batch.push((*line).to_owned()));
    sender.send(&mut batch).await.unwrap();
    // Dropped, not closed: that is an end too.
    drop(sender);
    let (messages, end) = drain(&mut *receiver).await;
    assert_eq!(messages, MESSAGES);
    assert!(end.is_none());
    assert!(child.wait().await.unwrap().success());
}
