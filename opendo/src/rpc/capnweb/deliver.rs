//! From what a peer names to what is called or read.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::capnweb::{ALONE, Step, marker, step, sub_body};
use crate::encoding::{Encoded, Form};
use crate::node::WeakNode;
use crate::rpc::arg::Value;
use crate::rpc::cap::{AllPassed, Cap, Capabilities, Capability, Known, Passed, Reference};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, IncomingCall, RemoteReply};
use crate::rpc::limits::Limits;
use crate::rpc::member::{Member, Part};
use crate::rpc::method::{Interface, MethodDesc};
use crate::rpc::promise::Promise;
use crate::rpc::remote::Remote;
use crate::rpc::stub::{Broken, Calls, Stub};

/// The call of a method, if that is what a stub is to deliver. `None` when it was answered, or went on, otherwise.
pub(crate) fn call_of<S: Stub>(stub: &S, call: Incoming) -> Option<Incoming> {
    // Elsewhere they know what is meant; or it is not known yet what it leads to.
    let goes_on = stub
        .core()
        .calls()
        .remote()
        .is_some_and(|remote| remote.form().is_text() || remote.object().number.is_none());
    if call.member.is_none() || goes_on {
        return Some(call);
    }
    method_of(call, S::INTERFACE, || Arc::new(stub.clone()))
}

fn method_of(
    mut call: Incoming,
    interface: &'static Interface,
    target: impl FnOnce() -> Cap,
) -> Option<Incoming> {
    let member = call.member.take()?;
    let (name, rest) = match member.rest() {
        [] if member.is_call => ("", &[][..]),
        [] => {
            call.reply.fail(type_error("Can't dup an RpcTarget stub as a promise."));
            return None;
        }
        [Part::Name(name), rest @ ..] => (name.as_str(), rest),
        [Part::Index(_), ..] => {
            read_undefined(call, &member);
            return None;
        }
    };
    let Some(method) = interface.named(name) else {
        read_undefined(call, &member);
        return None;
    };
    let is_property = method.flags.property;
    match (rest, member.is_call) {
        ([], true) if !is_property => call.method = method.id,
        ([], false) if is_property => {
            call.method = method.id;
            call.args.bytes = Bytes::from_static(b"[]");
        }
        ([], false) => {
            reply_with(call.reply, Arc::new(Bound { target: target(), method: *method }));
            return None;
        }
        (_, _) if is_property => {
            // What is within it shows when it has been read.
            let value = Promise::new(Form::CapnWeb, Limits::default().max_pipelined);
            let read = Member::new(vec![Part::Name(name.to_owned())], false);
            let nothing =
                Encoded { form: Form::CapnWeb, bytes: Bytes::from_static(b"[]"), passed: AllPassed::NOTHING };
            let reply = RemoteReply::new(IncomingCall::of_promise(value.clone()));
            target().deliver(call.made_for(reply, nothing, Some(Arc::new(read))));
            call.member = Some(Arc::new(member.after(1)));
            value.deliver_member(call);
            return None;
        }
        // A method has no members.
        (_, _) => {
            read_undefined(call, &member);
            return None;
        }
    }
    Some(call)
}

/// The method of a sink that is named.
pub(crate) fn method_of_sink(member: &Member, interface: &Interface) -> Result<u32, RpcError> {
    let text = match member.rest() {
        _ if !member.is_call => "Cannot access properties on a WritableStream stub".to_owned(),
        [Part::Name(name)] => match interface.named(name) {
            Some(method) => return Ok(method.id),
            None => format!("Unknown WritableStream method: {name}"),
        },
        _ => "WritableStream stub only supports direct method calls".to_owned(),
    };
    Err(type_error(text))
}

/// Answers a call of a target without members.
pub(super) fn nothing_there(mut call: Incoming) {
    match call.member.take() {
        Some(member) => read_undefined(call, &member),
        None => call.no_such_method(),
    }
}

/// What comes of a member that is not there: it is no function, and has no members; alone, it is undefined.
fn read_undefined(call: Incoming, member: &Member) {
    match member.rest() {
        _ if member.is_call => call.reply.fail(no_function(member)),
        [_] | [] => call.reply.done("read"),
        [_, second, ..] => call.reply.fail(type_error(format!(
            "Cannot read properties of undefined (reading '{}')",
            Member::new(vec![second.clone()], false)
        ))),
    }
}

