//! Rust values as expressions, appended in one pass.

mod key;
mod list;
mod members;

use serde::ser::{self, Serialize, Serializer};

use self::list::List;
use self::members::Members;
use super::{BARE, MAX_DEPTH, MAX_SAFE, TextError, VALUE, bytes, is_forbidden, on_enough_stack};
use crate::rpc::cap::{self, CAP};
use crate::stream::{SINK, STREAM};
use crate::value::BLOB;

const TOO_DEEP: &str = "Serialization exceeded maximum allowed depth. (Does the message contain cycles?)";

/// Appends the expression of a value. A value that fails leaves nothing behind.
///
/// # Errors
/// When it is nested too deeply, or has a member that JavaScript would not let in, or its own `Serialize` fails.
pub(crate) fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), TextError> {
    append_root(value, 0, out).map(drop)
}

/// Appends an argument: a call is a value that its arguments are in.
///
/// # Errors
/// Those of [`append`].
pub(crate) fn append_argument<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), TextError> {
    append_root(value, 1, out).map(drop)
}

/// What a value is at its outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Root {
    /// One whose type is only known when it is there.
    Value,
    Variant(&'static str),
    Other,
}

/// As [`append`], and says what it was.
pub(super) fn append_root<T: Serialize + ?Sized>(
    value: &T,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<Root, TextError> {
    let start = out.len();
    let mut writer = Writer { out, depth, last: Last::Other, bare: false, start, root: Root::Other };
    match value.serialize(&mut writer) {
        Ok(()) => Ok(writer.root),
        Err(error) => {
            out.truncate(start);
            Err(cap::why().map_or(error, TextError::new))
        }
    }
}

pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
    last: Last,
    /// The next list is written without the brackets that make it an array, the next bytes without their tag.
    bare: bool,
    start: usize,
    root: Root,
}

/// What was written last, as far as it matters to what it is in.
#[derive(Clone, Copy)]
enum Last {
    Byte(u8),
    Integer(u64),
    Other,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// What JSON has a form for.
    fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        self.last = Last::Other;
        serde_json::to_writer(&mut *self.out, value).map_err(|error| TextError::new(error.to_string()))
    }

    fn integer(&mut self, value: i128) -> Result<(), TextError> {
        const SAFE: i128 = MAX_SAFE as i128;
        if (-SAFE..=SAFE).contains(&value) { self.json(&(value as i64)) } else { self.bigint(&value) }
    }

    fn bigint(&mut self, value: &impl ToString) -> Result<(), TextError> {
        self.last = Last::Other;
        self.push("[\"bigint\",\"");
        self.push(&value.to_string());
        self.push("\"]");
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), TextError> {
        if is_forbidden(key) {
            return Err(TextError::new(format!(
                "a member named `{key}` cannot be sent: JavaScript's objects have one of their own"
            )));
        }
        self.json(key)?;
        self.push(":");
        Ok(())
    }

    /// A value in another one.
    fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TextError> {
        if self.depth + 1 >= MAX_DEPTH {
            return Err(TextError::new(TOO_DEEP));
        }
        self.depth += 1;
        let written = on_enough_stack(|| value.serialize(&mut *self));
        self.depth -= 1;
        written
    }

    /// Remembers it if it is the outermost.
    fn is_a(&mut self, root: Root) {
        if self.out.len() == self.start {
            self.root = root;
        }
    }

    /// An enum's variant with what it holds.
    fn variant(&mut self, name: &'static str) -> Result<(), TextError> {
        self.is_a(Root::Variant(name));
        self.push("{");
        self.key(name)
    }
}

