use super::{Address, Scheme};
use crate::{ConnectOptions, Connection, Limits, Peer, Transport as _, TransportError, kind, memory};

/// A connection of whichever kind its address, or the server there, speaks.
#[derive(Debug)]
pub enum AnyConnection {
    /// Binary messages.
    Bytes(Connection<kind::Bytes>),
    /// Text messages.
    Text(Connection<kind::Text>),
    /// Text messages that leave together, when the sender is closed; those that come back are the end of it.
    Batch(Connection<kind::Text>),
    /// Values, of a transport with an encoding of its own.
    Value(Connection<kind::Value>),
}

impl From<Connection<kind::Bytes>> for AnyConnection {
    fn from(connection: Connection<kind::Bytes>) -> Self {
        Self::Bytes(connection)
    }
}

impl From<Connection<kind::Text>> for AnyConnection {
    fn from(connection: Connection<kind::Text>) -> Self {
        Self::Text(connection)
    }
}

impl From<Connection<kind::Value>> for AnyConnection {
    fn from(connection: Connection<kind::Value>) -> Self {
        Self::Value(connection)
    }
}

impl AnyConnection {
    /// Who is on the other side.
    #[must_use]
    pub fn peer(&self) -> Peer {
        match self {
            Self::Bytes(connection) => connection.peer(),
            Self::Text(connection) | Self::Batch(connection) => connection.peer(),
            Self::Value(connection) => connection.peer(),
        }
    }
}

impl Address {
    /// Connects for binary messages, with limits and nothing else to say; within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of [`connect_any`](Self::connect_any); [`TransportError::OtherKind`] when it would carry text.
    pub async fn connect(&self, limits: &Limits) -> Result<Connection<kind::Bytes>, TransportError> {
        match self.connect_any(&(*limits).into()).await? {
            AnyConnection::Bytes(connection) => Ok(connection),
            AnyConnection::Text(_) | AnyConnection::Batch(_) | AnyConnection::Value(_) => {
                Err(TransportError::OtherKind { address: self.to_string(), carries: "text" })
            }
        }
    }

    /// Connects, for the kind of message that is spoken there; within a Tokio runtime.
    ///
    /// Nothing leaves for an HTTP address before its batch is complete, so nothing is found out either.
    ///
    /// # Errors
    ///
    /// [`TransportError::FeatureOff`] without the cargo feature, [`TransportError::NotFound`] for a memory name nobody
    /// listens on, [`TransportError::RequestFailed`] when a server does not speak WebSocket there, otherwise
    /// [`TransportError::Io`].
    pub async fn connect_any(&self, options: &ConnectOptions) -> Result<AnyConnection, TransportError> {
        let bytes = match self.scheme {
            Scheme::Memory => memory::connect(&self.rest, &options.limits).await.map(Connection::new),
            #[cfg(feature = "tcp")]
            Scheme::Tcp => crate::tcp::connect(&self.rest, &options.limits).await.map(Connection::new),
            #[cfg(feature = "tls")]
            Scheme::Tls => crate::tls::connect(self, options).await.map(Connection::new),
            #[cfg(all(unix, feature = "unix"))]
            Scheme::Unix => crate::unix::connect(&self.rest, &options.limits).await.map(Connection::new),
            #[cfg(feature = "websocket")]
            Scheme::Ws | Scheme::Wss => return crate::websocket::connect(self, options).await,
            #[cfg(feature = "http")]
            Scheme::Http | Scheme::Https => {
                return crate::http::connect(self, options).map(Connection::new).map(AnyConnection::Batch);
            }
            #[cfg(feature = "stdio")]
            Scheme::Stdio => {
                return Ok(AnyConnection::Text(Connection::new(crate::stdio::stdio(&options.limits))));
            }
            #[allow(unreachable_patterns, reason = "nothing is left when every feature is on")]
            _ => Err(self.feature_off()),
        };
        bytes.map(AnyConnection::Bytes)
    }

    pub(super) fn feature_off(&self) -> TransportError {
        TransportError::FeatureOff { scheme: self.scheme(), feature: self.scheme.feature() }
    }
}
