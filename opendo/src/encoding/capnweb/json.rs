//! JSON, read where it lies. Nothing here recurses, and nothing is built: a value is the text it has.

use std::borrow::Cow;

use super::{Malformed, TOO_DEEP};

/// Brackets that may be open at once. A value of the permitted depth has two for each level, one within a call has
/// a few more.
const MAX_OPEN: usize = 1024;

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next token starts.
    pub(super) fn at(&mut self) -> usize {
        self.blanks();
        self.at
    }

    /// How far it has read.
    pub(super) fn done(&self) -> usize {
        self.at
    }

    pub(super) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// What is left, from the next token on.
    pub(super) fn rest(&mut self) -> &'a str {
        self.blanks();
        &self.text[self.at..]
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// The first byte of the next token.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.byte()
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Nothing more may come.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }

    #[cold]
    pub(super) fn unexpected(&self) -> Malformed {
        Malformed::syntax(match self.text[self.at..].chars().next() {
            Some(found) => format!("Unexpected token {found:?} in JSON at position {}", self.at),
            None => "Unexpected end of JSON input".to_owned(),
        })
    }

    /// In a list or object: steps to its next element, the first one included, or past its end.
    #[inline]
    pub(super) fn next(&mut self, first: &mut bool, close: u8) -> Result<bool, Malformed> {
        if std::mem::take(first) {
            return Ok(!self.eat(close));
        }
        self.more(close)
    }

    /// After an element: steps over the comma to the next one, or past the end.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Malformed> {
        if self.eat(b',') {
            return Ok(true);
        }
        self.expect(close)?;
        Ok(false)
    }

    /// What is between the quotes, escapes and all.
    pub(super) fn raw_string(&mut self) -> Result<&'a str, Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += plain(&self.text.as_bytes()[self.at..]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.byte().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.raw_string().map(unescaped)
    }

    pub(super) fn number(&mut self) -> Result<&'a str, Malformed> {
        self.blanks();
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected()) } else { Ok(()) }
    }

    /// `null`, `true` or `false`, if that is next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        self.blanks();
        let is_next = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    /// A value that holds no others.
    fn scalar(&mut self) -> Result<(), Malformed> {
        let known = match self.peek() {
            Some(b'"') => return self.raw_string().map(drop),
            Some(b'-' | b'0'..=b'9') => return self.number().map(drop),
            Some(b'n') => self.word("null"),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            _ => false,
        };
        if known { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The text of the next value, whatever it is.
    pub(super) fn skip(&mut self) -> Result<&'a str, Malformed> {
        self.skip_within(0)
    }

    /// The same within so many brackets.
    pub(super) fn skip_within(&mut self, outer: usize) -> Result<&'a str, Malformed> {
        self.blanks();
        let start = self.at;
        let mut open = Open::default();
        loop {
            let close = match self.peek() {
                Some(b'[') => b']',
                Some(b'{') => b'}',
                _ => 0,
            };
            if close == 0 {
                self.scalar()?;
            } else {
                self.at += 1;
                if !self.eat(close) {
                    if outer + open.count >= MAX_OPEN {
                        return Err(Malformed::of_type(TOO_DEEP));
                    }
                    open.push(close == b'}');
                    self.key(close)?;
                    continue;
                }
            }
            // After a value: end what ends with it.
            loop {
                let Some(is_object) = open.last() else { return Ok(&self.text[start..self.at]) };
                let close = if is_object { b'}' } else { b']' };
                if self.more(close)? {
                    self.key(close)?;
                    break;
                }
                open.pop();
            }
        }
    }

    fn key(&mut self, close: u8) -> Result<(), Malformed> {
        if close == b'}' {
            self.raw_string()?;
            self.expect(b':')?;
        }
        Ok(())
    }
}

/// Brackets that are open, a bit for each: whether it is an object's.
#[derive(Default)]
struct Open {
    objects: [u64; MAX_OPEN / 64],
    count: usize,
}

impl Open {
    /// Of less than there may be.
    fn push(&mut self, is_object: bool) {
        let (word, bit) = (&mut self.objects[self.count / 64], 1 << (self.count % 64));
        *word = if is_object { *word | bit } else { *word & !bit };
        self.count += 1;
    }

    /// Of some.
    fn pop(&mut self) {
        self.count -= 1;
    }

