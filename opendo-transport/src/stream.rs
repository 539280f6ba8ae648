use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::frame::PREFIX;
use crate::inflow::Inflow;
use crate::{Frames, Limits, Peer, Receiver, Sender, Sent, Transport, TransportError, kind};

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
    /// A transport that reads from `read` and writes to `write`.
    ///
    /// Neither should buffer, since batches arrive whole. Dropping `write` should end its direction, as it does with
    /// the owned halves of Tokio's sockets; halves of `tokio::io::split` end only together, so close them.
    pub fn new(read: R, write: W, peer: Peer, limits: &Limits) -> Self {
        let reader =
            Reader { io: read, inflow: Inflow::default(), limit: limits.max_message, finished: false };
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
    inflow: Inflow,
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
            let missing = match self.next_message() {
                Ok(Next::Message(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(Next::Missing(missing)) => missing,
                Err(error) => break Some(error),
            };
            match ready!(self.inflow.poll_read(cx, Pin::new(&mut self.io), missing)) {
                Ok(0) if self.inflow.buffer().is_none_or(|buffer| buffer.is_empty()) => break None,
                Ok(0) => break Some(TransportError::Truncated),
                Ok(_) => {}
                Err(error) => break Some(TransportError::broken("receive from the peer", error)),
            }
        };
        self.finished = true;
        self.inflow = Inflow::default();
        Poll::Ready(end.map(Err))
    }
}

enum Next {
    Message(Bytes),
    /// At least so many bytes before there is one.
    Missing(usize),
}

impl<R> Reader<R> {
    /// The next message if all of it is here.
    ///
    /// Written out rather than left to `LengthDelimitedCodec`, which takes the end of a stream just after a length for
    /// an orderly one, does not tell the size it refuses, and reserves whatever a peer announces.
    #[inline]
    fn next_message(&mut self) -> Result<Next, TransportError> {
        let Some(buffer) = self.inflow.buffer() else { return Ok(Next::Missing(PREFIX)) };
        let Some(prefix) = buffer.first_chunk() else { return Ok(Next::Missing(PREFIX)) };
        let size = u32::from_le_bytes(*prefix) as usize;
        if size > self.limit {
            return Err(TransportError::TooLarge { size, limit: self.limit });
        }
        // Not `PREFIX + size`, which may not fit into 32 bits.
        let here = buffer.len() - PREFIX;
        if here < size {
            return Ok(Next::Missing(size - here));
        }
        buffer.advance(PREFIX);
        Ok(Next::Message(buffer.split_to(size).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use tokio::io::ReadBuf;

    use super::*;
    use crate::inflow::{LEAST_READ, MOST_READ, TRUSTED};

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    /// Gives its chunks one a read, then the end; an empty chunk is a read that must wait.
    #[derive(Default)]
    struct Chunks(VecDeque<Vec<u8>>);

    impl AsyncRead for Chunks {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(mut chunk) = self.0.pop_front() else { return Poll::Ready(Ok(())) };
            if chunk.is_empty() {
                return Poll::Pending;
            }
            let rest = chunk.split_off(chunk.len().min(buf.remaining()));
            buf.put_slice(&chunk);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Poll::Ready(Ok(()))
        }
    }

    fn reader(chunks: &[&[u8]], limit: usize) -> Reader<Chunks> {
        let io = Chunks(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        Reader { io, inflow: Inflow::default(), limit, finished: false }
    }

    /// All messages and how it ended, polling again as often as it takes.
    fn drain(reader: &mut Reader<Chunks>) -> (Vec<Bytes>, Option<TransportError>) {
        let mut messages = Vec::new();
        loop {
            match reader.poll_receive(&mut context()) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(message))) => messages.push(message),
                Poll::Ready(Some(Err(error))) => {
                    assert!(matches!(reader.poll_receive(&mut context()), Poll::Ready(None)));
                    return (messages, Some(error));
                }
                Poll::Ready(None) => return (messages, None),
            }
        }
    }

    const MESSAGES: [&[u8]; 4] = [b"one", b"", b"three", b"4"];

    fn wire() -> Vec<u8> {
        let mut frames = Frames::default();
        MESSAGES.iter().for_each(|message| frames.push(message));
        frames.as_bytes().to_vec()
    }

    #[test]
    fn reads_may_be_split_anywhere() {
        let wire = wire();
        for cut in 1..wire.len() {
            for chunks in [&[&wire[..cut], &wire[cut..]][..], &[&wire[..cut], b"", &wire[cut..]]] {
                let (messages, end) = drain(&mut reader(chunks, 1024));
                assert_eq!(messages, MESSAGES, "{cut}");
                assert!(end.is_none());
            }
        }
        let (messages, end) = drain(&mut reader(&wire.chunks(1).collect::<Vec<_>>(), 1024));
        assert_eq!(messages, MESSAGES);
        assert!(end.is_none());
    }

    #[test]
    fn the_end_is_orderly_only_between_messages() {
        let wire = wire();
        let ends = [0, 7, 11, 20, 25];
        for end in 0..=wire.len() {
            let (messages, error) = drain(&mut reader(&[&wire[..end]], 1024));
            assert_eq!(messages.len(), ends.iter().filter(|after| (1..=end).contains(*after)).count());
            if ends.contains(&end) {
                assert!(error.is_none(), "{end}");
            } else {
                assert!(matches!(error, Some(TransportError::Truncated)), "{end}");
            }
        }
    }

