//! `.map()`: a function that a peer recorded, run on each element of a result.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::evaluate::Named;
use super::refused_call;
use super::text_core::TextCore;
use super::whole::resolve_when_whole;
use crate::encoding::capnweb::{self, Capture, Malformed, Resolver, Special, elements, is_nullish, sub_body};
use crate::encoding::{Encoded, Form};
use crate::rpc::arg::Value;
use crate::rpc::cap::{AllPassed, Capabilities, Passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::member::{Member, Part};
use crate::rpc::promise::{Promise, Resolution};

/// A recorded function.
struct Mapper {
    core: Arc<TextCore>,
    captured: Vec<Named>,
    instructions: Vec<Bytes>,
    /// What it takes to run them once, without the calls in them.
    cost: usize,
    /// Steps that may still be taken because of the same message: maps within maps multiply.
    steps: Arc<AtomicUsize>,
}

/// Bytes of instructions that count as a step.
const STEP: usize = 1024;

/// Runs `instructions` on what `input` becomes, or on each element of it. Errors in them are the map's.
pub(super) fn start(
    core: &Arc<TextCore>,
    input: &Arc<Promise>,
    captured: Vec<Named>,
    instructions: &str,
    steps: Arc<AtomicUsize>,
) -> Arc<Promise> {
    let cost = 1 + instructions.len() / STEP;
    let instructions = match capnweb::instructions(instructions) {
        Ok(found) => found.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect(),
        Err(error) => return Promise::failed(refused_call(&error)),
    };
    let result = promise(core);
    let mapped = result.clone();
    let mapper = Mapper { core: core.clone(), captured, instructions, cost, steps };
    Value::Promise(input.clone()).when_there(Box::new(move |value| match value {
        Ok(value) => mapper.run(&value, mapped),
        Err(error) => mapped.resolve(Err(error)),
    }));
    result
}

fn promise(core: &TextCore) -> Arc<Promise> {
    Promise::new(Form::CapnWeb, core.life.limits.max_pipelined)
}

fn result(value: Encoded) -> Resolution {
    Resolution::Result { capabilities: Capabilities::None, value }
}

impl Mapper {
    fn run(&self, input: &Encoded, mapped: Arc<Promise>) {
        let text = std::str::from_utf8(&input.bytes).unwrap_or("null");
        if is_nullish(text) {
            return mapped.resolve(Ok(result(input.clone())));
        }
        let Some(elements) = elements(text) else {
            return match self.run_once(input.clone()) {
                Ok(value) => resolve_when_whole(&self.core, mapped, value),
                Err(error) => mapped.resolve(Err(error)),
            };
        };
        let mut body = String::from("[[");
        let mut passed = AllPassed::NOTHING;
        for element in elements {
            let (bytes, inner) = sub_body(&input.bytes, element, &input.passed);
            let value = match self.run_once(Encoded { form: Form::CapnWeb, bytes, passed: inner }) {
                Ok(value) => value,
                Err(error) => return mapped.resolve(Err(error)),
            };
            let promise = promise(&self.core);
            resolve_when_whole(&self.core, promise.clone(), value);
            if !passed.is_empty() {
                body.push(',');
            }
            body.push_str(&format!(r##"["#",{}]"##, passed.len()));
            passed.push(Passed::Value(Value::Promise(promise)));
        }
        body.push_str("]]");
        resolve_when_whole(&self.core, mapped, Encoded { form: Form::CapnWeb, bytes: body.into(), passed });
    }

    fn take(&self, steps: usize) -> Result<(), RpcError> {
        let taken =
            self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(steps));
        taken.map(drop).map_err(|_| {
            let text = format!("a map of more than {} steps", self.core.life.limits.max_map_steps);
            RpcError::new(ErrorKind::Overloaded, text)
        })
    }

    /// Runs the instructions, in order. What the last one expresses.
    fn run_once(&self, input: Encoded) -> Result<Encoded, RpcError> {
        self.take(self.cost)?;
        let first = promise(&self.core);
        first.resolve(Ok(result(input)));
        let mut results = vec![Named::Promise(first)];
        let mut last = None;
        for instruction in &self.instructions {
            if let Some(value) = last.take() {
                let promise = promise(&self.core);
                resolve_when_whole(&self.core, promise.clone(), value);
                results.push(Named::Promise(promise));
            }
            let mut frame = Frame { mapper: self, results: &results, tables: vec![AllPassed::NOTHING] };
            let text = std::str::from_utf8(instruction).unwrap_or("null");
            let body = capnweb::evaluate(text, &mut frame).map_err(|error| refused_call(&error))?;
            let bytes = body.map_or_else(|| instruction.clone(), Bytes::from);
            let passed = frame.tables.pop().unwrap_or_default();
            last = Some(Encoded { form: Form::CapnWeb, bytes, passed });
        }
        last.ok_or_else(|| RpcError::new(ErrorKind::Decode, "Invalid empty mapper function."))
    }
}

/// What ids mean within instructions.
struct Frame<'a> {
    mapper: &'a Mapper,
    /// The input, and the results of the instructions so far.
    results: &'a [Named],
    tables: Vec<AllPassed>,
}

impl Frame<'_> {
    fn named(&self, id: i64) -> Result<Named, Malformed> {
        let named = match usize::try_from(id) {
            Ok(place) => self.results.get(place),
            Err(_) => usize::try_from(-1 - id).ok().and_then(|place| self.mapper.captured.get(place)),
        };
        named.cloned().ok_or_else(|| Malformed::new(format!("no such entry on exports table: {id}")))
    }

    fn followed(
        &mut self,
        id: i64,
        path: Option<Vec<Part>>,
        args: Option<String>,
    ) -> Result<Named, Malformed> {
        let table = if args.is_some() { self.tables.pop().unwrap_or_default() } else { AllPassed::NOTHING };
        let named = self.named(id)?;
        let path = path.unwrap_or_default();
        if path.is_empty() && args.is_none() {
            return Ok(named);
        }
        let is_call = args.is_some();
        let args = Encoded {
            form: Form::CapnWeb,
            bytes: args.map_or_else(|| Bytes::from_static(b"[]"), Bytes::from),
            passed: table,
        };
        self.mapper.take(1).map_err(|error| Malformed::new(error.message()))?;
        let member = Member::new(path, is_call);
        Ok(Named::Promise(self.mapper.core.invoke(named, member, args).0))
    }
}

