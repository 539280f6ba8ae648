//! What stubs and streams are decoded from.

use serde::Deserializer;
use serde::de::value::Error as ValueError;
use serde::de::{IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// The place of a stub or stream, as encodings give it to them.
pub(crate) struct Place(pub(crate) u32);

impl<'de> Deserializer<'de> for Place {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
