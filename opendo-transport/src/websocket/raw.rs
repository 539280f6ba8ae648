//! WebSockets that speak somebody else's protocol: text and binary messages as they come.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream as _;
use futures_sink::Sink as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Bytes, Error, Utf8Bytes};

use super::ahead::Ahead;
use super::{GONE, LONGEST_REASON, NO_CODE, Role, config, failed_receive};
use crate::{Limits, TransportError};

/// A message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
}

impl Message {
    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

/// How a WebSocket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the peer's close frame, 1005 if that had none. 1006: the peer vanished, without a close frame.
    /// Otherwise the code that the peer was told.
    pub code: u16,
    /// What was said with the code.
    pub reason: String,
    /// Whether the peer has closed, or has agreed to it.
    pub clean: bool,
}

impl Closed {
    /// The peer has vanished.
    #[must_use]
    pub fn vanished() -> Self {
        let reason = "the connection ended without a close frame".to_owned();
        Self { code: GONE, reason, clean: false }
    }

    /// It is this side's doing.
    #[must_use]
    pub fn here(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), clean: false }
    }
}

/// What came from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// A ping, which the next flush answers, or a pong.
    Sign,
    /// The end: the peer has closed (the next flush answers that), or has vanished.
    Closed(Closed),
    /// The end: what came is no WebSocket, or too large. The peer is to be told this code and reason.
    Fault(Closed),
}

/// Both directions of a WebSocket, polled by one owner.
///
/// ```
/// use std::future::poll_fn;
/// use opendo_transport::Limits;
/// use opendo_transport::websocket::{Heard, Message, RawWebSocket, Role};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (ours, theirs) = tokio::io::duplex(1024); // upgraded
/// let mut client = RawWebSocket::new(ours, Role::Client, &Limits::default()).await;
/// let mut server = RawWebSocket::new(theirs, Role::Server, &Limits::default()).await;
///
/// client.start_send(Message::from("hello")).unwrap();
/// poll_fn(|cx| client.poll_flush(cx)).await.unwrap();
/// assert_eq!(poll_fn(|cx| server.poll_heard(cx)).await, Heard::Message("hello".into()));
/// # }
/// ```
pub struct RawWebSocket<S> {
    stream: WebSocketStream<Ahead<S>>,
    limit: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawWebSocket<S> {
    /// A WebSocket on a stream whose handshake is over. Of the stream itself nothing was read since.
    pub async fn new(stream: S, role: Role, limits: &Limits) -> Self {
        let stream =
            WebSocketStream::from_raw_socket(Ahead::of(stream), role.into(), Some(config(limits))).await;
        Self { stream, limit: limits.max_message }
    }

    /// What comes next. Nothing does after an end.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(tungstenite::Message::Text(text))) => {
                Heard::Message(Message::Text(text.as_str().to_owned()))
            }
            Some(Ok(tungstenite::Message::Binary(bytes))) => Heard::Message(Message::Binary(bytes)),
            Some(Ok(tungstenite::Message::Close(Some(CloseFrame { code, reason })))) => {
                let reason = reason.as_str().to_owned();
                Heard::Closed(Closed { code: code.into(), reason, clean: true })
            }
            Some(Ok(tungstenite::Message::Close(None))) => {
                Heard::Closed(Closed { code: NO_CODE, reason: String::new(), clean: true })
            }
            Some(Ok(_)) => Heard::Sign,
            None => Heard::Closed(Closed::vanished()),
            Some(Err(error)) => match failed_receive(error, self.limit) {
                (
                    _,
                    TransportError::PeerClosed { .. } | TransportError::Closed | TransportError::Io { .. },
                ) => Heard::Closed(Closed::vanished()),
                (code, error) => Heard::Fault(Closed::here(code, error.to_string())),
            },
        })
    }

    /// Waits until a message can be sent.
    ///
    /// # Errors
    /// When the peer has closed or is gone; also those of what follows.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.stream).poll_ready(cx).map_err(failed)
    }

    /// Sends a message, after [`poll_ready`](Self::poll_ready); it has left after [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    /// See [`poll_ready`](Self::poll_ready).
    pub fn start_send(&mut self, message: Message) -> Result<(), Closed> {
        self.start(match message {
            Message::Text(text) => tungstenite::Message::Text(text.into()),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        })
    }

    /// Asks the peer for a sign of life, likewise.
    ///
    /// # Errors
    /// See [`poll_ready`](Self::poll_ready).
    pub fn start_ping(&mut self) -> Result<(), Closed> {
        self.start(tungstenite::Message::Ping(Bytes::new()))
    }

    /// Closes, likewise. The peer's answer is still to be [heard](Self::poll_heard). A reason that is too long is cut.
    ///
    /// # Errors
    /// See [`poll_ready`](Self::poll_ready).
    pub fn start_close(&mut self, code: u16, reason: &str) -> Result<(), Closed> {
        let reason = Utf8Bytes::from(&reason[..reason.floor_char_boundary(LONGEST_REASON)]);
        self.start(tungstenite::Message::Close(Some(CloseFrame { code: code.into(), reason })))
    }

    fn start(&mut self, frame: tungstenite::Message) -> Result<(), Closed> {
        Pin::new(&mut self.stream).start_send(frame).map_err(failed)
    }

    /// Waits until everything has left.
    ///
    /// # Errors
    /// See [`poll_ready`](Self::poll_ready).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(failed)
    }

    /// Ends what this side writes, after everything has left.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx).map(drop)
    }

    /// Waits until the peer has hung up. What it still says is thrown away.
    pub fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 1024];
        loop {
            let mut space = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(self.stream.get_mut()).poll_read(cx, &mut space));
            if read.is_err() || space.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

fn failed(_: Error) -> Closed {
    Closed::vanished()
}

impl<S> fmt::Debug for RawWebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawWebSocket").finish_non_exhaustive()
    }
}
