//! One suite, run over every transport.

use std::sync::atomic::{AtomicUsize, Ordering};

use opendo_transport::kind::{self, Batch, Kind};
use opendo_transport::{
    Address, ByteStream, Connection, Frames, Limits, Peer, Receiver, Sender, Sent, Transport, TransportError,
    Tree, memory,
};

const LIMIT: usize = 4 * 1024 * 1024;
const LIMITS: Limits = Limits { max_message: LIMIT };

type Halves<K> = (Box<dyn Sender<K>>, Box<dyn Receiver<K>>);

/// A message of any kind, so that the suite is written once.
trait Message: Kind {
    fn message(byte: u8, size: usize) -> Self::Message;
    fn is(message: &Self::Message, byte: u8, size: usize) -> bool;
}

impl Message for kind::Bytes {
    fn message(byte: u8, size: usize) -> bytes::Bytes {
        vec![byte; size].into()
    }

    fn is(message: &bytes::Bytes, byte: u8, size: usize) -> bool {
        message.len() == size && message.iter().all(|b| *b == byte)
    }
}

impl Message for kind::Text {
    fn message(byte: u8, size: usize) -> String {
        char::from(byte).to_string().repeat(size)
    }

    fn is(message: &String, byte: u8, size: usize) -> bool {
        message.len() == size && message.bytes().all(|b| b == byte)
    }
}

impl Message for kind::Value {
    fn message(byte: u8, size: usize) -> Tree {
        Tree::Bytes(vec![byte; size].into())
    }

    fn is(message: &Tree, byte: u8, size: usize) -> bool {
        *message == Self::message(byte, size)
    }
}

fn batch<K: Message>(messages: impl IntoIterator<Item = (u8, usize)>) -> K::Batch {
    let mut batch = K::Batch::default();
    messages.into_iter().for_each(|(byte, size)| batch.append(K::message(byte, size)));
    batch
}

async fn expect<K: Message>(receiver: &mut dyn Receiver<K>, byte: u8, size: usize) {
    let message = receiver.receive().await.expect("the end came early").unwrap();
    assert!(K::is(&message, byte, size), "not {size} times {byte}");
}

async fn order<K: Message>((mut sender, _left): Halves<K>, (_right, mut receiver): Halves<K>) {
    let sending = async {
        for round in 0..50 {
            let mut batch = batch::<K>((0..20).map(|size| (b'a' + size, usize::from(size) * round)));
            let size = batch.byte_len();
            assert_eq!(sender.send(&mut batch).await.unwrap(), Sent::Size(size));
            assert!(batch.is_empty());
        }
        assert_eq!(sender.send(&mut K::Batch::default()).await.unwrap(), Sent::Size(0));
    };
    let receiving = async {
        for round in 0..50 {
            for size in 0..20 {
                expect(&mut *receiver, b'a' + size, usize::from(size) * round).await;
            }
        }
    };
    tokio::join!(sending, receiving);
}

async fn large_messages_both_ways<K: Message>(left: Halves<K>, right: Halves<K>) {
    const SIZE: usize = 1024 * 1024;
    let exchange = |(mut sender, mut receiver): Halves<K>, ours, theirs| async move {
        let mut batch = batch::<K>([(ours, SIZE), (ours, LIMIT)]);
        let sending = async { sender.send(&mut batch).await.unwrap() };
        let receiving = async {
            expect(&mut *receiver, theirs, SIZE).await;
            expect(&mut *receiver, theirs, LIMIT).await;
        };
        tokio::join!(sending, receiving);
    };
    tokio::join!(exchange(left, b'l', b'r'), exchange(right, b'r', b'l'));
}

async fn half_close<K: Message>(
    (mut left, mut from_right): Halves<K>,
    (mut right, mut from_left): Halves<K>,
) {
    left.send(&mut batch::<K>([(b'l', 5)])).await.unwrap();
    left.close().await.unwrap();
    left.close().await.unwrap();
    assert!(matches!(left.send(&mut batch::<K>([(b'x', 1)])).await, Err(TransportError::Closed)));
    expect(&mut *from_left, b'l', 5).await;
    assert!(from_left.receive().await.is_none());
    assert!(from_left.receive().await.is_none());

    right.send(&mut batch::<K>([(b'r', 7)])).await.unwrap();
    expect(&mut *from_right, b'r', 7).await;
    drop(right);
    assert!(from_right.receive().await.is_none());
}

