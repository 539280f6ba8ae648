//! Messages as values: for transports that bring an encoding of their own.
//!
//! In the tree bytes are bytes, where text has them in base64; everything else is the same.

use opendo_transport::Tree;

use super::json::Cursor;
use super::{Malformed, TOO_DEEP, TextError, append, bytes};

/// As deep as brackets may be: a value 256 deep, whose arrays take two levels each, with its message around it.
const DEEPEST: usize = 576;

/// A message, as a value.
pub(crate) fn to_tree(text: &str) -> Result<Tree, TextError> {
    let mut cursor = Cursor::new(text);
    let tree = read(&mut cursor, 0, Place::Expression)?;
    cursor.end()?;
    Ok(tree)
}

/// What stands at a place of a message.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Expression,
    /// A list of expressions, such as arguments: what comes first in it is no tag.
    List,
    /// Names and ids, where nothing is marked.
    Plain,
}

fn read(cursor: &mut Cursor<'_>, depth: usize, place: Place) -> Result<Tree, Malformed> {
    if depth > DEEPEST {
        return Err(Malformed::of_type(TOO_DEEP));
    }
    Ok(match cursor.peek() {
        Some(b'"') => Tree::String(cursor.string()?.into_owned()),
        Some(b'[') => Tree::Array(read_list(cursor, depth + 1, place)?),
        Some(b'{') => {
            cursor.expect(b'{')?;
            let (mut members, mut first) = (Vec::new(), true);
            while cursor.next(&mut first, b'}')? {
                let name = cursor.string()?.into_owned();
                cursor.expect(b':')?;
                members.push((name, read(cursor, depth + 1, place)?));
            }
            Tree::Object(members)
        }
        Some(b't' | b'f' | b'n') => match cursor.skip()? {
            "true" => Tree::Bool(true),
            "false" => Tree::Bool(false),
            _ => Tree::Null,
        },
        _ => Tree::Number(cursor.number()?.parse().unwrap_or(f64::NAN)),
    })
}

fn read_list(cursor: &mut Cursor<'_>, depth: usize, place: Place) -> Result<Vec<Tree>, Malformed> {
    cursor.expect(b'[')?;
    let (mut elements, mut first) = (Vec::new(), true);
    while cursor.next(&mut first, b']')? {
        let inner = match place {
            Place::Expression => of_element(&elements),
            Place::List => Place::Expression,
            Place::Plain => Place::Plain,
        };
        elements.push(read(cursor, depth, inner)?);
    }
    if place == Place::Expression
        && let [Tree::String(tag), Tree::String(text), ..] = &elements[..]
        && tag == "bytes"
    {
        let raw = bytes::decode(text).ok_or_else(|| Malformed::of_type("bytes that are not base64"))?;
        elements[1] = Tree::Bytes(raw.into());
    }
    Ok(elements)
}

/// What comes after these elements of an expression in brackets.
fn of_element(before: &[Tree]) -> Place {
    let Some(first) = before.first() else { return Place::List };
    let Tree::String(tag) = first else { return Place::Expression };
    match (tag.as_str(), before.len()) {
        ("pipeline" | "import", 3) | ("remap", 4) => Place::List,
        ("pipeline" | "import" | "remap", _) | ("headers" | "request" | "response", 2..) | ("headers", _) => {
            Place::Plain
        }
        _ => Place::Expression,
    }
}

/// A value, as the text of a message.
pub(crate) fn from_tree(tree: &Tree) -> Result<String, TextError> {
    let mut out = Vec::new();
    write(tree, 0, &mut out)?;
    String::from_utf8(out).map_err(|_| TextError::new("text that is not UTF-8"))
}

fn write(tree: &Tree, depth: usize, out: &mut Vec<u8>) -> Result<(), TextError> {
    if depth > DEEPEST {
        return Err(TextError::new(TOO_DEEP));
    }
    match tree {
        Tree::Null => out.extend_from_slice(b"null"),
        Tree::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Tree::Number(value) if value.is_finite() => append(value, out)?,
        Tree::Number(_) => return Err(TextError::new("a number that JSON has no form for")),
        Tree::String(text) => append(text.as_str(), out)?,
        Tree::Bytes(raw) => {
            out.push(b'"');
            bytes::encode(raw, out);
            out.push(b'"');
        }
        Tree::Array(elements) => {
            out.push(b'[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(element, depth + 1, out)?;
            }
            out.push(b']');
        }
        Tree::Object(members) => {
            out.push(b'{');
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                append(name.as_str(), out)?;
                out.push(b':');
                write(value, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_in_both_forms_and_bytes_are_bytes() {
        let text = r#"["push",["pipeline",0,["a"],[1.5,null,true,{"é\"":[["x"]]},["bytes","AAEC"],["bytes","AQ","DataView"]]]]"#;
        let tree = to_tree(text).unwrap();
        assert_eq!(from_tree(&tree).unwrap(), text);
        let shown = format!("{tree:?}");
        assert!(shown.contains(r#"Bytes(b"\0\x01\x02")"#), "{shown}");
    }

    #[test]
    fn only_what_is_marked_as_bytes_becomes_bytes() {
        for text in [
            r#"["push",["pipeline",0,["bytes","AAAA"],["bytes","AAAA"]]]"#,
            r#"["resolve",1,[["bytes","AAAA"]]]"#,
            r#"["resolve",1,["headers",[["bytes","AAAA"]]]]"#,
            r#"["push",["remap",1,["bytes","AAAA"],[["import",0]],["bytes","AAAA"]]]"#,
        ] {
            let tree = to_tree(text).unwrap();
            assert!(!format!("{tree:?}").contains("Bytes"), "{text}");
            assert_eq!(from_tree(&tree).unwrap(), text);
        }
        let tree = to_tree(r#"["resolve",1,[[["bytes","AAAA"]]]]"#).unwrap();
        assert!(format!("{tree:?}").contains("Bytes"));
    }

    #[test]
    fn what_is_no_message_is_refused_in_either_form() {
        for text in ["", "[", "[1", "nul", r#"["bytes","*"]"#, "[1] 2"] {
            assert!(to_tree(text).is_err(), "{text}");
        }
        assert!(to_tree(&"[".repeat(1_000_000)).is_err());
        assert!(from_tree(&Tree::Number(f64::NAN)).is_err());
        let deep = (0..1_000).fold(Tree::Null, |tree, _| Tree::Array(vec![tree]));
        assert!(from_tree(&deep).is_err());
    }
}
