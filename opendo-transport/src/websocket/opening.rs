//! A client's opening handshake, kept from reading what is behind the answer: that is not the handshake's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives no more of a stream than an HTTP response without a body, and keeps the rest of what was read.
pub(super) struct Opening<S> {
    io: S,
    line: Line,
    rest: BytesMut,
}

/// What of a line has come. The response is over with the first that is empty.
#[derive(Clone, Copy, PartialEq)]
enum Line {
    Something,
    Nothing,
    CarriageReturn,
    Last,
}

impl Line {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Last | Self::Nothing | Self::CarriageReturn, b'\n') => Self::Last,
            (_, b'\n') => Self::Nothing,
            (Self::Nothing, b'\r') => Self::CarriageReturn,
            _ => Self::Something,
        }
    }
}

impl<S> Opening<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, line: Line::Something, rest: BytesMut::new() }
    }

    /// The stream, and what was read behind the response.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.io, self.rest)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let mut end = before;
        while end < buf.filled().len() && self.line != Line::Last {
            self.line = self.line.after(buf.filled()[end]);
            end += 1;
        }
        self.rest.extend_from_slice(&buf.filled()[end..]);
        buf.set_filled(end);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