async fn peer_drop<K: Message>((mut left, mut from_right): Halves<K>, right: Halves<K>) {
    drop(right);
    assert!(from_right.receive().await.is_none());
    // However much the system still buffers, sending fails in the end, and with the one error for it.
    let error = loop {
        if let Err(error) = left.send(&mut batch::<K>([(b'x', 1000)])).await {
            break error;
        }
    };
    assert!(matches!(error, TransportError::Closed), "{error}");
}

async fn oversize<K: Message>((mut sender, left): Halves<K>, (right, mut receiver): Halves<K>) {
    let mut batch = batch::<K>([(b'y', 1), (b'x', LIMIT + 1)]);
    let sending = tokio::spawn(async move { sender.send(&mut batch).await });
    expect(&mut *receiver, b'y', 1).await;
    let error = receiver.receive().await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { size, limit: LIMIT } if size == LIMIT + 1), "{error}");
    assert!(receiver.receive().await.is_none());
    // Whoever sent it is either through with it or finds the connection closed.
    drop((left, right, receiver));
    assert!(matches!(sending.await.unwrap(), Ok(_) | Err(TransportError::Closed)));
}

/// Connections, and those that had to be taken apart before.
trait IntoHalves<K: Kind> {
    fn into_halves(self) -> Halves<K>;
}

impl<K: Kind> IntoHalves<K> for Connection<K> {
    fn into_halves(self) -> Halves<K> {
        self.split()
    }
}

impl<K: Kind> IntoHalves<K> for Halves<K> {
    fn into_halves(self) -> Halves<K> {
        self
    }
}

macro_rules! suite {
    ($transport:ident: $kind:ty, $connect:expr) => {
        suite!($transport: $kind, $connect, order large_messages_both_ways half_close peer_drop oversize);
    };
    ($transport:ident: $kind:ty, $connect:expr, $($test:ident)*) => {
        mod $transport {
            use super::*;

            suite!(@ $kind, $connect, $($test)*);
        }
    };
    (@ $kind:ty, $connect:expr, $($test:ident)*) => {
        $(#[tokio::test]
        async fn $test() {
            let (left, right) = $connect.await;
            super::$test::<$kind>(left.into_halves(), right.into_halves()).await;
        })*
    };
}

async fn memory_pair<K: Kind>() -> (Connection<K>, Connection<K>) {
    let (left, right) = memory::pair::<K>(2);
    (Connection::new(left.with_limits(&LIMITS)), Connection::new(right.with_limits(&LIMITS)))
}

/// Streams that hold little, so that every write is cut; one a direction, since halves of a `duplex` end together.
async fn pipe() -> (Connection<kind::Bytes>, Connection<kind::Bytes>) {
    let connection =
        |read, write| Connection::new(ByteStream::new(read, write, Peer::local("pipe", "test"), &LIMITS));
    let (there, back) = (tokio::io::duplex(1000), tokio::io::duplex(1000));
    (connection(back.1, there.0), connection(there.1, back.0))
}

#[cfg(feature = "stdio")]
async fn lines() -> (Connection<kind::Text>, Connection<kind::Text>) {
    use opendo_transport::stdio::LineStream;
    let connection =
        |read, write| Connection::new(LineStream::new(read, write, Peer::local("pipe", "test"), &LIMITS));
    let (there, back) = (tokio::io::duplex(1000), tokio::io::duplex(1000));
    (connection(back.1, there.0), connection(there.1, back.0))
}

