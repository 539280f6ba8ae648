//! Values whose parts are still to come.
//!
//! A result is whole before it is one: what the promises in it became is put in. So a value never leads to another
//! one, and what a peer nests or multiplies is measured when it is made, not when somebody reads it.

use std::sync::Arc;

use super::text_core::TextCore;
use crate::encoding::capnweb::{self, Pieces, TOO_DEEP, append_marker, is_too_deep};
use crate::encoding::{Encoded, Form};
use crate::rpc::any_core::AnyCore;
use crate::rpc::arg::{self, Value};
use crate::rpc::cap::{AllPassed, Capabilities, Passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::promise::{Promise, Resolution};

/// Goes on with the value when all that is in it has come.
pub(super) fn when_whole(
    core: &Arc<TextCore>,
    mut value: Encoded,
    then: impl FnOnce(Result<Encoded, RpcError>) + Send + 'static,
) {
    if !value.passed.iter().any(|passed| matches!(passed, Passed::Value(_))) {
        return then(Ok(value));
    }
    let core = core.clone();
    let passed = std::mem::take(&mut value.passed);
    arg::when_all_there(passed, move |passed| {
        then(passed.and_then(|passed| core.put_in(&Encoded { passed, ..value })));
    });
}

/// Resolves `promise` to the value, when all that is in it has come.
pub(super) fn resolve_when_whole(core: &Arc<TextCore>, promise: Arc<Promise>, value: Encoded) {
    when_whole(core, value, move |value| {
        promise.resolve(value.map(|value| Resolution::Result { capabilities: Capabilities::None, value }));
    });
}

impl TextCore {
    /// The value, with those that it was made of in their places.
    fn put_in(&self, value: &Encoded) -> Result<Encoded, RpcError> {
        if let [Passed::Value(Value::There(inner))] = &value.passed[..]
            && value.bytes == capnweb::ALONE
        {
            return Ok(inner.clone());
        }
        let mut made = Made { core: self, text: String::new(), passed: AllPassed::NOTHING };
        made.add(value)?;
        let Made { text, passed, .. } = made;
        if is_too_deep(&text) {
            return Err(RpcError::new(ErrorKind::TooLarge, TOO_DEEP));
        }
        Ok(Encoded { form: Form::CapnWeb, bytes: self.life().keep(text.into_bytes())?, passed })
    }
}

struct Made<'a> {
    core: &'a TextCore,
    text: String,
    passed: AllPassed,
}

impl Made<'_> {
    fn add(&mut self, value: &Encoded) -> Result<(), RpcError> {
        let text = std::str::from_utf8(&value.bytes).unwrap_or("null");
        for (before, place) in Pieces::of(text) {
            self.push(before)?;
            match place.and_then(|place| value.passed.get(place)) {
                Some(Passed::Value(Value::There(inner))) if inner.form == Form::CapnWeb => self.add(inner)?,
                Some(passed) => self.pass(passed.clone())?,
                None => {}
            }
        }
        Ok(())
    }

    fn pass(&mut self, passed: Passed) -> Result<(), RpcError> {
        let place = self.passed.len();
        let limit = self.core.life.limits.max_capabilities;
        if place >= limit as usize {
            let text = format!("a value with more than {limit} capabilities");
            return Err(RpcError::new(ErrorKind::TooLarge, text));
        }
        self.passed.push(passed);
        append_marker(place, &mut self.text);
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), RpcError> {
        let limit = self.core.life.limits.max_message;
        if self.text.len() + text.len() > limit {
            let text = format!("a value of more than {limit} bytes");
            return Err(RpcError::new(ErrorKind::TooLarge, text));
        }
        self.text.push_str(text);
        Ok(())
    }
}
