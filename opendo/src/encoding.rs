//! How arguments and results are written down, and read.

mod bytes;
#[cfg(feature = "capnweb")]
pub(crate) mod capnweb;
mod postcard;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::bytes::Bytes;

use self::bytes::{AsBytes, List};
use crate::rpc::cap::{self, AllPassed};

/// An encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One value after the other, so that a list of arguments has the bytes of a tuple.
    Postcard,
    /// Cap'n Web's expressions, as text.
    #[cfg(feature = "capnweb")]
    CapnWeb,
}

impl Form {
    /// Whether capabilities, errors and members are named in it as text clients do.
    pub(crate) fn is_text(self) -> bool {
        self != Self::Postcard
    }
}

/// What is written down: the text encoding brackets a list, and knows errors as such.
#[derive(Debug)]
pub(crate) enum Shape {
    Value,
    Arguments,
    /// A method's own error, with its text if it has one.
    #[cfg_attr(not(feature = "capnweb"), allow(dead_code))]
    Error(Option<String>),
}

/// A value, written down, and what is passed beside it.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) form: Form,
    pub(crate) bytes: Bytes,
    pub(crate) passed: AllPassed,
}

impl Encoded {
    /// Nothing, where nobody reads it.
    pub(crate) const NOTHING: Self =
        Self { form: Form::Postcard, bytes: Bytes::new(), passed: AllPassed::NOTHING };
}

/// A scratch buffer larger than this is given back instead of being kept for the next call.
const KEEP: usize = 256 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `encode` with an encoder over this thread's scratch buffer, then `then` with the bytes.
///
/// `Serialize` is user code: it may panic, which costs this value only, or make a call itself. The buffer is taken
/// out meanwhile, so a nested use simply starts with an empty one. `then` also gets what the value passes beside.
pub(crate) fn with_encoder<R>(
    form: Form,
    shape: Shape,
    encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    then: impl FnOnce(Result<(&[u8], AllPassed), EncodeError>) -> R,
) -> R {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    let mut encoder = Encoder { bytes, form, shape };
    let (encoded, passed) = cap::encoding(|| {
        catch_unwind(AssertUnwindSafe(|| {
            encoder.begin();
            encode(&mut encoder)?;
            encoder.end();
            Ok(())
        }))
    });
    let encoded = encoded.unwrap_or(Err(EncodeError(Unencodable::Panicked)));
    let result = then(encoded.map(|()| (encoder.bytes.as_slice(), passed)));
    if encoder.bytes.capacity() <= KEEP {
        SCRATCH.set(encoder.bytes);
    }
    result
}

/// Writes a value down for good.
pub(crate) fn encoded(
    form: Form,
    shape: Shape,
    encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Result<Encoded, EncodeError> {
    with_encoder(form, shape, encode, |encoded| {
        let (bytes, passed) = encoded?;
        Ok(Encoded { form, bytes: Bytes::copy_from_slice(bytes), passed })
    })
}

/// Runs `decode` over a body, which must be used up. `Deserialize` is user code: its panic costs this value only.
pub(crate) fn decode_all<T>(
    form: Form,
    shape: &Shape,
    body: &[u8],
    passed: AllPassed,
    decode: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut input = Decoder::new(form, shape, body)?;
    let decoded = cap::decoding(passed, || catch_unwind(AssertUnwindSafe(|| decode(&mut input))));
    let value = decoded.unwrap_or(Err(DecodeError(Wrong::Panicked)))?;
    // More than was asked for: the peers disagree about the signature.
    if input.is_at_end() { Ok(value) } else { Err(DecodeError(Wrong::LeftOver)) }
}

impl Encoded {
    /// See [`decode_all`].
    pub(crate) fn decode<T>(
        self,
        shape: &Shape,
        decode: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        decode_all(self.form, shape, &self.bytes, self.passed, decode)
    }
}

/// A value in postcard behind what is there, as sessions write it into their buffer: for benches.
pub fn append_postcard<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    postcard::append(value, out).map_err(|error| EncodeError(Unencodable::Value(error)))
}

/// The arguments of a call as text or in bytes, as sessions write them: for benches. Returns what `then` does.
#[cfg(feature = "capnweb")]
pub fn write_arguments<R>(
    text: bool,
    write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    then: impl FnOnce(&[u8]) -> R,
) -> Result<R, EncodeError> {
    let form = if text { Form::CapnWeb } else { Form::Postcard };
    with_encoder(form, Shape::Arguments, write, |written| written.map(|(bytes, _)| then(bytes)))
}

