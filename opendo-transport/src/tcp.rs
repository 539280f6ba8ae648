//! TCP streams. `TCP_NODELAY` is always on: batches are written whole, so there is nothing to wait for.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::address::accept_error;
use crate::{ByteStream, Limits, Peer, TransportError};

/// A TCP connection.
pub type Tcp = ByteStream<OwnedReadHalf, OwnedWriteHalf>;

/// Connects to `host:port`, trying each address the host resolves to.
///
/// # Errors
///
/// [`TransportError::Io`] when none of them answers.
pub async fn connect(address: &str, limits: &Limits) -> Result<Tcp, TransportError> {
    let failed = |error| TransportError::io(format!("connect to tcp://{address}"), error);
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    let peer = stream.peer_addr().map_err(failed)?;
    open(stream, peer, limits).map_err(failed)
}

fn open(stream: TcpStream, peer: SocketAddr, limits: &Limits) -> io::Result<Tcp> {
    stream.set_nodelay(true)?;
    let place = if peer.ip().to_canonical().is_loopback() { Peer::local } else { Peer::remote };
    let (read, write) = stream.into_split();
    Ok(ByteStream::new(read, write, place("tcp", peer.to_string()), limits))
}

/// Takes TCP connections.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limits: Limits,
}

/// Listens on `host:port`; port 0 is any free one, which [`Listener::local_addr`] tells.
///
/// # Errors
///
/// [`TransportError::AddressInUse`], or [`TransportError::Io`] for whatever else the system has against it.
pub async fn listen(address: &str, limits: &Limits) -> Result<Listener, TransportError> {
    match TcpListener::bind(address).await {
        Ok(socket) => Ok(Listener { socket, limits: *limits }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(TransportError::AddressInUse { address: format!("tcp://{address}") })
        }
        Err(error) => Err(TransportError::io(format!("listen on tcp://{address}"), error)),
    }
}

impl Listener {
    /// Where it really listens.
    ///
    /// # Errors
    ///
    /// [`TransportError::Io`] when the system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, TransportError> {
        self.socket.local_addr().map_err(|error| TransportError::io("read the address of a listener", error))
    }

    /// The next connection; errors are those of [`Listener::poll_accept`](crate::Listener::poll_accept).
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tcp, TransportError>> {
        loop {
            match ready!(self.socket.poll_accept(cx)) {
                // An option cannot be set on a connection that is already gone, which is its own problem.
                Ok((stream, peer)) => match open(stream, peer, &self.limits) {
                    Ok(connection) => return Poll::Ready(Ok(connection)),
                    Err(_) => continue,
                },
                Err(error) => match accept_error(error) {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => continue,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::Transport as _;

    #[tokio::test]
    async fn both_sides_know_each_other() {
        let limits = Limits::default();
        let mut listener = listen("127.0.0.1:0", &limits).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let address = address.to_string();
        let (ours, theirs) = tokio::join!(connect(&address, &limits), poll_fn(|cx| listener.poll_accept(cx)));
        let (ours, theirs) = (ours.unwrap().peer(), theirs.unwrap().peer());
        assert_eq!(ours, Peer::local("tcp", address));
        assert!(theirs.is_local());
        assert!(theirs.address().starts_with("127.0.0.1:"));
    }

    #[tokio::test]
    async fn nagle_is_off() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let peer = stream.peer_addr().unwrap();
        // The halves give the stream back only as a pair, which a transport never does; so look before it is split.
        stream.set_nodelay(false).unwrap();
        let watch = stream.into_std().unwrap();
        let stream = TcpStream::from_std(watch.try_clone().unwrap()).unwrap();
        let _open = open(stream, peer, &Limits::default()).unwrap();
        assert!(watch.nodelay().unwrap());
    }

    #[tokio::test]
    async fn failures_name_the_address() {
        let limits = Limits::default();
        let listener = listen("127.0.0.1:0", &limits).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(matches!(listen(&address, &limits).await, Err(TransportError::AddressInUse { .. })));
        drop(listener);
        let error = connect(&address, &limits).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("could not connect to tcp://{address}")), "{error}");
    }
}
