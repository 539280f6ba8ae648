//! Lists of bytes. To serde a `Vec<u8>` is a list of numbers, each of which it writes and reads alone. In postcard a list
//! of bytes and bytes are written the same, so a whole one can be copied instead.

use std::any::Any;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// A list of bytes, as bytes.
pub(super) struct AsBytes<'a>(&'a [u8]);

impl<'a> AsBytes<'a> {
    /// The value, if it is such a list: known when this is compiled.
    pub(super) fn of<T: 'static>(value: &'a T) -> Option<Self> {
        let value: &dyn Any = value;
        if let Some(list) = value.downcast_ref::<Vec<u8>>() {
            return Some(Self(list));
        }
        value.downcast_ref::<Box<[u8]>>().map(|list| Self(list))
    }
}

impl Serialize for AsBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Bytes, as a list of them.
pub(super) struct List(Vec<u8>);

impl List {
    /// Reads a `T` as such a list, if it is one.
    pub(super) fn read<T: 'static, E>(read: impl FnOnce() -> Result<Self, E>) -> Option<Result<T, E>> {
        let mut value: Option<T> = None;
        let slot: &mut dyn Any = &mut value;
        let result = if slot.is::<Option<Vec<u8>>>() {
            read().map(|List(list)| {
                slot.downcast_mut::<Option<Vec<u8>>>().map(|slot| slot.insert(list));
            })
        } else if slot.is::<Option<Box<[u8]>>>() {
            read().map(|List(list)| {
                slot.downcast_mut::<Option<Box<[u8]>>>().map(|slot| slot.insert(list.into()));
            })
        } else {
            return None;
        };
        Some(result.map(|()| value.expect("it was of that type")))
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<List, E> {
                Ok(List(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<List, E> {
                Ok(List(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}
