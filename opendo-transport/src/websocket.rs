//! WebSockets: one frame a message, binary for [`kind::Bytes`] and text for [`kind::Text`].
//!
//! A client offers the subprotocols [`TEXT_SUBPROTOCOL`] and [`SUBPROTOCOL`]. A server that chooses the latter speaks
//! binary messages, any other text. Nothing is compressed. Pings of the peer are answered while receiving.
//!
//! A close ends both directions. A peer's close is the error [`TransportError::PeerClosed`], except that binary
//! messages end in order with code 1000, and that the answer to a close of our own is the end of what it said.
//! [`Limits::max_message`] counts bytes of UTF-8, of which a text of `n` UTF-16 units has up to `3 * n`.
//!
//! A [`RawWebSocket`] is none of this: it carries whatever its two ends agree on.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use ::http::HeaderValue;
use ::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use futures_core::Stream as _;
use futures_sink::Sink as _;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{self, CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::kind::{self, Batch as _, Kind};
use crate::socket::{self, Socket};
use crate::{
    Address, AnyConnection, CloseReason, ConnectOptions, Connection, Frames, Limits, Lines, Peer, Receiver,
    Sender, Sent, Transport, TransportError,
};

mod ahead;
mod raw;
#[cfg(test)]
mod tests;

use self::ahead::Ahead;
pub use self::raw::{Closed, Heard, Message, RawWebSocket};

/// The subprotocol that means binary messages.
pub const SUBPROTOCOL: &str = "opendo.v1";

/// The subprotocol that means text, as choosing none does. It is offered first, since there are servers that know no
/// subprotocols and yet choose whatever comes first.
pub const TEXT_SUBPROTOCOL: &str = "capnweb";

/// Both.
const OFFER: &str = "capnweb, opendo.v1";

/// What a closing reason may have, since a control frame has 125 bytes and two are the code.
const LONGEST_REASON: usize = 123;

/// What the library takes at a time of what was read. A connection keeps as much while it is idle.
const TAKEN: usize = 128;

/// What is written at a time.
const WRITTEN: usize = 4 * 1024;

/// Which side of the handshake this was, since clients mask what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asked for the upgrade.
    Client,
    /// Agreed to it.
    Server,
}

impl From<Role> for protocol::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Client => Self::Client,
            Role::Server => Self::Server,
        }
    }
}

/// What a server puts into `Sec-WebSocket-Accept`, to agree to the upgrade that came with this `Sec-WebSocket-Key`.
///
/// ```
/// use opendo_transport::websocket::accept_key;
///
/// assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    derive_accept_key(key)
}

/// A kind that WebSockets carry: [`kind::Bytes`] or [`kind::Text`]. Sealed through [`Kind`].
pub trait Framed: Kind {
    /// The first message of `batch`, which is removed, as a frame.
    #[doc(hidden)]
    fn next_frame(batch: &mut Self::Batch) -> Option<Frame>;
    /// The message in a data frame.
    #[doc(hidden)]
    fn message(frame: Frame) -> Result<Self::Message, TransportError>;
    /// Whether a close with code 1000 is an end in order.
    #[doc(hidden)]
    const ENDS_IN_ORDER: bool;
}

impl Framed for kind::Bytes {
    const ENDS_IN_ORDER: bool = true;

    fn next_frame(batch: &mut Frames) -> Option<Frame> {
        let message = batch.front().map(|message| Frame::Binary(Bytes::copy_from_slice(message)))?;
        batch.pop_front();
        Some(message)
    }

    fn message(frame: Frame) -> Result<Bytes, TransportError> {
        match frame {
            Frame::Binary(bytes) => Ok(bytes),
            _ => Err(TransportError::protocol("a text frame came where binary messages are spoken")),
        }
    }
}

impl Framed for kind::Text {
    const ENDS_IN_ORDER: bool = false;

    fn next_frame(batch: &mut Lines) -> Option<Frame> {
        batch.pop_front().map(Frame::from)
    }

    fn message(frame: Frame) -> Result<String, TransportError> {
        match frame {
            Frame::Text(text) => Ok(text.as_str().to_owned()),
            _ => Err(TransportError::protocol("a binary frame came where text is spoken")),
        }
    }
}

