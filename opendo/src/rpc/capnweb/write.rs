//! Messages on their way out: bodies, with the numbers of capabilities in the places of their markers.

use std::fmt::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use super::text_core::{Export, State, TextCore};
use crate::encoding::capnweb;
use crate::encoding::{Encoded, Form};
use crate::rpc::any_core::AnyCore;
use crate::rpc::arg::Value;
use crate::rpc::cap::{Cap, Passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::remote::{Place, Remote, RemoteObject};
use crate::stream::{self, Chunks};
use crate::value::Blob;

/// How every marker begins. Within a string its quotes are escaped, so it is nothing else.
pub(super) const MARKER: &str = r##"["#","##;

/// A stream, and the number of the peer's pipe for it.
pub(super) type PassedStream = (i64, Arc<Mutex<Option<Chunks>>>);

/// A number of the peer's, and the names that lead on from there.
pub(super) type Way = (i64, Arc<[Box<str>]>);

/// A message on its way out, under the session's lock.
pub(super) struct Out<'a> {
    core: &'a Arc<TextCore>,
    pub(super) state: &'a mut State,
    streams: Vec<PassedStream>,
}

impl<'a> Out<'a> {
    pub(super) fn new(core: &'a Arc<TextCore>, state: &'a mut State) -> Self {
        Self { core, state, streams: Vec::new() }
    }

