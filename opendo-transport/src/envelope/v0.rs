//! The first envelope of OpenDO, byte for byte, so that what was written with it can still be read.
//!
//! All little-endian, without magic or version: `u32` size and UTF-8 of the id, `u32` size and UTF-8 of the method, `u32`
//! size and bytes of the parameters, `u64` timestamp in milliseconds.

use super::EnvelopeError;
use super::read::Read;

/// An envelope of version 0.
///
/// ```
/// use opendo_transport::envelope::v0::Envelope;
///
/// let call = Envelope { id: "test-uuid", method: "testMethod", params: &[1, 2, 3], timestamp: 123_456_789 };
/// let mut bytes = Vec::new();
/// call.encode(&mut bytes);
/// assert_eq!(bytes.len(), call.encoded_len());
/// assert_eq!(Envelope::decode(&bytes), Ok(call));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The id of the request, a UUID in practice.
    pub id: &'a str,
    /// The name of the method.
    pub method: &'a str,
    /// The parameters, as encoded by the caller.
    pub params: &'a [u8],
    /// When the call was made, in milliseconds since the Unix epoch.
    pub timestamp: u64,
}

impl<'a> Envelope<'a> {
    /// The size of the encoded envelope.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        20 + self.id.len() + self.method.len() + self.params.len()
    }

    /// Appends the envelope to `out`.
    ///
    /// # Panics
    ///
    /// When a field is over `u32::MAX` bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        for field in [self.id.as_bytes(), self.method.as_bytes(), self.params] {
            let size = u32::try_from(field.len()).expect("a field of 4 GiB or more");
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(field);
        }
        out.extend_from_slice(&self.timestamp.to_le_bytes());
    }

    /// Reads an envelope that is all of `bytes`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut read = Read { rest: bytes };
        let envelope = Self {
            id: text(&mut read, "id")?,
            method: text(&mut read, "method")?,
            params: field(&mut read, "parameters")?,
            timestamp: read.u64("timestamp")?,
        };
        if !read.rest.is_empty() {
            return Err(EnvelopeError::TooLong { what: "envelope" });
        }
        Ok(envelope)
    }
}

fn field<'a>(read: &mut Read<'a>, what: &'static str) -> Result<&'a [u8], EnvelopeError> {
    let size = read.u32(what)?;
    read.slice(size as usize, what)
}

fn text<'a>(read: &mut Read<'a>, what: &'static str) -> Result<&'a str, EnvelopeError> {
    std::str::from_utf8(field(read, what)?).map_err(|_| EnvelopeError::NotUtf8 { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_envelope() {
        let golden = b"\x09\0\0\0test-uuid\x0a\0\0\0testMethod\x03\0\0\0\x01\x02\x03\x15\xcd\x5b\x07\0\0\0\0";
        let call =
            Envelope { id: "test-uuid", method: "testMethod", params: &[1, 2, 3], timestamp: 123_456_789 };
        let mut bytes = Vec::new();
        call.encode(&mut bytes);
        assert_eq!(bytes, golden);
        assert_eq!(Envelope::decode(golden), Ok(call));
        for end in 0..golden.len() {
            assert!(
                matches!(Envelope::decode(&golden[..end]), Err(EnvelopeError::Truncated { .. })),
                "{end}"
            );
        }
        bytes.push(0);
        assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::TooLong { what: "envelope" }));
    }

    #[test]
    fn hostile_sizes_and_texts() {
        assert_eq!(Envelope::decode(&[0xff; 4]), Err(EnvelopeError::Truncated { what: "id" }));
        assert_eq!(Envelope::decode(b"\x01\0\0\0\xff"), Err(EnvelopeError::NotUtf8 { what: "id" }));
        assert_eq!(
            Envelope::decode(b"\0\0\0\0\x01\0\0\0\xff"),
            Err(EnvelopeError::NotUtf8 { what: "method" })
        );
    }
}