    fn last(&self) -> Option<bool> {
        let last = self.count.checked_sub(1)?;
        Some(self.objects[last / 64] >> (last % 64) & 1 == 1)
    }
}

/// How many bytes there are before the first that means something in a string.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in chunks.by_ref() {
        let word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special =
            (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control)
                & (ONES << 7);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let means = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + chunks.remainder().iter().position(means).unwrap_or(chunks.remainder().len())
}

/// The string that is written so. A surrogate without its other half is no character: U+FFFD stands for it.
pub(super) fn unescaped(raw: &str) -> Cow<'_, str> {
    let first = plain(raw.as_bytes());
    if first == raw.len() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    text.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or_default();
        rest = rest.get(at + 2..).unwrap_or_default();
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = unit(rest);
                rest = rest.get(4..).unwrap_or_default();
                let low =
                    rest.strip_prefix("\\u").map(self::unit).filter(|low| (0xdc00..0xe000).contains(low));
                match (unit, low) {
                    (0xd800..0xdc00, Some(low)) => {
                        rest = rest.get(6..).unwrap_or_default();
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                    }
                    _ => char::from_u32(unit),
                }
                .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => char::from(other),
        });
    }
    text.push_str(rest);
    Cow::Owned(text)
}

fn unit(digits: &str) -> u32 {
    digits.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
}

/// The integer that a number is, also one written as `1.0` or `2e2`, if a double can tell it from its neighbours.
pub(super) fn integral(number: &str) -> Option<i64> {
    if let Ok(integer) = number.parse() {
        return Some(integer);
    }
    let double: f64 = number.parse().ok()?;
    (double.fract() == 0.0 && double.abs() <= super::MAX_SAFE).then_some(double as i64)
}

/// The elements of a JSON list.
pub(super) fn list(text: &str) -> Result<Vec<&str>, Malformed> {
    let mut cursor = Cursor::new(text);
    let mut elements = Vec::new();
    cursor.expect(b'[')?;
    let mut first = true;
    while cursor.next(&mut first, b']')? {
        elements.push(cursor.skip()?);
    }
    cursor.end()?;
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_json_says() {
        for length in 0..40 {
            for (text, raw) in
                [("\"", ""), ("\\\"\"", "\\\""), ("\\\\\"", "\\\\"), ("é\\u0041\"", "é\\u0041")]
            {
                let text = format!("\"{}{text}", "x".repeat(length));
                let found = Cursor::new(&text).raw_string().unwrap();
                assert_eq!(found, format!("{}{raw}", "x".repeat(length)));
            }
        }
        for bad in ["\"", "\"abc", "\"a\nb\"", "\"\\x\"", "\"\\u12\"", "\"\\", "\"12345678\u{1f}90\""] {
            assert!(Cursor::new(bad).raw_string().is_err(), "{bad}");
        }
    }

    #[test]
    fn surrogates_make_characters_and_lone_ones_a_replacement() {
        assert_eq!(unescaped("a\\ud83d\\ude00b"), "a\u{1f600}b");
        assert_eq!(unescaped("\\ud800"), "\u{fffd}");
        assert_eq!(unescaped("\\ud800\\ud83d\\ude00"), "\u{fffd}\u{1f600}");
        assert_eq!(unescaped("\\ude00x\\ud83d\\n"), "\u{fffd}x\u{fffd}\n");
    }

    #[test]
    fn values_are_skipped_whole_and_only_if_they_are_json() {
        for good in ["1", "-0.5e+3", "\"a\"", "null", "[]", "{}", "[1,[2,{\"a\":[]}],{}]", "[ 1 , 2 ]"] {
            let text = format!(" {good} ,rest");
            assert_eq!(Cursor::new(&text).skip().unwrap(), good);
        }
        for bad in [
            "", "[", "[1", "[1,", "[1,]", "{\"a\"}", "{\"a\":}", "{1:2}", "[}", "01x", "-", "1.", "1e",
            "nul", "{,}",
        ] {
            let mut cursor = Cursor::new(bad);
            assert!(cursor.skip().and_then(|_| cursor.end()).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_million_brackets_are_an_error() {
        for bracket in ["[", "{\"a\":"] {
            let text = bracket.repeat(2_000_000);
            assert_eq!(Cursor::new(&text).skip().unwrap_err().message, TOO_DEEP);
        }
    }
}
