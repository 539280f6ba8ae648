//! Transport Layer Security under `tls://`, `wss://` and `https://`.
//!
//! A server shows an [`Identity`]; a client believes it because of its [`Trust`]. Versions 1.2 and 1.3.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::{fmt, fs, io};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector, TlsStream};

use crate::socket::{self, Socket};
use crate::{Address, ByteStream, ConnectOptions, Limits, ListenOptions, TransportError};

fn bad(reason: impl fmt::Display) -> TransportError {
    TransportError::Certificate { reason: reason.to_string() }
}

/// Not the process's default, which is somebody else's to choose.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if found.is_empty() { Err(bad("there is no certificate in the PEM text")) } else { Ok(found) }
}

/// What a server proves who it is with: a certificate, those between it and a root, and the key.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// From PEM text: the chain with the server's own certificate first, and its private key.
    ///
    /// # Errors
    ///
    /// [`TransportError::Certificate`] when either cannot be read, or they do not belong together.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, TransportError> {
        let chain = certificates(chain.as_ref())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_ref()).map_err(bad)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(bad)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(bad)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// From PEM files. See [`from_pem`](Self::from_pem).
    ///
    /// # Errors
    ///
    /// As `from_pem`; [`TransportError::Io`] when a file cannot be read.
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TransportError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| TransportError::io(format!("read {}", path.display()), error))
        };
        Self::from_pem(read(chain.as_ref())?, read(key.as_ref())?)
    }

    pub(crate) fn accept(&self, stream: TcpStream) -> Stream {
        Stream::Opening(Box::new(TlsAcceptor::from(Arc::clone(&self.0)).accept(stream)), Arc::default())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Which servers a client believes.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Those whose certificates lead to a root that this system trusts; read once in a process.
    ///
    /// # Errors
    ///
    /// [`TransportError::Certificate`] when the system has no roots.
    pub fn system() -> Result<Self, TransportError> {
        static SYSTEM: OnceLock<Trust> = OnceLock::new();
        if let Some(trust) = SYSTEM.get() {
            return Ok(trust.clone());
        }
        let trust = Self::new(system_roots()?)?;
        Ok(SYSTEM.get_or_init(|| trust).clone())
    }

    /// Those of [`system`](Self::system) and those with a root in this PEM text. A system without roots is no error.
    ///
    /// # Errors
    ///
    /// [`TransportError::Certificate`] when the text cannot be read.
    pub fn system_and(pem: impl AsRef<[u8]>) -> Result<Self, TransportError> {
        Self::with(system_roots().unwrap_or_else(|_| RootCertStore::empty()), pem.as_ref())
    }

    /// Only those with a root in this PEM text.
    ///
    /// # Errors
    ///
    /// [`TransportError::Certificate`] when the text cannot be read.
    pub fn only(pem: impl AsRef<[u8]>) -> Result<Self, TransportError> {
        Self::with(RootCertStore::empty(), pem.as_ref())
    }

    fn with(mut roots: RootCertStore, pem: &[u8]) -> Result<Self, TransportError> {
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(bad)?;
        }
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, TransportError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(bad)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await?;
        Ok(Stream::Open(Box::new(stream.into())))
    }
}

fn system_roots() -> Result<RootCertStore, TransportError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have some that no library reads.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err(bad("this system has no root certificates; install them, or name your own"));
    }
    Ok(roots)
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// An encrypted stream. A server's shakes hands when it is first read or written, so that a peer that does not can only
/// keep its own session waiting, never the listener.
pub(crate) enum Stream {
    Opening(Box<Accept<TcpStream>>, Arc<BothWays>),
    Open(Box<TlsStream<TcpStream>>),
    Failed,
}

/// Whoever waits to read and whoever waits to write, who may be two tasks, while both wait for the same handshake.
#[derive(Default)]
pub(crate) struct BothWays([Mutex<Option<Waker>>; 2]);

impl Wake for BothWays {
    fn wake(self: Arc<Self>) {
        for slot in &self.0 {
            let waiting = slot.lock().take();
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }
}

const READ: usize = 0;
const WRITE: usize = 1;

impl Stream {
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        way: usize,
    ) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        if let Self::Opening(handshake, waiting) = self {
            *waiting.0[way].lock() = Some(cx.waker().clone());
            let both = Waker::from(Arc::clone(waiting));
            let result = ready!(Pin::new(handshake).poll(&mut Context::from_waker(&both)));
            both.wake();
            match result {
                Ok(stream) => *self = Self::Open(Box::new(stream.into())),
                Err(error) => {
                    *self = Self::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match self {
            Self::Open(stream) => Ok(Pin::new(&mut **stream)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx, READ))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx, WRITE))?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx, WRITE))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx, WRITE))?.poll_shutdown(cx)
    }
}

/// A connection of binary messages over TLS.
pub type Tls = ByteStream<ReadHalf<Socket>, Writing>;

/// The writing half of an encrypted stream; dropping it ends its direction.
#[derive(Debug)]
pub struct Writing(WriteHalf<Socket>);

impl AsyncWrite for Writing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // What cannot be said at once is left to the end of the stream below.
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

fn open(socket: Socket, limits: &Limits) -> Tls {
    let peer = socket.peer().clone();
    let (read, write) = tokio::io::split(socket);
    ByteStream::new(read, Writing(write), peer, limits)
}

/// Connects to a `tls://` address, whose certificate must be for its host.
///
/// # Errors
///
/// Those of [`socket::connect`].
pub async fn connect(address: &Address, options: &ConnectOptions) -> Result<Tls, TransportError> {
    Ok(open(socket::connect(address, options).await?, &options.limits))
}

/// Takes TLS connections.
#[derive(Debug)]
pub struct Listener {
    socket: socket::Listener,
    limits: Limits,
}

/// Listens on a `tls://` address.
///
/// # Errors
///
/// Those of [`socket::listen`].
pub async fn listen(address: &Address, options: &ListenOptions) -> Result<Listener, TransportError> {
    Ok(Listener { socket: socket::listen(address, options).await?, limits: options.limits })
}

impl Listener {
    /// Where it really listens: with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.socket.address()
    }

    /// The next connection; errors are those of [`Listener::poll_accept`](crate::Listener::poll_accept). Its peer has
    /// not shown yet that it speaks TLS: if it does not, that is the connection's first error.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tls, TransportError>> {
        self.socket.poll_accept(cx).map_ok(|socket| open(socket, &self.limits))
    }
}

#[cfg(test)]
mod tests;
