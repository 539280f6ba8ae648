//! Values of a text that hold no others.

use std::borrow::Cow;

use super::super::json::{Cursor, unescaped};
use super::super::{TextError, bigint, bytes, path};
use super::expected;
use crate::value::ByteContainer;

pub(super) struct Tokens<'a> {
    pub(super) cursor: Cursor<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Integer {
    Signed(i128),
    /// Too large for the other.
    Unsigned(u128),
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { cursor: Cursor::new(text) }
    }

    pub(super) fn expected<T>(&mut self, what: &str) -> Result<T, TextError> {
        Err(expected(what, &mut self.cursor))
    }

    /// The place of a capability, if one is next. It is not stepped over.
    pub(super) fn marker(&mut self) -> Option<u32> {
        path::marker(self.cursor.rest())
    }

    /// The tag of the special form that is next, which is not stepped over.
    pub(super) fn peek_tag(&mut self) -> Option<Cow<'a, str>> {
        let mut ahead = self.cursor;
        let is_tagged = ahead.eat(b'[') && ahead.peek() == Some(b'"');
        if is_tagged { ahead.string().ok() } else { None }
    }

    /// Steps into a special form, behind its tag.
    pub(super) fn enter(&mut self) -> Result<(), TextError> {
        self.cursor.expect(b'[')?;
        self.cursor.skip()?;
        Ok(())
    }

    pub(super) fn is_array(&mut self) -> bool {
        let mut ahead = self.cursor;
        ahead.eat(b'[') && ahead.peek() == Some(b'[')
    }

    pub(super) fn is_nullish(&mut self) -> bool {
        self.cursor.peek() == Some(b'n') || self.peek_tag().as_deref() == Some("undefined")
    }

    pub(super) fn bool(&mut self) -> Result<bool, TextError> {
        match self.cursor.peek() {
            Some(b't') if self.cursor.word("true") => Ok(true),
            Some(b'f') if self.cursor.word("false") => Ok(false),
            _ => self.expected("a boolean"),
        }
    }

    pub(super) fn integer(&mut self) -> Result<Integer, TextError> {
        let mut ahead = self.cursor;
        let found = match ahead.peek() {
            Some(b'-' | b'0'..=b'9') => integer_of(ahead.number()?),
            Some(b'[') if self.peek_tag().as_deref() == Some("bigint") => {
                big_integer(&self.special_text("bigint")?)
            }
            _ => None,
        };
        match found {
            Some(found) => {
                self.cursor.skip()?;
                Ok(found)
            }
            None => self.expected("an integer"),
        }
    }

    pub(super) fn float(&mut self) -> Result<f64, TextError> {
        let mut ahead = self.cursor;
        let found = match ahead.peek() {
            Some(b'-' | b'0'..=b'9') => ahead.number()?.parse().ok(),
            Some(b'[') => match self.peek_tag().as_deref() {
                Some("inf") => Some(f64::INFINITY),
                Some("-inf") => Some(f64::NEG_INFINITY),
                Some("nan") => Some(f64::NAN),
                _ => None,
            },
            _ => None,
        };
        match found {
            Some(found) => {
                self.cursor.skip()?;
                Ok(found)
            }
            None => self.expected("a number"),
        }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, TextError> {
        if self.cursor.peek() == Some(b'"') {
            return Ok(self.cursor.string()?);
        }
        if self.peek_tag().as_deref() == Some("url") {
            let url = self.special_text("url")?;
            self.cursor.skip()?;
            return Ok(url);
        }
        self.expected("a string")
    }

    /// Milliseconds since 1970; NaN for the date that is none.
    pub(super) fn date(&mut self) -> Result<f64, TextError> {
        if self.peek_tag().as_deref() != Some("date") {
            return self.expected("a date");
        }
        let mut ahead = self.cursor;
        ahead.expect(b'[')?;
        ahead.skip()?;
        let date = if ahead.eat(b',') { ahead.skip()?.parse().unwrap_or(f64::NAN) } else { f64::NAN };
        self.cursor.skip()?;
        Ok(date)
    }

    pub(super) fn bytes(&mut self) -> Result<(ByteContainer, Vec<u8>), TextError> {
        if self.peek_tag().as_deref() != Some("bytes") {
            return self.expected("bytes");
        }
        self.enter()?;
        self.cursor.expect(b',')?;
        let bytes = self.base64()?;
        let mut container = ByteContainer::default();
        let mut first = true;
        while self.cursor.more(b']')? {
            let marker = self.cursor.skip()?;
            if std::mem::take(&mut first) {
                container = ByteContainer::named(&unescaped(marker.trim_matches('"'))).unwrap_or_default();
            }
        }
        Ok((container, bytes))
    }

    pub(super) fn base64(&mut self) -> Result<Vec<u8>, TextError> {
        let text = self.cursor.string()?;
        bytes::decode(&text).ok_or_else(|| TextError::new("expected base64"))
    }

    /// The string behind the tag of what is next, which is not stepped over.
    fn special_text(&mut self, what: &str) -> Result<Cow<'a, str>, TextError> {
        let mut ahead = self.cursor;
        ahead.expect(b'[')?;
        ahead.skip()?;
        if ahead.eat(b',') && ahead.peek() == Some(b'"') { Ok(ahead.string()?) } else { self.expected(what) }
    }
}

/// The integer that a JSON number is, also one written as `1.0` or `2e2`.
fn integer_of(number: &str) -> Option<Integer> {
    if let Ok(integer) = number.parse() {
        return Some(Integer::Signed(integer));
    }
    if let Ok(integer) = number.parse() {
        return Some(Integer::Unsigned(integer));
    }
    let double: f64 = number.parse().ok()?;
    (double.fract() == 0.0 && double.abs() < 2_f64.powi(127)).then_some(Integer::Signed(double as i128))
}

fn big_integer(text: &str) -> Option<Integer> {
    let parts = bigint::parts(text)?;
    if let Ok(size) = i128::from_str_radix(parts.digits, parts.radix) {
        return Some(Integer::Signed(if parts.negative { -size } else { size }));
    }
    if parts.negative {
        return text.trim().parse().ok().map(Integer::Signed);
    }
    u128::from_str_radix(parts.digits, parts.radix).ok().map(Integer::Unsigned)
}
