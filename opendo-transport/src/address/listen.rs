use std::future::poll_fn;
#[cfg(any(
    feature = "tcp",
    feature = "websocket",
    feature = "http",
    feature = "tls",
    all(unix, feature = "unix")
))]
use std::io;
use std::task::{Context, Poll, ready};

use super::{Address, Scheme};
use crate::{Connection, Limits, ListenOptions, TransportError, kind, memory};

impl Address {
    /// Listens with limits and nothing else to say. See [`listen_with`](Self::listen_with).
    ///
    /// # Errors
    ///
    /// Those of `listen_with`.
    pub async fn listen(&self, limits: &Limits) -> Result<Listener, TransportError> {
        self.listen_with(&(*limits).into()).await
    }

    /// Listens; within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`TransportError::FeatureOff`] without the cargo feature, [`TransportError::AddressInUse`] when somebody listens
    /// there, [`TransportError::NoListener`] for what is served in another way, [`TransportError::Certificate`] for
    /// `tls://` without an identity, otherwise [`TransportError::Io`].
    pub async fn listen_with(&self, options: &ListenOptions) -> Result<Listener, TransportError> {
        let inner = match self.scheme {
            Scheme::Memory => Inner::Memory(memory::listen(&self.rest, &options.limits)?),
            #[cfg(feature = "tcp")]
            Scheme::Tcp => {
                let listener = crate::tcp::listen(&self.rest, &options.limits).await?;
                let address = Self { scheme: self.scheme, rest: listener.local_addr()?.to_string() };
                return Ok(Listener { inner: Inner::Tcp(listener), address });
            }
            #[cfg(feature = "tls")]
            Scheme::Tls => {
                let listener = crate::tls::listen(self, options).await?;
                let address = listener.address().clone();
                return Ok(Listener { inner: Inner::Tls(listener), address });
            }
            #[cfg(all(unix, feature = "unix"))]
            Scheme::Unix => Inner::Unix(crate::unix::listen(&self.rest, &options.limits)?),
            Scheme::Ws | Scheme::Wss | Scheme::Http | Scheme::Https => {
                let reason = "HTTP is served by a node, or by a web framework";
                return Err(TransportError::NoListener { address: self.to_string(), reason });
            }
            Scheme::Stdio => {
                let reason = "there is one connection; connect instead";
                return Err(TransportError::NoListener { address: self.to_string(), reason });
            }
            #[allow(unreachable_patterns, reason = "nothing is left when every feature is on")]
            _ => return Err(self.feature_off()),
        };
        Ok(Listener { inner, address: self.clone() })
    }
}

/// Takes the connections made to an [`Address`]. Dropping it frees the address; connections live on.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    address: Address,
}

#[derive(Debug)]
enum Inner {
    Memory(memory::Listener),
    #[cfg(feature = "tcp")]
    Tcp(crate::tcp::Listener),
    #[cfg(feature = "tls")]
    Tls(crate::tls::Listener),
    #[cfg(all(unix, feature = "unix"))]
    Unix(crate::unix::Listener),
}

impl Listener {
    /// Where it really listens: with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection.
    ///
    /// Connections that fail while they are accepted are skipped. An error is the listener's own:
    /// [`TransportError::Exhausted`] passes when other connections close, so pause and accept again; after any other
    /// the listener is of no further use.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection<kind::Bytes>, TransportError>> {
        Poll::Ready(match &mut self.inner {
            Inner::Memory(listener) => Ok(Connection::new(ready!(listener.poll_accept(cx)))),
            #[cfg(feature = "tcp")]
            Inner::Tcp(listener) => ready!(listener.poll_accept(cx)).map(Connection::new),
            #[cfg(feature = "tls")]
            Inner::Tls(listener) => ready!(listener.poll_accept(cx)).map(Connection::new),
            #[cfg(all(unix, feature = "unix"))]
            Inner::Unix(listener) => ready!(listener.poll_accept(cx)).map(Connection::new),
        })
    }

    /// [`Self::poll_accept`] as a future. Cancel safe: no connection is lost.
    ///
    /// # Errors
    ///
    /// Those of [`Self::poll_accept`].
    pub async fn accept(&mut self) -> Result<Connection<kind::Bytes>, TransportError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }
}

/// What a failed `accept` means for the listener: nothing, if it concerns only the connection that was accepted.
#[cfg(any(
    feature = "tcp",
    feature = "websocket",
    feature = "http",
    feature = "tls",
    all(unix, feature = "unix")
))]
pub(crate) fn accept_error(error: io::Error) -> Option<TransportError> {
    use io::ErrorKind as Is;
    // Too many open files, in the process or in the system, and no buffer space: these have no `ErrorKind`.
    const EXHAUSTED: &[i32] = if cfg!(windows) {
        &[10024, 10055]
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        &[23, 24, 105]
    } else {
        &[23, 24, 55]
    };
    if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) || error.kind() == Is::OutOfMemory {
        return Some(TransportError::Exhausted { source: error });
    }
    match error.kind() {
        // Linux hands pending network errors of the new connection to `accept`; a firewall's refusal is a
        // `PermissionDenied`.
        Is::ConnectionAborted
        | Is::ConnectionReset
        | Is::ConnectionRefused
        | Is::HostUnreachable
        | Is::NetworkUnreachable
        | Is::NetworkDown
        | Is::PermissionDenied
        | Is::TimedOut
        | Is::Interrupted => None,
        _ => Some(TransportError::io("accept a connection", error)),
    }
}

#[cfg(all(
    test,
    target_os = "linux",
    any(feature = "tcp", feature = "websocket", feature = "http", feature = "tls", feature = "unix")
))]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_accept_means() {
        let of = |code| accept_error(io::Error::from_raw_os_error(code));
        const ECONNABORTED: i32 = 103;
        const ENETUNREACH: i32 = 101;
        const EPERM: i32 = 1;
        for code in [ECONNABORTED, ENETUNREACH, EPERM] {
            assert!(of(code).is_none(), "{code}");
        }
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = 105;
        const ENOMEM: i32 = 12;
        for code in [ENFILE, EMFILE, ENOBUFS, ENOMEM] {
            assert!(matches!(of(code), Some(TransportError::Exhausted { .. })), "{code}");
        }
        const EBADF: i32 = 9;
        const EINVAL: i32 = 22;
        for code in [EBADF, EINVAL] {
            assert!(matches!(of(code), Some(TransportError::Io { .. })), "{code}");
        }
    }
}
