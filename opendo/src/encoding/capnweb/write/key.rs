//! Keys of maps that are the names of members.

use std::fmt;

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::super::TextError;

/// The key as a text: strings, characters, booleans, integers, variants without content.
pub(super) fn text<T: Serialize + ?Sized>(key: &T) -> Result<String, KeyError> {
    key.serialize(KeyWriter)
}

#[derive(Debug)]
pub(super) enum KeyError {
    NoText,
    Other(TextError),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoText => f.write_str("the key is no text"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyError {}

impl ser::Error for KeyError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(TextError::new(message.to_string()))
    }
}

struct KeyWriter;

type Written<T = String> = Result<T, KeyError>;
type No = Impossible<String, KeyError>;

macro_rules! displayed {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method(self, value: $type) -> Written {
            Ok(value.to_string())
        }
    )*};
}

impl Serializer for KeyWriter {
    type Ok = String;
    type Error = KeyError;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    displayed! {
        serialize_bool: bool, serialize_char: char, serialize_str: &str,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Written {
        if name.starts_with('$') { Err(KeyError::NoText) } else { value.serialize(self) }
    }

    fn serialize_f32(self, _: f32) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_f64(self, _: f64) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_bytes(self, _: &[u8]) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_none(self) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_unit(self) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Written {
        Err(KeyError::NoText)
    }

    fn serialize_seq(self, _: Option<usize>) -> Written<No> {
        Err(KeyError::NoText)
    }

    fn serialize_tuple(self, _: usize) -> Written<No> {
        Err(KeyError::NoText)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Written<No> {
        Err(KeyError::NoText)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Written<No> {
        Err(KeyError::NoText)
    }

    fn serialize_map(self, _: Option<usize>) -> Written<No> {
        Err(KeyError::NoText)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Written<No> {
        Err(KeyError::NoText)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Written<No> {
        Err(KeyError::NoText)
    }
}
