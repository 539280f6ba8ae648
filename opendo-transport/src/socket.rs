//! Byte streams over TCP, encrypted or not: what WebSockets and HTTP are spoken on, by clients and by servers.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::address::{Scheme, accept_error};
#[cfg(feature = "tls")]
use crate::tls;
use crate::{Address, ConnectOptions, ListenOptions, Peer, TransportError};

/// A TCP connection with `TCP_NODELAY` on; encrypted, if the scheme of its address says so.
pub struct Socket {
    inner: Inner,
    peer: Peer,
}

enum Inner {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(tls::Stream),
}

/// Connects to the host and port of `address`, trying each address the host resolves to.
///
/// # Errors
///
/// [`TransportError::Io`] when none of them answers or the server is not believed, [`TransportError::FeatureOff`] for an
/// encrypted connection without the feature `tls`.
pub async fn connect(address: &Address, options: &ConnectOptions) -> Result<Socket, TransportError> {
    let failed = |error| TransportError::io(format!("connect to {address}"), error);
    let (host, port) = address.host_and_port()?;
    if address.scheme.is_encrypted() && cfg!(not(feature = "tls")) {
        return Err(TransportError::FeatureOff { scheme: address.scheme(), feature: "tls" });
    }
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let peer = peer(address.scheme, stream.peer_addr().map_err(failed)?);
    #[cfg(feature = "tls")]
    if address.scheme.is_encrypted() {
        let trust = options.trust.clone().map_or_else(tls::Trust::system, Ok)?;
        let stream = trust.connect(host, stream).await.map_err(failed)?;
        return Ok(Socket { inner: Inner::Tls(stream), peer });
    }
    let _ = options;
    Ok(Socket { inner: Inner::Plain(stream), peer })
}

pub(crate) fn peer(scheme: Scheme, address: SocketAddr) -> Peer {
    let place = if address.ip().to_canonical().is_loopback() { Peer::local } else { Peer::remote };
    place(scheme.name(), address.to_string())
}

impl Socket {
    /// Who is on the other side.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Does the same with whichever stream it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.inner {
            Inner::Plain($stream) => $call,
            #[cfg(feature = "tls")]
            Inner::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// Takes connections, for a server of HTTP or of TLS.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: Address,
    #[cfg(feature = "tls")]
    identity: Option<tls::Identity>,
}

/// Listens on the host and port of `address`; port 0 is any free one.
///
/// # Errors
///
/// [`TransportError::AddressInUse`]; [`TransportError::Certificate`] for an encrypted address without an identity;
/// [`TransportError::FeatureOff`] for one without the feature `tls`; otherwise [`TransportError::Io`].
pub async fn listen(address: &Address, options: &ListenOptions) -> Result<Listener, TransportError> {
    #[cfg(feature = "tls")]
    let identity = match &options.identity {
        Some(identity) if address.scheme.is_encrypted() => Some(identity.clone()),
        None if address.scheme.is_encrypted() => {
            let reason = format!("`{address}` needs one to listen; give it with `ListenOptions::identity`");
            return Err(TransportError::Certificate { reason });
        }
        _ => None,
    };
    #[cfg(not(feature = "tls"))]
    if address.scheme.is_encrypted() {
        return Err(TransportError::FeatureOff { scheme: address.scheme(), feature: "tls" });
    }
    let _ = options;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => TransportError::AddressInUse { address: address.to_string() },
        _ => TransportError::io(format!("listen on {address}"), error),
    };
    let socket = TcpListener::bind(address.host_and_port()?).await.map_err(failed)?;
    let address = address.at(socket.local_addr().map_err(failed)?);
    Ok(Listener {
        socket,
        address,
        #[cfg(feature = "tls")]
        identity,
    })
}

impl Listener {
    /// Where it really listens: with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection; errors are those of [`Listener::poll_accept`](crate::Listener::poll_accept). The handshake
    /// of an encrypted one is part of its first read or write.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Socket, TransportError>> {
        loop {
            match ready!(self.socket.poll_accept(cx)) {
                // An option cannot be set on a connection that is already gone, which is its own problem.
                Ok((stream, _)) if stream.set_nodelay(true).is_err() => {}
                Ok((stream, from)) => {
                    let peer = peer(self.address.scheme, from);
                    return Poll::Ready(Ok(Socket { inner: self.open(stream), peer }));
                }
                Err(error) => {
                    if let Some(error) = accept_error(error) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn open(&self, stream: TcpStream) -> Inner {
        #[cfg(feature = "tls")]
        if let Some(identity) = &self.identity {
            return Inner::Tls(identity.accept(stream));
        }
        Inner::Plain(stream)
    }

    /// [`Self::poll_accept`] as a future. Cancel safe: no connection is lost.
    ///
    /// # Errors
    ///
    /// Those of [`Self::poll_accept`].
    pub async fn accept(&mut self) -> Result<Socket, TransportError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }
}
