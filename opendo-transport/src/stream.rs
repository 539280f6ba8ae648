use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use crate::frame::PREFIX;
use crate::{Frames, Limits, Peer, Receiver, Sender, Sent, Transport, TransportError, kind};

/// What is read at a time.
const READ_BUFFER: usize = 64 * 1024;

/// With less room than this at its end, a read buffer is renewed rather than filled by ever smaller reads.
const MIN_READ: usize = 4 * 1024;

/// What a peer may make us reserve by announcing a message; beyond, it must send bytes to get more.
const TRUSTED: usize = 1024 * 1024;

/// Any pair of byte streams as a transport of binary messages, each behind its length (see [`Frames`]).
///
/// ```
/// use opendo_transport::{ByteStream, Frames, Limits, Peer, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), opendo_transport::TransportError> {
/// let (ours, theirs) = tokio::io::duplex(1024);
/// let open = |io| {
///     let (read, write) = tokio::io::split(io);
///     ByteStream::new(read, write, Peer::local("pipe", "example"), &Limits::default())
/// };
/// let (mut sender, _) = open(ours).split();
/// let (_, mut receiver) = open(theirs).split();
///
/// let mut batch = Frames::default();
/// batch.push(b"hello");
/// sender.send(&mut batch).await?;
/// assert_eq!(receiver.receive().await.unwrap()?, "hello");
/// # Ok(())
/// # }
/// ```
pub struct ByteStream<R, W> {
    reader: Reader<R>,
    writer: Writer<W>,
    peer: Peer,
}

impl<R, W> ByteStream<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// A transport that reads from `read` and writes to `write`. Neither should buffer: batches arrive whole.
    pub fn new(read: R, write: W, peer: Peer, limits: &Limits) -> Self {
        let buffer = BytesMut::with_capacity(READ_BUFFER);
        let reader = Reader { io: read, buffer, limit: limits.max_message, finished: false };
        Self { reader, writer: Writer { io: write, written: 0, closed: false }, peer }
    }
}

impl<R, W> Transport for ByteStream<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Kind = kind::Bytes;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<kind::Bytes>>, Box<dyn Receiver<kind::Bytes>>) {
        (Box::new(self.writer), Box::new(self.reader))
    }
}

impl<R, W> fmt::Debug for ByteStream<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

struct Writer<W> {
    io: W,
    /// What has left of batches whose flush is not over.
    written: usize,
    closed: bool,
}

impl<W: AsyncWrite + Unpin + Send> Sender<kind::Bytes> for Writer<W> {
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut Frames) -> Poll<Result<Sent, TransportError>> {
        if self.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        let failed = |error| TransportError::broken("send to the peer", error);
        while !batch.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, batch.as_bytes())).map_err(failed)?;
            if count == 0 {
                return Poll::Ready(Err(TransportError::Closed));
            }
            batch.advance(count);
            self.written += count;
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx)).map_err(failed)?;
        Poll::Ready(Ok(Sent::Size(std::mem::take(&mut self.written))))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if !self.closed {
            let result = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.closed = true;
            match result {
                // The peer has closed first; that is as closed as it gets.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                result => result.map_err(|error| TransportError::broken("close the connection", error))?,
            }
        }
        Poll::Ready(Ok(()))
    }
}

struct Reader<R> {
    io: R,
    buffer: BytesMut,
    limit: usize,
    finished: bool,
}

impl<R: AsyncRead + Unpin + Send> Receiver<kind::Bytes> for Reader<R> {
    #[inline]
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        let end = loop {
            match self.next_message() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(error) => break Some(error),
            }
            match ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buffer)) {
                Ok(0) if self.buffer.is_empty() => break None,
                Ok(0) => break Some(TransportError::Truncated),
                Ok(_) => {}
                Err(error) => break Some(TransportError::broken("receive from the peer", error)),
            }
        };
        self.finished = true;
        self.buffer = BytesMut::new();
        Poll::Ready(end.map(Err))
    }
}

impl<R> Reader<R> {
    /// The next message if all of it is here, or else room to read more of it.
    ///
    /// Written out rather than left to `LengthDelimitedCodec`, which takes the end of a stream just after a length for
    /// an orderly one, does not tell the size it refuses, and reserves whatever a peer announces.
    #[inline]
    fn next_message(&mut self) -> Result<Option<Bytes>, TransportError> {
        let missing = match self.buffer.first_chunk() {
            Some(prefix) => {
                let size = u32::from_le_bytes(*prefix) as usize;
                if size > self.limit {
                    return Err(TransportError::TooLarge { size, limit: self.limit });
                }
                // Not `PREFIX + size`, which may not fit into 32 bits.
                let here = self.buffer.len() - PREFIX;
                if here >= size {
                    self.buffer.advance(PREFIX);
                    return Ok(Some(self.buffer.split_to(size).freeze()));
                }
                size - here
            }
            None => PREFIX,
        };
        self.make_room(missing);
        Ok(None)
    }

    fn make_room(&mut self, missing: usize) {
        if self.buffer.capacity() - self.buffer.len() < MIN_READ {
            // Reserving no more than has arrived still doubles, so that large messages are not copied often.
            let allowance = self.buffer.len().max(TRUSTED);
            self.buffer.reserve(missing.clamp(MIN_READ, allowance));
        }
    }
}
