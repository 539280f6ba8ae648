//! What connections read into.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// What is read at a time where little comes.
pub(crate) const LEAST_READ: usize = 4 * 1024;

/// What is read at a time where much comes.
pub(crate) const MOST_READ: usize = 256 * 1024;

/// After so many reads of less than a quarter of what was asked for, half of that is asked for.
const PATIENCE: u8 = 64;

/// With less room than this at its end, a read buffer is renewed rather than filled by ever smaller reads.
const MIN_ROOM: usize = 1024;

/// What a peer may make us reserve by announcing a message; beyond, it must send bytes to get more.
pub(crate) const TRUSTED: usize = 1024 * 1024;

/// With more than this, a read buffer goes when all of it was taken: it was for large messages.
const RETAINED: usize = 1024 * 1024;

thread_local! {
    /// What the next connection reads into that this thread polls. Most have nothing to read most of the time.
    static SPARE: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

/// What came of a connection and was not taken yet. While that is nothing, and nothing comes, it owns no memory.
#[derive(Default)]
pub(crate) struct Inflow(Option<Box<Room>>);

/// What is read into.
pub(crate) struct Room {
    pub(crate) buffer: BytesMut,
    /// How much is asked for at a time: by what came of it.
    pub(crate) ask: usize,
    /// How many reads in a row gave much less.
    small: u8,
    outgrown: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), ask: LEAST_READ, small: 0, outgrown: false }
    }
}

impl Inflow {
    /// What is here. Nothing may be an empty buffer, too.
    #[inline]
    pub(crate) fn buffer(&mut self) -> Option<&mut BytesMut> {
        self.0.as_mut().map(|room| &mut room.buffer)
    }

    /// Reads more, of which `missing` bytes are known to come. Gives how many came; 0 at the end.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        io: Pin<&mut impl AsyncRead>,
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        let room = self.0.get_or_insert_with(|| SPARE.take().unwrap_or_default());
        room.make_room(missing);
        let read = poll_read_buf(io, cx, &mut room.buffer);
        match read {
            Poll::Ready(Ok(count)) => room.learn(count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending if room.buffer.is_empty() => {
                SPARE.set(self.0.take().filter(|room| !room.outgrown));
            }
            Poll::Pending => {}
        }
        read
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> Option<&Room> {
        self.0.as_deref()
    }
}

impl Room {
    #[inline]
    fn make_room(&mut self, missing: usize) {
        // Reserving no more than has arrived still doubles, so that large messages are not copied often.
        let missing = missing.min(self.buffer.len().max(TRUSTED));
        let wanted = missing.max(self.ask);
        // What nobody holds any more is there again. What somebody holds is not: then the rest is filled first.
        if !self.buffer.try_reclaim(wanted) {
            let room = self.buffer.capacity() - self.buffer.len();
            if room < missing.max(MIN_ROOM) {
                self.buffer.reserve(wanted);
                self.outgrown = self.buffer.capacity() > RETAINED;
            }
        }
    }

    /// Adapts what is asked for to a read that gave so much.
    #[inline]
    fn learn(&mut self, count: usize) {
        if count >= self.ask {
            self.ask = (2 * self.ask).min(MOST_READ);
            self.small = 0;
        } else if count >= self.ask / 4 {
            self.small = 0;
        } else if self.ask > LEAST_READ {
            self.small += 1;
            if self.small == PATIENCE {
                (self.ask, self.small) = (self.ask / 2, 0);
                // The old one goes as soon as nobody holds what is in it.
                let mut buffer = BytesMut::with_capacity(self.ask.max(self.buffer.len()));
                buffer.extend_from_slice(&self.buffer);
                self.buffer = buffer;
            }
        }
    }
}