impl<'w, 'o> Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = TextError;
    type SerializeSeq = List<'w, 'o>;
    type SerializeTuple = List<'w, 'o>;
    type SerializeTupleStruct = List<'w, 'o>;
    type SerializeTupleVariant = List<'w, 'o>;
    type SerializeMap = Members<'w, 'o>;
    type SerializeStruct = Members<'w, 'o>;
    type SerializeStructVariant = Members<'w, 'o>;

    fn serialize_bool(self, value: bool) -> Result<(), TextError> {
        self.json(&value)
    }

    fn serialize_i8(self, value: i8) -> Result<(), TextError> {
        self.json(&value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), TextError> {
        self.json(&value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), TextError> {
        self.json(&value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), TextError> {
        self.integer(value.into())
    }

    fn serialize_i128(self, value: i128) -> Result<(), TextError> {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), TextError> {
        self.json(&value)?;
        self.last = Last::Byte(value);
        Ok(())
    }

    fn serialize_u16(self, value: u16) -> Result<(), TextError> {
        self.json(&value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), TextError> {
        self.json(&value)?;
        self.last = Last::Integer(value.into());
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), TextError> {
        self.integer(value.into())?;
        self.last = Last::Integer(value);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), TextError> {
        match i128::try_from(value) {
            Ok(value) => self.integer(value),
            Err(_) => self.bigint(&value),
        }
    }

    // The shortest text that is read as the same value.
    fn serialize_f32(self, value: f32) -> Result<(), TextError> {
        if value.is_finite() && value.fract() != 0.0 {
            self.json(&value)
        } else {
            self.serialize_f64(value.into())
        }
    }

    fn serialize_f64(self, value: f64) -> Result<(), TextError> {
        self.last = Last::Other;
        if value.fract() == 0.0 && value.abs() <= MAX_SAFE {
            self.json(&(value as i64))
        } else if value.is_finite() {
            self.json(&value)
        } else {
            self.push(if value.is_nan() {
                "[\"nan\"]"
            } else if value > 0.0 {
                "[\"inf\"]"
            } else {
                "[\"-inf\"]"
            });
            Ok(())
        }
    }

    fn serialize_char(self, value: char) -> Result<(), TextError> {
        self.json(&value)
    }

    fn serialize_str(self, value: &str) -> Result<(), TextError> {
        self.json(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), TextError> {
        self.last = Last::Other;
        let bare = std::mem::take(&mut self.bare);
        self.push(if bare { "\"" } else { "[\"bytes\",\"" });
        bytes::encode(value, self.out);
        self.push(if bare { "\"" } else { "\"]" });
        Ok(())
    }

    fn serialize_none(self) -> Result<(), TextError> {
        self.last = Last::Other;
        self.push("null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TextError> {
        value.serialize(&mut *self)?;
        self.last = Last::Other;
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), TextError> {
        self.last = Last::Other;
        self.push("[\"undefined\"]");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), TextError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), TextError> {
        self.is_a(Root::Variant(variant));
        self.json(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), TextError> {
        match name {
            CAP | STREAM | SINK | BLOB => {
                self.push("[\"#\",");
                value.serialize(&mut *self)?;
                self.last = Last::Other;
                self.push("]");
                Ok(())
            }
            VALUE => {
                self.is_a(Root::Value);
                value.serialize(self)
            }
            BARE => {
                self.bare = true;
                value.serialize(self)
            }
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), TextError> {
        self.variant(variant)?;
        self.nested(value)?;
        self.last = Last::Other;
        self.push("}");
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'w, 'o>, TextError> {
        Ok(List::open(self, ""))
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'w, 'o>, TextError> {
        Ok(List::open(self, ""))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'w, 'o>, TextError> {
        Ok(List::open(self, ""))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'w, 'o>, TextError> {
        self.variant(variant)?;
        Ok(List::open(self, "}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'w, 'o>, TextError> {
        Ok(Members::open(self, "}"))
    }

    fn serialize_struct(self, name: &'static str, count: usize) -> Result<Members<'w, 'o>, TextError> {
        if name == super::SYSTEM_TIME && count == 2 {
            return Ok(Members::open_time(self));
        }
        Ok(Members::open(self, "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'w, 'o>, TextError> {
        self.variant(variant)?;
        Ok(Members::open(self, "}}"))
    }
}

impl ser::Error for TextError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

#[cfg(test)]
mod tests;