/// Connects to a `ws://` or `wss://` address. Whether it is bytes or text is the server's choice, unless
/// [`ConnectOptions::text`] makes it ours.
///
/// # Errors
///
/// [`TransportError::RequestFailed`] when the server does not agree to the upgrade, [`TransportError::Protocol`] when it
/// agrees in a wrong way, otherwise [`TransportError::Io`].
pub async fn connect(address: &Address, options: &ConnectOptions) -> Result<AnyConnection, TransportError> {
    let offered = if options.text { None } else { upgrade(address, options, Some(OFFER)).await? };
    let agreed = match offered {
        // Without an offer, nothing can be chosen wrongly.
        None => upgrade(address, options, None).await?,
        agreed => agreed,
    };
    let Agreed { stream, peer, binary } = agreed.ok_or_else(|| no_sense("no subprotocol was offered"))?;
    let limits = &options.limits;
    Ok(if binary {
        AnyConnection::Bytes(Connection::new(WebSocket::over(stream, peer, limits)))
    } else {
        AnyConnection::Text(Connection::new(WebSocket::over(stream, peer, limits)))
    })
}

struct Agreed {
    stream: WebSocketStream<Ahead<Socket>>,
    peer: Peer,
    binary: bool,
}

/// Asks for the upgrade; gives nothing if the server chooses none of the subprotocols. That is its right, and it means
/// text, but the library's handshake ends there.
async fn upgrade(
    address: &Address,
    options: &ConnectOptions,
    offer: Option<&'static str>,
) -> Result<Option<Agreed>, TransportError> {
    let socket = socket::connect(address, options).await?;
    let peer = socket.peer().clone();
    let uri = format!("ws://{}{}", address.authority(), address.path());
    let mut request = uri.into_client_request().map_err(|error| handshake(address, error))?;
    if let Some(offer) = offer {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer));
    }
    if let Some(token) = &options.token {
        request.headers_mut().insert(AUTHORIZATION, token.clone());
    }
    match client_async_with_config(request, Ahead::of(socket), Some(config(&options.limits))).await {
        Ok((stream, response)) => {
            let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
            let binary = chosen.is_some_and(|chosen| chosen == SUBPROTOCOL);
            Ok(Some(Agreed { stream, peer, binary }))
        }
        Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol,
        ))) => Ok(None),
        Err(error) => Err(handshake(address, error)),
    }
}

fn handshake(address: &Address, error: Error) -> TransportError {
    match error {
        Error::Http(response) => TransportError::RequestFailed {
            status: response.status().as_u16(),
            text: response.status().canonical_reason().unwrap_or_default().to_owned(),
        },
        Error::Io(error) => TransportError::io(format!("connect to {address}"), error),
        error => no_sense(error),
    }
}

fn no_sense(error: impl fmt::Display) -> TransportError {
    TransportError::protocol(format!("no WebSocket came about ({error})"))
}

fn config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(TAKEN)
        .write_buffer_size(WRITTEN)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message))
}

/// A WebSocket as a transport of kind `K`.
///
/// [`connect`] makes a client's. A server makes its own of whatever its HTTP framework gives it after an upgrade:
///
/// ```
/// use opendo_transport::websocket::{Role, WebSocket};
/// use opendo_transport::{Limits, Lines, Peer, Transport, kind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), opendo_transport::TransportError> {
/// let (ours, theirs) = tokio::io::duplex(1024); // upgraded
/// let (limits, peer) = (Limits::default(), Peer::local("ws", "example"));
/// let client = WebSocket::<_, kind::Text>::new(ours, Role::Client, peer.clone(), &limits).await;
/// let server = WebSocket::<_, kind::Text>::new(theirs, Role::Server, peer, &limits).await;
///
/// let (mut sender, _from_server) = client.split();
/// let (_to_client, mut receiver) = server.split();
/// let mut batch = Lines::default();
/// batch.push("hello".to_owned());
/// sender.send(&mut batch).await?;
/// assert_eq!(receiver.receive().await.unwrap()?, "hello");
///
/// sender.close().await?;
/// assert_eq!(receiver.receive().await.unwrap().unwrap_err().to_string(), "Peer closed WebSocket: 1000 ");
/// # Ok(())
/// # }
/// ```
pub struct WebSocket<S, K> {
    shared: Shared<S>,
    peer: Peer,
    kind: PhantomData<fn() -> K>,
}

