//! Length-delimited messages: each is preceded by its size as a little-endian `u32`.

use bytes::{Buf as _, Bytes};

use crate::kind::Batch;

/// The size of the size before each message.
pub(crate) const PREFIX: usize = size_of::<u32>();

/// What a drained buffer may keep. A session swaps two of them back and forth, so keeping makes sending free of
/// allocations; but one large message must not be paid for until the connection ends.
const RETAINED: usize = 1024 * 1024;

/// What a buffer starts with when it replaces one that was taken away whole.
const REPLACEMENT: usize = 64 * 1024;

/// Drained space at the front is worth a copy only when there is this much of it.
const COMPACT: usize = 4 * 1024;

/// A batch of binary messages in one contiguous buffer, each behind its length.
///
/// This is what goes over a stream, so a stream transport writes it without another copy. Messages are encoded straight
/// into it with [`push_with`](Self::push_with).
///
/// ```
/// use opendo_transport::Frames;
///
/// let mut frames = Frames::default();
/// frames.push(b"abc");
/// let size = frames.push_with(|out| {
///     out.extend_from_slice(b"de");
///     Ok::<_, std::convert::Infallible>(())
/// });
/// assert_eq!(size, Ok(2));
/// assert_eq!(frames.as_bytes(), b"\x03\0\0\0abc\x02\0\0\0de");
/// assert_eq!(frames.iter().collect::<Vec<_>>(), [&b"abc"[..], b"de"]);
/// ```
#[derive(Debug, Default, Clone)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Everything before has left.
    start: usize,
    /// Where the first message lies of which nothing has left; `start` unless a write stopped inside a message.
    whole: usize,
    /// How many messages have not entirely left.
    messages: usize,
}

impl Frames {
    /// Room for `bytes` before the buffer grows.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Appends the message that `write` appends to the buffer, and returns its size.
    ///
    /// `write` sees the messages before its own and must only append. When it fails or panics, the batch is as it
    /// was: no half message ever leaves. Limits are for the caller to check by the returned size.
    ///
    /// # Panics
    ///
    /// When the message is over `u32::MAX` bytes, which the length before it cannot say, or when `write` has removed
    /// what was not its own.
    #[inline]
    pub fn push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<usize, E> {
        if self.start >= COMPACT && self.start * 2 >= self.buffer.len() {
            self.compact();
        }
        let start = self.buffer.len();
        let mut message = Unfinished { buffer: &mut self.buffer, keep: start };
        message.buffer.extend_from_slice(&[0; PREFIX]);
        write(message.buffer)?;
        let size = message.buffer.len() - start - PREFIX;
        let prefix = u32::try_from(size).expect("a message of 4 GiB or more");
        message.buffer[start..start + PREFIX].copy_from_slice(&prefix.to_le_bytes());
        message.keep = message.buffer.len();
        self.messages += 1;
        Ok(size)
    }

    /// Appends a message.
    ///
    /// # Panics
    ///
    /// When it is over `u32::MAX` bytes.
    #[inline]
    pub fn push(&mut self, message: &[u8]) {
        let prefix = u32::try_from(message.len()).expect("a message of 4 GiB or more");
        if self.start >= COMPACT && self.start * 2 >= self.buffer.len() {
            self.compact();
        }
        self.buffer.reserve(PREFIX + message.len());
        self.buffer.extend_from_slice(&prefix.to_le_bytes());
        self.buffer.extend_from_slice(message);
        self.messages += 1;
    }

    /// How many messages have not entirely left.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether everything has left.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// How many bytes have not left, lengths included.
    #[inline]
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The bytes that have not left, as a stream wants them.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Says that the first `count` of [`as_bytes`](Self::as_bytes) have left, be it in the middle of a message.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        if count == self.byte_len() {
            self.clear();
        } else {
            self.advance_within(count);
        }
    }

    fn advance_within(&mut self, count: usize) {
        assert!(count < self.byte_len(), "advanced beyond the end of a batch");
        let cut = usize::from(self.whole > self.start);
        self.start += count;
        let mut begun = cut;
        while self.whole < self.start {
            self.whole += PREFIX + self.size_at(self.whole);
            begun += 1;
        }
        // Of the messages that were begun, the last may not be over.
        self.messages -= begun - usize::from(self.whole > self.start);
    }

    /// The first message of which nothing has left.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<&[u8]> {
        self.iter().next()
    }

    /// Removes what [`front`](Self::front) shows, for transports that send messages one by one. The rest of a message
    /// that was cut by [`advance`](Self::advance) goes with it.
    pub fn pop_front(&mut self) {
        let end = self.front().map_or(self.buffer.len(), |message| self.whole + PREFIX + message.len());
        self.advance(end - self.start);
    }

    /// The messages, in order, without one that was cut by [`advance`](Self::advance).
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.buffer[self.whole..];
        std::iter::from_fn(move || {
            let (prefix, tail) = rest.split_first_chunk()?;
            let (message, tail) = tail.split_at(u32::from_le_bytes(*prefix) as usize);
            rest = tail;
            Some(message)
        })
    }

    /// Drops everything and keeps the buffer, unless it has grown out of proportion.
    #[inline]
    pub fn clear(&mut self) {
        self.buffer.clear();
        (self.start, self.whole, self.messages) = (0, 0, 0);
        if self.buffer.capacity() > RETAINED {
            self.buffer.shrink_to(RETAINED);
        }
    }

    fn size_at(&self, at: usize) -> usize {
        u32::from_le_bytes(self.buffer[at..at + PREFIX].try_into().expect("four bytes")) as usize
    }

    /// Keeps a batch that is pushed to while it drains, and so is never empty, from growing for ever.
    #[cold]
    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.whole -= self.start;
        self.start = 0;
    }
}

