//! Messages: what they say, with their expressions as they came.

use super::json::{Cursor, integral, unescaped};
use super::{Malformed, cut};

/// A message. Its expressions are JSON, and nothing more is known of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Message<'a> {
    Push(&'a str),
    Stream(&'a str),
    Pipe,
    Pull(i64),
    Resolve(i64, &'a str),
    Reject(i64, &'a str),
    /// Which export, and how many of its introductions.
    Release(i64, i64),
    Abort(Option<&'a str>),
}

/// How many elements of a message mean something.
const MOST: usize = 3;

/// Reads a message. More elements than it needs are ignored.
pub(crate) fn message(text: &str) -> Result<Message<'_>, Malformed> {
    let mut cursor = Cursor::new(text);
    let start = cursor.at();
    let (mut elements, mut count) = ([""; MOST], 0);
    if cursor.eat(b'[') {
        let mut first = true;
        while cursor.next(&mut first, b']')? {
            let element = cursor.skip_within(1)?;
            if let Some(place) = elements.get_mut(count) {
                *place = element;
                count += 1;
            }
        }
    } else {
        cursor.skip()?;
    }
    let whole = &text[start..cursor.done()];
    cursor.end()?;
    parts(&elements[..count]).ok_or_else(|| Malformed::new(format!("bad RPC message: {}", cut(whole))))
}

/// Of a message whose elements are JSON.
fn parts<'a>(elements: &[&'a str]) -> Option<Message<'a>> {
    let (tag, rest) = elements.split_first()?;
    let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
    Some(match (&*unescaped(tag), rest) {
        ("push", [expression, ..]) => Message::Push(expression),
        ("stream", [expression, ..]) => Message::Stream(expression),
        ("pipe", _) => Message::Pipe,
        ("pull", [id, ..]) => Message::Pull(integral(id)?),
        ("resolve", [id, expression, ..]) => Message::Resolve(integral(id)?, expression),
        ("reject", [id, expression, ..]) => Message::Reject(integral(id)?, expression),
        ("release", [id, count, ..]) => Message::Release(integral(id)?, integral(count)?),
        ("abort", rest) => Message::Abort(rest.first().copied()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_read_and_extra_elements_are_ignored() {
        for (text, expected) in [
            (r#"["push",["pipeline",0,["a"],[3]]]"#, Message::Push(r#"["pipeline",0,["a"],[3]]"#)),
            (r#" [ "push" , 1 , 2 ] "#, Message::Push("1")),
            (r#"["stream",{"a":1}]"#, Message::Stream(r#"{"a":1}"#)),
            (r#"["pipe"]"#, Message::Pipe),
            (r#"["p\u0069pe",{}]"#, Message::Pipe),
            (r#"["pull",1.0]"#, Message::Pull(1)),
            (r#"["resolve",2e2,[[]]]"#, Message::Resolve(200, "[[]]")),
            (r#"["reject",-1,null]"#, Message::Reject(-1, "null")),
            (r#"["release",-9007199254740992,1]"#, Message::Release(-9_007_199_254_740_992, 1)),
            (r#"["abort"]"#, Message::Abort(None)),
            (r#"["abort","bye"]"#, Message::Abort(Some("\"bye\""))),
        ] {
            assert_eq!(message(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_bad_and_says_what_it_was() {
        for text in [
            "null",
            "{}",
            "[]",
            "[1]",
            "\"push\"",
            r#"["push"]"#,
            r#"["stream"]"#,
            r#"["pull"]"#,
            r#"["pull","1"]"#,
            r#"["pull",1.5]"#,
            r#"["pull",1e308]"#,
            r#"["pull",1e999]"#,
            r#"["pull",9007199254740993.5]"#,
            r#"["resolve",1]"#,
            r#"["resolve","1",1]"#,
            r#"["release",1]"#,
            r#"["release",1,0.5]"#,
            r#"["call",1]"#,
        ] {
            assert_eq!(message(text).unwrap_err().message, format!("bad RPC message: {text}"));
        }
        let long = format!("[\"{}\"]", "é".repeat(10_000));
        assert!(message(&long).unwrap_err().message.len() < 300);
    }

    #[test]
    fn a_message_is_as_deep_as_any_json() {
        let deep = |depth: usize| format!(r#"["push",{}{}]"#, "[".repeat(depth), "]".repeat(depth));
        // The innermost has nothing in it, and is not open.
        assert!(message(&deep(1024)).is_ok());
        assert_eq!(message(&deep(1025)).unwrap_err().message, super::super::TOO_DEEP);
        let text = deep(1025);
        assert_eq!(Cursor::new(&text).skip().unwrap_err().message, super::super::TOO_DEEP);
    }

    #[test]
    fn a_message_cut_anywhere_is_no_json() {
        let text = r#"["resolve",-12,{"a\u00e9":[["x",["bytes","AAE"],1.5e3,true,null]]}]"#;
        for end in 0..text.len() {
            assert_eq!(message(&text[..end]).unwrap_err().name, "SyntaxError", "{end}");
        }
        assert!(message(text).is_ok());
    }
}
