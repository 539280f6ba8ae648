use std::io;

/// Why a transport could not do what it was asked.
///
/// An error of a [`Sender`](crate::Sender) or a [`Receiver`](crate::Receiver) ends that connection; those of a listener
/// say in their text whether it goes on.
///
/// ```
/// use opendo_transport::{Address, TransportError};
///
/// let error = "gopher://hole".parse::<Address>().unwrap_err();
/// assert!(matches!(error, TransportError::UnknownScheme { .. }));
/// assert!(error.to_string().starts_with("`gopher` is not a scheme opendo speaks: use one of tcp://, tls://, "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The operating system refused.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was attempted, as the rest of a sentence.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A message is larger than this side accepts. Nothing of it was read into memory.
    #[error(
        "a message of {size} bytes is over the limit of {limit}: raise `Limits::max_message` or send less at a time"
    )]
    TooLarge {
        /// The size the message has, or announces.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The connection ended inside a message.
    #[error("the connection ended inside a message: the peer died or does not speak this protocol")]
    Truncated,
    /// The connection is closed: by the peer, or by `poll_close` on this side.
    #[error("the connection is closed: connect again")]
    Closed,
    /// An address that cannot be read.
    #[error("`{address}` is not an address: {reason}")]
    BadAddress {
        /// The address as it was given.
        address: String,
        /// What is wrong with it, and what it should look like.
        reason: &'static str,
    },
    /// An address with a scheme that no transport has.
    #[error("`{scheme}` is not a scheme opendo speaks: use one of {known}")]
    UnknownScheme {
        /// The scheme as it was given.
        scheme: String,
        /// The schemes there are.
        known: &'static str,
    },
    /// The transport exists, but this program was built without it.
    #[error("`{scheme}` addresses are not compiled in: enable the cargo feature `{feature}`")]
    FeatureOff {
        /// The scheme of the address.
        scheme: &'static str,
        /// The cargo feature that brings the transport.
        feature: &'static str,
    },
    /// Somebody listens on this address already.
    #[error("`{address}` is in use: stop the other listener or choose another address")]
    AddressInUse {
        /// The address as it was given.
        address: String,
    },
    /// Nobody in this process listens on this memory address.
    #[error(
        "nobody listens on `{address}`: memory addresses are listened on by the same process, before they are connected to"
    )]
    NotFound {
        /// The address as it was given.
        address: String,
    },
    /// The address has a transport, but one that carries another kind of message than was asked for.
    #[error("`{address}` carries {carries} here: connect with `connect_any`")]
    OtherKind {
        /// The address as it was given.
        address: String,
        /// The kind of message it carries.
        carries: &'static str,
    },
    /// The address can be connected to, but not listened on by itself.
    #[error("`{address}` cannot be listened on alone: {reason}")]
    NoListener {
        /// The address as it was given.
        address: String,
        /// What to do instead.
        reason: &'static str,
    },
    /// The peer closed a WebSocket other than in order.
    #[error("Peer closed WebSocket: {code} {reason}")]
    PeerClosed {
        /// The peer's close code; 1005 when it gave none, 1006 when it went away without closing.
        code: u16,
        /// What the peer said, if anything.
        reason: String,
    },
    /// An HTTP server refused a request, or the upgrade to a WebSocket.
    #[error("RPC request failed: {status} {text}")]
    RequestFailed {
        /// The status.
        status: u16,
        /// What the status is called.
        text: String,
    },
    /// The peer does not keep to the transport's protocol.
    #[error("the peer does not keep to the protocol: {what}")]
    Protocol {
        /// What it did.
        what: String,
    },
    /// A message was to be sent that the transport cannot carry.
    #[error("a message with a line break cannot be sent over a transport of lines: encode it without")]
    LineBreak,
    /// A certificate or a key that cannot be used.
    #[error("cannot use this certificate or key: {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The process has no file descriptor or memory left for another connection.
    ///
    /// The listener is intact and the connection still waits in its backlog: accept again, but not at once, since
    /// nothing changes until something else is closed.
    #[error("no resources for another connection ({source}): accept again after a pause, or raise the limit")]
    Exhausted {
        /// What the operating system said.
        source: io::Error,
    },
}

impl TransportError {
    /// `doing` completes "could not …".
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    #[cfg(any(feature = "websocket", feature = "http", feature = "stdio"))]
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    /// An error of an established connection. The many ways in which systems say that the peer is gone are one.
    pub(crate) fn broken(doing: &'static str, source: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        match source.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => Self::Closed,
            // TLS says so when the stream below ends before its own end.
            UnexpectedEof => Self::Truncated,
            _ => Self::io(doing, source),
        }
    }
}
