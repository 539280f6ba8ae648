//! Sessions that speak Cap'n Web: the peer may be a browser.
//!
//! [`TextCore`] is the state that callers, running methods and the session's [driver] share, under one short lock.
//! What a peer expresses is [evaluated](evaluate) as it is read, so that calls start in its order; a result stays,
//! as the text it is, until the peer releases it.

mod deliver;
mod driver;
mod evaluate;
mod map;
mod outgoing;
mod reader;
mod record;
mod root;
mod text_core;
mod values;
mod write;

pub(crate) use deliver::{at_path, call_of, member_of_result, method_of_sink};
pub(crate) use driver::run;
#[cfg(feature = "http")]
pub(crate) use evaluate::decode;
pub use record::Mapped;
pub(crate) use record::{Recorded, RecordedValue, Recording, records};
pub(crate) use root::Root;
pub(crate) use text_core::{Sort, TextCore};
pub(crate) use values::as_text;

use crate::encoding::Encoded;
use crate::encoding::capnweb::{self, ArgsReader};
use crate::rpc::error::{ErrorKind, RpcError};

/// The message of the error that is the first argument.
pub(crate) fn first_message(args: &Encoded) -> String {
    let text = std::str::from_utf8(&args.bytes).unwrap_or_default();
    let reason = ArgsReader::new(text).and_then(ArgsReader::rest).ok().and_then(|args| args.first().copied());
    capnweb::rpc_error(reason.unwrap_or("null")).message().to_owned()
}

/// A list of arguments, the only one an error with that message.
pub(crate) fn write_reason(reason: &str, out: &mut Vec<u8>) {
    out.push(b'[');
    capnweb::append_error_named("Error", reason, out);
    out.push(b']');
}

/// What a peer did that ends its session, in the words of the specification.
fn protocol(what: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Protocol, what)
}