    /// Whether all of that can be passed: when the message begins, nothing may fail.
    pub(super) fn check(&self, passed: &[Passed]) -> Result<(), RpcError> {
        if passed.is_empty() {
            return Ok(());
        }
        let new = self.count(passed)?;
        let held = self.state.exports.len();
        let allowed = self.core.life.limits.max_capabilities as usize;
        if new > 0 && held + new > allowed {
            let peer = &self.core.life.peer;
            let text = format!(
                "{peer} would hold {} capabilities and results, and {allowed} are allowed",
                held + new
            );
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        Ok(())
    }

    fn count(&self, passed: &[Passed]) -> Result<usize, RpcError> {
        let mut new = 0;
        for passed in passed {
            new += match passed {
                Passed::Cap(_) | Passed::Chunks(_) | Passed::Blob(_) => 1,
                Passed::Value(Value::There(Encoded { form: Form::CapnWeb, passed, .. })) => {
                    self.count(passed)?
                }
                Passed::Value(Value::Call(call)) => match call.number_in(&self.core.life) {
                    Some(_) => 0,
                    None => return Err(call.failure()),
                },
                Passed::Value(_) => {
                    return Err(RpcError::new(
                        ErrorKind::Encode,
                        "the result of a call is not there in time",
                    ));
                }
            };
        }
        Ok(new)
    }

    /// The number of what is called, and the way from there. An object is asked for the first time it is.
    pub(super) fn place(&mut self, object: &Arc<RemoteObject>) -> Result<Way, RpcError> {
        let here: Arc<[Box<str>]> = Arc::new([]);
        let mut binding = object.binding.lock();
        match &object.place {
            Place::Root => Ok((0, here)),
            Place::Result(call, path) => {
                let id = call.number_in(&self.core.life).ok_or_else(|| call.failure())?;
                Ok((i64::try_from(id).unwrap_or(i64::MAX), path.clone()))
            }
            Place::Import | Place::Object(_) if binding.session == self.core.life.number => {
                Ok((binding.import, here))
            }
            Place::Object(key) => {
                let id = self.state.last_import + 1;
                self.state.last_import = id;
                let mut message = format!(r#"["push",["pipeline",0,["{}"],["#, super::root::method_for(key));
                string(key.class(), &mut message);
                message.push(',');
                match key.known_name() {
                    Some(name) => string(name, &mut message),
                    None => string(&key.id_text(), &mut message),
                }
                message.push_str("]]]");
                self.state.push(message);
                self.state.imports += 1;
                binding.session = self.core.life.number;
                binding.import = id;
                Ok((id, here))
            }
            // No text session gives out what lasts.
            Place::Lasting(_) | Place::Import | Place::Promise(_) | Place::Nowhere(_) | Place::Group => {
                Err(RpcError::new(ErrorKind::Broken, "it belongs to an earlier session; get a new one"))
            }
        }
    }

    /// Says what the peer has to know before the message that names it: opens a pipe for each stream, and asks for
    /// objects that were not called before.
    pub(super) fn introduce(&mut self, passed: &[Passed]) -> Vec<Introduced> {
        passed.iter().map(|passed| self.introduce_one(passed)).collect()
    }

    fn introduce_one(&mut self, passed: &Passed) -> Introduced {
        let chunks = match passed {
            Passed::Chunks(chunks) => chunks.clone(),
            Passed::Blob(blob) => Arc::new(Mutex::new(Some(chunks_of(blob)))),
            Passed::Value(Value::There(value)) => return Introduced::Within(self.introduce(&value.passed)),
            Passed::Cap(cap) => {
                return match cap.remote().filter(|remote| self.is_theirs(remote)) {
                    Some(remote) => self
                        .place(remote.object())
                        .map_or(Introduced::Nothing, |(id, path)| Introduced::Theirs(id, path)),
                    None => Introduced::Nothing,
                };
            }
            Passed::Value(_) => return Introduced::Nothing,
        };
        self.state.last_import += 1;
        let id = self.state.last_import;
        self.state.push(r#"["pipe"]"#.to_owned());
        self.state.imports += 1;
        self.streams.push((id, chunks));
        Introduced::Pipe(id)
    }

    /// Appends a body.
    pub(super) fn splice(
        &mut self,
        body: &str,
        passed: &[Passed],
        introduced: &[Introduced],
        out: &mut String,
    ) {
        if passed.is_empty() {
            out.push_str(body);
            return;
        }
        let mut rest = body;
        while let Some(at) = rest.find(MARKER) {
            out.push_str(&rest[..at]);
            rest = &rest[at + MARKER.len()..];
            let digits = rest.find(']').unwrap_or(rest.len());
            let place: Option<usize> = rest[..digits].parse().ok();
            match place.and_then(|place| Some((passed.get(place)?, introduced.get(place)?))) {
                Some((passed, introduced)) => self.express(passed, introduced, out),
                None => out.push_str(r#"["undefined"]"#),
            }
            rest = rest.get(digits + 1..).unwrap_or_default();
        }
        out.push_str(rest);
    }

    fn express(&mut self, passed: &Passed, introduced: &Introduced, out: &mut String) {
        let written = match (passed, introduced) {
            (Passed::Cap(_), Introduced::Theirs(id, path)) => return express_theirs(*id, path, out),
            (Passed::Cap(cap), _) => return self.export(cap, out),
            (Passed::Chunks(_), Introduced::Pipe(id)) => write!(out, r#"["readable",{id}]"#),
            (Passed::Blob(blob), Introduced::Pipe(id)) => {
                out.push_str(r#"["blob","#);
                string(&blob.kind, out);
                write!(out, r#",["readable",{id}]]"#)
            }
            (Passed::Value(Value::There(value)), Introduced::Within(within)) => {
                let text = std::str::from_utf8(&value.bytes).unwrap_or("null");
                return self.splice(text, &value.passed, within, out);
            }
            (Passed::Value(Value::Call(call)), _) => {
                let id = call.number_in(&self.core.life).unwrap_or_default();
                write!(out, r#"["pipeline",{id}]"#)
            }
            _ => out.write_str(r#"["undefined"]"#),
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }

    fn export(&mut self, cap: &Cap, out: &mut String) {
        let id = self.state.last_export - 1;
        self.state.last_export = id;
        let tag = if stream::is_sink(cap.interface().name()) { "writable" } else { "export" };
        // A number is never used twice, also for the same capability: the peer counts no introductions.
        self.state.exports.insert(id, Export::Cap { cap: cap.clone(), held: 1 });
        let _ = write!(out, r#"["{tag}",{id}]"#);
    }

    /// Whether the peer of this session has what that leads to.
    fn is_theirs(&self, remote: &Remote) -> bool {
        let object = remote.object();
        match &object.place {
            Place::Import => object.binding.lock().session == self.core.life.number,
            Place::Object(_) | Place::Lasting(_) | Place::Root => self.core.life.is_reached_by(object.number),
            Place::Result(call, _) => call.number_in(&self.core.life).is_some(),
            Place::Promise(_) | Place::Nowhere(_) | Place::Group => false,
        }
    }

    /// Appends what a mapped function captures: stubs, which are named as such also if they have not come.
    pub(super) fn captures(&mut self, passed: &[Passed], introduced: &[Introduced], out: &mut String) {
        out.push('[');
        for (at, (passed, introduced)) in passed.iter().zip(introduced).enumerate() {
            if at > 0 {
                out.push(',');
            }
            match (passed, introduced) {
                (Passed::Cap(_), Introduced::Theirs(id, _)) => {
                    let _ = write!(out, r#"["import",{id}]"#);
                }
                (Passed::Cap(cap), _) => self.export(cap, out),
                _ => out.push_str("null"),
            }
        }
        out.push(']');
    }

    /// Appends an error: as it was thrown, if it was.
    pub(super) fn error(&mut self, error: &RpcError, out: &mut String) {
        if let Some(thrown) = error.thrown()
            && self.check(&thrown.passed).is_ok()
        {
            let introduced = self.introduce(&thrown.passed);
            let text = std::str::from_utf8(&thrown.bytes).unwrap_or("null");
            return self.splice(text, &thrown.passed, &introduced, out);
        }
        let mut bytes = std::mem::take(out).into_bytes();
        capnweb::append_rpc_error(error, &mut bytes);
        *out = String::from_utf8(bytes).expect("JSON is text");
    }

    /// The streams are to be written, once the lock is free.
    pub(super) fn into_streams(self) -> Vec<PassedStream> {
        self.streams
    }
}

/// What the peer knows of something that is passed, before the message that passes it.
pub(super) enum Introduced {
    Nothing,
    Pipe(i64),
    Theirs(i64, Arc<[Box<str>]>),
    Within(Vec<Introduced>),
}

fn express_theirs(id: i64, path: &[Box<str>], out: &mut String) {
    // A result that has not come is a promise; the peer puts in what it becomes.
    let _ = write!(out, r#"["{}",{id}"#, if id > 0 { "pipeline" } else { "import" });
    if !path.is_empty() {
        out.push_str(",[");
        for (at, name) in path.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            string(name, out);
        }
        out.push(']');
    }
    out.push(']');
}

/// Bytes as a stream of pieces.
fn chunks_of(blob: &Blob) -> Chunks {
    const PIECE: usize = 64 * 1024;
    let bytes = blob.bytes.clone();
    let pieces = (0..bytes.len().div_ceil(PIECE))
        .map(move |at| bytes.slice(at * PIECE..bytes.len().min((at + 1) * PIECE)));
    Chunks::of_bytes(pieces)
}

impl TextCore {
    pub(super) fn pump(self: &Arc<Self>, streams: Vec<PassedStream>) {
        if streams.is_empty() {
            return;
        }
        let core: Arc<dyn AnyCore> = self.clone();
        for (id, chunks) in streams {
            stream::pump_over(&core, id, &chunks);
        }
    }
}

/// Appends a JSON string.
pub(super) fn string(text: &str, out: &mut String) {
    let mut bytes = std::mem::take(out).into_bytes();
    capnweb::append_string(text, &mut bytes);
    *out = String::from_utf8(bytes).expect("JSON is text");
}
