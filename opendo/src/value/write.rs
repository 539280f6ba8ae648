//! Values on their way out. In a text they are special forms of Cap'n Web, lists with a tag; elsewhere plain structs.

use std::collections::HashMap;

use serde::ser::{self, Serialize, SerializeMap, SerializeTuple, Serializer};

use super::read::Plain;
use super::{
    BLOB, BigInt, Blob, Body, ByteContainer, Date, ErrorValue, Headers, Request, Response, Url, Value,
};
use crate::encoding::capnweb::{BARE, VALUE, is_forbidden};
use crate::rpc::cap::{Passed, complain, pass};

/// Written without what marks it as an array, or as bytes.
struct Bare<T>(T);

impl<T: Serialize> Serialize for Bare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(BARE, &self.0)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_newtype_struct(VALUE, &Native(self))
        } else {
            Plain::serialize(self, serializer)
        }
    }
}

struct Native<'a>(&'a Value);

impl Serialize for Native<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Undefined => serializer.serialize_unit(),
            Value::Null => serializer.serialize_none(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(value) => serializer.serialize_f64(*value),
            Value::BigInt(value) => value.serialize(serializer),
            Value::String(value) => serializer.serialize_str(value),
            Value::Date(value) => value.serialize(serializer),
            Value::Bytes(value, ByteContainer::Uint8Array) => value.serialize(serializer),
            Value::Bytes(value, container) => {
                Bare(("bytes", Bare(value), container.name())).serialize(serializer)
            }
            Value::Array(value) => serializer.collect_seq(value),
            Value::Object(value) => members(value, |_| true, serializer),
            Value::Error(value) => value.serialize(serializer),
            Value::Stub(value) => value.serialize(serializer),
            Value::Readable(value) => value.serialize(serializer),
            Value::Writable(value) => value.serialize(serializer),
            Value::Blob(value) => value.serialize(serializer),
            Value::Url(value) => value.serialize(serializer),
            Value::Headers(value) => value.serialize(serializer),
            Value::Request(value) => value.serialize(serializer),
            Value::Response(value) => value.serialize(serializer),
        }
    }
}

/// The members that are wanted, each key once: the last one.
fn members<S: Serializer>(
    members: &[(String, Value)],
    wanted: impl Fn(&str) -> bool,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    /// With more of them, hashing is quicker than looking.
    const FEW: usize = 16;
    let places = members.iter().enumerate().map(|(at, (key, _))| (key, at));
    let last: HashMap<_, _> = if members.len() > FEW { places.collect() } else { HashMap::new() };
    let is_last = |at: usize, key: &String| match last.get(key) {
        Some(last) => *last == at,
        None => members[at + 1..].iter().all(|(other, _)| other != key),
    };
    let mut map = serializer.serialize_map(None)?;
    for (at, (key, value)) in members.iter().enumerate() {
        if is_last(at, key) && wanted(key) {
            map.serialize_entry(key, value)?;
        }
    }
    map.end()
}

impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Bare(("bigint", self.as_str())).serialize(serializer)
        } else {
            serializer.serialize_str(self.as_str())
        }
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let millis = Some(self.millis()).filter(|millis| !millis.is_nan());
            Bare(("date", millis)).serialize(serializer)
        } else {
            serializer.serialize_f64(self.millis())
        }
    }
}

impl Serialize for ErrorValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Bare(NativeError(self)).serialize(serializer)
        } else {
            (&self.name, &self.message, &self.stack, &self.props).serialize(serializer)
        }
    }
}

struct NativeError<'a>(&'a ErrorValue);

impl Serialize for NativeError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let error = self.0;
        let has_props = error.props.iter().any(|(key, _)| is_prop(key));
        let count = 3 + usize::from(has_props || error.stack.is_some()) + usize::from(has_props);
        let mut list = serializer.serialize_tuple(count)?;
        list.serialize_element("error")?;
        list.serialize_element(&error.name)?;
        list.serialize_element(&error.message)?;
        if count > 3 {
            list.serialize_element(&error.stack)?;
        }
        if has_props {
            list.serialize_element(&Props(&error.props))?;
        }
        list.end()
    }
}

/// As JavaScript does it: what cannot be a property is left out.
fn is_prop(key: &str) -> bool {
    !is_forbidden(key) && !matches!(key, "name" | "message" | "stack")
}

struct Props<'a>(&'a [(String, Value)]);

impl Serialize for Props<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        members(self.0, is_prop, serializer)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let place = pass(|| Passed::Blob(self.clone()));
            let place = place.map_err(|why| ser::Error::custom(complain(why)))?;
            serializer.serialize_newtype_struct(BLOB, &place)
        } else {
            (&self.kind, &self.bytes).serialize(serializer)
        }
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Bare(("url", &self.0)).serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Bare(("headers", Bare(BarePairs(self)))).serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

struct BarePairs<'a>(&'a Headers);

impl Serialize for BarePairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.0.iter().map(Bare))
    }
}

/// What is said about a request or response beside its essence, where it differs from what is usual.
#[derive(Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Init<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Bare<BarePairs<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplex: Option<&'static str>,
}

fn headers(headers: &Headers) -> Option<Bare<BarePairs<'_>>> {
    if headers.0.is_empty() { None } else { Some(Bare(BarePairs(headers))) }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (&self.url, &self.method, &self.headers, &self.body).serialize(serializer);
        }
        let has_body = !matches!(self.body, Body::None);
        let init = Init {
            method: Some(self.method.as_str()).filter(|method| *method != "GET"),
            headers: headers(&self.headers),
            body: has_body.then_some(&self.body),
            duplex: has_body.then_some("half"),
            ..Init::default()
        };
        Bare(("request", &self.url, init)).serialize(serializer)
    }
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (self.status, &self.status_text, &self.headers, &self.body).serialize(serializer);
        }
        let init = Init {
            status: Some(self.status).filter(|status| *status != 200),
            status_text: Some(self.status_text.as_str()).filter(|text| !text.is_empty()),
            headers: headers(&self.headers),
            ..Init::default()
        };
        Bare(("response", &self.body, init)).serialize(serializer)
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return super::read::PlainBody::serialize(self, serializer);
        }
        match self {
            Self::None => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => bytes.serialize(serializer),
            Self::Stream(pieces) => pieces.serialize(serializer),
        }
    }
}
