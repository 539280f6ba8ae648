use super::read::Read;
use super::{
    CALL_FLAGS, ChainLink, EnvelopeError, EnvelopeKind, HAS_CAPABILITIES, HAS_CHAIN, HAS_DEADLINE, HAS_TRACE,
    KEEP, MAX_CHAIN, REPLY_FLAGS, ReplyStatus, TraceContext, unzigzag,
};

/// A binary message with its header read and its body untouched.
///
/// Nothing is copied or allocated. Fields that the message's kind does not have read as zero, empty, `None` or
/// [`ReplyStatus::Ok`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeView<'a> {
    message: &'a [u8],
    body: usize,
    kind: EnvelopeKind,
    status: ReplyStatus,
    method: u32,
    call: u64,
    target: i64,
    timestamp: u64,
    optional: Optional<'a>,
}

/// What few messages have. All messages pay for its size, so the longer fields are only where they begin.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Optional<'a> {
    /// As in a call, also for a reply.
    flags: u8,
    deadline: u64,
    trace: Option<&'a [u8; TraceContext::SIZE]>,
    chain: usize,
    capabilities: usize,
}

impl<'a> EnvelopeView<'a> {
    /// Reads the header of `message`, and all of it: what the accessors return later cannot fail.
    ///
    /// # Errors
    ///
    /// What is wrong with the header. The body is never looked at.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut read = Read { rest: message };
        let kind = EnvelopeKind::try_from(read.byte("kind")?)?;
        // Put together at the end: a view that is written field by field is copied once more.
        let (mut call, mut target, mut method, mut timestamp) = (0, 0, 0, 0);
        let mut status = ReplyStatus::Ok;
        let mut optional = Optional::default();
        match kind {
            EnvelopeKind::Call => {
                let flags = read_flags(&mut read, CALL_FLAGS)?;
                call = read.varint("call id")?;
                target = unzigzag(read.varint("target")?);
                method = read.u32("method")?;
                timestamp = read.u64("timestamp")?;
                if flags != 0 {
                    (optional, read) = Optional::read(flags, message, read)?;
                }
            }
            EnvelopeKind::Reply => {
                let flags = read_flags(&mut read, REPLY_FLAGS)?;
                call = read.varint("call id")?;
                status = ReplyStatus::try_from(read.byte("status")?)?;
                if flags != 0 {
                    (optional, read) = Optional::read(HAS_CAPABILITIES, message, read)?;
                }
            }
            EnvelopeKind::Cancel => {
                call = read.varint("call id")?;
                if !read.rest.is_empty() {
                    return Err(EnvelopeError::TooLong { what: "cancellation" });
                }
            }
            EnvelopeKind::Hello
            | EnvelopeKind::Interface
            | EnvelopeKind::Bind
            | EnvelopeKind::Release
            | EnvelopeKind::Ping
            | EnvelopeKind::Pong
            | EnvelopeKind::Drain
            | EnvelopeKind::Abort
            | EnvelopeKind::Unread => {}
        }
        let body = message.len() - read.rest.len();
        Ok(Self { message, body, kind, status, method, call, target, timestamp, optional })
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.optional.flags & flag != 0
    }

    fn chain_again(&self) -> Option<ChainLinks<'a>> {
        let mut read = Read { rest: &self.message[self.optional.chain..] };
        let count = read.varint("chain length").ok()? as usize;
        Some(ChainLinks { count, read })
    }

    fn capabilities_again(&self) -> Option<&'a [u8]> {
        Read { rest: &self.message[self.optional.capabilities..] }.block("capabilities").ok()
    }

    /// What the message is.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> EnvelopeKind {
        self.kind
    }

    /// The id of the call that this is, answers or cancels.
    #[inline]
    #[must_use]
    pub fn call(&self) -> u64 {
        self.call
    }

    /// What is called; see [`CallHeader::target`](super::CallHeader::target).
    #[inline]
    #[must_use]
    pub fn target(&self) -> i64 {
        self.target
    }

    /// The id of the method that is called.
    #[inline]
    #[must_use]
    pub fn method(&self) -> u32 {
        self.method
    }

    /// When the call was made, in microseconds since the Unix epoch by the caller's clock.
    #[inline]
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// How long the caller would still wait when it sent this, in microseconds.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.has(HAS_DEADLINE).then_some(self.optional.deadline)
    }

    /// The trace the call belongs to.
    #[inline]
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        let bytes = self.optional.trace?;
        let (trace, rest) = bytes.split_first_chunk()?;
        let (span, flags) = rest.split_first_chunk()?;
        Some(TraceContext { trace: *trace, span: *span, flags: flags[0] })
    }

    /// The calls that wait for this one, outermost first.
    #[inline]
    #[must_use]
    pub fn chain(&self) -> ChainLinks<'a> {
        let links = if self.has(HAS_CHAIN) { self.chain_again() } else { None };
        links.unwrap_or(ChainLinks { count: 0, read: Read { rest: &[] } })
    }

    /// The capability descriptors of a call or a reply, whose content is the session's business; empty for none.
    #[inline]
    #[must_use]
    pub fn capabilities(&self) -> &'a [u8] {
        let block = if self.has(HAS_CAPABILITIES) { self.capabilities_again() } else { None };
        block.unwrap_or_default()
    }

    /// Whether the caller may still call what the result holds; see [`CallHeader::keep`](super::CallHeader::keep).
    #[inline]
    #[must_use]
    pub fn keep(&self) -> bool {
        self.has(KEEP)
    }

    /// How the call ended.
    #[inline]
    #[must_use]
    pub fn status(&self) -> ReplyStatus {
        self.status
    }

    /// What follows the header.
    #[inline]
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.message[self.body..]
    }

    /// Where the body begins in the message, for whoever owns the message and wants to keep a slice of it.
    #[inline]
    #[must_use]
    pub fn body_offset(&self) -> usize {
        self.body
    }
}

