//! Values from Rust's, and back.

use std::convert::Infallible;
use std::time::SystemTime;

use bytes::Bytes;

use super::{BigInt, Blob, Body, ByteContainer, Date, ErrorValue, Headers, Request, Response, Url, Value};
use crate::encoding::capnweb;
use crate::rpc::dynamic::DynStub;
use crate::rpc::error::{CallError, RpcError};
use crate::stream::{RpcSink, RpcStream};

/// A value is of another type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {found}")]
pub struct Unexpected {
    expected: &'static str,
    found: &'static str,
}

/// What a value is in Rust, if it is that.
macro_rules! held {
    ($($type:ty, $what:literal: $pattern:pat => $held:expr;)*) => {$(
        impl TryFrom<Value> for $type {
            type Error = Unexpected;

            fn try_from(value: Value) -> Result<Self, Unexpected> {
                match value {
                    $pattern => Ok($held),
                    other => Err(Unexpected { expected: $what, found: other.kind() }),
                }
            }
        }
    )*};
}

held! {
    bool, "a boolean": Value::Bool(it) => it;
    f64, "a number": Value::Number(it) => it;
    String, "a string": Value::String(it) => it;
    Date, "a date": Value::Date(it) => it;
    Bytes, "bytes": Value::Bytes(it, _) => it;
    Vec<Value>, "an array": Value::Array(it) => it;
    ErrorValue, "an error": Value::Error(it) => *it;
    DynStub, "a stub": Value::Stub(it) => it;
    RpcStream<Value>, "a stream to read": Value::Readable(it) => it;
    RpcSink<Value>, "a stream to write": Value::Writable(it) => it;
    Blob, "a blob": Value::Blob(it) => it;
    Url, "a URL": Value::Url(it) => it;
    Headers, "headers": Value::Headers(it) => it;
    Request, "a request": Value::Request(it) => *it;
    Response, "a response": Value::Response(it) => *it;
}

/// Also of a number without a fraction.
impl TryFrom<Value> for BigInt {
    type Error = Unexpected;

    fn try_from(value: Value) -> Result<Self, Unexpected> {
        match value {
            Value::BigInt(it) => Ok(it),
            Value::Number(it) if it.fract() == 0.0 && it.abs() < 2_f64.powi(127) => Ok((it as i128).into()),
            other => Err(Unexpected { expected: "a bigint", found: other.kind() }),
        }
    }
}

macro_rules! from {
    ($($type:ty: $it:ident => $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($it: $type) -> Self {
                $value
            }
        }
    )*};
}

from! {
    (): _it => Self::Undefined;
    bool: it => Self::Bool(it);
    f64: it => Self::Number(it);
    f32: it => Self::Number(it.into());
    i32: it => Self::Number(it.into());
    u32: it => Self::Number(it.into());
    i64: it => integer(it.into());
    u64: it => integer(it.into());
    &str: it => Self::String(it.to_owned());
    String: it => Self::String(it);
    BigInt: it => Self::BigInt(it);
    Date: it => Self::Date(it);
    SystemTime: it => Self::Date(it.into());
    Bytes: it => Self::Bytes(it, ByteContainer::Uint8Array);
    ErrorValue: it => Self::Error(Box::new(it));
    DynStub: it => Self::Stub(it);
    RpcStream<Value>: it => Self::Readable(it);
    RpcSink<Value>: it => Self::Writable(it);
    Blob: it => Self::Blob(it);
    Url: it => Self::Url(it);
    Headers: it => Self::Headers(it);
    Request: it => Self::Request(Box::new(it));
    Response: it => Self::Response(Box::new(it));
    Body: it => match it {
        Body::None => Self::Null,
        Body::Text(text) => Self::String(text),
        Body::Bytes(bytes) => bytes.into(),
        Body::Stream(pieces) => Self::Readable(pieces),
    };
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(elements: Vec<T>) -> Self {
        Self::Array(elements.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// What its caller would be thrown: what was thrown elsewhere, as it was; otherwise an [`ErrorValue`] with the kind of
/// the failure as its `code`.
///
/// So a method that returns `Result<T, Value>` passes on with `?` what the methods it calls throw.
///
/// ```
/// use opendo::prelude::*;
/// use opendo::{DynStub, Value};
///
/// pub struct Guard;
///
/// #[rpc_target]
/// impl Guard {
///     pub async fn call(&self, function: DynStub) -> Result<Value, Value> { Ok(function.invoke(["hi"]).await?) }
/// }
/// ```
impl From<RpcError> for Value {
    fn from(error: RpcError) -> Self {
        error.thrown_value().unwrap_or_else(|| {
            let mut thrown = Vec::new();
            capnweb::append_rpc_error(&error, &mut thrown);
            let text = std::str::from_utf8(&thrown).expect("JSON is text");
            capnweb::take(text).expect("what is written can be read")
        })
    }
}

impl From<CallError<Value>> for Value {
    fn from(error: CallError<Value>) -> Self {
        match error {
            CallError::App(thrown) => thrown,
            CallError::Rpc(error) => error.into(),
        }
    }
}

impl From<CallError<Infallible>> for Value {
    fn from(error: CallError<Infallible>) -> Self {
        RpcError::from(error).into()
    }
}

/// A number if doubles tell it from its neighbours.
pub(super) fn integer(value: i128) -> Value {
    const SAFE: i128 = 1 << 53;
    if (-SAFE..=SAFE).contains(&value) { Value::Number(value as f64) } else { Value::BigInt(value.into()) }
}