/// The same, read.
#[cfg(feature = "capnweb")]
pub fn read_arguments<A>(
    text: bool,
    body: &[u8],
    read: impl FnOnce(&mut Decoder<'_>) -> Result<A, DecodeError>,
) -> Result<A, DecodeError> {
    let form = if text { Form::CapnWeb } else { Form::Postcard };
    decode_all(form, &Shape::Arguments, body, AllPassed::NOTHING, read)
}

/// Why a value could not be encoded.
#[derive(Debug)]
pub struct EncodeError(Unencodable);

#[derive(Debug)]
enum Unencodable {
    Value(::postcard::Error),
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
        cause: ::postcard::Error,
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
    form: Form,
    #[cfg_attr(not(feature = "capnweb"), allow(dead_code))]
    shape: Shape,
}

impl Encoder {
    fn begin(&mut self) {
        #[cfg(feature = "capnweb")]
        if self.form == Form::CapnWeb && matches!(self.shape, Shape::Arguments) {
            self.bytes.push(b'[');
        }
    }

    fn end(&mut self) {
        #[cfg(feature = "capnweb")]
        if self.form == Form::CapnWeb && matches!(self.shape, Shape::Arguments) {
            self.bytes.push(b']');
        }
    }

    pub(crate) fn append<T: serde::Serialize + 'static>(&mut self, value: &T) -> Result<(), EncodeError> {
        match AsBytes::of(value) {
            Some(bytes) => self.write(&bytes),
            None => self.write(value),
        }
    }

    fn write<T: serde::Serialize>(&mut self, value: &T) -> Result<(), EncodeError> {
        match self.form {
            Form::Postcard => postcard::append(value, &mut self.bytes).map_err(|error| {
                EncodeError(cap::why().map_or(Unencodable::Value(error), Unencodable::Stub))
            }),
            #[cfg(feature = "capnweb")]
            Form::CapnWeb => {
                let written = match &mut self.shape {
                    Shape::Value => capnweb::append(value, &mut self.bytes),
                    Shape::Arguments => {
                        if self.bytes.len() > 1 {
                            self.bytes.push(b',');
                        }
                        capnweb::append_argument(value, &mut self.bytes)
                    }
                    Shape::Error(message) => capnweb::append_error(value, message.take(), &mut self.bytes),
                };
                written.map_err(|error| EncodeError(Unencodable::Stub(error.to_string())))
            }
        }
    }

    /// Which encoding it is, for values that have a form of their own in each.
    pub(crate) fn form(&self) -> Form {
        self.form
    }
}

/// Takes values off the front of a message body.
pub struct Decoder<'a>(Input<'a>);

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

