//! `.map()` of results: a function is recorded, and runs where the result is.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;

use super::write::string;
use crate::encoding::{DecodeError, Decoder, EncodeError, Encoder, Form};
use crate::rpc::any_core::uplink_number;
use crate::rpc::arg::{Arg, Value};
use crate::rpc::call::Call;
use crate::rpc::cap::{Cap, Capabilities, Passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::Caller;
use crate::rpc::member::{Member, Part};
use crate::rpc::method::{self, Method, MethodDesc, MethodFlags};
use crate::rpc::outgoing::{CallParts, OutgoingCall, RemoteCall, send};
use crate::rpc::pipeline::{PipelineOf, Pipelined, Source};
use crate::rpc::remote::{Binding, Place, Remote, RemoteObject, Uplink};
use crate::rpc::stub::Broken;

thread_local! {
    /// Whether the calls that this thread makes are recorded. Apart from the recording, which most have no use for.
    static RECORDS: Cell<bool> = const { Cell::new(false) };
    static RECORDING: RefCell<Option<Arc<Recording>>> = const { RefCell::new(None) };
}

/// A function while it is recorded.
pub(crate) struct Recording {
    number: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Expressions, in the words of the protocol.
    instructions: Vec<String>,
    /// The calls that they stand for, by their place.
    calls: Vec<Arc<RemoteCall>>,
    /// Stubs from around the function.
    captures: Vec<Cap>,
    failed: Option<RpcError>,
}

/// A recorded function, as it is sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Recorded {
    /// A list of expressions.
    pub(crate) instructions: String,
}

/// An element of a result, in a function that is recorded; see [`Call::map`].
pub struct Mapped<T> {
    recording: Arc<Recording>,
    path: Arc<[Box<str>]>,
    pipeline: OnceLock<Box<dyn std::any::Any + Send + Sync>>,
    of: PhantomData<fn() -> T>,
}

/// The place of a value in a recording.
#[derive(Clone)]
pub(crate) struct RecordedValue {
    recording: u64,
    path: Arc<[Box<str>]>,
}

impl<T> Mapped<T> {
    fn new(recording: Arc<Recording>, path: Arc<[Box<str>]>) -> Self {
        Self { recording, path, pipeline: OnceLock::new(), of: PhantomData }
    }

    /// A member of it, by its name on the wire.
    #[must_use]
    pub fn field<U>(&self, name: &str) -> Mapped<U> {
        let path = self.path.iter().cloned().chain([name.into()]).collect();
        Mapped::new(self.recording.clone(), path)
    }
}

impl<T> From<Mapped<T>> for Arg<T> {
    fn from(mapped: Mapped<T>) -> Self {
        let (recording, path) = (mapped.recording.number, mapped.path);
        Self::later(Value::Recorded(RecordedValue { recording, path }))
    }
}

/// What can be called on it.
impl<T: Pipelined + 'static> Deref for Mapped<T> {
    type Target = T::Pipeline;

    fn deref(&self) -> &T::Pipeline {
        let pipeline = self.pipeline.get_or_init(|| {
            let source = Source::Recording(self.recording.clone());
            let of = self.path.iter().fold(PipelineOf::new(source), |of, name| of.field(name));
            Box::new(T::pipeline(of))
        });
        pipeline.downcast_ref().expect("an element has one type")
    }
}

impl<T> std::fmt::Debug for Mapped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped").finish_non_exhaustive()
    }
}

impl RecordedValue {
    /// Why it has no value here.
    pub(crate) fn outside() -> RpcError {
        let text = "an element of a result is used outside of the function that is recorded";
        RpcError::new(ErrorKind::Encode, text)
    }
}

