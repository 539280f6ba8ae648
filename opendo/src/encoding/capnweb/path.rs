//! Ways into a body: its own members and elements, step by step.

use std::fmt::Write;

use bytes::Bytes;

use super::json::{Cursor, list};
use super::{MAX_DEPTH, is_inherited};
use crate::rpc::cap::{AllPassed, Passed};
use crate::rpc::member::Part;

/// Where one part of a path leads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step<'a> {
    Value(&'a str),
    Undefined,
    /// To what is passed at that place: it has to find out about this part and the rest of the path. What is neither a
    /// stub nor a promise has no parts.
    Passed(u32),
    /// Nowhere: a `TypeError`.
    Fails(String),
}

/// Follows one part of a path, from a body or a part of one.
pub(crate) fn step<'a>(text: &'a str, part: &Part) -> Step<'a> {
    if let Part::Name(name) = part
        && is_inherited(name)
    {
        return Step::Undefined;
    }
    if let Some(place) = marker(text) {
        return Step::Passed(place);
    }
    if is_undefined(text) {
        let part = match part {
            Part::Name(name) => name.clone(),
            Part::Index(index) => index.to_string(),
        };
        return Step::Fails(format!("Cannot read properties of undefined (reading '{part}')"));
    }
    let found = if text.starts_with('{') { member(text, part) } else { element(text, part) };
    found.map_or(Step::Undefined, Step::Value)
}

fn member<'a>(text: &'a str, part: &Part) -> Option<&'a str> {
    let index;
    let name = match part {
        Part::Name(name) => name.as_str(),
        Part::Index(number) => {
            index = number.to_string();
            &index
        }
    };
    let mut cursor = Cursor::new(text);
    let mut found = None;
    let mut first = true;
    cursor.expect(b'{').ok()?;
    while cursor.next(&mut first, b'}').ok()? {
        let key = cursor.string().ok()?;
        cursor.expect(b':').ok()?;
        let value = cursor.skip().ok()?;
        if key == name {
            found = Some(value);
        }
    }
    found
}

/// JavaScript's client sends numbers as strings, so both count.
fn element<'a>(text: &'a str, part: &Part) -> Option<&'a str> {
    let index = match part {
        Part::Index(index) if index.fract() == 0.0 && *index >= 0.0 => *index as usize,
        Part::Name(name) => name.parse().ok().filter(|index: &usize| index.to_string() == *name)?,
        Part::Index(_) => return None,
    };
    let mut cursor = inside(text)?;
    let mut first = true;
    for _ in 0..index {
        if !cursor.next(&mut first, b']').ok()? {
            return None;
        }
        cursor.skip().ok()?;
    }
    if cursor.next(&mut first, b']').ok()? { cursor.skip().ok() } else { None }
}

/// Before the first element of a `[[…]]`.
fn inside(text: &str) -> Option<Cursor<'_>> {
    let mut cursor = Cursor::new(text);
    (cursor.eat(b'[') && cursor.eat(b'[')).then_some(cursor)
}

/// The place in the table of what a body, or a part of one, is.
pub(crate) fn marker(text: &str) -> Option<u32> {
    text.trim_start().strip_prefix(MARKER)?.split_once(']')?.0.parse().ok()
}

/// The body of what is alone in its table.
pub(crate) const ALONE: &[u8] = b"[\"#\",0]";

/// How every marker begins. Within a string its quotes were escaped.
const MARKER: &str = "[\"#\",";

/// The elements of an array.
pub(crate) fn elements(text: &str) -> Option<Vec<&str>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim_start().starts_with('[') { list(inner).ok() } else { None }
}

fn is_undefined(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.eat(b'[') && cursor.peek() == Some(b'"') && cursor.string().is_ok_and(|tag| tag == "undefined")
}

/// Whether that is `null` or `undefined`.
pub(crate) fn is_nullish(text: &str) -> bool {
    text.trim() == "null" || is_undefined(text)
}

/// A body, cut at its markers: the text before each one, and its place. Last, the rest, and no place.
pub(crate) struct Pieces<'a>(Option<&'a str>);

impl<'a> Pieces<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self(Some(text))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a str, Option<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.take()?;
        let Some((before, rest)) = text.split_once(MARKER) else { return Some((text, None)) };
        let (digits, rest) = rest.split_once(']').unwrap_or((rest, ""));
        self.0 = Some(rest);
        Some((before, digits.parse().ok()))
    }
}

/// A part of a body as a body of its own, with its own table.
pub(crate) fn sub_body(body: &Bytes, part: &str, passed: &[Passed]) -> (Bytes, AllPassed) {
    if !part.contains(MARKER) {
        return (body.slice_ref(part.as_bytes()), AllPassed::NOTHING);
    }
    let mut own = AllPassed::NOTHING;
    let mut text = String::with_capacity(part.len());
    for (before, place) in Pieces::of(part) {
        text.push_str(before);
        if let Some(passed) = place.and_then(|place| passed.get(place)) {
            append_marker(own.len(), &mut text);
            own.push(passed.clone());
        }
    }
    (text.into(), own)
}

pub(crate) fn append_marker(place: usize, out: &mut String) {
    let written = write!(out, "{MARKER}{place}]");
    debug_assert!(written.is_ok(), "a string takes everything");
}