impl<S, K> WebSocket<S, K>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    K: Framed,
{
    /// A WebSocket on a stream whose handshake is over. Of the stream itself nothing was read since.
    pub async fn new(stream: S, role: Role, peer: Peer, limits: &Limits) -> Self {
        let stream =
            WebSocketStream::from_raw_socket(Ahead::of(stream), role.into(), Some(config(limits))).await;
        Self::over(stream, peer, limits)
    }

    fn over(stream: WebSocketStream<Ahead<S>>, peer: Peer, limits: &Limits) -> Self {
        let limit = limits.max_message;
        let state =
            State { stream, limit, closed: false, over: false, receiving: true, fault: NORMAL, heard: 0 };
        Self { shared: Arc::new(Mutex::new(state)), peer, kind: PhantomData }
    }
}

impl<S, K> Transport for WebSocket<S, K>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    K: Framed,
{
    type Kind = K;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<K>>, Box<dyn Receiver<K>>) {
        let receiver = Reader { shared: Arc::clone(&self.shared), finished: false };
        (Box::new(Writer { shared: self.shared, written: 0 }), Box::new(receiver))
    }
}

impl<S, K> fmt::Debug for WebSocket<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Both halves need all of it: receiving answers pings, and closing is a conversation. Held only while one is polled.
type Shared<S> = Arc<Mutex<State<S>>>;

struct State<S> {
    stream: WebSocketStream<Ahead<S>>,
    limit: usize,
    /// We have closed.
    closed: bool,
    /// The peer has closed, or is gone.
    over: bool,
    /// Somebody still wants what the peer says.
    receiving: bool,
    /// The code of a close that nobody gave a reason for.
    fault: u16,
    /// Frames that came.
    heard: u64,
}

const NORMAL: u16 = 1000;
const PROTOCOL: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const NO_CODE: u16 = 1005;
const GONE: u16 = 1006;
const NOT_UTF8: u16 = 1007;
const TOO_LARGE: u16 = 1009;

impl<S: AsyncRead + AsyncWrite + Unpin> State<S> {
    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        code: u16,
        reason: &str,
    ) -> Poll<Result<(), TransportError>> {
        let sent = if self.closed {
            Ok(())
        } else {
            self.closed = true;
            let reason = Utf8Bytes::from(&reason[..reason.floor_char_boundary(LONGEST_REASON)]);
            let frame = CloseFrame { code: code.into(), reason };
            Pin::new(&mut self.stream).start_send(Frame::Close(Some(frame)))
        };
        let sent = match sent {
            Ok(()) => ready!(Pin::new(&mut self.stream).poll_flush(cx)),
            error => error,
        };
        match sent.map_err(|error| failed_send("close the connection", error)) {
            // The peer has closed first, or is gone; that is as closed as it gets.
            Err(TransportError::Closed) => self.over = true,
            result => result?,
        }
        while !self.receiving && !self.over {
            let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
            self.over = !matches!(next, Some(Ok(ref message)) if !message.is_close());
        }
        Poll::Ready(Ok(()))
    }
}

fn failed_send(doing: &'static str, error: Error) -> TransportError {
    match error {
        Error::Io(error) => TransportError::broken(doing, error),
        // The close frame is out, or the peer's is in.
        _ => TransportError::Closed,
    }
}

struct Writer<S: AsyncRead + AsyncWrite + Unpin> {
    shared: Shared<S>,
    /// What has left of batches whose flush is not over.
    written: usize,
}

