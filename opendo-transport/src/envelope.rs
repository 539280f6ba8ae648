//! The header of a binary message: readable, and refusable, without touching the body.
//!
//! | kind | layout after the kind byte |
//! | --- | --- |
//! | `Call` | flags `u8`, call, target, method `u32`, timestamp `u64`, \[deadline\], \[trace\], \[chain\], \[capabilities\], body |
//! | `Reply` | flags `u8`, call, status `u8`, \[capabilities\], body |
//! | `Cancel` | call |
//! | all others | body, whose content is the session's business |
//!
//! Numbers with a width are little-endian. Call, deadline, counts and sequence are LEB128, target is zigzag LEB128; both
//! in their shortest form only, so that a header has exactly one encoding. The trace is 16 bytes of trace id, 8 bytes of
//! span id and one byte of flags. The chain is a count and then, for each link, activation `u64` and sequence.
//! Capabilities are a byte count and so many bytes, whose content is the session's business too. Chain and capabilities
//! are left out, not empty.
//!
//! | flag | of a call | of a reply |
//! | --- | --- | --- |
//! | bit 0 | has a deadline | has capabilities |
//! | bit 1 | has a trace | |
//! | bit 2 | has a chain | |
//! | bit 3 | has capabilities | |
//! | bit 4 | keep: the caller may still call what the result holds | |
//!
//! Flags without a meaning are refused.
//!
//! ```
//! use opendo_transport::envelope::{CallHeader, EnvelopeError, EnvelopeKind, EnvelopeView};
//!
//! let mut message = Vec::new();
//! CallHeader { call: 7, method: 0x00c0ffee, timestamp: 1_000, ..CallHeader::default() }.encode(&mut message);
//! message.extend_from_slice(b"arguments");
//!
//! let view = EnvelopeView::parse(&message)?;
//! assert_eq!(view.kind(), EnvelopeKind::Call);
//! assert_eq!((view.call(), view.target(), view.method()), (7, 0, 0x00c0ffee));
//! assert_eq!(view.body(), b"arguments");
//! assert_eq!(EnvelopeView::parse(&message[..5]), Err(EnvelopeError::Truncated { what: "method" }));
//! # Ok::<_, EnvelopeError>(())
//! ```

mod read;
#[cfg(test)]
mod tests;
pub mod v0;
mod view;

pub use view::{ChainLinks, EnvelopeView};

/// The most links a call chain may have.
pub const MAX_CHAIN: usize = 256;

const HAS_DEADLINE: u8 = 1;
const HAS_TRACE: u8 = 1 << 1;
const HAS_CHAIN: u8 = 1 << 2;
const HAS_CAPABILITIES: u8 = 1 << 3;
const KEEP: u8 = 1 << 4;
const CALL_FLAGS: u8 = HAS_DEADLINE | HAS_TRACE | HAS_CHAIN | HAS_CAPABILITIES | KEEP;

const REPLY_HAS_CAPABILITIES: u8 = 1;
const REPLY_FLAGS: u8 = REPLY_HAS_CAPABILITIES;

/// What a binary message is; its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EnvelopeKind {
    /// Opens a session.
    Hello = 0,
    /// Calls a method.
    Call = 1,
    /// Answers a call.
    Reply = 2,
    /// Takes back a call.
    Cancel = 3,
    /// Describes an interface.
    Interface = 4,
    /// Gives an object's name a number.
    Bind = 5,
    /// Lets go of capabilities.
    Release = 6,
    /// Asks for a sign of life.
    Ping = 7,
    /// Gives it.
    Pong = 8,
    /// Asks for no more calls.
    Drain = 9,
    /// Ends the session, with the reason.
    Abort = 10,
    /// Says that nobody reads the stream any more that the receiver writes.
    Unread = 11,
}

impl EnvelopeKind {
    const ALL: [Self; 12] = [
        Self::Hello,
        Self::Call,
        Self::Reply,
        Self::Cancel,
        Self::Interface,
        Self::Bind,
        Self::Release,
        Self::Ping,
        Self::Pong,
        Self::Drain,
        Self::Abort,
        Self::Unread,
    ];

    /// Begins a message of this kind. The header of a call, a reply or a cancellation is written by its own type.
    ///
    /// ```
    /// use opendo_transport::envelope::{EnvelopeKind, EnvelopeView};
    ///
    /// let mut message = Vec::new();
    /// EnvelopeKind::Ping.encode(&mut message);
    /// message.extend_from_slice(b"still there?");
    /// assert_eq!(EnvelopeView::parse(&message)?.body(), b"still there?");
    /// # Ok::<_, opendo_transport::envelope::EnvelopeError>(())
    /// ```
    #[inline]
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(self as u8);
    }
}

