//! Errors: what a method returned, what the framework says, and what a peer throws.
//!
//! A method's error is thrown as an `Error` of JavaScript, with what typed callers read beside it: `code`, the name of
//! an enum's variant, and `value`, the error itself. A failure of the framework has its kind as `code`, and by its
//! `mayHaveRun` it is told from a method's error.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::Serialize;

use super::json::{Cursor, list, unescaped};
use super::write::{Root, append_root};
use super::{SPECIAL, TextError, append, cut, take};
use crate::rpc::error::{ErrorKind, RpcError};

/// Appends the error of a method as what is thrown. Errors that are values already are thrown as they are. `message`
/// is what it says, if it can say something.
pub(crate) fn append_error<E: Serialize + ?Sized>(
    error: &E,
    message: Option<String>,
    out: &mut Vec<u8>,
) -> Result<(), TextError> {
    let start = out.len();
    let root = append_root(error, 0, out)?;
    if root == Root::Value || out[start..].starts_with(b"[\"error\",") {
        return Ok(());
    }
    let value = out.split_off(start);
    let value = super::text(&value)?;
    let code = if let Root::Variant(name) = root { Some(name) } else { None };
    let message = message.map(Cow::Owned).or_else(|| string(value)).or_else(|| code.map(Cow::Borrowed));
    let message = message.unwrap_or_else(|| cut(value).into());
    let says_all = string(value).is_some_and(|value| value == message);
    throw("Error", &message, out)?;
    if code.is_some() || !says_all {
        out.extend_from_slice(b",null,{");
        if let Some(code) = code {
            out.extend_from_slice(b"\"code\":");
            append(code, out)?;
        }
        if !says_all {
            out.extend_from_slice(if code.is_some() { b",\"value\":" } else { b"\"value\":" });
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }
    out.push(b']');
    Ok(())
}

/// Appends a failure of the framework as what is thrown.
pub(crate) fn append_rpc_error(error: &RpcError, out: &mut Vec<u8>) {
    let name = match error.kind() {
        ErrorKind::Decode | ErrorKind::Encode | ErrorKind::NoSuchMethod | ErrorKind::SignatureMismatch => {
            "TypeError"
        }
        _ => "Error",
    };
    throw(name, error.message(), out).expect("texts have an expression");
    let (kind, may_have_run) = (error.kind(), error.may_have_run());
    let props = format!(",null,{{\"code\":\"{kind:?}\",\"mayHaveRun\":{may_have_run}}}]");
    out.extend_from_slice(props.as_bytes());
}

fn throw(name: &str, message: &str, out: &mut Vec<u8>) -> Result<(), TextError> {
    out.extend_from_slice(b"[\"error\",");
    append(name, out)?;
    out.push(b',');
    append(message, out)
}

/// Reads what a method threw as the error of its signature: its `value`, or its message, or an object of its name,
/// its message and its properties.
pub(crate) fn take_error<E: DeserializeOwned>(text: &str) -> Result<E, TextError> {
    let Some(error) = Thrown::read(text) else { return take(text) };
    if takes_any::<E>() {
        return take(text);
    }
    if let Some(value) = error.prop("value")
        && let Ok(error) = take(value)
    {
        return Ok(error);
    }
    let mut message = Vec::new();
    append(error.message.as_ref(), &mut message)?;
    take(super::text(&message)?).or_else(|_| take(text))
}

/// Reads what was thrown as a failure of the framework; anything else is [`Thrown`](ErrorKind::Thrown).
pub(crate) fn rpc_error(text: &str) -> RpcError {
    let Some(error) = Thrown::read(text) else {
        let text = string(text).unwrap_or_else(|| cut(text).into());
        return RpcError::new(ErrorKind::Thrown, text).may_run(true);
    };
    let may_have_run = error.prop("mayHaveRun").and_then(|text| text.trim().parse().ok());
    let kind = error.prop("code").and_then(string).and_then(|code| kind_named(&code));
    match (kind, may_have_run) {
        (Some(kind), Some(may_have_run)) => RpcError::new(kind, error.message).may_run(may_have_run),
        _ if error.name == "Error" => RpcError::new(ErrorKind::Thrown, error.message).may_run(true),
        _ => RpcError::new(ErrorKind::Thrown, format!("{}: {}", error.name, error.message)).may_run(true),
    }
}

fn kind_named(name: &str) -> Option<ErrorKind> {
    (0..=u8::MAX).map(ErrorKind::from_wire).find(|kind| format!("{kind:?}") == name)
}

/// The string that an expression is.
fn string(text: &str) -> Option<Cow<'_, str>> {
    let raw = text.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some(unescaped(raw))
}

/// An error's expression.
struct Thrown<'a> {
    name: Cow<'a, str>,
    message: Cow<'a, str>,
    props: Option<&'a str>,
}

