use super::read::Read;
use super::{
    ChainLink, EnvelopeError, EnvelopeKind, HAS_CHAIN, HAS_DEADLINE, HAS_TRACE, KNOWN_FLAGS, MAX_CHAIN,
    ReplyStatus, TraceContext, unzigzag,
};

/// A binary message with its header read and its body untouched.
///
/// Nothing is copied or allocated. Fields that the message's kind does not have read as zero, `None` or
/// [`ReplyStatus::Ok`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeView<'a> {
    message: &'a [u8],
    body: usize,
    kind: EnvelopeKind,
    status: ReplyStatus,
    method: u32,
    call: u64,
    target: i64,
    timestamp: u64,
    deadline: Option<u64>,
    trace: Option<&'a [u8; TraceContext::SIZE]>,
    chain: ChainLinks<'a>,
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
        let mut view = Self {
            message,
            body: 0,
            kind,
            status: ReplyStatus::Ok,
            method: 0,
            call: 0,
            target: 0,
            timestamp: 0,
            deadline: None,
            trace: None,
            chain: ChainLinks { count: 0, read: Read { rest: &[] } },
        };
        match kind {
            EnvelopeKind::Call => {
                let flags = read_flags(&mut read, KNOWN_FLAGS)?;
                view.call = read.varint("call id")?;
                view.target = unzigzag(read.varint("target")?);
                view.method = read.u32("method")?;
                view.timestamp = read.u64("timestamp")?;
                if flags != 0 {
                    view.read_optional(flags, &mut read)?;
                }
            }
            EnvelopeKind::Reply => {
                read_flags(&mut read, 0)?;
                view.call = read.varint("call id")?;
                view.status = ReplyStatus::try_from(read.byte("status")?)?;
            }
            EnvelopeKind::Cancel => {
                view.call = read.varint("call id")?;
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
            | EnvelopeKind::Abort => {}
        }
        view.body = message.len() - read.rest.len();
        Ok(view)
    }

    fn read_optional(&mut self, flags: u8, read: &mut Read<'a>) -> Result<(), EnvelopeError> {
        if flags & HAS_DEADLINE != 0 {
            self.deadline = Some(read.varint("deadline")?);
        }
        if flags & HAS_TRACE != 0 {
            self.trace = Some(read.array("trace")?);
        }
        if flags & HAS_CHAIN != 0 {
            let count = read.varint("chain length")?;
            if count == 0 {
                return Err(EnvelopeError::Empty { what: "chain" });
            }
            if count > MAX_CHAIN as u64 {
                return Err(EnvelopeError::TooLong { what: "chain" });
            }
            self.chain = ChainLinks { count: count as usize, read: *read };
            for _ in 0..count {
                read_link(read)?;
            }
        }
        Ok(())
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
        self.deadline
    }

    /// The trace the call belongs to.
    #[inline]
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        let bytes = self.trace?;
        let (trace, rest) = bytes.split_first_chunk()?;
        let (span, flags) = rest.split_first_chunk()?;
        Some(TraceContext { trace: *trace, span: *span, flags: flags[0] })
    }

    /// The calls that wait for this one, outermost first.
    #[inline]
    #[must_use]
    pub fn chain(&self) -> ChainLinks<'a> {
        self.chain
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
