//! Unix sockets and TCP as one, for libraries that take any stream.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A stream of bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where streams come in.
#[derive(Debug)]
pub enum Listener {
    /// At a host and port.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

impl Listener {
    /// `transport` is `tcp` or `uds`.
    pub async fn bind(transport: &str, address: &str) -> io::Result<Self> {
        if transport == "uds" {
            return UnixListener::bind(address).map(Self::Unix);
        }
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// The next one.
    pub async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// To a listener.
pub async fn connect(transport: &str, address: &str) -> io::Result<Box<dyn Stream>> {
    if transport == "uds" {
        return Ok(Box::new(UnixStream::connect(address).await?));
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
