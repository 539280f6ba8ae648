//! Expressions as Rust values: what the writer writes, and what JavaScript sends where it means the same.

mod access;
mod key;
mod reader;
mod token;

use serde::de::{self, DeserializeOwned};

use self::token::Tokens;
use super::json::{Cursor, list};
use super::{TextError, cut};
use crate::rpc::cap;

/// Reads a body that is one value.
///
/// # Errors
/// When it is not a `T`. Capabilities are taken from the table of the scope.
pub(crate) fn take<T: DeserializeOwned>(text: &str) -> Result<T, TextError> {
    let mut reader = Reader::new(text, 0);
    let value = reader.take()?;
    reader.tokens.cursor.end()?;
    Ok(value)
}

/// Takes arguments off a body that is a list of them.
pub(crate) struct ArgsReader<'a> {
    reader: Reader<'a>,
    first: bool,
    over: bool,
}

impl<'a> ArgsReader<'a> {
    /// # Errors
    /// When it is no list.
    pub(crate) fn new(text: &'a str) -> Result<Self, TextError> {
        let mut reader = Reader::new(text, 0);
        reader.tokens.cursor.expect(b'[')?;
        Ok(Self { reader, first: true, over: false })
    }

    /// The next argument: `undefined` if the caller gave fewer.
    ///
    /// # Errors
    /// When it is not a `T`. No more can be taken then.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<T, TextError> {
        if self.step()? { self.reader.take() } else { Reader::new("[\"undefined\"]", 0).take() }
    }

    /// The expressions of the arguments that were not taken.
    ///
    /// # Errors
    /// When they are no JSON.
    pub(crate) fn rest(mut self) -> Result<Vec<&'a str>, TextError> {
        let mut rest = Vec::new();
        while self.step()? {
            rest.push(self.reader.tokens.cursor.skip()?);
        }
        Ok(rest)
    }

    /// Whatever was not taken.
    ///
    /// # Errors
    /// When one is not a `T`.
    pub(crate) fn take_rest<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, TextError> {
        let mut rest = Vec::new();
        while self.step()? {
            rest.push(self.reader.take()?);
        }
        Ok(rest)
    }

    fn step(&mut self) -> Result<bool, TextError> {
        self.over = self.over || !self.reader.tokens.cursor.next(&mut self.first, b']')?;
        Ok(!self.over)
    }
}

/// Deserializes what is at a place of a text. It lends nothing, so it serves every lifetime.
pub(super) struct Reader<'a> {
    tokens: Tokens<'a>,
    /// Also of what it is in, across the bodies of promises.
    depth: usize,
    /// As the writer's: the next list or the next bytes are without what marks them.
    bare: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, depth: usize) -> Self {
        Self { tokens: Tokens::new(text), depth, bare: false }
    }

    fn take<T: DeserializeOwned>(&mut self) -> Result<T, TextError> {
        T::deserialize(self).map_err(|error| cap::why().map_or(error, TextError::new))
    }
}

/// The elements of an array, or nothing.
pub(super) fn parts(text: &str) -> Vec<&str> {
    list(text).unwrap_or_default()
}

/// Of a value, as much as an error has room for.
fn shown(text: &str) -> String {
    if text.len() > 60 { format!("{}…", &text[..text.floor_char_boundary(60)]) } else { cut(text) }
}

fn expected(what: &str, cursor: &mut Cursor<'_>) -> TextError {
    match cursor.skip() {
        Ok(found) => TextError::new(format!("expected {what}, got {}", shown(found))),
        Err(no_json) => no_json.into(),
    }
}

impl de::Error for TextError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

#[cfg(test)]
mod tests;
