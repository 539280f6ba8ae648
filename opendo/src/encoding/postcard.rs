//! The binary encoding: postcard, one value after the other, so that a list of arguments has the bytes of a tuple.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A scratch buffer larger than this is given back instead of being kept for the next call.
const KEEP: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `encode` with an encoder over this thread's scratch buffer, then `then` with the bytes.
///
/// `Serialize` is user code: it may panic, which costs this value only, or make a call itself. The buffer is taken
/// out meanwhile, so a nested use simply starts with an empty one.
pub(crate) fn with_encoder<R>(
    encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    then: impl FnOnce(Result<&[u8], EncodeError>) -> R,
) -> R {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    let mut encoder = Encoder { bytes };
    let encoded = catch_unwind(AssertUnwindSafe(|| encode(&mut encoder))).unwrap_or(Err(EncodeError(None)));
    let result = then(encoded.map(|()| encoder.bytes.as_slice()));
    if encoder.bytes.capacity() <= KEEP {
        SCRATCH.set(encoder.bytes);
    }
    result
}

/// Runs `decode` over a body, which must be used up. `Deserialize` is user code: its panic costs this value only.
pub(crate) fn decode_all<T>(
    body: &[u8],
    decode: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut input = Decoder { rest: body };
    let value =
        catch_unwind(AssertUnwindSafe(|| decode(&mut input))).unwrap_or(Err(DecodeError(Wrong::Panicked)))?;
    // More than was asked for: the peers disagree about the signature.
    if input.rest.is_empty() { Ok(value) } else { Err(DecodeError(Wrong::LeftOver)) }
}

/// Why a value could not be encoded; `None`: its `Serialize` panicked.
#[derive(Debug)]
pub struct EncodeError(Option<postcard::Error>);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("a `Serialize` panicked"),
        }
    }
}

/// Why bytes are not the value that was expected.
#[derive(Debug)]
pub struct DecodeError(Wrong);

#[derive(Debug)]
enum Wrong {
    Value {
        expected: &'static str,
        cause: postcard::Error,
    },
    LeftOver,
    /// There is an error, and the method has none.
    Never,
    Panicked,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Wrong::Value { expected, cause } => write!(f, "expected `{expected}`: {cause}"),
            Wrong::LeftOver => f.write_str("bytes are left over after the last value"),
            Wrong::Never => f.write_str("an error of a method that returns none"),
            Wrong::Panicked => f.write_str("a `Deserialize` panicked"),
        }
    }
}

/// Appends values to a buffer.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn append<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(value, bytes).map_err(|error| EncodeError(Some(error)))?;
        Ok(())
    }
}

/// Takes values off the front of a message body.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl Decoder<'_> {
    pub(crate) fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = postcard::take_from_bytes(self.rest)
            .map_err(|cause| DecodeError(Wrong::Value { expected: std::any::type_name::<T>(), cause }))?;
        self.rest = rest;
        Ok(value)
    }

    /// For the error of a method that has none.
    pub(crate) fn never<T>(&mut self) -> Result<T, DecodeError> {
        Err(DecodeError(Wrong::Never))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_a_row_have_the_bytes_of_a_tuple() {
        with_encoder(
            |out| {
                out.append(&7_u64)?;
                out.append(&String::from("a"))
            },
            |bytes| assert_eq!(bytes.unwrap(), postcard::to_allocvec(&(7_u64, "a")).unwrap()),
        );
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let left_over = decode_all(&[1, 2], |input| input.take::<u8>());
        assert!(left_over.unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn a_panicking_value_is_an_error_and_leaves_the_scratch_usable() {
        with_encoder(|_| panic!("no"), |bytes| assert!(bytes.unwrap_err().to_string().contains("panicked")));
        with_encoder(|out| out.append(&1_u8), |bytes| assert_eq!(bytes.unwrap(), [1]));
        let decoded = decode_all::<()>(&[], |_| panic!("no"));
        assert!(decoded.unwrap_err().to_string().contains("panicked"));
    }
}
