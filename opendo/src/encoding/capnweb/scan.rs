//! Messages: what they say, with their expressions as they came.

use super::json::{Cursor, integral};
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

/// Reads a message. More elements than it needs are ignored.
pub(crate) fn message(text: &str) -> Result<Message<'_>, Malformed> {
    let mut cursor = Cursor::new(text);
    let whole = cursor.skip()?;
    cursor.end()?;
    parts(whole).ok_or_else(|| Malformed::new(format!("bad RPC message: {}", cut(whole))))
}

/// `whole` is JSON.
fn parts(whole: &str) -> Option<Message<'_>> {
    let mut cursor = Cursor::new(whole);
    if !cursor.eat(b'[') || cursor.peek() != Some(b'"') {
        return None;
    }
    let tag = cursor.string().ok()?;
    let mut next = || if cursor.more(b']').ok()? { cursor.skip().ok() } else { None };
    Some(match tag.as_ref() {
        "push" => Message::Push(next()?),
        "stream" => Message::Stream(next()?),
        "pipe" => Message::Pipe,
        "pull" => Message::Pull(integral(next()?)?),
        "resolve" => Message::Resolve(integral(next()?)?, next()?),
        "reject" => Message::Reject(integral(next()?)?, next()?),
        "release" => Message::Release(integral(next()?)?, integral(next()?)?),
        "abort" => Message::Abort(next()),
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
    fn a_message_cut_anywhere_is_no_json() {
        let text = r#"["resolve",-12,{"a\u00e9":[["x",["bytes","AAE"],1.5e3,true,null]]}]"#;
        for end in 0..text.len() {
            assert_eq!(message(&text[..end]).unwrap_err().name, "SyntaxError", "{end}");
        }
        assert!(message(text).is_ok());
    }
}
