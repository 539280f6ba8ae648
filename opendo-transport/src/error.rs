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
/// assert_eq!(error.to_string(), "`gopher` is not a scheme opendo speaks: use one of tcp://, unix:, memory:");
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

    /// An error of an established connection. The many ways in which systems say that the peer is gone are one.
    pub(crate) fn broken(doing: &'static str, source: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
        match source.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => Self::Closed,
            _ => Self::io(doing, source),
        }
    }
}
