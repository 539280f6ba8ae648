//! Sessions that speak Cap'n Web: the peer may be a browser.
//!
//! [`TextCore`] is the state that callers, running methods and the session's [driver] share, under one short lock.
//! What a peer expresses is [evaluated](evaluate) as it is read, so that calls start in its order; a result stays,
//! as the text it is, until the peer releases it.

mod deliver;
mod driver;
mod evaluate;
mod exports;
mod map;
mod outgoing;
mod reader;
mod record;
mod root;
mod text_core;
mod values;
mod whole;
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

use crate::encoding::capnweb::{self, ArgsReader, Malformed};
use crate::encoding::{Encoded, Form};
use crate::rpc::cap::AllPassed;
use crate::rpc::error::{ErrorKind, RpcError};

/// Why the writer of a stream aborts it: its first argument.
pub(crate) fn reason_of(args: &Encoded) -> RpcError {
    let text = std::str::from_utf8(&args.bytes).unwrap_or_default();
    let reason = ArgsReader::new(text).and_then(ArgsReader::rest).ok().and_then(|args| args.first().copied());
    let Some(reason) = reason else { return RpcError::new(ErrorKind::Aborted, "") };
    let (bytes, passed) = capnweb::sub_body(&args.bytes, reason, &args.passed);
    let thrown = Encoded { form: Form::CapnWeb, bytes, passed };
    RpcError::new(ErrorKind::Aborted, capnweb::rpc_error(reason).message()).with_thrown(thrown)
}

/// The arguments that say so.
pub(crate) fn with_reason(reason: &RpcError) -> (Vec<u8>, AllPassed) {
    let mut args = vec![b'['];
    let passed = match reason.thrown() {
        Some(thrown) => {
            args.extend_from_slice(&thrown.bytes);
            thrown.passed.clone()
        }
        None => {
            capnweb::append_error_named("Error", reason.message(), &mut args);
            AllPassed::NOTHING
        }
    };
    args.push(b']');
    (args, passed)
}

/// What a peer did that ends its session, in the words of the specification.
fn protocol(what: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Protocol, what)
}

/// The same of one call, as which it is thrown.
fn refused_call(error: &Malformed) -> RpcError {
    let mut bytes = Vec::new();
    capnweb::append_error_named(error.name, &error.message, &mut bytes);
    let thrown = Encoded { form: Form::CapnWeb, bytes: bytes.into(), passed: AllPassed::NOTHING };
    RpcError::new(ErrorKind::Decode, error.message.clone()).with_thrown(thrown)
}