impl TryFrom<u8> for EnvelopeKind {
    type Error = EnvelopeError;

    #[inline]
    fn try_from(kind: u8) -> Result<Self, EnvelopeError> {
        Self::ALL.get(usize::from(kind)).copied().ok_or(EnvelopeError::UnknownKind { kind })
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReplyStatus {
    /// The body is the result.
    Ok = 0,
    /// The body is the error that the method returned.
    Application = 1,
    /// The body is what kept the method from returning.
    Rpc = 2,
}

impl TryFrom<u8> for ReplyStatus {
    type Error = EnvelopeError;

    #[inline]
    fn try_from(status: u8) -> Result<Self, EnvelopeError> {
        match status {
            0 => Ok(Self::Ok),
            1 => Ok(Self::Application),
            2 => Ok(Self::Rpc),
            _ => Err(EnvelopeError::UnknownStatus { status }),
        }
    }
}

/// Where a call belongs in a distributed trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceContext {
    /// The trace, shared by everything one request caused.
    pub trace: [u8; 16],
    /// The span that made the call.
    pub span: [u8; 8],
    /// The trace flags; bit 0 says that the trace is recorded.
    pub flags: u8,
}

impl TraceContext {
    const SIZE: usize = 25;
}

/// One call that waits for this one: which activation runs it, and which of its calls it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainLink {
    /// The activation, by a number that is unique among the nodes of an engine.
    pub activation: u64,
    /// The call, by a number that is unique in its activation.
    pub sequence: u64,
}

/// The header of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallHeader<'a> {
    /// The call's id on this session.
    pub call: u64,
    /// What is called: 0 the main interface, positive what the caller's side has imported under an id of its choice,
    /// negative what the other side has exported under an id of its choice.
    pub target: i64,
    /// The method's id.
    pub method: u32,
    /// When the call was made, in microseconds since the Unix epoch. Calls that leave together may have the first one's.
    pub timestamp: u64,
    /// How long the caller will wait, in microseconds from now.
    pub deadline: Option<u64>,
    /// The trace the call belongs to.
    pub trace: Option<TraceContext>,
    /// The calls that wait for this one, outermost first; at most [`MAX_CHAIN`], as the receiver refuses more.
    pub chain: &'a [ChainLink],
    /// Capability descriptors, whose content is the session's business; empty for none.
    pub capabilities: &'a [u8],
    /// The caller may still call what the result holds: the callee keeps it until it is released.
    pub keep: bool,
}

impl CallHeader<'_> {
    /// Appends the header to `out`; the body follows.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let blocks = self.chain.len() | self.capabilities.len();
        if blocks == 0 && self.deadline.is_none() && self.trace.is_none() && !self.keep {
            self.encode_fixed(0, out);
        } else {
            self.encode_optional(out);
        }
    }

    #[inline]
    fn encode_fixed(&self, flags: u8, out: &mut Vec<u8>) {
        const MAX: usize = 2 + MAX_VARINT + MAX_VARINT + 4 + 8;
        put_head::<MAX>(out, |head| {
            head[..2].copy_from_slice(&[EnvelopeKind::Call as u8, flags]);
            let at = write_varint(head, 2, self.call);
            let at = write_varint(head, at, zigzag(self.target));
            head[at..at + 4].copy_from_slice(&self.method.to_le_bytes());
            head[at + 4..at + 12].copy_from_slice(&self.timestamp.to_le_bytes());
            at + 12
        });
    }

    // Never inlined: few calls have any of it.
    #[inline(never)]
    fn encode_optional(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.deadline.is_some() {
            flags |= HAS_DEADLINE;
        }
        if self.trace.is_some() {
            flags |= HAS_TRACE;
        }
        if !self.chain.is_empty() {
            flags |= HAS_CHAIN;
        }
        if !self.capabilities.is_empty() {
            flags |= HAS_CAPABILITIES;
        }
        if self.keep {
            flags |= KEEP;
        }
        self.encode_fixed(flags, out);
        if let Some(deadline) = self.deadline {
            put_varint(out, deadline);
        }
        if let Some(trace) = &self.trace {
            out.extend_from_slice(&trace.trace);
            out.extend_from_slice(&trace.span);
            out.push(trace.flags);
        }
        if !self.chain.is_empty() {
            put_varint(out, self.chain.len() as u64);
            for link in self.chain {
                out.extend_from_slice(&link.activation.to_le_bytes());
                put_varint(out, link.sequence);
            }
        }
        if !self.capabilities.is_empty() {
            put_block(out, self.capabilities);
        }
    }
}