impl<'a> Thrown<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let parts = list(text.trim()).ok()?;
        let [tag, name, message, ..] = parts[..] else { return None };
        if string(tag)? != "error" {
            return None;
        }
        Some(Self { name: string(name)?, message: string(message)?, props: parts.get(4).copied() })
    }

    fn prop(&self, name: &str) -> Option<&'a str> {
        let mut cursor = Cursor::new(self.props?);
        let mut first = true;
        cursor.expect(b'{').ok()?;
        while cursor.next(&mut first, b'}').ok()? {
            let key = cursor.string().ok()?;
            cursor.expect(b':').ok()?;
            let value = cursor.skip().ok()?;
            if key == name {
                return Some(value);
            }
        }
        None
    }
}

/// Whether that type takes a value as it is.
fn takes_any<E: DeserializeOwned>() -> bool {
    let mut asked = false;
    let _ = E::deserialize(Probe(&mut asked));
    asked
}

/// Finds out what a type asks for first.
struct Probe<'a>(&'a mut bool);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = TextError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TextError> {
        Err(TextError::new("only asked"))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: V,
    ) -> Result<V::Value, TextError> {
        *self.0 = name == SPECIAL;
        Err(TextError::new("only asked"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::value::{ErrorValue, Value};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum CounterError {
        Overflow,
        Storage(String),
        Limit { at: u64 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain {
        message: String,
        code: u16,
    }

    fn thrown<E: Serialize>(error: &E, message: Option<&str>) -> String {
        let mut out = Vec::new();
        append_error(error, message.map(str::to_owned), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn typed_errors_are_errors_of_javascript_and_come_back_as_they_were() {
        for (error, message, expected) in [
            (
                CounterError::Overflow,
                Some("the counter is full"),
                r#"["error","Error","the counter is full",null,{"code":"Overflow","value":"Overflow"}]"#,
            ),
            (CounterError::Overflow, None, r#"["error","Error","Overflow",null,{"code":"Overflow"}]"#),
            (
                CounterError::Storage("disk".into()),
                Some("disk"),
                r#"["error","Error","disk",null,{"code":"Storage","value":{"Storage":"disk"}}]"#,
            ),
            (
                CounterError::Limit { at: 1 << 60 },
                None,
                r#"["error","Error","Limit",null,{"code":"Limit","value":{"Limit":{"at":["bigint","1152921504606846976"]}}}]"#,
            ),
        ] {
            let text = thrown(&error, message);
            assert_eq!(text, expected);
            assert_eq!(take_error::<CounterError>(&text).unwrap(), error);
            assert_eq!(rpc_error(&text).kind(), ErrorKind::Thrown);
        }
        assert_eq!(thrown(&"wrong password", None), r#"["error","Error","wrong password"]"#);
        assert_eq!(take_error::<String>(r#"["error","Error","wrong password"]"#).unwrap(), "wrong password");
        let plain = Plain { message: "m".into(), code: 3 };
        let text = thrown(&plain, Some("m"));
        assert_eq!(text, r#"["error","Error","m",null,{"value":{"message":"m","code":3}}]"#);
        assert_eq!(take_error::<Plain>(&text).unwrap(), plain);
    }

    #[test]
    fn what_javascript_throws_is_read_as_what_it_can_be() {
        let text = r#"["error","RangeError","m","at x",{"code":3}]"#;
        assert_eq!(take_error::<Plain>(text).unwrap(), Plain { message: "m".into(), code: 3 });
        assert_eq!(take_error::<String>(text).unwrap(), "m");
        assert_eq!(take_error::<u8>("5").unwrap(), 5);
        assert!(take_error::<u8>(text).is_err());
        assert_eq!(rpc_error(text), RpcError::new(ErrorKind::Thrown, "RangeError: m"));
        assert_eq!(rpc_error("\"no\""), RpcError::new(ErrorKind::Thrown, "no"));
        assert_eq!(rpc_error("{\"a\":1}"), RpcError::new(ErrorKind::Thrown, "{\"a\":1}"));
        assert!(rpc_error(text).may_have_run());
    }

    #[test]
    fn values_are_thrown_as_they_are() {
        let error = ErrorValue::new("RangeError", "m").with("code", 3).with("value", "v");
        let text = thrown(&error, Some("ignored"));
        assert_eq!(text, r#"["error","RangeError","m",null,{"code":3,"value":"v"}]"#);
        assert_eq!(take_error::<ErrorValue>(&text).unwrap(), error);
        assert_eq!(take_error::<Value>(&text).unwrap(), error.into());
        assert_eq!(thrown(&Value::from("just this"), Some("ignored")), "\"just this\"");
        assert_eq!(take_error::<Value>("\"just this\"").unwrap(), "just this".into());
    }

    #[test]
    fn failures_of_the_framework_keep_their_kind_and_whether_the_method_may_have_run() {
        for kind in (0..=255).map(ErrorKind::from_wire) {
            for may_have_run in [false, true] {
                let error = RpcError::new(kind, "a \"text\"").may_run(may_have_run);
                let mut out = Vec::new();
                append_rpc_error(&error, &mut out);
                let read = rpc_error(super::super::text(&out).unwrap());
                assert_eq!((read.kind(), read.may_have_run()), (kind, may_have_run));
                assert_eq!(read.message(), "a \"text\"");
            }
        }
    }
}