enum Input<'a> {
    Postcard(&'a [u8]),
    #[cfg(feature = "capnweb")]
    Value(&'a str),
    #[cfg(feature = "capnweb")]
    Error(&'a str),
    #[cfg(feature = "capnweb")]
    Arguments(capnweb::ArgsReader<'a>),
}

impl<'a> Decoder<'a> {
    #[cfg_attr(not(feature = "capnweb"), allow(clippy::unnecessary_wraps))]
    #[inline(always)]
    fn new(
        form: Form,
        #[allow(unused_variables)] shape: &Shape,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        match form {
            Form::Postcard => Ok(Self(Input::Postcard(body))),
            #[cfg(feature = "capnweb")]
            Form::CapnWeb => {
                let text =
                    std::str::from_utf8(body).map_err(|_| DecodeError::text("text that is not UTF-8"))?;
                Ok(Self(match shape {
                    Shape::Value => Input::Value(text),
                    Shape::Error(_) => Input::Error(text),
                    Shape::Arguments => Input::Arguments(
                        capnweb::ArgsReader::new(text)
                            .map_err(|error| DecodeError(Wrong::Stub(error.to_string())))?,
                    ),
                }))
            }
        }
    }

    pub(crate) fn take<T: serde::de::DeserializeOwned + 'static>(&mut self) -> Result<T, DecodeError> {
        match &mut self.0 {
            Input::Postcard(rest) => {
                List::read(|| postcard::take(rest)).unwrap_or_else(|| postcard::take(rest))
            }
            #[cfg(feature = "capnweb")]
            Input::Value(text) => text_error(capnweb::take(text)),
            #[cfg(feature = "capnweb")]
            Input::Error(text) => text_error(capnweb::take_error(text)),
            #[cfg(feature = "capnweb")]
            Input::Arguments(arguments) => text_error(arguments.next()),
        }
    }

    /// All arguments that were not taken.
    pub(crate) fn take_rest<T: serde::de::DeserializeOwned>(&mut self) -> Result<Vec<T>, DecodeError> {
        match &mut self.0 {
            Input::Postcard(rest) => postcard::take(rest),
            #[cfg(feature = "capnweb")]
            Input::Arguments(arguments) => text_error(arguments.take_rest()),
            #[cfg(feature = "capnweb")]
            Input::Value(_) | Input::Error(_) => {
                Err(DecodeError::text("more arguments where there are none"))
            }
        }
    }

    /// For the error of a method that has none.
    pub(crate) fn never<T>(&mut self) -> Result<T, DecodeError> {
        Err(DecodeError(Wrong::Never))
    }

    fn is_at_end(&self) -> bool {
        match &self.0 {
            Input::Postcard(rest) => rest.is_empty(),
            // Text clients may give more than is asked for, and less.
            #[cfg(feature = "capnweb")]
            Input::Value(_) | Input::Error(_) | Input::Arguments(_) => true,
        }
    }

    /// Which encoding it is, for values that have a form of their own in each.
    #[cfg(feature = "capnweb")]
    pub(crate) fn form(&self) -> Form {
        match &self.0 {
            Input::Postcard(_) => Form::Postcard,
            #[cfg(feature = "capnweb")]
            Input::Value(_) | Input::Error(_) | Input::Arguments(_) => Form::CapnWeb,
        }
    }
}

#[cfg(feature = "capnweb")]
fn text_error<T>(taken: Result<T, capnweb::TextError>) -> Result<T, DecodeError> {
    taken.map_err(|error| DecodeError(Wrong::Stub(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: serde::Serialize + 'static>(value: &T) -> Vec<u8> {
        let keep = |written: Result<(&[u8], AllPassed), EncodeError>| written.unwrap().0.to_vec();
        with_encoder(Form::Postcard, Shape::Value, |out| out.append(value), keep)
    }

    #[test]
    fn lists_of_bytes_are_copied_and_look_as_serde_writes_them() {
        for length in [0, 1, 127, 128, 300] {
            let list: Vec<u8> = (0..=255).cycle().take(length).collect();
            let expected = ::postcard::to_allocvec(&list).unwrap();
            assert_eq!(written(&list), expected);
            assert_eq!(written::<Box<[u8]>>(&list.clone().into()), expected);
            let read = |body: &[u8]| {
                decode_all(Form::Postcard, &Shape::Value, body, AllPassed::NOTHING, |input| {
                    input.take::<Vec<u8>>()
                })
            };
            assert_eq!(read(&expected).unwrap(), list);
            let boxed: Box<[u8]> =
                decode_all(Form::Postcard, &Shape::Value, &expected, AllPassed::NOTHING, |input| {
                    input.take()
                })
                .unwrap();
            assert_eq!(*boxed, *list);
            // One byte short of what it says.
            if length > 0 {
                assert!(read(&expected[..expected.len() - 1]).is_err());
            }
        }
        // What is no such list is not taken for one.
        assert_eq!(written(&vec![300_u16]), ::postcard::to_allocvec(&[300_u16][..]).unwrap());
        assert_eq!(written(&vec![-1_i8]), ::postcard::to_allocvec(&[-1_i8][..]).unwrap());
    }

    #[test]
    fn values_in_a_row_have_the_bytes_of_a_tuple() {
        with_encoder(
            Form::Postcard,
            Shape::Value,
            |out| {
                out.append(&7_u64)?;
                out.append(&String::from("a"))
            },
            |bytes| assert_eq!(bytes.unwrap().0, ::postcard::to_allocvec(&(7_u64, "a")).unwrap()),
        );
    }

    #[derive(serde::Deserialize)]
    struct Nested(#[allow(dead_code)] Option<Box<Nested>>);

    #[test]
    fn nesting_is_bounded_by_the_stack_it_takes() {
        let nested = |levels| {
            let mut body = vec![1; levels];
            body.push(0);
            decode_all(Form::Postcard, &Shape::Value, &body, AllPassed::NOTHING, |input| {
                input.take::<Nested>()
            })
            .map(drop)
        };
        assert!(nested(256).is_ok());
        assert!(nested(10_000_000).unwrap_err().to_string().contains("too deep"));
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let left_over = decode_all(Form::Postcard, &Shape::Value, &[1, 2], AllPassed::NOTHING, |input| {
            input.take::<u8>()
        });
        assert!(left_over.unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn a_panicking_value_is_an_error_and_leaves_the_scratch_usable() {
        with_encoder(
            Form::Postcard,
            Shape::Value,
            |_| panic!("no"),
            |bytes| assert!(bytes.unwrap_err().to_string().contains("panicked")),
        );
        with_encoder(
            Form::Postcard,
            Shape::Value,
            |out| out.append(&1_u8),
            |bytes| assert_eq!(bytes.unwrap().0, [1]),
        );
        let decoded =
            decode_all::<()>(Form::Postcard, &Shape::Value, &[], AllPassed::NOTHING, |_| panic!("no"));
        assert!(decoded.unwrap_err().to_string().contains("panicked"));
    }
}