/// The header of a reply.
///
/// ```
/// use opendo_transport::envelope::{EnvelopeView, ReplyHeader, ReplyStatus};
///
/// let mut message = Vec::new();
/// ReplyHeader { call: 7, status: ReplyStatus::Application, capabilities: &[] }.encode(&mut message);
/// let view = EnvelopeView::parse(&message)?;
/// assert_eq!((view.call(), view.status()), (7, ReplyStatus::Application));
/// # Ok::<_, opendo_transport::envelope::EnvelopeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader<'a> {
    /// The call that this answers.
    pub call: u64,
    /// How it ended.
    pub status: ReplyStatus,
    /// Capability descriptors, whose content is the session's business; empty for none.
    pub capabilities: &'a [u8],
}

impl ReplyHeader<'_> {
    /// Appends the header to `out`; the body follows.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        const MAX: usize = 2 + MAX_VARINT + 1;
        let flags = if self.capabilities.is_empty() { 0 } else { REPLY_HAS_CAPABILITIES };
        put_head::<MAX>(out, |head| {
            head[..2].copy_from_slice(&[EnvelopeKind::Reply as u8, flags]);
            let at = write_varint(head, 2, self.call);
            head[at] = self.status as u8;
            at + 1
        });
        if flags != 0 {
            put_block(out, self.capabilities);
        }
    }
}

/// A cancellation, which is all header.
///
/// ```
/// use opendo_transport::envelope::{CancelHeader, EnvelopeView};
///
/// let mut message = Vec::new();
/// CancelHeader { call: 300 }.encode(&mut message);
/// assert_eq!(message, [3, 0xac, 0x02]);
/// assert_eq!(EnvelopeView::parse(&message)?.call(), 300);
/// # Ok::<_, opendo_transport::envelope::EnvelopeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelHeader {
    /// The call whose result nobody wants any more.
    pub call: u64,
}

impl CancelHeader {
    /// Appends the message to `out`.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(EnvelopeKind::Cancel as u8);
        put_varint(out, self.call);
    }
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The message ends too early.
    #[error("the message ends before or inside its {what}")]
    Truncated {
        /// The field that is not all there.
        what: &'static str,
    },
    /// A kind this version does not have.
    #[error("{kind} is not a kind of message: the peer speaks another version of the protocol")]
    UnknownKind {
        /// The first byte.
        kind: u8,
    },
    /// Flags this version does not have.
    #[error(
        "flags {flags:#010b} include ones without a meaning: the peer speaks another version of the protocol"
    )]
    UnknownFlags {
        /// All the flags.
        flags: u8,
    },
    /// A status this version does not have.
    #[error("{status} is not the status of a reply: the peer speaks another version of the protocol")]
    UnknownStatus {
        /// The status byte.
        status: u8,
    },
    /// A number that is not LEB128 of 64 bits in its shortest form.
    #[error("the {what} is not a number in its shortest form")]
    BadVarint {
        /// The field.
        what: &'static str,
    },
    /// A field is longer than it may be, or the message longer than its fields.
    #[error("the {what} is longer than allowed")]
    TooLong {
        /// The field or message.
        what: &'static str,
    },
    /// A field is announced but empty; it should not have been announced.
    #[error("the {what} is announced but empty")]
    Empty {
        /// The field.
        what: &'static str,
    },
    /// A text is not UTF-8.
    #[error("the {what} is not UTF-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
}

/// The most bytes of a number.
const MAX_VARINT: usize = 10;

/// Appends the bytes that `write` fills, whose count it returns. They are asked of the buffer all at once: to ask field by
/// field costs more than to write them.
#[inline]
fn put_head<const N: usize>(out: &mut Vec<u8>, write: impl FnOnce(&mut [u8; N]) -> usize) {
    let start = out.len();
    out.extend_from_slice(&[0; N]);
    let size = out.last_chunk_mut().map_or(0, write);
    out.truncate(start + size);
}

/// Where the number ends that now begins at `at`.
#[inline]
fn write_varint(head: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        head[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    head[at] = value as u8;
    at + 1
}

#[inline]
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Never inlined: few messages have a block.
#[inline(never)]
fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_varint(out, block.len() as u64);
    out.extend_from_slice(block);
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