    #[test]
    fn the_limit_is_exact_and_comes_after_what_was_within() {
        let mut frames = Frames::default();
        frames.push(&[1; 16]);
        frames.push(&[2; 17]);
        let (messages, error) = drain(&mut reader(&[frames.as_bytes()], 16));
        assert_eq!(messages, [&[1; 16][..]]);
        assert!(matches!(error, Some(TransportError::TooLarge { size: 17, limit: 16 })));
    }

    #[test]
    fn announcing_a_message_does_not_reserve_it() {
        let mut reader = reader(&[&u32::MAX.to_le_bytes(), b""], usize::MAX);
        assert!(reader.poll_receive(&mut context()).is_pending());
        assert!(reader.inflow.buffer().unwrap().capacity() <= TRUSTED + LEAST_READ);
    }

    #[test]
    fn large_messages_come_whole_and_small_reads_do_not_persist() {
        let mut frames = Frames::default();
        (0..200u32).for_each(|size| frames.push(&vec![size as u8; size as usize * 100]));
        frames.push(&vec![9; 3 * TRUSTED]);
        let (messages, error) = drain(&mut reader(&[frames.as_bytes()], usize::MAX));
        assert_eq!(messages, frames.iter().collect::<Vec<_>>());
        assert!(error.is_none());
    }

    #[test]
    fn a_reader_asks_for_as_much_as_comes() {
        let mut frames = Frames::default();
        let large = vec![1; MOST_READ / 4];
        (0..200).for_each(|_| frames.push(&large));
        let size = frames.byte_len();
        (0..2000).for_each(|_| frames.push(b"little"));
        let (large, little) = frames.as_bytes().split_at(size);
        let chunks: Vec<_> = [large].into_iter().chain(little.chunks(PREFIX + 6)).collect();
        let mut reader = reader(&chunks, usize::MAX);
        let mut next = || match reader.poll_receive(&mut context()) {
            Poll::Ready(Some(Ok(message))) => (message.len(), reader.inflow.room().unwrap().ask),
            other => panic!("{other:?}"),
        };
        let ask = (0..200).map(|_| next()).last();
        assert_eq!(ask, Some((MOST_READ / 4, MOST_READ)));
        let asks: Vec<_> = (0..2000).map(|_| next().1).collect();
        assert!(asks.is_sorted_by(|before, after| before >= after));
        assert_eq!(asks.last(), Some(&LEAST_READ));
        assert!(reader.inflow.buffer().unwrap().capacity() <= LEAST_READ);
    }

    #[test]
    fn who_waits_owns_no_memory_and_who_reads_next_has_it() {
        let wire = wire();
        let mut readers: Vec<_> = (0..3).map(|_| reader(&[&wire, b"", &wire[..5], b""], 1024)).collect();
        let place = |reader: &mut Reader<Chunks>| match reader.poll_receive(&mut context()) {
            Poll::Ready(Some(Ok(message))) => Some(message.as_ptr().addr()),
            _ => None,
        };
        let mut places = Vec::new();
        for reader in &mut readers {
            places.push(place(reader));
            while place(reader).is_some() {}
            assert!(reader.inflow.room().is_none());
        }
        assert!(places.iter().all(|there| there.is_some() && *there == places[0]), "{places:?}");
        // What has begun to come is its connection's.
        for reader in &mut readers {
            assert_eq!(place(reader), None);
            assert_eq!(reader.inflow.buffer().unwrap()[..], wire[..5]);
        }
    }

    /// Takes `step` bytes a write, and makes every other operation wait.
    struct Trickle {
        taken: Vec<u8>,
        step: usize,
        ready: bool,
        flushed: usize,
    }

    impl Trickle {
        fn turn(&mut self) -> Poll<()> {
            self.ready = !self.ready;
            if self.ready { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            ready!(self.turn());
            let count = bytes.len().min(self.step);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.turn());
            self.flushed = self.taken.len();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
        }
    }

    fn writer(step: usize) -> Writer<Trickle> {
        let io = Trickle { taken: Vec::new(), step, ready: true, flushed: 0 };
        Writer { io, written: 0, closed: false }
    }

    #[test]
    fn writes_may_be_split_anywhere() {
        let wire = wire();
        for step in 1..=wire.len() {
            let mut writer = writer(step);
            let mut batch = Frames::default();
            MESSAGES[..2].iter().for_each(|message| batch.push(message));
            assert!(writer.poll_send(&mut context(), &mut batch).is_pending());
            // What is pushed while the batch waits goes with it.
            MESSAGES[2..].iter().for_each(|message| batch.push(message));
            let sent = loop {
                if let Poll::Ready(sent) = writer.poll_send(&mut context(), &mut batch) {
                    break sent.unwrap();
                }
            };
            assert_eq!(sent, Sent::Size(wire.len()), "{step}");
            assert!(batch.is_empty());
            assert_eq!((&writer.io.taken, writer.io.flushed), (&wire, wire.len()));
        }
    }

    #[test]
    fn a_stream_that_takes_nothing_is_closed() {
        let mut writer = writer(0);
        let mut batch = Frames::default();
        batch.push(b"message");
        assert!(writer.poll_send(&mut context(), &mut batch).is_pending());
        let sent = writer.poll_send(&mut context(), &mut batch);
        assert!(matches!(sent, Poll::Ready(Err(TransportError::Closed))));
    }

    #[test]
    fn closing_what_the_peer_has_closed_is_no_error() {
        let mut writer = writer(1);
        for _ in 0..2 {
            assert!(matches!(writer.poll_close(&mut context()), Poll::Ready(Ok(()))));
        }
        let sent = writer.poll_send(&mut context(), &mut Frames::default());
        assert!(matches!(sent, Poll::Ready(Err(TransportError::Closed))));
    }
}
