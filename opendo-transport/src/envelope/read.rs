use super::EnvelopeError;

/// Reads fields off the front of a message. `what` names the field in errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Read<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Read<'a> {
    #[inline]
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], EnvelopeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(EnvelopeError::Truncated { what })?;
        self.rest = rest;
        Ok(array)
    }

    #[inline]
    pub(super) fn slice(&mut self, size: usize, what: &'static str) -> Result<&'a [u8], EnvelopeError> {
        let (slice, rest) = self.rest.split_at_checked(size).ok_or(EnvelopeError::Truncated { what })?;
        self.rest = rest;
        Ok(slice)
    }

    #[inline]
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, EnvelopeError> {
        self.array::<1>(what).map(|&[byte]| byte)
    }

    #[inline]
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, EnvelopeError> {
        self.array(what).map(|bytes| u32::from_le_bytes(*bytes))
    }

    #[inline]
    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, EnvelopeError> {
        self.array(what).map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Bytes behind their number, which is not 0. Never inlined: few messages have such a block.
    #[inline(never)]
    pub(super) fn block(&mut self, what: &'static str) -> Result<&'a [u8], EnvelopeError> {
        match self.varint(what)? {
            0 => Err(EnvelopeError::Empty { what }),
            // No message is longer than `usize::MAX`.
            size => self.slice(usize::try_from(size).unwrap_or(usize::MAX), what),
        }
    }

    #[inline]
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, EnvelopeError> {
        // Nearly all ids fit into two bytes; the rest is worth a call.
        match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high @ 1..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(what),
        }
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, EnvelopeError> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit and nothing else.
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // A last byte of zero adds nothing, so there was a shorter form.
                if byte == 0 && index > 0 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        // Out of bytes, unless one of them was wrong.
        let unfinished = self.rest.len() < 10 && self.rest.iter().all(|byte| *byte >= 0x80);
        Err(if unfinished { EnvelopeError::Truncated { what } } else { EnvelopeError::BadVarint { what } })
    }
}
