//! Own calls.

use std::fmt::Write;
use std::sync::Arc;

use tokio::time::Instant;

use super::text_core::{Hold, Own, Sort, TextCore, wake};
use super::write::Out;
use crate::rpc::any_core::Unsent;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::member::{Member, Part};
use crate::rpc::outgoing::OutgoingCall;

/// Pushes a call, and pulls its result if somebody is to wait for it.
pub(super) fn send(core: &Arc<TextCore>, outgoing: &OutgoingCall<'_>) -> Result<(), Unsent> {
    let OutgoingCall { call, parts, body, passed } = *outgoing;
    let mut guard = core.state.lock();
    let state = &mut *guard;
    let broken = call.object.binding.lock().broken.clone();
    if let Some(error) = &state.ended {
        return Err(Unsent::Over(error.clone()));
    }
    if state.draining || (core.sort == Sort::Batch && state.complete) {
        let text = format!("{} takes no new calls", core.life.peer);
        return Err(Unsent::Over(RpcError::new(ErrorKind::Closed, text)));
    }
    if let Some(error) = broken {
        return Err(Unsent::Refused(error));
    }
    // The peer is not told how much time a call has.
    if parts.deadline.is_some_and(|at| at <= Instant::now()) {
        let text = "its time was over before it left";
        return Err(Unsent::Refused(RpcError::new(ErrorKind::Deadline, text)));
    }
    if core.sort == Sort::Request {
        let text = "the caller of an HTTP batch cannot be called: it reads the answers when all are there";
        return Err(Unsent::Refused(RpcError::new(ErrorKind::Broken, text)));
    }
    refuse(core, state.pending.len(), state.out.byte_len().saturating_add(body.len()))
        .map_err(Unsent::Refused)?;
    let member = parts.member().unwrap_or_else(|| Arc::new(Member::of_method(&parts.method)));
    let is_stream = call.object.is_sink();
    let mut out = Out::new(core, state);
    let sent = (|| {
        out.check(passed)?;
        out.place(&call.object)
    })();
    let (target, prefix) = sent.map_err(Unsent::Refused)?;
    let introduced = out.introduce(passed);
    let id = out.state.last_import + 1;
    if !call.sent(core.clone(), u64::try_from(id).unwrap_or(u64::MAX)) {
        return Ok(()); // withdrawn while it waited for a connection
    }
    out.state.last_import = id;
    let mut message = String::with_capacity(body.len() + 64);
    message.push_str(match (is_stream, &member.map) {
        (true, _) => r#"["stream",["pipeline","#,
        (false, None) => r#"["push",["pipeline","#,
        (false, Some(_)) => r#"["push",["remap","#,
    });
    let _ = write!(message, "{target},[");
    write_path(
        prefix.iter().map(|name| Part::Name(name.to_string())),
        &member.path[member.from..],
        &mut message,
    );
    message.push(']');
    if let Some(map) = &member.map {
        message.push(',');
        out.captures(passed, &introduced, &mut message);
        message.push(',');
        message.push_str(&map.instructions);
    } else if member.is_call {
        message.push(',');
        let body = std::str::from_utf8(body).unwrap_or("[]");
        out.splice(body, passed, &introduced, &mut message);
    }
    message.push_str("]]");
    out.state.push(message);
    let pulled = !is_stream && (!call.keep || call.is_wanted());
    if pulled {
        out.state.push(format!(r#"["pull",{id}]"#));
    }
    if !is_stream {
        out.state.imports += 1;
    }
    let hold =
        if pulled || is_stream { Hold::Pulled(call.clone()) } else { Hold::Unpulled(Arc::downgrade(call)) };
    out.state.pending.insert(id, Own { call: hold, answered: false, is_stream });
    let streams = out.into_streams();
    let writer = if core.sort == Sort::Batch { None } else { guard.wake_writer() };
    drop(guard);
    wake(writer);
    core.pump(streams);
    Ok(())
}

fn write_path(prefix: impl Iterator<Item = Part>, path: &[Part], out: &mut String) {
    for (at, part) in prefix.chain(path.iter().cloned()).enumerate() {
        if at > 0 {
            out.push(',');
        }
        match part {
            Part::Name(name) => super::write::string(&name, out),
            Part::Index(index) => {
                let _ = write!(out, "{index}");
            }
        }
    }
}

/// Whether a bound forbids one more call.
fn refuse(core: &TextCore, pending: usize, unsent: usize) -> Result<(), RpcError> {
    let peer = &core.life.peer;
    let text = if pending >= core.life.limits.max_calls as usize {
        format!("{pending} calls to {peer} are unanswered")
    } else if unsent > core.life.limits.max_unsent {
        format!("{unsent} bytes to {peer} are unsent")
    } else {
        return Ok(());
    };
    Err(RpcError::new(ErrorKind::Overloaded, text))
}

/// Asks for the result of an own call, if it was not asked for.
pub(super) fn pull(core: &TextCore, id: i64) {
    let mut state = core.state.lock();
    // With the first result that is waited for, a batch leaves.
    let leaves = core.sort == Sort::Batch && !state.complete;
    let gone = core.sort == Sort::Batch && state.complete;
    let Some(own) = state.pending.get_mut(&id) else { return };
    let call = own.call.call().filter(|_| !own.call.is_pulled() && !gone);
    if let Some(call) = call {
        own.call = Hold::Pulled(call);
        state.push(format!(r#"["pull",{id}]"#));
    }
    if leaves {
        state.complete = true;
        core.life.draining();
    }
    let writer = state.wake_writer();
    drop(state);
    wake(writer);
}
