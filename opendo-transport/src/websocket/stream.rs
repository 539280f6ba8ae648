//! A stream of frames on a stream of bytes.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::{io, mem};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_util::io::poll_read_buf;

use super::Role;
use super::frame::{Decoder, Frame, encode};

#[cfg(test)]
mod tests;

/// What is read at a time, to the stack: a connection holds nothing for what may come.
const SPACE: usize = 16 * 1024;

/// What is gathered before it is written.
const GATHERED: usize = 32 * 1024;

/// Who polls: each may be a task of its own, and both write, since what came may have to be answered.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Reader,
    Writer,
}

/// See the module.
pub(super) struct FrameStream<S> {
    io: S,
    role: Role,
    decoder: Decoder,
    /// What was read, and is still to be decoded.
    rest: BytesMut,
    /// What is still to be written, behind what has left. Nothing is kept of it when all has.
    out: Vec<u8>,
    left: usize,
    /// What the peer is told because of something it said, as soon as there is room.
    answer: Option<(Control, Vec<u8>)>,
    /// There is an answer in `out`, or below.
    unflushed: bool,
    /// We have closed, or have agreed to it.
    closed: bool,
    /// Nothing more comes.
    ended: bool,
    /// Who waits for room below. Whoever polls last is the one that is woken there.
    waiting: [Option<Waker>; 2],
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameStream<S> {
    /// After a handshake, behind which `rest` was read.
    pub(super) fn new(io: S, role: Role, limit: usize, rest: BytesMut) -> Self {
        Self {
            io,
            role,
            decoder: Decoder::new(role, limit),
            rest,
            out: Vec::new(),
            left: 0,
            answer: None,
            unflushed: false,
            closed: false,
            ended: false,
            waiting: [None, None],
        }
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.io
    }

    /// What comes next. Nothing does after a close, or an error.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let answers = self.answer.is_some() || self.unflushed;
        let mut next = match self.poll_answer(answers, cx) {
            // What cannot leave now leaves when there is room.
            Poll::Pending | Poll::Ready(Ok(())) => ready!(self.poll_frame(cx)),
            Poll::Ready(Err(error)) => Err(error),
        };
        match &mut next {
            Err(_) => self.ended = true,
            Ok(Frame::Close(said)) => {
                self.ended = true;
                if !mem::replace(&mut self.closed, true) {
                    self.answer = Some((Control::Close, close_payload(said.as_ref())));
                }
            }
            // Of many that could not be answered, the last is.
            Ok(Frame::Ping(payload)) if !self.closed => {
                self.answer = Some((Control::Pong, mem::take(payload)));
            }
            Ok(_) => {}
        }
        Poll::Ready(Some(next))
    }

    fn poll_answer(&mut self, answers: bool, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if answers { self.poll_flush(Half::Reader, cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Error>> {
        loop {
            while !self.rest.is_empty() {
                let (used, frame) = self.decoder.decode(&mut self.rest)?;
                self.rest.advance(used);
                if self.rest.is_empty() {
                    self.rest = BytesMut::new();
                }
                match frame {
                    Some(frame) => return Poll::Ready(Ok(frame)),
                    None if used == 0 => break,
                    None => {}
                }
            }
            if let Some(mut room) = self.decoder.room() {
                let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut room))?;
                match self.decoder.came(some(count)?)? {
                    Some(frame) => return Poll::Ready(Ok(frame)),
                    None => continue,
                }
            }
            let mut space = [const { MaybeUninit::uninit() }; SPACE];
            let mut space = ReadBuf::uninit(&mut space);
            // Less than a header.
            space.put_slice(&self.rest);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
            some(space.filled().len() - self.rest.len())?;
            self.rest = BytesMut::new();
            let (used, frame) = self.decoder.decode(space.filled_mut())?;
            self.rest.extend_from_slice(&space.filled()[used..]);
            if let Some(frame) = frame {
                return Poll::Ready(Ok(frame));
            }
        }
    }

    /// Waits until something can be sent.
    pub(super) fn poll_ready(&mut self, by: Half, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.out.len() - self.left < GATHERED { Poll::Ready(Ok(())) } else { self.poll_write(by, cx) }
    }

    /// Sends a message, behind what was sent before; it has left after a flush.
    pub(super) fn start_send(&mut self, kind: Data, message: &[u8]) -> Result<(), Error> {
        self.start(OpCode::Data(kind), message)
    }

    pub(super) fn start_ping(&mut self) -> Result<(), Error> {
        self.start(OpCode::Control(Control::Ping), &[])
    }

    /// Closes, unless the peer has: then the answer says so.
    pub(super) fn start_close(&mut self, close: &CloseFrame) {
        if self.start(OpCode::Control(Control::Close), &close_payload(Some(close))).is_ok() {
            self.closed = true;
        }
    }

    fn start(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Protocol(ProtocolError::SendAfterClosing));
        }
        encode(self.role, opcode, payload, &mut self.out);
        Ok(())
    }

    /// Waits until everything has left.
    pub(super) fn poll_flush(&mut self, by: Half, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_ready(by, cx))?;
        if let Some((control, payload)) = self.answer.take() {
            encode(self.role, OpCode::Control(control), &payload, &mut self.out);
            self.unflushed = true;
        }
        ready!(self.poll_write(by, cx))?;
        let flushed = self.poll_io(by, cx, |io, cx| io.poll_flush(cx));
        ready!(flushed)?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, by: Half, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.left < self.out.len() {
            let (out, left) = (mem::take(&mut self.out), self.left);
            let written = self.poll_io(by, cx, |io, cx| io.poll_write(cx, &out[left..]));
            self.out = out;
            match ready!(written)? {
                0 => return Poll::Ready(Err(Error::Io(io::ErrorKind::WriteZero.into()))),
                count => self.left += count,
            }
        }
        (self.out, self.left) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Polls what is below for writing, so that whoever waits for that is woken.
    fn poll_io<T>(
        &mut self,
        by: Half,
        cx: &Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<Result<T, Error>> {
        let [reader, writer] = &mut self.waiting;
        let (own, other) = match by {
            Half::Reader => (reader, writer),
            Half::Writer => (writer, reader),
        };
        let waker = cx.waker();
        let other = other.as_ref().filter(|other| !other.will_wake(waker));
        let both = other.map(|other| Waker::from(Arc::new(Both(other.clone(), waker.clone()))));
        let mut cx = Context::from_waker(both.as_ref().unwrap_or(waker));
        match poll(Pin::new(&mut self.io), &mut cx) {
            Poll::Pending => {
                *own = Some(waker.clone());
                Poll::Pending
            }
            Poll::Ready(done) => {
                self.waiting = [None, None];
                // A peer that has said its last need not wait for ours.
                Poll::Ready(
                    done.map_err(|error| if self.ended { Error::ConnectionClosed } else { error.into() }),
                )
            }
        }
    }
}

/// Nothing is an end, without a close.
fn some(count: usize) -> Result<usize, Error> {
    match count {
        0 => Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)),
        count => Ok(count),
    }
}

fn close_payload(close: Option<&CloseFrame>) -> Vec<u8> {
    let Some(close) = close else { return Vec::new() };
    [&u16::from(close.code).to_be_bytes()[..], close.reason.as_bytes()].concat()
}

/// Wakes two tasks.
struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}
