//! The text encoding: Cap'n Web's expressions.
//!
//! A body is its expression as JSON, with `["#",n]` in the place of each capability, where `n` is its place in the
//! table beside the body. `#` is no tag of Cap'n Web, so that [`evaluate`] refuses it from a peer, and an expression
//! without capabilities is a body as it came.

pub(crate) mod bigint;
mod bytes;
mod error;
mod evaluate;
mod json;
mod path;
mod read;
mod scan;
mod tree;
mod write;

use std::fmt;

pub(crate) use error::{append_error, append_rpc_error, rpc_error, take_error};
pub(crate) use evaluate::{Capture, Resolver, Special, evaluate, instructions};
pub(crate) use path::{
    ALONE, Pieces, Step, append_marker, elements, is_nullish, is_too_deep, marker, step, sub_body,
};
pub(crate) use read::{ArgsReader, take};
pub(crate) use scan::{Message, message};
pub(crate) use tree::{from_tree, to_tree};
pub(crate) use write::{append, append_argument};

/// The first depth at which no value may be. The root has 0.
const MAX_DEPTH: usize = 256;

/// Goes one level down in a value. How deep values are is a peer's choice, and how much stack a level takes is up to
/// their types: where little is left, another stack takes over.
fn on_enough_stack<T>(level: impl FnOnce() -> T) -> T {
    const LEFT: usize = 128 * 1024;
    const NEXT: usize = 1024 * 1024;
    stacker::maybe_grow(LEFT, NEXT, level)
}

/// Integers up to this are told apart by doubles.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

pub(crate) const MAX_BIGINT: usize = 16_384;

pub(crate) const TOO_DEEP: &str = "Deserialization exceeded maximum allowed message depth of 256.";

/// A value that is what it is, not the form of something in Rust. Only for writing.
pub(crate) const VALUE: &str = "$opendo::value";

/// The form of a value that JSON has none for, as an enum: the tag is the variant. Only for reading.
pub(crate) const SPECIAL: &str = "$opendo::special";

/// What is in it is written and read without what marks it: a list as `[…]`, bytes as a string.
pub(crate) const BARE: &str = "$opendo::bare";

/// What serde calls `std::time::SystemTime`.
const SYSTEM_TIME: &str = "SystemTime";

/// Why a value has no expression, or an expression is not the value that was expected.
#[derive(Debug)]
pub(crate) struct TextError(String);

impl TextError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TextError {}

impl From<Malformed> for TextError {
    fn from(malformed: Malformed) -> Self {
        Self(malformed.message)
    }
}

/// A body is text.
pub(crate) fn text(body: &[u8]) -> Result<&str, TextError> {
    std::str::from_utf8(body).map_err(|_| TextError::new("the body is no text"))
}

/// Why a text is no message, or no expression. It ends the session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Malformed {
    /// The class of the error in JavaScript.
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

impl Malformed {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { name: "Error", message: message.into() }
    }

    pub(crate) fn of_type(message: impl Into<String>) -> Self {
        Self { name: "TypeError", message: message.into() }
    }

    fn syntax(message: impl Into<String>) -> Self {
        Self { name: "SyntaxError", message: message.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// As much of a text as an error has room for.
fn cut(text: &str) -> String {
    const ROOM: usize = 256;
    if text.len() <= ROOM {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(ROOM)])
}

/// Whether no message may set a member of that name.
pub(crate) fn is_forbidden(key: &str) -> bool {
    is_inherited(key) || key == "toJSON"
}

/// Whether all objects of JavaScript have a member of that name.
fn is_inherited(key: &str) -> bool {
    matches!(
        key,
        "__proto__"
            | "constructor"
            | "hasOwnProperty"
            | "isPrototypeOf"
            | "propertyIsEnumerable"
            | "toLocaleString"
            | "toString"
            | "valueOf"
            | "__defineGetter__"
            | "__defineSetter__"
            | "__lookupGetter__"
            | "__lookupSetter__"
    )
}

/// Appends an error that has a name and a message, and nothing else.
pub(crate) fn append_error_named(name: &str, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[\"error\",");
    append_string(name, out);
    out.push(b',');
    append_string(message, out);
    out.push(b']');
}

/// Appends a JSON string.
pub(crate) fn append_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and memory takes it");
}
