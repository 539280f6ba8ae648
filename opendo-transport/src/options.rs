use crate::Limits;
#[cfg(feature = "tls")]
use crate::tls::{Identity, Trust};

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
    #[cfg(feature = "websocket")]
    pub(crate) text: bool,
    #[cfg(any(feature = "websocket", feature = "http"))]
    pub(crate) token: Option<http::HeaderValue>,
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

    /// Shows this token to HTTP servers, WebSockets' among them, as `Authorization: Bearer`. One that a header cannot have
    /// is not sent; nor is any to addresses that are no HTTP.
    #[must_use]
    #[cfg_attr(not(any(feature = "websocket", feature = "http")), allow(unused_mut, unused_variables))]
    pub fn token(mut self, token: &[u8]) -> Self {
        #[cfg(any(feature = "websocket", feature = "http"))]
        {
            self.token =
                http::HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok().map(|mut value| {
                    value.set_sensitive(true);
                    value
                });
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
