//! Values whose type is only known when they are there, and those of JavaScript that Rust has no type for.
//!
//! [`Value`] is any of them. Each of the others can also be the type of an argument or result by itself. They travel
//! in the text encoding as what they are in JavaScript, and in the binary one as the structs that they are here.

mod bigint;
mod bytes;
mod convert;
mod date;
mod error;
mod read;
mod web;
mod write;

use std::fmt;

use ::bytes::Bytes;

pub use self::bigint::{BigInt, ParseBigIntError};
pub use self::bytes::ByteContainer;
pub use self::convert::Unexpected;
pub use self::date::Date;
pub use self::error::ErrorValue;
pub use self::web::{Blob, Body, Headers, Request, Response, Url};
use crate::rpc::dynamic::DynStub;
use crate::stream::{RpcSink, RpcStream};

/// By this name an encoding that has a form of its own for blobs recognises one.
pub(crate) const BLOB: &str = "$opendo::blob";

/// A value of any type.
///
/// ```
/// use opendo::value::Value;
///
/// let user = Value::object([("name", "Ann".into()), ("visits", 3.into()), ("tags", vec!["a", "b"].into())]);
/// assert_eq!(user.get("name").as_str(), Some("Ann"));
/// assert_eq!(user.get("tags").at(1).as_str(), Some("b"));
/// assert_eq!(user.get("age"), &Value::Undefined);
/// ```
#[derive(Default)]
#[non_exhaustive]
pub enum Value {
    /// `undefined`: also what is not there.
    #[default]
    Undefined,
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// A number. JavaScript's are all doubles.
    Number(f64),
    /// An integer of any size.
    BigInt(BigInt),
    /// A text.
    String(String),
    /// A point in time.
    Date(Date),
    /// Bytes, and the class that holds them.
    Bytes(Bytes, ByteContainer),
    /// A list.
    Array(Vec<Value>),
    /// Members in their order. Of several with one name the last counts.
    Object(Vec<(String, Value)>),
    /// An error, as a value.
    Error(Box<ErrorValue>),
    /// Something that can be called: a function, or an object with methods.
    Stub(DynStub),
    /// A stream to read.
    Readable(RpcStream<Value>),
    /// A stream to write.
    Writable(RpcSink<Value>),
    /// Bytes with a media type.
    Blob(Blob),
    /// An address.
    Url(Url),
    /// The headers of a request or response.
    Headers(Headers),
    /// An HTTP request.
    Request(Box<Request>),
    /// An HTTP response.
    Response(Box<Response>),
}

static UNDEFINED: Value = Value::Undefined;

impl Value {
    /// An object of these members.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The member of that name; [`Undefined`](Self::Undefined) if there is none, or this is no object.
    pub fn get(&self, name: &str) -> &Value {
        let member = self.as_object().and_then(|members| members.iter().rfind(|(key, _)| key == name));
        member.map_or(&UNDEFINED, |(_, value)| value)
    }

    /// The element at that place; [`Undefined`](Self::Undefined) if there is none, or this is no array.
    pub fn at(&self, index: usize) -> &Value {
        self.as_array().and_then(|elements| elements.get(index)).unwrap_or(&UNDEFINED)
    }

    /// Whether this is `undefined` or `null`.
    pub fn is_nullish(&self) -> bool {
        matches!(self, Self::Undefined | Self::Null)
    }

    /// The boolean that this is.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number that this is.
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(value) = self { Some(*value) } else { None }
    }

    /// The text that this is.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(value) = self { Some(value) } else { None }
    }

    /// The bytes that this is, whatever holds them.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        if let Self::Bytes(value, _) = self { Some(value) } else { None }
    }

    /// The elements of the array that this is.
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(value) = self { Some(value) } else { None }
    }

    /// The members of the object that this is.
    pub fn as_object(&self) -> Option<&[(String, Value)]> {
        if let Self::Object(value) = self { Some(value) } else { None }
    }

    /// What this is, in a word or two.
    fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::BigInt(_) => "a bigint",
            Self::String(_) => "a string",
            Self::Date(_) => "a date",
            Self::Bytes(..) => "bytes",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
            Self::Error(_) => "an error",
            Self::Stub(_) => "a stub",
            Self::Readable(_) => "a stream to read",
            Self::Writable(_) => "a stream to write",
            Self::Blob(_) => "a blob",
            Self::Url(_) => "a URL",
            Self::Headers(_) => "headers",
            Self::Request(_) => "a request",
            Self::Response(_) => "a response",
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined | Self::Null | Self::Readable(_) | Self::Writable(_) => f.write_str(self.kind()),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::BigInt(value) => value.fmt(f),
            Self::String(value) => value.fmt(f),
            Self::Date(value) => value.fmt(f),
            Self::Bytes(value, container) => f.debug_tuple(container.name()).field(value).finish(),
            Self::Array(value) => value.fmt(f),
            Self::Object(value) => {
                f.debug_map().entries(value.iter().map(|(key, value)| (key, value))).finish()
            }
            Self::Error(value) => value.fmt(f),
            Self::Stub(value) => value.fmt(f),
            Self::Blob(value) => value.fmt(f),
            Self::Url(value) => value.fmt(f),
            Self::Headers(value) => value.fmt(f),
            Self::Request(value) => value.fmt(f),
            Self::Response(value) => value.fmt(f),
        }
    }
}

/// As one reads it: texts and errors in their words, everything else as `Debug` has it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Error(error) => fmt::Display::fmt(error, f),
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// Streams are equal to nothing, as NaN is.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Bytes(a, held), Self::Bytes(b, by)) => (a, held) == (b, by),
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Error(a), Self::Error(b)) => a == b,
            (Self::Stub(a), Self::Stub(b)) => a == b,
            (Self::Blob(a), Self::Blob(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Headers(a), Self::Headers(b)) => a == b,
            (Self::Request(a), Self::Request(b)) => a == b,
            (Self::Response(a), Self::Response(b)) => a == b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
