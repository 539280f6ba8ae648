//! Arguments that are the results of other calls.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

use crate::encoding::{self, DecodeError, Decoder, EncodeError, Encoded, Encoder, Form, Shape};
use crate::rpc::call::Call;
use crate::rpc::cap::{AllPassed, Capabilities, Passed, pass, passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::method::ArgType;
use crate::rpc::outgoing::RemoteCall;
use crate::rpc::promise::{Promise, Resolution, failed_call};

/// An argument that may be given as a value or as the [`Call`] that will return it.
///
/// The method starts when the value is there, so it only ever sees values: `Arg<T>` dereferences to `T`. Calls that
/// take such an argument may be overtaken by calls made later. When the other call fails, this one fails too and
/// does not start.
///
/// Over a session the value does not travel back and forth: the other side puts it in, which takes one round trip
/// for both calls, if the result of the first one is kept there: if it is [`Pipelined`](crate::Pipelined), or its
/// call was made through [`promised`](crate::StubExt::promised). Otherwise the caller waits for it and sends it.
///
/// ```
/// use opendo::{Arg, prelude::*};
///
/// pub struct Math;
///
/// #[rpc_target]
/// impl Math {
///     pub fn add(&self, a: u64, b: u64) -> u64 { a + b }
///     pub fn square(&self, n: Arg<u64>) -> u64 { *n * *n }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let math: MathStub = opendo::serve(Math);
/// assert_eq!(math.square(Arg::new(3)).await?, 9);
/// let sum = math.promised().add(1, 2);
/// assert_eq!(math.square(sum.into()).await?, 9);
/// # Ok(()) }
/// ```
pub struct Arg<T>(Inner<T>);

enum Inner<T> {
    Here(T),
    Later(Value),
}

impl<T> Arg<T> {
    /// A value that is there.
    pub fn new(value: T) -> Self {
        Self(Inner::Here(value))
    }

    pub(crate) fn later(value: Value) -> Self {
        Self(Inner::Later(value))
    }

    /// The value.
    ///
    /// # Panics
    /// Outside of the method that takes the argument, for one that was made from a call.
    pub fn into_inner(self) -> T {
        match self.0 {
            Inner::Here(value) => value,
            Inner::Later(_) => panic!("{UNSENT}"),
        }
    }

    pub(crate) fn is_later(&self) -> bool {
        matches!(self.0, Inner::Later(_))
    }
}

const UNSENT: &str = "an argument made from a call has its value in the method that takes it, not before";

impl<T> From<T> for Arg<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: DeserializeOwned + Serialize + Send + 'static, E: 'static> From<Call<T, E>> for Arg<T> {
    fn from(call: Call<T, E>) -> Self {
        Self::later(call.into_value())
    }
}

/// # Panics
/// Like [`Arg::into_inner`].
impl<T> Deref for Arg<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Inner::Here(value) => value,
            Inner::Later(_) => panic!("{UNSENT}"),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Arg<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Here(value) => value.fmt(f),
            Inner::Later(_) => f.write_str("(to come)"),
        }
    }
}

/// Not by serde's traits: only a whole argument can be one, so that the receiver knows where to look.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> ArgType for Arg<T> {
    fn is_promise(&self) -> bool {
        self.is_later()
    }

    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        match &self.0 {
            Inner::Here(value) => {
                if out.form() == Form::Postcard {
                    out.append(&0_u8)?;
                }
                out.append(value)
            }
            Inner::Later(value) => {
                let value = value.clone().in_form::<T>(out.form());
                let place = pass(|| Passed::Value(value)).map_err(EncodeError::text)?;
                match out.form() {
                    Form::Postcard => {
                        out.append(&1_u8)?;
                        out.append(&place)
                    }
                    #[cfg(feature = "capnweb")]
                    Form::CapnWeb => out.append(&crate::rpc::cap::Marker(place)),
                }
            }
        }
    }

    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        // In text, what comes later stands where the value itself would.
        #[cfg(feature = "capnweb")]
        if input.form() == Form::CapnWeb {
            return input.take().map(Self::new);
        }
        match input.take::<u8>()? {
            0 => Ok(Self::new(input.take()?)),
            1 => match passed(input.take()?) {
                Ok(Passed::Value(Value::There(value))) => {
                    value.decode(&Shape::Value, |input| input.take().map(Self::new))
                }
                Ok(_) => Err(DecodeError::text("a capability where the value of a call was expected")),
                Err(text) => Err(DecodeError::text(text)),
            },
            _ => Err(DecodeError::text("neither a value nor a promise of one")),
        }
    }
}

/// A value that is the result of a call.
#[derive(Clone)]
pub(crate) enum Value {
    /// Over a session: the other side has it first.
    Call(Arc<RemoteCall>),
    Promise(Arc<Promise>),
    There(Encoded),
    /// An element of a result, in a function that is recorded.
    #[cfg(feature = "capnweb")]
    Recorded(crate::rpc::capnweb::RecordedValue),
}

/// Whether something among them has to arrive before the call can go that way.
pub(crate) fn must_wait(passed: &[Passed], uplink: Option<u64>) -> bool {
    passed.iter().any(|passed| !is_nameable(passed, uplink))
}

