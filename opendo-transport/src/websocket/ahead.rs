use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::inflow::Inflow;

/// A stream that reads into what connections share, and gives the library a little at a time: the library keeps as much
/// as it takes.
pub(super) struct Ahead<S> {
    io: S,
    inflow: Inflow,
}

impl<S> Ahead<S> {
    pub(super) fn of(io: S) -> Self {
        Self { io, inflow: Inflow::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, inflow } = &mut *self;
        if inflow.buffer().is_none_or(|buffer| buffer.is_empty()) {
            ready!(inflow.poll_read(cx, Pin::new(io), 0))?;
        }
        if let Some(buffer) = inflow.buffer() {
            let count = into.remaining().min(buffer.len());
            into.put_slice(&buffer[..count]);
            buffer.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_is_taken_in_parts_and_who_waits_owns_nothing() {
        let (ours, mut theirs) = duplex(64);
        let mut ahead = Ahead::of(ours);
        let mut bytes = [0; 4];
        for message in [b"abcdef", b"ghijkl"] {
            theirs.write_all(message).await.unwrap();
            assert_eq!(ahead.read(&mut bytes).await.unwrap(), 4);
            assert_eq!(bytes[..], message[..4]);
            assert_eq!(ahead.inflow.buffer().unwrap()[..], message[4..]);
            assert_eq!(ahead.read(&mut bytes).await.unwrap(), 2);
            assert_eq!(bytes[..2], message[4..]);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut ahead).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes)).is_pending());
            assert!(ahead.inflow.room().is_none());
        }
        drop(theirs);
        assert_eq!(ahead.read(&mut bytes).await.unwrap(), 0);
    }
}
