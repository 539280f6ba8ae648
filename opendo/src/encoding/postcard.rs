//! The binary encoding: postcard, one value after the other, so that a list of arguments has the bytes of a tuple.

use std::cell::RefCell;
use std::fmt;

use crate::rpc::method::{ArgType, ErrorType, ReplyType};

/// A scratch buffer larger than this is given back instead of being kept for the next call.
const KEEP: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `encode` with an encoder over this thread's scratch buffer, then `then` with the bytes.
///
/// `Serialize` is user code: it may panic, or make a call itself. The buffer is taken out meanwhile, so a nested
/// use simply starts with an empty one.
pub(crate) fn with_encoder<R>(
    encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    then: impl FnOnce(Result<&[u8], EncodeError>) -> R,
) -> R {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    let mut encoder = Encoder { bytes };
    let encoded = encode(&mut encoder);
    let result = then(encoded.map(|()| encoder.bytes.as_slice()));
    if encoder.bytes.capacity() <= KEEP {
        SCRATCH.set(encoder.bytes);
    }
    result
}

/// Why a value could not be encoded.
#[derive(Debug)]
pub struct EncodeError(postcard::Error);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why bytes are not the value that was expected.
#[derive(Debug)]
pub struct DecodeError {
    expected: &'static str,
    cause: Option<postcard::Error>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "expected `{}`: {cause}", self.expected),
            None => f.write_str("bytes are left over after the last value"),
        }
    }
}

/// Appends values to a buffer.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    fn append<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(value, bytes).map_err(EncodeError)?;
        Ok(())
    }

    /// Appends an argument.
    pub fn push<T: ArgType>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.append(value)
    }

    /// Appends a result.
    pub fn push_ok<T: ReplyType>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.append(value)
    }

    /// Appends a method's error.
    pub fn push_err<T: ErrorType>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.append(value)
    }
}

/// Takes values off the front of a message body.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = postcard::take_from_bytes(self.rest)
            .map_err(|cause| DecodeError { expected: std::any::type_name::<T>(), cause: Some(cause) })?;
        self.rest = rest;
        Ok(value)
    }

    /// The next argument.
    #[expect(clippy::should_implement_trait, reason = "each one has its own type")]
    pub fn next<T: ArgType>(&mut self) -> Result<T, DecodeError> {
        self.take()
    }

    /// The result.
    pub fn next_ok<T: ReplyType>(&mut self) -> Result<T, DecodeError> {
        self.take()
    }

    /// The method's error.
    pub fn next_err<T: ErrorType>(&mut self) -> Result<T, DecodeError> {
        self.take()
    }

    /// Refuses a body that holds more than was asked for: the peers disagree about the signature.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError { expected: "", cause: None }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_a_row_have_the_bytes_of_a_tuple() {
        with_encoder(
            |out| {
                out.push(&7_u64)?;
                out.push(&String::from("a"))
            },
            |bytes| assert_eq!(bytes.unwrap(), postcard::to_allocvec(&(7_u64, "a")).unwrap()),
        );
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut input = Decoder::new(&[1, 2]);
        assert_eq!(input.next::<u8>().unwrap(), 1);
        assert!(input.finish().unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn a_panicking_value_leaves_the_scratch_usable() {
        let panicked = std::panic::catch_unwind(|| with_encoder(|_| panic!("no"), |_| ()));
        assert!(panicked.is_err());
        with_encoder(|out| out.push(&1_u8), |bytes| assert_eq!(bytes.unwrap(), [1]));
    }
}
