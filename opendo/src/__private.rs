//! What generated code names. Not part of the public API: it may change in any release.
#![allow(missing_docs)]

pub use std::string::String;
pub use std::sync::Arc;

pub use serde;

/// Keeps what it is given if interfaces are to be described in TypeScript.
#[cfg(feature = "typescript")]
#[doc(hidden)]
#[macro_export]
macro_rules! __typescript {
    ($($tokens:tt)*) => { $($tokens)* };
}

/// Keeps nothing: describing interfaces costs those who do not want it the time to skip it.
#[cfg(not(feature = "typescript"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __typescript {
    ($($tokens:tt)*) => {};
}

pub use crate::__typescript as typescript;
#[cfg(feature = "typescript")]
pub use crate::typescript as ts;

pub use crate::encoding::{DecodeError, Decoder, EncodeError, Encoder, append_postcard};
#[cfg(feature = "capnweb")]
pub use crate::encoding::{read_arguments, write_arguments};
pub use crate::object::lifecycle::{DurableObject, Object};

/// Whether a class can have SQL.
pub const HAS_SQL: bool = cfg!(feature = "sqlite");

pub use crate::object::local::Local;
pub use crate::object::pace::Pace;
pub use crate::registry::class::Registration;
pub use crate::rpc::call::Call;
pub use crate::rpc::cap::{Capabilities, deserialize_stub, serialize_stub};
pub use crate::rpc::incoming::Incoming;
pub use crate::rpc::info::CallInfo;
pub use crate::rpc::method::{
    AnyError, ArgType, CallOf, ErrorCodec, ErrorType, Interface, Method, MethodDesc, MethodFlags, Probe,
    ProbeDefault, ReplyType, Returned, Run, assert_send, exclusive, shared,
};
pub use crate::rpc::pipeline::{FieldOf, NoPipeline, PipelineOf, Pipelined};
pub use crate::rpc::remote::Remote;
pub use crate::rpc::stub::{Broken, CallOptions, Calls, ServedBy, Stub, StubCore};