fn is_nameable(passed: &Passed, uplink: Option<u64>) -> bool {
    match passed {
        Passed::Value(Value::Call(call)) => call.goes_with(uplink),
        // Within the process the receiver waits.
        Passed::Value(Value::Promise(_)) => uplink.is_none(),
        _ => true,
    }
}

/// Goes on when each value among them has arrived or can be named on that way.
pub(crate) fn when_nameable(
    passed: AllPassed,
    uplink: Option<u64>,
    then: impl FnOnce(Result<AllPassed, RpcError>) + Send + 'static,
) {
    gather(passed, |passed| is_nameable(passed, uplink), then);
}

/// Goes on when each value among them has arrived.
pub(crate) fn when_all_there(
    passed: AllPassed,
    then: impl FnOnce(Result<AllPassed, RpcError>) + Send + 'static,
) {
    let there = |passed: &Passed| !matches!(passed, Passed::Value(Value::Call(_) | Value::Promise(_)));
    gather(passed, there, then);
}

/// Waits for all at once: one after the other would take a stack as deep as there are values.
fn gather(
    all: AllPassed,
    done: impl Fn(&Passed) -> bool,
    then: impl FnOnce(Result<AllPassed, RpcError>) + Send + 'static,
) {
    let missing: Vec<_> = all
        .iter()
        .enumerate()
        .filter_map(|(at, passed)| match passed {
            Passed::Value(value) if !done(passed) => Some((at, value.clone())),
            _ => None,
        })
        .collect();
    if missing.is_empty() {
        return then(Ok(all));
    }
    let gathering = Arc::new(Mutex::new(Some(Gathering { all, missing: missing.len(), then })));
    for (at, value) in missing {
        let gathering = gathering.clone();
        value.when_there(Box::new(move |value| Gathering::add(&gathering, at, value)));
    }
}

/// `None` when it is over: all have come, or one never will.
struct Gathering<F> {
    all: AllPassed,
    missing: usize,
    then: F,
}

impl<F: FnOnce(Result<AllPassed, RpcError>)> Gathering<F> {
    fn add(gathering: &Mutex<Option<Self>>, at: usize, value: Result<Encoded, RpcError>) {
        let mut guard = gathering.lock();
        let Some(this) = guard.as_mut() else { return };
        let failure = match value {
            Ok(value) => {
                this.all[at] = Passed::Value(Value::There(value));
                this.missing -= 1;
                None
            }
            Err(error) => Some(error),
        };
        if failure.is_none() && this.missing > 0 {
            return;
        }
        let over = guard.take();
        drop(guard);
        if let Some(Self { all, then, .. }) = over {
            then(failure.map_or(Ok(all), Err));
        }
    }
}

type There = Box<dyn FnOnce(Result<Encoded, RpcError>) + Send>;

impl Value {
    /// The same in that encoding, for whoever knows its type.
    fn in_form<T: Serialize + DeserializeOwned + 'static>(self, form: Form) -> Self {
        let own = match &self {
            Self::Call(call) => call.form(),
            Self::Promise(promise) => promise.form(),
            Self::There(value) => value.form,
            #[cfg(feature = "capnweb")]
            Self::Recorded(_) => Form::CapnWeb,
        };
        if own == form {
            return self;
        }
        let promise = Promise::new(form, 1);
        let resolve = promise.clone();
        self.when_there(Box::new(move |value| {
            resolve.resolve(value.and_then(|value| {
                let value = value
                    .decode(&Shape::Value, |input| input.take::<T>())
                    .map_err(|error| RpcError::new(ErrorKind::Decode, format!("the argument: {error}")))?;
                result_of(&value, form)
            }));
        }));
        Self::Promise(promise)
    }

    pub(crate) fn when_there(self, then: There) {
        match self {
            Self::There(value) => then(Ok(value)),
            #[cfg(feature = "capnweb")]
            Self::Recorded(_) => then(Err(crate::rpc::capnweb::RecordedValue::outside())),
            Self::Call(call) => {
                let kept = call.clone();
                call.when_done(Box::new(move |answer| {
                    then(match answer {
                        Ok(body) if body.is_ok => Ok(body.value.clone()),
                        Ok(_) => Err(kept.failure()),
                        Err(error) => Err(error.clone()),
                    });
                }));
            }
            Self::Promise(promise) => {
                promise.when_resolved(Box::new(move |outcome| match outcome {
                    Ok(Resolution::Result { value, .. }) => then(Ok(value.clone())),
                    Ok(Resolution::PassedOn(call)) => Self::Call(call.clone()).when_there(then),
                    Err(error) => then(Err(error.clone())),
                }));
            }
        }
    }
}

/// The value of a call of this process, encoded when it is there.
pub(crate) fn encoded<T: Serialize + 'static, E>(
    outcome: Result<&Result<T, E>, &RpcError>,
    method: &str,
) -> Result<Resolution, RpcError> {
    match outcome {
        Ok(Ok(value)) => result_of(value, Form::Postcard),
        Ok(Err(_)) => Err(failed_call(method)),
        Err(error) => Err(error.clone()),
    }
}

fn result_of<T: Serialize + 'static>(value: &T, form: Form) -> Result<Resolution, RpcError> {
    let value = encoding::encoded(form, Shape::Value, |out| out.append(value))
        .map_err(|error| RpcError::new(ErrorKind::Encode, format!("the argument: {error}")))?;
    Ok(Resolution::Result { capabilities: Capabilities::None, value })
}