impl<T, E> Call<Vec<T>, E> {
    /// Runs a function on each element of a result, where the result is: one round trip, however many elements.
    ///
    /// The function runs once, here, and is *recorded*: the calls it makes are not sent but written down, and the
    /// element is a placeholder, which can be passed on as an [`Arg`] or, if it is a stub, be called. So it can have no
    /// branches that depend on the element. It ends with a call, whose results come as a list.
    ///
    /// The result must be kept at the other side: the call is made through [`promised`](crate::StubExt::promised). It
    /// and all stubs that are called in the function belong to one text session; a stub of this process is not recorded
    /// but called at once.
    ///
    /// ```
    /// use opendo::{Arg, prelude::*};
    ///
    /// pub struct Users;
    ///
    /// #[rpc_target]
    /// impl Users {
    ///     pub fn all(&self) -> Vec<u32> { vec![1, 2, 3] }
    ///     pub fn name(&self, id: Arg<u32>) -> String { format!("user {}", *id) }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # use opendo::transport::{Connection, kind, memory};
    /// # let node = Node::builder().accept(|_| Ok(opendo::serve::<UsersStub, _>(Users))).start().await?;
    /// # let client = Client::over(move || {
    /// #     let (ours, theirs) = memory::pair::<kind::Text>(16);
    /// #     let node = node.clone();
    /// #     async move { node.serve_connection(Connection::new(theirs)).await.unwrap(); Ok(Connection::new(ours)) }
    /// # }).connect().await?;
    /// let users: UsersStub = client.root();
    /// let all = users.promised().all(); // not awaited
    /// let names = Call::map(&all, |id| users.name(id.into()));
    /// assert_eq!(names.await.unwrap(), ["user 1", "user 2", "user 3"]);
    /// # Ok(()) }
    /// ```
    pub fn map<U: method::ReplyType + Send + 'static, F>(
        call: &Self,
        function: impl FnOnce(Mapped<T>) -> Call<U, F>,
    ) -> Call<Vec<U>, crate::value::Value>
    where
        Vec<U>: method::ReplyType,
    {
        let Some(input) = call.remote_call().filter(|call| call.keep && call.form() == Form::CapnWeb) else {
            let text = "only results that are kept by a text session can be mapped: make the call through `promised()`";
            return Call::failed(RpcError::new(ErrorKind::Encode, text));
        };
        let recording = Arc::new(Recording { number: uplink_number(), state: Mutex::default() });
        let last = {
            let _recording = Outer::enter(recording.clone());
            function(Mapped::new(recording.clone(), Arc::new([])))
        };
        match recording.finish(last.remote_call()) {
            Ok((recorded, captures)) => run(input, recorded, captures),
            Err(error) => Call::failed(error),
        }
    }
}

/// Sends what was recorded.
fn run<U: method::ReplyType + Send + 'static>(
    input: &Arc<RemoteCall>,
    recorded: Recorded,
    captures: Vec<Cap>,
) -> Call<Vec<U>, crate::value::Value>
where
    Vec<U>: method::ReplyType,
{
    let result = Remote::of_result(input.clone(), Arc::new([]));
    let member = Member { path: Vec::new(), from: 0, is_call: true, map: Some(Arc::new(recorded)) };
    let parts = CallParts {
        method: MapMethod::<U>::DESC,
        form: Form::CapnWeb,
        member: Some(Arc::new(member)),
        deadline: None,
        trace: None,
        chain: None,
        caller: Caller::Local,
    };
    let call = RemoteCall::awaited(result.object().clone(), MapMethod::<U>::DESC, false, None);
    send(&call, &parts, b"[]", captures.into_iter().map(Passed::Cap).collect());
    Call::remote::<MapMethod<U>>(call, None, None)
}

/// Restores what was recorded before, also when the function panics.
struct Outer(Option<Arc<Recording>>);

impl Outer {
    fn enter(recording: Arc<Recording>) -> Self {
        RECORDS.set(true);
        Self(RECORDING.replace(Some(recording)))
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        RECORDS.set(self.0.is_some());
        RECORDING.replace(self.0.take());
    }
}