fn no_function(member: &Member) -> RpcError {
    RpcError::new(ErrorKind::NoSuchMethod, format!("'{member}' is not a function."))
}

fn type_error(text: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::NoSuchMethod, text)
}

fn reply_with(reply: RemoteReply, cap: Cap) {
    reply.answer("read", true, ALONE, Passed::Cap(cap).into(), || Capabilities::None);
}

/// A method that was read instead of called.
struct Bound {
    target: Cap,
    method: MethodDesc,
}

impl Capability for Bound {
    fn deliver(&self, mut call: Incoming) {
        match call.member.take() {
            Some(member) if member.is_call && member.rest().is_empty() => {
                call.member = Some(Arc::new(Member::of_method(&self.method)));
                self.target.deliver(call);
            }
            Some(member) if member.rest().is_empty() => {
                call.reply.fail(type_error("Can't dup an RpcTarget stub as a promise."));
            }
            Some(member) => read_undefined(call, &member),
            // A typed caller of this process: it is called as what it is.
            None => {
                call.method = self.method.id;
                self.target.deliver(call);
            }
        }
    }

    fn remote(&self) -> Option<&Remote> {
        None
    }

    fn interface(&self) -> Known {
        Known::Here(&FUNCTION)
    }

    fn hosted(&self, _: &WeakNode) -> Option<Reference<'_>> {
        None
    }

    fn broken(&self) -> Broken {
        self.target.broken()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

static FUNCTION: Interface = Interface::untyped("function");

/// Calls or reads what is at a place in a result.
pub(crate) fn member_of_result(value: &Encoded, mut call: Incoming) {
    let Some(member) = call.member.take() else {
        return call.reply.fail(RpcError::new(ErrorKind::Broken, "the result holds no stub here"));
    };
    let text = std::str::from_utf8(&value.bytes).unwrap_or("null");
    let mut at = text;
    for (steps, part) in member.rest().iter().enumerate() {
        match step(at, part) {
            Step::Value(found) => at = found,
            Step::Undefined => at = r#"["undefined"]"#,
            Step::Fails(_) if member.is_call => return call.reply.fail(no_function(&member)),
            Step::Fails(text) => return call.reply.fail(type_error(text)),
            Step::Passed(place) => return member_of_passed(value, place, member.after(steps), call),
        }
    }
    if let Some(place) = marker(at)
        && member.is_call
    {
        let here = member.rest().len();
        return member_of_passed(value, place, member.after(here), call);
    }
    if member.is_call {
        return call.reply.fail(no_function(&member));
    }
    if at.as_ptr().addr() < text.as_ptr().addr() || at.as_ptr().addr() > text.as_ptr().addr() + text.len() {
        return call.reply.done("read");
    }
    let (bytes, passed) = sub_body(&value.bytes, at, &value.passed);
    call.reply.answer("read", true, &bytes, passed, || Capabilities::None);
}

fn member_of_passed(value: &Encoded, place: u32, member: Member, mut call: Incoming) {
    match value.passed.get(place as usize) {
        Some(Passed::Cap(cap)) => {
            call.member = Some(Arc::new(member));
            cap.deliver(call);
        }
        Some(Passed::Value(Value::There(inner))) => {
            call.member = Some(Arc::new(member));
            member_of_result(inner, call);
        }
        Some(Passed::Chunks(_)) if member.is_call => {
            call.reply.fail(type_error("Cannot call methods on a ReadableStream stub"));
        }
        Some(Passed::Value(_) | Passed::Chunks(_) | Passed::Blob(_)) | None => read_undefined(call, &member),
    }
}

/// The stub at a place in a result.
pub(crate) fn at_path(value: &Encoded, path: &[Box<str>]) -> Option<Cap> {
    let mut at = std::str::from_utf8(&value.bytes).ok()?;
    for (steps, name) in path.iter().enumerate() {
        match step(at, &Part::Name(name.to_string())) {
            Step::Value(found) => at = found,
            Step::Passed(place) => {
                return match value.passed.get(place as usize)? {
                    Passed::Value(Value::There(inner)) => at_path(inner, &path[steps..]),
                    _ => None,
                };
            }
            Step::Undefined | Step::Fails(_) => return None,
        }
    }
    match value.passed.get(marker(at)? as usize)? {
        Passed::Cap(cap) => Some(cap.clone()),
        Passed::Value(Value::There(inner)) => at_path(inner, &[]),
        _ => None,
    }
}