impl std::fmt::Debug for EnvelopeView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvelopeView")
            .field("kind", &self.kind)
            .field("call", &self.call)
            .field("target", &self.target)
            .field("method", &self.method)
            .field("timestamp", &self.timestamp)
            .field("deadline", &self.deadline())
            .field("trace", &self.trace())
            .field("chain", &self.chain())
            .field("capabilities", &self.capabilities())
            .field("keep", &self.keep())
            .field("status", &self.status)
            .field("body", &self.body())
            .finish()
    }
}

impl<'a> Optional<'a> {
    /// What `flags` announce, and what follows.
    #[inline(never)]
    fn read(flags: u8, message: &[u8], mut read: Read<'a>) -> Result<(Self, Read<'a>), EnvelopeError> {
        let mut optional = Self { flags, ..Self::default() };
        if flags & HAS_DEADLINE != 0 {
            optional.deadline = read.varint("deadline")?;
        }
        if flags & HAS_TRACE != 0 {
            optional.trace = Some(read.array("trace")?);
        }
        if flags & HAS_CHAIN != 0 {
            optional.chain = message.len() - read.rest.len();
            let count = read.varint("chain length")?;
            if count == 0 {
                return Err(EnvelopeError::Empty { what: "chain" });
            }
            if count > MAX_CHAIN as u64 {
                return Err(EnvelopeError::TooLong { what: "chain" });
            }
            for _ in 0..count {
                read_link(&mut read)?;
            }
        }
        if flags & HAS_CAPABILITIES != 0 {
            optional.capabilities = message.len() - read.rest.len();
            read.block("capabilities")?;
        }
        Ok((optional, read))
    }
}

/// The links of a call chain, read as they are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainLinks<'a> {
    count: usize,
    read: Read<'a>,
}

impl Iterator for ChainLinks<'_> {
    type Item = ChainLink;

    #[inline]
    fn next(&mut self) -> Option<ChainLink> {
        self.count = self.count.checked_sub(1)?;
        // `parse` has read all links before.
        read_link(&mut self.read).ok()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for ChainLinks<'_> {}

impl std::fmt::Debug for ChainLinks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

#[inline]
fn read_flags(read: &mut Read<'_>, known: u8) -> Result<u8, EnvelopeError> {
    let flags = read.byte("flags")?;
    if flags & !known == 0 { Ok(flags) } else { Err(EnvelopeError::UnknownFlags { flags }) }
}

#[inline]
fn read_link(read: &mut Read<'_>) -> Result<ChainLink, EnvelopeError> {
    Ok(ChainLink { activation: read.u64("chain link")?, sequence: read.varint("chain link")? })
}
