use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::TransportError;
use crate::kind::Kind;

/// The sending half of a connection.
///
/// Poll-based, so that it is dyn-compatible and sending allocates nothing. Tasks that do nothing but send can use the
/// `async` [`send`](#method.send), [`close`](#method.close) and [`close_with`](#method.close_with) of `dyn Sender`.
///
/// Dropping a sender ends its direction as [`poll_close`](Self::poll_close) does, but without waiting for anything.
pub trait Sender<K: Kind>: Send {
    /// Writes all of `batch` and flushes.
    ///
    /// The batch is drained as its bytes leave. After `Pending`, poll again with the same batch (to which more may
    /// have been pushed); it is empty when this is `Ready(Ok(_))`. The result tells what was sent since the last one,
    /// for flow control. After an error the connection is of no further use.
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut K::Batch)
    -> Poll<Result<Sent, TransportError>>;

    /// Ends this direction in order: the peer receives what was sent, then the end. The other direction stays open.
    /// Sending after this is an error. Closing twice is not.
    ///
    /// Some connections end as a whole (a WebSocket): then this also ends the other direction, as soon as the peer
    /// answers. To wait for that answer, drop the receiver first.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// How often the peer was heard, messages or not; `None` if only messages tell that it is there. With
    /// [`poll_ping`](Self::poll_ping), this is how a connection that died in silence is noticed.
    fn heard(&self) -> Option<u64> {
        None
    }

    /// Asks the peer for a sign of life, which [`heard`](Self::heard) counts, if the transport has a way of its own to
    /// do that. After `Pending` it has been asked, or will be with what is sent next.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }

    /// Ends this direction because something went wrong, and tells the peer `reason` if the transport can say it.
    /// Poll again with the same reason. By default, and after a close that was begun, [`poll_close`](Self::poll_close).
    fn poll_close_with(
        &mut self,
        cx: &mut Context<'_>,
        reason: &CloseReason,
    ) -> Poll<Result<(), TransportError>> {
        let _ = reason;
        self.poll_close(cx)
    }
}

/// Why a connection is closed that does not end in order.
///
/// ```
/// use opendo_transport::CloseReason;
///
/// let reason = CloseReason::aborted("bad RPC message: [1]");
/// assert_eq!((reason.code, reason.text.as_str()), (3000, "bad RPC message: [1]"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// A WebSocket close code: 3000 to 4999, or one of those below that an endpoint may send.
    pub code: u16,
    /// In words. A WebSocket takes 123 bytes; what is longer is cut between characters.
    pub text: String,
}

impl CloseReason {
    /// The end of a session that was aborted, which has the code 3000.
    pub fn aborted(text: impl Into<String>) -> Self {
        Self { code: 3000, text: text.into() }
    }
}

impl<K: Kind> dyn Sender<K> + '_ {
    /// [`Sender::poll_send`] as a future. Cancel safe: what had not left is still in `batch`.
    pub async fn send(&mut self, batch: &mut K::Batch) -> Result<Sent, TransportError> {
        poll_fn(|cx| self.poll_send(cx, batch)).await
    }

    /// [`Sender::poll_close`] as a future.
    pub async fn close(&mut self) -> Result<(), TransportError> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// [`Sender::poll_close_with`] as a future.
    pub async fn close_with(&mut self, reason: &CloseReason) -> Result<(), TransportError> {
        poll_fn(|cx| self.poll_close_with(cx, reason)).await
    }
}

/// The receiving half of a connection.
pub trait Receiver<K: Kind>: Send {
    /// The next message; `None` when the peer has ended its direction in order. Errors come once, after every message
    /// that arrived before them, and `None` follows them.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<K::Message, TransportError>>>;
}

impl<K: Kind> dyn Receiver<K> + '_ {
    /// [`Receiver::poll_receive`] as a future. Cancel safe: no message is lost.
    pub async fn receive(&mut self) -> Option<Result<K::Message, TransportError>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }
}

/// One established connection: whole messages of one [`Kind`], in order, in both directions.
pub trait Transport: Send + 'static {
    /// What it carries.
    type Kind: Kind;

    /// Who is on the other side, for people and for access rules.
    fn peer(&self) -> Peer;

    /// The two halves, which are driven apart from each other and share nothing but the connection.
    #[expect(clippy::type_complexity, reason = "a name for the pair would hide the two words that matter")]
    fn split(self) -> (Box<dyn Sender<Self::Kind>>, Box<dyn Receiver<Self::Kind>>);
}

/// Any [`Transport`] of kind `K`, its own type erased.
///
/// ```
/// use opendo_transport::{Connection, Transport, kind, memory};
///
/// let (ours, _theirs) = memory::pair::<kind::Text>(8);
/// let connection: Connection<kind::Text> = Connection::new(ours);
/// assert!(connection.peer().is_local());
/// ```
pub struct Connection<K: Kind> {
    peer: Peer,
    sender: Box<dyn Sender<K>>,
    receiver: Box<dyn Receiver<K>>,
}

impl<K: Kind> Connection<K> {
    /// Erases `transport`.
    pub fn new(transport: impl Transport<Kind = K>) -> Self {
        let peer = transport.peer();
        let (sender, receiver) = transport.split();
        Self { peer, sender, receiver }
    }
}

impl<K: Kind> Transport for Connection<K> {
    type Kind = K;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<K>>, Box<dyn Receiver<K>>) {
        (self.sender, self.receiver)
    }
}

impl<K: Kind> fmt::Debug for Connection<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The other side of a connection.
///
/// ```
/// use opendo_transport::Peer;
///
/// let peer = Peer::remote("tcp", "192.0.2.7:4000");
/// assert_eq!(peer.to_string(), "tcp 192.0.2.7:4000");
/// assert!(!peer.is_local());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    scheme: &'static str,
    address: String,
    local: bool,
}

impl Peer {
    /// A peer on this machine, whose messages never cross a network.
    pub fn local(scheme: &'static str, address: impl Into<String>) -> Self {
        Self { scheme, address: address.into(), local: true }
    }

    /// A peer that may be on another machine.
    pub fn remote(scheme: &'static str, address: impl Into<String>) -> Self {
        Self { scheme, address: address.into(), local: false }
    }

    /// The transport's scheme, such as `tcp`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Where the peer is, in the transport's own terms.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the peer is on this machine: memory, a Unix socket, or TCP over loopback.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scheme, self.address)
    }
}

/// What a send amounted to, which is what flow control counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes, as the batch counts them.
    Size(usize),
    /// The transport cannot tell.
    Unknown,
}

/// How much a peer may make this side hold.
///
/// ```
/// use opendo_transport::Limits;
///
/// assert_eq!(Limits::default().max_message, 32 * 1024 * 1024);
/// let small = Limits { max_message: 1024 };
/// # assert_eq!(small.max_message, 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is received, in bytes of its encoding (of UTF-8, for text). What is sent is limited by whoever encodes it, since only the
    /// peer's limit matters there.
    pub max_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_message: 32 * 1024 * 1024 }
    }
}