impl Resolver for Frame<'_> {
    fn begin_arguments(&mut self) {
        self.tables.push(AllPassed::NOTHING);
    }

    fn special(&mut self, special: Special<'_>) -> Result<u32, Malformed> {
        let passed = match special {
            Special::Pipeline { id, path, args } => {
                match self.followed(id, path, args.map(std::borrow::Cow::into_owned))? {
                    Named::Promise(promise) => Passed::Value(Value::Promise(promise)),
                    Named::Cap(cap) => Passed::Cap(cap),
                }
            }
            Special::Import { id, path, args } => {
                match self.followed(id, path, args.map(std::borrow::Cow::into_owned))? {
                    Named::Promise(promise) => Passed::Cap(self.mapper.core.stub_through(promise)),
                    Named::Cap(cap) => Passed::Cap(cap),
                }
            }
            Special::Remap { id, path, captures, instructions } => {
                let path = (!path.is_empty()).then_some(path);
                let input = self.followed(id, path, None)?.into_promise(&self.mapper.core);
                let captured = captures.iter().map(|capture| match capture {
                    Capture::Import(id) => self.named(*id),
                    Capture::Export(_) => Err(exports()),
                });
                let captured = captured.collect::<Result<_, _>>()?;
                let (core, steps) = (&self.mapper.core, self.mapper.steps.clone());
                Passed::Value(Value::Promise(start(core, &input, captured, instructions, steps)))
            }
            Special::Export(_)
            | Special::Promise(_)
            | Special::Writable(_)
            | Special::Readable(_)
            | Special::Blob { .. } => {
                return Err(exports());
            }
        };
        let table = self.tables.last_mut().expect("there is one for the value");
        let place = u32::try_from(table.len()).map_err(|_| Malformed::new("too many capabilities"))?;
        table.push(passed);
        Ok(place)
    }
}

fn exports() -> Malformed {
    Malformed::new("A mapper function cannot refer to exports.")
}
