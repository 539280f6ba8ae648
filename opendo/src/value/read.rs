//! Values on their way in.

use std::fmt;

use bytes::Bytes;
use serde::de::value::U32Deserializer;
use serde::de::{
    self, Deserialize, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::convert::integer;
use super::{BigInt, Blob, Body, ByteContainer, Date, ErrorValue, Headers, Request, Response, Url, Value};
use crate::encoding::capnweb::{BARE, SPECIAL};
use crate::rpc::cap::{self, Passed, complain};
use crate::rpc::dynamic::DynStub;
use crate::stream::{RpcSink, RpcStream, is_sink};

/// The form of a value where nothing tells one type from another.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "Value")]
pub(super) enum Plain {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    BigInt(BigInt),
    String(String),
    Date(Date),
    Bytes(Bytes, ByteContainer),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
    Error(Box<ErrorValue>),
    Stub(DynStub),
    Readable(RpcStream<Value>),
    Writable(RpcSink<Value>),
    Blob(Blob),
    Url(Url),
    Headers(Headers),
    Request(Box<Request>),
    Response(Box<Response>),
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "Body")]
pub(super) enum PlainBody {
    None,
    Text(String),
    Bytes(Bytes),
    Stream(RpcStream<Value>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_newtype_struct(SPECIAL, ValueVisitor)
        } else {
            Plain::deserialize(deserializer)
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Undefined)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Bytes::copy_from_slice(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Value::Object(members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, special: A) -> Result<Value, A::Error> {
        let (tag, content) = special.variant::<String>()?;
        content.tuple_variant(4, SpecialVisitor(&tag))
    }
}

/// What follows that tag.
struct SpecialVisitor<'a>(&'a str);

impl<'de> Visitor<'de> for SpecialVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rest of a {:?}", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
            seq.next_element()?.ok_or_else(|| de::Error::custom("expected more"))
        }
        Ok(match self.0 {
            "undefined" => Value::Undefined,
            "inf" => Value::Number(f64::INFINITY),
            "-inf" => Value::Number(f64::NEG_INFINITY),
            "nan" => Value::Number(f64::NAN),
            "bigint" => Value::BigInt(next::<String, _>(&mut seq)?.parse().map_err(de::Error::custom)?),
            "date" => {
                let millis: Option<f64> = next(&mut seq)?;
                Value::Date(millis.map_or(Date::INVALID, Date::from_millis))
            }
            "bytes" => {
                let BareBytes(bytes) = next(&mut seq)?;
                let container: Option<String> = seq.next_element()?;
                let container = container.and_then(|name| ByteContainer::named(&name));
                Value::Bytes(bytes.into(), container.unwrap_or_default())
            }
            "error" => {
                let (name, message) = (next(&mut seq)?, next(&mut seq)?);
                let stack: Option<Value> = seq.next_element()?;
                let stack = stack.and_then(|stack| String::try_from(stack).ok());
                let props = match seq.next_element()? {
                    Some(Value::Object(props)) => props,
                    _ => Vec::new(),
                };
                ErrorValue { name, message, stack, props }.into()
            }
            "url" => Url(next(&mut seq)?).into(),
            "headers" => next::<BarePairs, _>(&mut seq)?.0.into(),
            "request" => {
                let url = next(&mut seq)?;
                let init: Init = next(&mut seq)?;
                let method = init.method.unwrap_or_else(|| "GET".to_owned());
                let body = body(init.body.unwrap_or_default());
                let headers = init.headers.unwrap_or_default().0;
                Request { url, method, headers, body: body.map_err(de::Error::custom)? }.into()
            }
            "response" => {
                let body = body(next(&mut seq)?).map_err(de::Error::custom)?;
                let init: Init = next(&mut seq)?;
                let (status, status_text) =
                    (init.status.unwrap_or(200), init.status_text.unwrap_or_default());
                Response { status, status_text, headers: init.headers.unwrap_or_default().0, body }.into()
            }
            "#" => return passed(next(&mut seq)?).map_err(|why| de::Error::custom(complain(why))),
            tag => return Err(de::Error::custom(format!("unknown special value: {tag}"))),
        })
    }
}