/// Takes back a message that was not finished, also when its writer panics.
struct Unfinished<'a> {
    buffer: &'a mut Vec<u8>,
    keep: usize,
}

impl Drop for Unfinished<'_> {
    #[inline]
    fn drop(&mut self) {
        self.buffer.truncate(self.keep);
    }
}

impl Batch for Frames {
    type Message = Bytes;
    type Messages = FrameMessages;

    fn len(&self) -> usize {
        self.len()
    }

    fn byte_len(&self) -> usize {
        self.byte_len()
    }

    fn append(&mut self, message: Bytes) {
        self.push(&message);
    }

    fn take(&mut self) -> Self {
        // Room to spare: a header asks for as much as it may need, which is more than it takes.
        let next = Self::with_capacity((2 * self.byte_len()).clamp(64, REPLACEMENT));
        std::mem::replace(self, next)
    }

    fn into_messages(self) -> FrameMessages {
        let mut rest = Bytes::from(self.buffer);
        rest.advance(self.whole);
        FrameMessages { rest }
    }

    fn message_len(message: &Bytes) -> usize {
        message.len()
    }
}

/// The messages of a [`Frames`], as slices of its buffer: nothing is copied.
#[derive(Debug, Default)]
pub struct FrameMessages {
    rest: Bytes,
}

impl Iterator for FrameMessages {
    type Item = Bytes;

    #[inline]
    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let size = self.rest.get_u32_le() as usize;
        Some(self.rest.split_to(size))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn frames(messages: &[&[u8]]) -> Frames {
        let mut frames = Frames::default();
        messages.iter().for_each(|message| frames.push(message));
        frames
    }

    #[test]
    fn a_message_that_fails_leaves_nothing() {
        let mut frames = frames(&[b"kept"]);
        let before = frames.as_bytes().to_vec();
        let failed = frames.push_with(|out| {
            out.extend_from_slice(b"half");
            Err("no more")
        });
        assert_eq!(failed, Err("no more"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            frames.push_with(|out| -> Result<(), ()> {
                out.extend_from_slice(b"half");
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((frames.as_bytes(), frames.len()), (&before[..], 1));
    }

    #[test]
    fn it_may_be_cut_anywhere_twice() {
        let messages: [&[u8]; 4] = [b"one", b"", b"three", b"4"];
        let all = frames(&messages).as_bytes().to_vec();
        // Where each message ends.
        let ends = [7, 11, 20, 25];
        for first in 0..=all.len() {
            for second in 0..=all.len() - first {
                let mut frames = frames(&messages);
                frames.advance(first);
                frames.advance(second);
                let gone = first + second;
                let left = ends.iter().filter(|end| **end > gone).count();
                let begun = [0, 7, 11, 20].iter().filter(|start| **start < gone).count();
                assert_eq!((frames.as_bytes(), frames.byte_len()), (&all[gone..], all.len() - gone));
                assert_eq!((frames.len(), frames.is_empty()), (left, left == 0), "{first} {second}");
                assert_eq!(frames.iter().collect::<Vec<_>>(), messages[begun..], "{first} {second}");
                let taken = Batch::take(&mut frames).into_messages().collect::<Vec<_>>();
                assert_eq!(taken, messages[begun..]);
                assert!(frames.is_empty());
            }
        }
    }

    #[test]
    fn popping_takes_whole_messages() {
        let mut frames = frames(&[b"one", b"two", b"three"]);
        frames.pop_front();
        assert_eq!((frames.front(), frames.len()), (Some(&b"two"[..]), 2));
        frames.advance(1);
        assert_eq!((frames.front(), frames.len()), (Some(&b"three"[..]), 2));
        frames.pop_front();
        assert!(frames.is_empty());
        frames.pop_front();
        assert_eq!(frames.front(), None);
    }

    #[test]
    #[should_panic(expected = "advanced beyond the end")]
    fn it_cannot_be_advanced_beyond_its_end() {
        frames(&[b"one"]).advance(8);
    }

    #[test]
    fn the_buffer_is_kept_within_reason() {
        let mut frames = frames(&[&[0; 100_000]]);
        let capacity = frames.buffer.capacity();
        frames.advance(frames.byte_len());
        assert_eq!(frames.buffer.capacity(), capacity);
        frames.push(&[0; 2 * RETAINED]);
        frames.clear();
        assert_eq!(frames.buffer.capacity(), RETAINED);
    }

    #[test]
    fn a_batch_that_is_never_empty_does_not_grow() {
        let mut frames = frames(&[&[7; 1000], &[7; 1000]]);
        for round in 0..10_000 {
            frames.push(&[7; 1000]);
            // Every other message leaves by the byte, in two parts.
            if round % 2 == 0 {
                frames.pop_front();
            } else {
                frames.advance(3);
                frames.advance(1001);
            }
            assert_eq!((frames.len(), frames.byte_len()), (2, 2008));
            assert!(frames.iter().all(|message| message == [7; 1000]));
        }
        assert!(frames.buffer.capacity() < 10 * COMPACT);
    }
}
