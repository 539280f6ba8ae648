#[cfg(feature = "tls")]
use crate::tls::{Identity, Trust};
use crate::{Limits, TransportError};

/// How to connect, where that is not said by the address.
///
/// ```
/// use opendo_transport::{ConnectOptions, Limits};
///
/// let options = ConnectOptions::default().limits(Limits { max_message: 1024 }).text();
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    pub(crate) limits: Limits,
    #[cfg(any(feature = "http", feature = "websocket"))]
    pub(crate) token: Option<::http::HeaderValue>,
    #[cfg(feature = "websocket")]
    pub(crate) text: bool,
    #[cfg(feature = "tls")]
    pub(crate) trust: Option<Trust>,
}

impl ConnectOptions {
    /// Limits other than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Shows the server `Authorization: Bearer` with this token in every request, where there are such things.
    ///
    /// # Errors
    /// [`TransportError::Io`] when it has characters that a header cannot have.
    #[cfg_attr(not(any(feature = "http", feature = "websocket")), allow(unused_mut))]
    pub fn token(mut self, token: &str) -> Result<Self, TransportError> {
        let _ = token;
        #[cfg(any(feature = "http", feature = "websocket"))]
        {
            let header = ::http::HeaderValue::try_from(format!("Bearer {token}"));
            let mut header = header.map_err(|error| {
                let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
                TransportError::io("show a token", error)
            })?;
            header.set_sensitive(true);
            self.token = Some(header);
        }
        Ok(self)
    }

    /// Speaks text over a WebSocket even to a server that would speak binary messages.
    #[must_use]
    #[cfg_attr(not(feature = "websocket"), allow(unused_mut, clippy::needless_update))]
    pub fn text(mut self) -> Self {
        #[cfg(feature = "websocket")]
        {
            self.text = true;
        }
        self
    }

    /// Believes other servers than those of [`Trust::system`].
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }
}

impl From<Limits> for ConnectOptions {
    fn from(limits: Limits) -> Self {
        Self::default().limits(limits)
    }
}

/// How to listen, where that is not said by the address.
///
/// ```
/// use opendo_transport::{Limits, ListenOptions};
///
/// let options = ListenOptions::default().limits(Limits { max_message: 1024 });
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {
    pub(crate) limits: Limits,
    #[cfg(feature = "tls")]
    pub(crate) identity: Option<Identity>,
}

impl ListenOptions {
    /// Limits other than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Who this server is, for `tls://`, `wss://` and `https://`, which cannot be listened on without.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

impl From<Limits> for ListenOptions {
    fn from(limits: Limits) -> Self {
        Self::default().limits(limits)
    }
}