/// Whether a body holds a value where no message may have one.
pub(crate) fn is_too_deep(body: &str) -> bool {
    let mut cursor = Cursor::new(body);
    // Of what is open: whether it makes its values deeper. An array does so with the inner one of its two brackets.
    let mut open = Vec::new();
    let mut depth = 0;
    while let Some(byte) = cursor.peek() {
        match byte {
            b'"' if cursor.raw_string().is_err() => return true,
            b'"' => {}
            b'[' | b'{' => {
                cursor.eat(byte);
                let deepens = byte == b'{' || cursor.peek() == Some(b'[');
                depth += usize::from(deepens);
                open.push(deepens);
                if depth >= MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => {
                cursor.eat(byte);
                depth -= usize::from(open.pop().unwrap_or(false));
            }
            other => {
                cursor.eat(other);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{Encoded, Form};
    use crate::rpc::arg::Value;

    fn walk(text: &str, parts: &[Part]) -> String {
        let mut at = text;
        for part in parts {
            match step(at, part) {
                Step::Value(value) => at = value,
                other => return format!("{other:?}"),
            }
        }
        at.to_owned()
    }

    fn name(text: &str) -> Part {
        Part::Name(text.to_owned())
    }

    #[test]
    fn members_and_elements_are_found_and_nothing_else_is_there() {
        let text =
            r#"{"list":[[1,[[2,3]],{"a\u0062":"x"}]],"b":["bytes","AA"],"n":null,"u":["undefined"],"5":6}"#;
        assert_eq!(walk(text, &[name("list"), Part::Index(0.0)]), "1");
        assert_eq!(walk(text, &[name("list"), name("1"), name("1")]), "3");
        assert_eq!(walk(text, &[name("list"), Part::Index(2.0), name("ab")]), "\"x\"");
        assert_eq!(walk(text, &[Part::Index(5.0)]), "6");
        for missing in [
            &[name("x")][..],
            &[name("toString")],
            &[name("u"), name("__proto__")],
            &[name("list"), name("length")],
            &[name("list"), name("01")],
            &[name("list"), Part::Index(3.0)],
            &[name("list"), Part::Index(-1.0)],
            &[name("list"), Part::Index(0.5)],
            &[name("list"), Part::Index(1e300)],
            &[name("list"), Part::Index(f64::NAN)],
            &[name("b"), Part::Index(1.0)],
            &[name("b"), name("length")],
            &[name("n"), name("x")],
            &[name("list"), Part::Index(0.0), name("x")],
        ] {
            assert_eq!(walk(text, missing), "Undefined", "{missing:?}");
        }
        let failed = walk(text, &[name("u"), name("x")]);
        assert!(failed.contains("Cannot read properties of undefined (reading 'x')"), "{failed}");
        assert_eq!(walk(r##"{"a":["#",7]}"##, &[name("a"), name("toJSON")]), "Passed(7)");
        assert_eq!(walk(r##"{"a":["#",7]}"##, &[name("a"), name("valueOf")]), "Undefined");
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(elements("[[1,[[2]]]]"), Some(vec!["1", "[[2]]"]));
        assert_eq!(elements("[[]]"), Some(Vec::new()));
        assert_eq!(elements(" [ [ 1 , 2 ] ] "), Some(vec!["1", "2"]));
        assert_eq!((elements("[\"undefined\"]"), elements("5"), elements("{}")), (None, None, None));
        assert!(
            is_nullish("null") && is_nullish("[\"undefined\"]") && !is_nullish("0") && !is_nullish("[[]]")
        );
        assert_eq!(
            (marker(r##"["#",12]"##), marker(r#"["bytes",""]"#), marker("[[]]")),
            (Some(12), None, None)
        );
    }

    #[test]
    fn a_part_is_a_body_of_its_own() {
        let there = |text: &'static str| {
            let bytes = Bytes::from_static(text.as_bytes());
            Passed::Value(Value::There(Encoded { form: Form::CapnWeb, bytes, passed: AllPassed::NOTHING }))
        };
        let names = |passed: &[Passed]| -> Vec<String> {
            let name = |passed: &Passed| match passed {
                Passed::Value(Value::There(value)) => String::from_utf8(value.bytes.to_vec()).unwrap(),
                other => format!("{other:?}"),
            };
            passed.iter().map(name).collect()
        };
        let body = Bytes::from_static(
            br##"{"a":["#",0],"b":{"x":["#",2],"y":["#",1],"z":"[\"#\",0]"},"c":"plain"}"##,
        );
        let text = std::str::from_utf8(&body).unwrap();
        let passed = [there("0"), there("1"), there("2")];
        let Step::Value(b) = step(text, &name("b")) else { panic!() };
        let (own, own_passed) = sub_body(&body, b, &passed);
        assert_eq!(own, r##"{"x":["#",0],"y":["#",1],"z":"[\"#\",0]"}"##);
        assert_eq!(names(&own_passed), ["2", "1"]);
        let Step::Value(c) = step(text, &name("c")) else { panic!() };
        let (own, own_passed) = sub_body(&body, c, &passed);
        assert!(own_passed.is_empty() && own.as_ptr() == c.as_ptr(), "without a copy");
    }
}