#[cfg(feature = "websocket")]
async fn websocket<K: opendo_transport::websocket::Framed>() -> (Connection<K>, Connection<K>) {
    use opendo_transport::websocket::{Role, WebSocket};
    let (client, server) = tokio::io::duplex(16 * 1024);
    let peer = || Peer::local("ws", "test");
    let client = WebSocket::new(client, Role::Client, peer(), &LIMITS).await;
    let server = WebSocket::new(server, Role::Server, peer(), &LIMITS).await;
    (Connection::new(client), Connection::new(server))
}

#[cfg(feature = "tls")]
async fn tls() -> (Halves<kind::Bytes>, Halves<kind::Bytes>) {
    use opendo_transport::tls::{Identity, Trust};
    use opendo_transport::{ConnectOptions, ListenOptions, tls};
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem()).unwrap();
    let options = ListenOptions::from(LIMITS).identity(identity);
    let mut listener = tls::listen(&"tls://127.0.0.1:0".parse().unwrap(), &options).await.unwrap();
    let address = listener.address().clone();
    let options = ConnectOptions::from(LIMITS).trust(Trust::only(cert.pem()).unwrap());
    let accepting = async {
        let server = std::future::poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
        let (mut sender, receiver) = server.split();
        // The handshake is part of the first use.
        sender.send(&mut Frames::default()).await.unwrap();
        (sender, receiver)
    };
    let (client, server) = tokio::join!(tls::connect(&address, &options), accepting);
    (client.unwrap().split(), server)
}

async fn at(address: &str) -> (Connection<kind::Bytes>, Connection<kind::Bytes>) {
    let mut listener = address.parse::<Address>().unwrap().listen(&LIMITS).await.unwrap();
    let address = listener.address().clone();
    let (left, right) = tokio::join!(address.connect(&LIMITS), listener.accept());
    let (left, right) = (left.unwrap(), right.unwrap());
    assert!(left.peer().is_local() && right.peer().is_local());
    assert_eq!(left.peer().scheme(), address.scheme());
    (left, right)
}

/// A name that no other test has.
fn fresh(prefix: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}opendo-behaviour-{}-{count}", std::process::id())
}

suite!(memory_text: kind::Text, memory_pair());
suite!(memory_bytes: kind::Bytes, memory_pair());
suite!(memory_address: kind::Bytes, at(&fresh("memory:")));
// Limits count what a value is estimated to take, which is not what this suite counts.
suite!(memory_value: kind::Value, memory_pair(), order half_close peer_drop);
suite!(byte_stream: kind::Bytes, pipe());
#[cfg(feature = "stdio")]
suite!(stdio: kind::Text, lines());
// A WebSocket ends as a whole, and text never in order.
#[cfg(feature = "websocket")]
suite!(websocket_binary: kind::Bytes, websocket(), order large_messages_both_ways peer_drop oversize);
#[cfg(feature = "websocket")]
suite!(websocket_text: kind::Text, websocket(), order large_messages_both_ways oversize);
#[cfg(feature = "tls")]
suite!(tls: kind::Bytes, tls());
#[cfg(feature = "tcp")]
suite!(tcp: kind::Bytes, at("tcp://127.0.0.1:0"));
#[cfg(all(unix, feature = "unix"))]
suite!(unix: kind::Bytes, at(&fresh(&format!("unix:{}/", std::env::temp_dir().display()))));

#[tokio::test]
async fn a_send_that_is_given_up_goes_on_where_it_stopped() {
    let (left, right) = pipe().await;
    let ((mut sender, _left), (_right, mut receiver)) = (left.split(), right.split());
    let mut batch = Frames::default();
    (0..10).for_each(|byte| batch.push(&[byte; 300]));
    let size = batch.byte_len();
    let mut received = Vec::new();
    // The pipe holds a third of the batch, so each `select!` gives up a send in the middle.
    let sent = loop {
        tokio::select! {
            biased;
            sent = sender.send(&mut batch) => break sent.unwrap(),
            message = receiver.receive() => received.push(message.unwrap().unwrap()),
        }
    };
    assert_eq!(sent, Sent::Size(size));
    while received.len() < 10 {
        received.push(receiver.receive().await.unwrap().unwrap());
    }
    assert!(received.iter().zip(0..).all(|(message, byte)| *message == [byte; 300][..]));
}