/// Writes a call down instead of sending it, if that is what this thread is at.
#[inline]
pub(crate) fn records(call: &Arc<RemoteCall>, parts: &CallParts, body: &[u8], passed: &[Passed]) -> bool {
    if !RECORDS.get() {
        return false;
    }
    let recording = RECORDING.with_borrow(Clone::clone);
    recording.is_some_and(|recording| {
        recording.record(call, parts, body, passed);
        true
    })
}

impl Recording {
    /// What was recorded, and what it captures; the function gave back this call.
    fn finish(&self, last: Option<&Arc<RemoteCall>>) -> Result<(Recorded, Vec<Cap>), RpcError> {
        let mut state = std::mem::take(&mut *self.state.lock());
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let place = last.and_then(|last| state.calls.iter().position(|call| Arc::ptr_eq(call, last)));
        let Some(place) = place else {
            let text = "a mapped function gives back a call that it has made over the session of the result";
            return Err(RpcError::new(ErrorKind::Encode, text));
        };
        let mut instructions = String::from("[");
        for instruction in &state.instructions {
            instructions.push_str(instruction);
            instructions.push(',');
        }
        let _ = write!(instructions, r#"["pipeline",{}]]"#, place + 1);
        Ok((Recorded { instructions }, state.captures))
    }

    fn record(&self, call: &Arc<RemoteCall>, parts: &CallParts, body: &[u8], passed: &[Passed]) {
        let mut state = self.state.lock();
        let written = self.instruction(&mut state, call, parts, body, passed);
        match written {
            Ok(instruction) => state.instructions.push(instruction),
            Err(error) => state.failed = Some(error),
        }
        state.calls.push(call.clone());
    }

    fn instruction(
        &self,
        state: &mut State,
        call: &Arc<RemoteCall>,
        parts: &CallParts,
        body: &[u8],
        passed: &[Passed],
    ) -> Result<String, RpcError> {
        if parts.form != Form::CapnWeb {
            let text = "what is called in a mapped function belongs to a text session, as its result does";
            return Err(RpcError::new(ErrorKind::Encode, text));
        }
        let (target, before) = self.target(state, &call.object);
        let member = parts.member().unwrap_or_else(|| Arc::new(Member::of_method(&parts.method)));
        let mut out = format!(r#"["pipeline",{target}"#);
        write_path(&before, member.rest(), &mut out);
        if member.is_call {
            out.push(',');
            let mut rest = std::str::from_utf8(body).unwrap_or("[]");
            while let Some(at) = rest.find(super::write::MARKER) {
                out.push_str(&rest[..at]);
                rest = &rest[at + super::write::MARKER.len()..];
                let digits = rest.find(']').unwrap_or(rest.len());
                let place: Option<usize> = rest[..digits].parse().ok();
                let passed = place.and_then(|place| passed.get(place));
                self.value(state, passed, &mut out)?;
                rest = rest.get(digits + 1..).unwrap_or_default();
            }
            out.push_str(rest);
        }
        out.push(']');
        Ok(out)
    }

    /// The number of what is called, and what leads on from there.
    fn target(&self, state: &mut State, object: &Arc<RemoteObject>) -> (i64, Vec<Box<str>>) {
        if let Place::Promise(path) = &object.place
            && object.number == Some(self.number)
        {
            return (0, path.to_vec());
        }
        if let Place::Result(call, path) = &object.place
            && let Some(place) = state.place_of(call)
        {
            return (place, path.to_vec());
        }
        (
            {
                let cap: Cap = Arc::new(Remote::of_object(object.clone()));
                state.capture(&cap)
            },
            Vec::new(),
        )
    }

    fn value(&self, state: &mut State, passed: Option<&Passed>, out: &mut String) -> Result<(), RpcError> {
        match passed {
            Some(Passed::Value(Value::Recorded(value))) if value.recording == self.number => {
                out.push_str(r#"["pipeline",0"#);
                if !value.path.is_empty() {
                    write_path(&value.path, &[], out);
                }
                out.push(']');
            }
            Some(Passed::Value(Value::Call(call))) if state.place_of(call).is_some() => {
                let place = state.place_of(call).unwrap_or_default();
                let _ = write!(out, r#"["pipeline",{place}]"#);
            }
            Some(Passed::Cap(cap)) => {
                let capture = state.capture(cap);
                let _ = write!(out, r#"["import",{capture}]"#);
            }
            _ => {
                let text =
                    "only stubs, elements and results of recorded calls can be passed in a mapped function";
                return Err(RpcError::new(ErrorKind::Encode, text));
            }
        }
        Ok(())
    }
}

impl State {
    fn place_of(&self, call: &Arc<RemoteCall>) -> Option<i64> {
        let place = self.calls.iter().position(|known| Arc::ptr_eq(known, call))?;
        i64::try_from(place + 1).ok()
    }

    /// The number of something from around the function: the same each time.
    fn capture(&mut self, cap: &Cap) -> i64 {
        let same = |known: &Cap| match (known.remote(), cap.remote()) {
            (Some(known), Some(new)) => Arc::ptr_eq(known.object(), new.object()),
            _ => false,
        };
        let place = self.captures.iter().position(same).unwrap_or_else(|| {
            self.captures.push(cap.clone());
            self.captures.len() - 1
        });
        -1 - i64::try_from(place).unwrap_or(i64::MAX - 1)
    }
}

fn write_path(before: &[Box<str>], path: &[Part], out: &mut String) {
    out.push_str(",[");
    let before = before.iter().map(|name| Part::Name(name.to_string()));
    for (at, part) in before.chain(path.iter().cloned()).enumerate() {
        if at > 0 {
            out.push(',');
        }
        match part {
            Part::Name(name) => string(&name, out),
            Part::Index(index) => {
                let _ = write!(out, "{index}");
            }
        }
    }
    out.push(']');
}

/// What is called on an element is recorded; once the function has ended, there is nobody to do that.
impl Uplink for Recording {
    fn send(self: Arc<Self>, call: OutgoingCall<'_>) {
        call.call.complete(Err(RecordedValue::outside()));
    }

    fn release(&self, _: &Binding) {}

    fn form(&self) -> Form {
        Form::CapnWeb
    }

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        Some(self.number)
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        async { RecordedValue::outside() }.boxed()
    }
}

/// The method that a map is: its results come as a list.
struct MapMethod<U>(PhantomData<fn() -> U>);

impl<U: method::ReplyType + Send + 'static> Method for MapMethod<U>
where
    Vec<U>: method::ReplyType,
{
    const DESC: MethodDesc = MethodDesc {
        fingerprint: 0,
        ..MethodDesc::new(
            "map",
            "",
            MethodFlags {
                shared: false,
                concurrent: false,
                idempotent: false,
                cancel: false,
                property: false,
            },
        )
    };
    type Args = ();
    type Ok = Vec<U>;
    type Err = crate::value::Value;
    const PIPELINE: Option<fn(&Vec<U>) -> Capabilities> = None;

    fn encode_args((): &(), _: &mut Encoder) -> Result<(), EncodeError> {
        Ok(())
    }

    fn decode_args(_: &mut Decoder<'_>) -> Result<(), DecodeError> {
        Ok(())
    }

    fn encode_ok(value: &Vec<U>, out: &mut Encoder) -> Result<(), EncodeError> {
        <Vec<U> as method::ReplyType>::push(value, out)
    }

    fn decode_ok(input: &mut Decoder<'_>) -> Result<Vec<U>, DecodeError> {
        <Vec<U> as method::ReplyType>::next(input)
    }

    fn encode_err(value: &crate::value::Value, out: &mut Encoder) -> Result<(), EncodeError> {
        out.append(value)
    }

    fn decode_err(input: &mut Decoder<'_>) -> Result<crate::value::Value, DecodeError> {
        input.take()
    }
}
