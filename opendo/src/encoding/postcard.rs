//! The binary encoding: postcard.

use std::cell::Cell;

use postcard::de_flavors::Flavor;
use postcard::ser_flavors;

use super::{DecodeError, Wrong};
use crate::rpc::cap;

/// What fails may leave its beginning behind.
#[inline]
pub(super) fn append<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> postcard::Result<()> {
    postcard::serialize_with_flavor(value, Append(out))
}

/// The buffer stays where it is: to hand it through the serializer and back costs as much as a small value.
struct Append<'a>(&'a mut Vec<u8>);

impl ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        match bytes {
            // Most numbers, which are not worth a call.
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Takes a value off the front.
pub(super) fn take<T: serde::de::DeserializeOwned>(rest: &mut &[u8]) -> Result<T, DecodeError> {
    let too_deep = Cell::new(false);
    let source = Shallow { rest, top: stack_position(), read: 0, too_deep: &too_deep };
    let mut deserializer = postcard::Deserializer::from_flavor(source);
    let taken = T::deserialize(&mut deserializer).and_then(|value| Ok((value, deserializer.finalize()?)));
    match taken {
        Ok((value, left)) => {
            *rest = &rest[rest.len() - left..];
            Ok(value)
        }
        Err(_) if too_deep.get() => Err(DecodeError(Wrong::TooDeep)),
        Err(cause) => Err(DecodeError(match cap::why() {
            Some(why) => Wrong::Stub(why),
            None => Wrong::Value { expected: std::any::type_name::<T>(), cause },
        })),
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
