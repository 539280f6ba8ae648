//! One message a line: over standard input and output, the pipes of a child process, or any other streams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, Stdin, Stdout};
use tokio_util::io::poll_read_buf;

use crate::{Limits, Lines, Peer, Receiver, Sender, Sent, Transport, TransportError, kind};

/// What is read at a time, and about what is written at a time.
const BUFFER: usize = 64 * 1024;

/// The most that ends a line.
const LINE_END: usize = "\r\n".len();

/// Standard input and output as a connection with whoever started this process.
pub type Stdio = LineStream<Stdin, Stdout>;

/// The connection over standard input and output. Whatever else the process prints goes to standard error then.
#[must_use]
pub fn stdio(limits: &Limits) -> Stdio {
    LineStream::new(tokio::io::stdin(), tokio::io::stdout(), Peer::local("stdio", "parent"), limits)
}

/// Any pair of byte streams as a transport of text messages, each of which is a line.
///
/// Lines end with `\n`, or `\r\n` when received. A message with a line break is refused.
///
/// ```
/// use opendo_transport::{Limits, Lines, Peer, Transport, stdio::LineStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), opendo_transport::TransportError> {
/// # #[cfg(unix)] {
/// // let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// # let (stdin, ours) = tokio::io::duplex(64);
/// # struct Child { stdin: Option<tokio::io::DuplexStream>, stdout: Option<tokio::io::DuplexStream> }
/// # let mut child = Child { stdin: Some(stdin), stdout: Some(ours) };
/// let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
/// let transport = LineStream::new(stdout, stdin, Peer::local("stdio", "cat"), &Limits::default());
/// let (mut sender, mut receiver) = transport.split();
///
/// let mut batch = Lines::default();
/// batch.push("hello".to_owned());
/// sender.send(&mut batch).await?;
/// assert_eq!(receiver.receive().await.unwrap()?, "hello");
/// # }
/// # Ok(())
/// # }
/// ```
pub struct LineStream<R, W> {
    reader: Reader<R>,
    writer: Writer<W>,
    peer: Peer,
}

impl<R, W> LineStream<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// A transport that reads from `read` and writes to `write`, whose end is the end of its direction.
    pub fn new(read: R, write: W, peer: Peer, limits: &Limits) -> Self {
        let reader = Reader {
            io: read,
            buffer: BytesMut::new(),
            searched: 0,
            limit: limits.max_message,
            finished: false,
        };
        let writer = Writer { io: write, buffer: BytesMut::new(), written: 0, closed: false };
        Self { reader, writer, peer }
    }
}

impl<R, W> Transport for LineStream<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Kind = kind::Text;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<kind::Text>>, Box<dyn Receiver<kind::Text>>) {
        (Box::new(self.writer), Box::new(self.reader))
    }
}

impl<R, W> fmt::Debug for LineStream<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

struct Writer<W> {
    io: W,
    /// Lines that are on their way.
    buffer: BytesMut,
    /// What went into the buffer since the last flush, as the batch counts it.
    written: usize,
    closed: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let failed = |error| TransportError::broken("send to the peer", error);
        while !self.buffer.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.buffer)).map_err(failed)? {
                0 => return Poll::Ready(Err(TransportError::Closed)),
                count => self.buffer.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin + Send> Sender<kind::Text> for Writer<W> {
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut Lines) -> Poll<Result<Sent, TransportError>> {
        if self.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        loop {
            while self.buffer.len() < BUFFER
                && let Some(line) = batch.pop_front()
            {
                if line.contains('\n') {
                    return Poll::Ready(Err(TransportError::LineBreak));
                }
                self.written += line.len();
                self.buffer.extend_from_slice(line.as_bytes());
                self.buffer.put_u8(b'\n');
            }
            ready!(self.poll_drain(cx))?;
            if batch.is_empty() {
                break;
            }
        }
        let failed = |error| TransportError::broken("send to the peer", error);
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
    /// So much of the buffer has no line end.
    searched: usize,
    limit: usize,
    finished: bool,
}

impl<R: AsyncRead + Unpin + Send> Receiver<kind::Text> for Reader<R> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<String, TransportError>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        let end = loop {
            match self.next_line() {
                Ok(Some(line)) => return Poll::Ready(Some(Ok(line))),
                Ok(None) => {}
                Err(error) => break Some(error),
            }
            // Never more than one line may have, so that a line is refused before it is held.
            let room = self.limit.saturating_add(LINE_END) - self.buffer.len();
            let mut buffer = (&mut self.buffer).limit(room.min(BUFFER));
            match ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut buffer)) {
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
    /// The next line if all of it is here.
    fn next_line(&mut self) -> Result<Option<String>, TransportError> {
        let limit = self.limit;
        let too_large = |size| Err(TransportError::TooLarge { size, limit });
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            // A carriage return within may still belong to the end.
            let size = self.searched - usize::from(self.buffer.last() == Some(&b'\r'));
            return if size > limit { too_large(size) } else { Ok(None) };
        };
        let line = self.buffer.split_to(self.searched + end + 1);
        self.searched = 0;
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit {
            return too_large(line.len());
        }
        match str::from_utf8(line) {
            Ok(line) => Ok(Some(line.to_owned())),
            Err(_) => Err(TransportError::protocol("a line is not UTF-8")),
        }
    }
}

#[cfg(test)]
mod tests;
