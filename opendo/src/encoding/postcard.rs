//! The binary encoding: postcard, one value after the other, so that a list of arguments has the bytes of a tuple.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use postcard::de_flavors::Flavor;

use crate::rpc::cap::{self, Passed};

/// A scratch buffer larger than this is given back instead of being kept for the next call.
const KEEP: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `encode` with an encoder over this thread's scratch buffer, then `then` with the bytes.
///
/// `Serialize` is user code: it may panic, which costs this value only, or make a call itself. The buffer is taken
/// out meanwhile, so a nested use simply starts with an empty one. `then` also gets what the value passes beside.
pub(crate) fn with_encoder<R>(
    encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    then: impl FnOnce(Result<(&[u8], Vec<Passed>), EncodeError>) -> R,
) -> R {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    let mut encoder = Encoder { bytes };
    let (encoded, passed) = cap::encoding(|| catch_unwind(AssertUnwindSafe(|| encode(&mut encoder))));
    let encoded = encoded.unwrap_or(Err(EncodeError(Unencodable::Panicked)));
    let result = then(encoded.map(|()| (encoder.bytes.as_slice(), passed)));
    if encoder.bytes.capacity() <= KEEP {
        SCRATCH.set(encoder.bytes);
    }
    result
}

/// Runs `decode` over a body, which must be used up. `Deserialize` is user code: its panic costs this value only.
pub(crate) fn decode_all<T>(
    body: &[u8],
    passed: Vec<Passed>,
    decode: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut input = Decoder { rest: body };
    let decoded = cap::decoding(passed, || catch_unwind(AssertUnwindSafe(|| decode(&mut input))));
    let value = decoded.unwrap_or(Err(DecodeError(Wrong::Panicked)))?;
    // More than was asked for: the peers disagree about the signature.
    if input.rest.is_empty() { Ok(value) } else { Err(DecodeError(Wrong::LeftOver)) }
}

/// Why a value could not be encoded.
#[derive(Debug)]
pub struct EncodeError(Unencodable);

#[derive(Debug)]
enum Unencodable {
    Value(postcard::Error),
    Panicked,
    Text(&'static str),
    Stub(String),
}

impl EncodeError {
    pub(crate) fn text(text: &'static str) -> Self {
        Self(Unencodable::Text(text))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Unencodable::Value(error) => error.fmt(f),
            Unencodable::Panicked => f.write_str("a `Serialize` panicked"),
            Unencodable::Text(text) => f.write_str(text),
            Unencodable::Stub(text) => f.write_str(text),
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
    TooDeep,
    Text(&'static str),
    Stub(String),
}

impl DecodeError {
    pub(crate) fn text(text: &'static str) -> Self {
        Self(Wrong::Text(text))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Wrong::Value { expected, cause } => write!(f, "expected `{expected}`: {cause}"),
            Wrong::LeftOver => f.write_str("bytes are left over after the last value"),
            Wrong::Never => f.write_str("an error of a method that returns none"),
            Wrong::TooDeep => f.write_str("values are nested too deeply"),
            Wrong::Text(text) => f.write_str(text),
            Wrong::Stub(text) => f.write_str(text),
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
        self.bytes = postcard::to_extend(value, bytes)
            .map_err(|error| EncodeError(cap::why().map_or(Unencodable::Value(error), Unencodable::Stub)))?;
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
        let too_deep = Cell::new(false);
        let source = Shallow { rest: self.rest, top: stack_position(), read: 0, too_deep: &too_deep };
        let mut deserializer = postcard::Deserializer::from_flavor(source);
        let taken = T::deserialize(&mut deserializer).and_then(|value| Ok((value, deserializer.finalize()?)));
        match taken {
            Ok((value, left)) => {
                self.rest = &self.rest[self.rest.len() - left..];
                Ok(value)
            }
            Err(_) if too_deep.get() => Err(DecodeError(Wrong::TooDeep)),
            Err(cause) => Err(DecodeError(match cap::why() {
                Some(why) => Wrong::Stub(why),
                None => Wrong::Value { expected: std::any::type_name::<T>(), cause },
            })),
        }
    }

    /// For the error of a method that has none.
    pub(crate) fn never<T>(&mut self) -> Result<T, DecodeError> {
        Err(DecodeError(Wrong::Never))
    }
}

/// Bytes that end when decoding them has taken too much of the stack: a type that holds itself costs a peer one byte
/// for each level, and a stack that overflows ends the process.
struct Shallow<'de> {
    rest: &'de [u8],
    /// Where the stack was at the outermost value.
    top: usize,
    /// Single bytes read, modulo 16.
    read: u8,
    too_deep: &'de Cell<bool>,
}

impl Shallow<'_> {
    #[cold]
    #[inline(never)]
    fn check(&self) -> postcard::Result<()> {
        if stack_position().abs_diff(self.top) > DEEPEST {
            self.too_deep.set(true);
            return Err(postcard::Error::DeserializeBadEncoding);
        }
        Ok(())
    }
}

/// A quarter of a Tokio worker's stack: hundreds of levels without optimisation, thousands with it.
const DEEPEST: usize = 512 * 1024;

/// Roughly how far the stack has grown.
#[inline(always)]
fn stack_position() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

impl<'de> Flavor<'de> for Shallow<'de> {
    /// How many bytes are left.
    type Remainder = usize;
    type Source = &'de [u8];

    // Each level reads at least the byte that says that there is one, so a look at every 16th sees the depth to
    // within 16 levels; a look at each would double the cost of a `Vec<u8>`.
    #[inline]
    fn pop(&mut self) -> postcard::Result<u8> {
        self.read = (self.read + 1) % 16;
        if self.read == 0 {
            self.check()?;
        }
        let (first, rest) = self.rest.split_first().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }

    #[inline]
    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.rest.len())
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
            |bytes| assert_eq!(bytes.unwrap().0, postcard::to_allocvec(&(7_u64, "a")).unwrap()),
        );
    }

    #[derive(serde::Deserialize)]
    struct Nested(#[allow(dead_code)] Option<Box<Nested>>);

    #[test]
    fn nesting_is_bounded_by_the_stack_it_takes() {
        let nested = |levels| {
            let mut body = vec![1; levels];
            body.push(0);
            decode_all(&body, Vec::new(), |input| input.take::<Nested>()).map(drop)
        };
        assert!(nested(256).is_ok());
        assert!(nested(10_000_000).unwrap_err().to_string().contains("too deep"));
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let left_over = decode_all(&[1, 2], Vec::new(), |input| input.take::<u8>());
        assert!(left_over.unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn a_panicking_value_is_an_error_and_leaves_the_scratch_usable() {
        with_encoder(|_| panic!("no"), |bytes| assert!(bytes.unwrap_err().to_string().contains("panicked")));
        with_encoder(|out| out.append(&1_u8), |bytes| assert_eq!(bytes.unwrap().0, [1]));
        let decoded = decode_all::<()>(&[], Vec::new(), |_| panic!("no"));
        assert!(decoded.unwrap_err().to_string().contains("panicked"));
    }
}