impl<S, K> Sender<K> for Writer<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    K: Framed,
{
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut K::Batch,
    ) -> Poll<Result<Sent, TransportError>> {
        let mut state = self.shared.lock();
        if state.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        let mut stream = Pin::new(&mut state.stream);
        let failed = |error| failed_send("send to the peer", error);
        while !batch.is_empty() {
            ready!(stream.as_mut().poll_ready(cx)).map_err(failed)?;
            let before = batch.byte_len();
            // None is left of a message that was cut, which `Frames` allow and nobody does here.
            let Some(frame) = K::next_frame(batch) else { break };
            stream.as_mut().start_send(frame).map_err(failed)?;
            self.written += before - batch.byte_len();
        }
        ready!(stream.poll_flush(cx)).map_err(failed)?;
        Poll::Ready(Ok(Sent::Size(std::mem::take(&mut self.written))))
    }

    fn heard(&self) -> Option<u64> {
        Some(self.shared.lock().heard)
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut state = self.shared.lock();
        let mut stream = Pin::new(&mut state.stream);
        let failed = |error| failed_send("ask the peer for a sign of life", error);
        ready!(stream.as_mut().poll_ready(cx)).map_err(failed)?;
        stream.as_mut().start_send(Frame::Ping(Bytes::new())).map_err(failed)?;
        stream.poll_flush(cx).map_err(failed)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut state = self.shared.lock();
        let fault = state.fault;
        state.poll_close(cx, fault, "")
    }

    fn poll_close_with(
        &mut self,
        cx: &mut Context<'_>,
        reason: &CloseReason,
    ) -> Poll<Result<(), TransportError>> {
        self.shared.lock().poll_close(cx, reason.code, &reason.text)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Writer<S> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let fault = state.fault;
        // What cannot be said at once is said while the peer is still listened to, or not at all.
        let _ = state.poll_close(&mut Context::from_waker(Waker::noop()), fault, "");
    }
}

struct Reader<S> {
    shared: Shared<S>,
    finished: bool,
}

impl<S, K> Receiver<K> for Reader<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    K: Framed,
{
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<K::Message, TransportError>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        let mut state = self.shared.lock();
        let end = loop {
            let next = ready!(Pin::new(&mut state.stream).poll_next(cx));
            state.heard += 1;
            match next {
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(Frame::Close(frame))) => {
                    state.over = true;
                    // The answer; what does not leave now leaves when this side closes.
                    let _ = Pin::new(&mut state.stream).poll_flush(cx);
                    break if state.closed { None } else { closed_by_peer::<K>(frame) };
                }
                Some(Ok(frame)) => match K::message(frame) {
                    Ok(message) => return Poll::Ready(Some(Ok(message))),
                    Err(error) => {
                        state.fault = UNSUPPORTED;
                        break Some(error);
                    }
                },
                Some(Err(error)) => {
                    let (fault, error) = failed_receive(error, state.limit);
                    state.fault = fault;
                    let gone = matches!(error, TransportError::PeerClosed { .. } | TransportError::Closed);
                    state.over = gone;
                    break if gone && state.closed { None } else { Some(error) };
                }
                None => break None,
            }
        };
        drop(state);
        self.finished = true;
        Poll::Ready(end.map(Err))
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        self.shared.lock().receiving = false;
    }
}

fn closed_by_peer<K: Framed>(frame: Option<CloseFrame>) -> Option<TransportError> {
    let (code, reason) =
        frame.map_or((NO_CODE, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned()));
    (code != NORMAL || !K::ENDS_IN_ORDER).then_some(TransportError::PeerClosed { code, reason })
}

/// What we close with then, unless we are told better, and what it is.
fn failed_receive(error: Error, limit: usize) -> (u16, TransportError) {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
            (TOO_LARGE, TransportError::TooLarge { size, limit })
        }
        Error::Utf8(_) => (NOT_UTF8, TransportError::protocol("a text frame is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => (NORMAL, gone()),
        // TLS says so when the stream below ends before its own end.
        Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => (NORMAL, gone()),
        Error::Io(error) => (NORMAL, TransportError::broken("receive from the peer", error)),
        error => (PROTOCOL, TransportError::protocol(error.to_string())),
    }
}

fn gone() -> TransportError {
    TransportError::PeerClosed { code: GONE, reason: String::new() }
}