/// What is in the table.
fn passed(place: u32) -> Result<Value, String> {
    let at = PlaceOf(place);
    match cap::passed(place)? {
        Passed::Cap(cap) if is_sink(cap.interface().name()) => {
            RpcSink::deserialize(at).map(Value::Writable).map_err(|error| error.to_string())
        }
        Passed::Cap(cap) => Ok(DynStub(cap).into()),
        Passed::Chunks(_) => {
            RpcStream::deserialize(at).map(Value::Readable).map_err(|error| error.to_string())
        }
        Passed::Blob(blob) => Ok(blob.into()),
        Passed::Value(_) => Err("the result of a call is not there in time".to_owned()),
    }
}

/// A place in the table as the encodings hand it to stubs and streams.
struct PlaceOf(u32);

impl<'de> Deserializer<'de> for PlaceOf {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let place: U32Deserializer<Self::Error> = self.0.into_deserializer();
        visitor.visit_newtype_struct(place)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn body(value: Value) -> Result<Body, String> {
    match value {
        Value::Null | Value::Undefined => Ok(Body::None),
        Value::String(text) => Ok(Body::Text(text)),
        Value::Bytes(bytes, _) => Ok(Body::Bytes(bytes)),
        Value::Readable(pieces) => Ok(Body::Stream(pieces)),
        other => Err(format!("expected the body of a request or response, got {}", other.kind())),
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Init {
    method: Option<String>,
    status: Option<u16>,
    status_text: Option<String>,
    headers: Option<BarePairs>,
    body: Option<Value>,
}

/// What the writer writes bare.
struct BareBytes(Vec<u8>);

impl<'de> Deserialize<'de> for BareBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bare;

        impl<'de> Visitor<'de> for Bare {
            type Value = BareBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<BareBytes, D::Error> {
                deserializer.deserialize_byte_buf(self)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<BareBytes, E> {
                Ok(BareBytes(bytes.to_owned()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<BareBytes, E> {
                Ok(BareBytes(bytes))
            }
        }

        deserializer.deserialize_newtype_struct(BARE, Bare)
    }
}

#[derive(Default)]
struct BarePairs(Headers);

impl<'de> Deserialize<'de> for BarePairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let BareList(pairs) = BareList::<BareList<String>>::deserialize(deserializer)?;
        let pairs = pairs.into_iter().map(|BareList(pair)| <[String; 2]>::try_from(pair).map(Into::into));
        let pairs: Result<_, _> = pairs.collect();
        pairs
            .map(|pairs| Self(Headers(pairs)))
            .map_err(|_| de::Error::custom("expected the name and value of a header"))
    }
}

struct BareList<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for BareList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bare<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bare<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
                Vec::deserialize(deserializer)
            }
        }

        deserializer.deserialize_newtype_struct(BARE, Bare(std::marker::PhantomData)).map(Self)
    }
}

/// In a text they are what a value says, elsewhere what `plain` reads.
macro_rules! read {
    ($($type:ty: $plain:ty, $it:pat => $value:expr;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    Value::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
                } else {
                    let $it = <$plain>::deserialize(deserializer)?;
                    Ok($value)
                }
            }
        }
    )*};
}

read! {
    BigInt: String, it => it.parse().map_err(de::Error::custom)?;
    Date: f64, it => Date::from_millis(it);
    ErrorValue: (String, String, Option<String>, Vec<(String, Value)>), (name, message, stack, props) =>
        ErrorValue { name, message, stack, props };
    Blob: (String, Bytes), (kind, bytes) => Blob { kind, bytes };
    Url: String, it => Url(it);
    Headers: Vec<(String, String)>, it => Headers(it);
    Request: (String, String, Headers, Body), (url, method, headers, body) => Request { url, method, headers, body };
    Response: (u16, String, Headers, Body), (status, status_text, headers, body) =>
        Response { status, status_text, headers, body };
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            body(Value::deserialize(deserializer)?).map_err(de::Error::custom)
        } else {
            PlainBody::deserialize(deserializer)
        }
    }
}
