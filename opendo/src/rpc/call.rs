//! A call that was made.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::coop;
use tokio::time::{Instant, Sleep};

#[cfg(feature = "capnweb")]
use crate::encoding;
use crate::encoding::{Encoded, Form, Shape};
use crate::rpc::arg::{self, Value};
use crate::rpc::chain::Link;
use crate::rpc::error::{CallError, ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use crate::rpc::method::Method;
use crate::rpc::outgoing::RemoteCall;
use crate::rpc::pipeline::{PipelineOf, Pipelined, Source};
use crate::rpc::promise::{Promise, Resolution, failed_call, refused_by};
use crate::rpc::slot::Slot;

/// One call, already on its way: await it for the answer.
///
/// A call is *hot*: it is queued at its object (or written to the session) when the stub's method returns, in the
/// order in which calls are made, awaited or not.
///
/// **Cancellation.** Dropping a `Call` withdraws it: a method that has not started does not start. One that runs
/// runs to its end (unless it is marked `#[method(cancel)]`); its answer is thrown away, and
/// [`CallInfo::cancelled`](crate::CallInfo::cancelled) tells it. [`Call::detach`] lets go without withdrawing. Over a
/// [text session](crate::docs::semantics#text-sessions) a method that has not started starts all the same.
///
/// **Deadlines.** A call made through [`with_timeout`](crate::StubExt::with_timeout) ends with
/// [`ErrorKind::Deadline`] when its time is over; awaiting it needs a Tokio runtime with time enabled.
///
/// **Pipelining.** A call whose result holds stubs can be used in their place before it has arrived: it
/// dereferences to the pipeline of its result, see [`Pipelined`]. A call that was used so is not withdrawn when it is
/// dropped.
///
/// Functions of `Call` itself are associated (`Call::detach(call)`), so that they never hide a remote method.
///
/// ```
/// # use opendo::prelude::*;
/// # pub struct Adder(u64);
/// # #[rpc_target] impl Adder { pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// # let adder: AdderStub = opendo::serve(Adder(0));
/// let first = adder.add(1); // both are queued now, in this order
/// let second = adder.add(2);
/// assert_eq!((second.await?, first.await?), (3, 1));
/// Call::detach(adder.add(4)); // runs, and nobody waits
/// assert_eq!(adder.add(0).await?, 7);
/// # Ok(()) }
/// ```
#[must_use = "a call that is dropped is withdrawn; await it, or let it run with `Call::detach`"]
pub struct Call<T, E = Infallible> {
    answer: Answer<T, E>,
    link: Option<Arc<Link>>,
    deadline: Option<Deadline>,
    target: Option<(Arc<dyn Named>, &'static str)>,
    /// The pipeline of the result, once it was used.
    pipeline: OnceLock<Box<dyn Any + Send + Sync>>,
}

enum Answer<T, E> {
    Ready(Option<Result<T, Box<CallError<E>>>>),
    Local(Arc<Slot<Result<T, E>>>),
    Remote(Arc<RemoteCall>, DecodeReply<T, E>),
    Finished,
}

/// Decodes the body of a reply: a result if `true`, a method's error otherwise.
type DecodeReply<T, E> = fn(Encoded, bool) -> Result<Result<T, E>, RpcError>;

struct Deadline {
    at: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Says what was called, for errors.
pub(crate) trait Named: Send + Sync {
    fn name(&self) -> String;
}

impl<T, E> Call<T, E> {
    fn new(answer: Answer<T, E>, link: Option<Arc<Link>>, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|at| Deadline { at, sleep: None });
        Self { answer, link, deadline, target: None, pipeline: OnceLock::new() }
    }

    pub(crate) fn local(
        slot: Arc<Slot<Result<T, E>>>,
        link: Option<Arc<Link>>,
        deadline: Option<Instant>,
    ) -> Self {
        Self::new(Answer::Local(slot), link, deadline)
    }

    pub(crate) fn remote<M: Method<Ok = T, Err = E>>(
        call: Arc<RemoteCall>,
        link: Option<Arc<Link>>,
        deadline: Option<Instant>,
    ) -> Self {
        Self::new(Answer::Remote(call, decode_reply::<M>), link, deadline)
    }

    /// A call that failed before it was sent.
    pub(crate) fn failed(error: RpcError) -> Self {
        Self::new(Answer::Ready(Some(Err(Box::new(CallError::Rpc(error))))), None, None)
    }

    /// A call that has ended before it was given to its caller.
    pub(crate) fn ended(result: Result<T, E>) -> Self {
        Self::new(Answer::Ready(Some(result.map_err(|error| Box::new(CallError::App(error))))), None, None)
    }

    pub(crate) fn named(mut self, target: Arc<dyn Named>, method: &'static str) -> Self {
        self.target = Some((target, method));
        self
    }

    /// Lets go of the call without withdrawing it: it runs when its turn comes, and nobody learns its result.
    pub fn detach(mut call: Self) {
        if let Answer::Remote(call, _) = &call.answer {
            call.want();
        }
        // Left to itself, `Drop` would withdraw it.
        call.answer = Answer::Finished;
    }

    /// The result as the pipeline of `T`, without awaiting it: what the call dereferences to.
    pub fn pipeline(call: &Self) -> &T::Pipeline
    where
        T: Pipelined + 'static,
        E: 'static,
    {
        let pipeline = call.pipeline.get_or_init(|| Box::new(T::pipeline(PipelineOf::new(call.source()))));
        pipeline.downcast_ref().expect("a call has one type of result")
    }

    fn source(&self) -> Source
    where
        T: Pipelined + 'static,
        E: 'static,
    {
        let method = self.target.as_ref().map_or("", |(_, method)| method);
        match &self.answer {
            Answer::Remote(call, _) => Source::Call(call.clone()),
            Answer::Local(slot) => {
                let promise = Promise::new(Form::Postcard, Limits::default().max_pipelined);
                let resolve = promise.clone();
                slot.on_done(Box::new(move |answer| {
                    resolve.resolve(match answer {
                        Ok(Ok(value)) => Ok(Resolution::Result {
                            capabilities: value.capabilities(),
                            value: Encoded::NOTHING,
                        }),
                        Ok(Err(_)) => Err(failed_call(method)),
                        Err(error) => Err(error.clone()),
                    });
                }));
                Source::Promise(promise)
            }
            Answer::Ready(Some(Ok(value))) => {
                let promise = Promise::new(Form::Postcard, Limits::default().max_pipelined);
                promise.resolve(Ok(Resolution::Result {
                    capabilities: value.capabilities(),
                    value: Encoded::NOTHING,
                }));
                Source::Promise(promise)
            }
            Answer::Ready(Some(Err(error))) => Source::Promise(Promise::failed(refused_by(error, method))),
            Answer::Ready(None) | Answer::Finished => Source::Promise(Promise::failed(RpcError::new(
                ErrorKind::Closed,
                "the call's answer was taken",
            ))),
        }
    }

    /// The result as an argument of another call.
    pub(crate) fn into_value(mut self) -> Value
    where
        T: serde::Serialize + Send + 'static,
        E: 'static,
    {
        let method = self.target.as_ref().map_or("", |(_, method)| method);
        match std::mem::replace(&mut self.answer, Answer::Finished) {
            Answer::Remote(call, _) => Value::Call(call),
            Answer::Local(slot) => {
                let promise = Promise::new(Form::Postcard, 1);
                let resolve = promise.clone();
                slot.on_done(Box::new(move |answer| resolve.resolve(arg::encoded(answer, method))));
                Value::Promise(promise)
            }
            Answer::Ready(Some(Ok(value))) => {
                let promise = Promise::new(Form::Postcard, 1);
                promise.resolve(arg::encoded::<T, E>(Ok(&Ok(value)), method));
                Value::Promise(promise)
            }
            Answer::Ready(Some(Err(error))) => Value::Promise(Promise::failed(refused_by(&error, method))),
            Answer::Ready(None) | Answer::Finished => Value::Promise(Promise::failed(RpcError::new(
                ErrorKind::Closed,
                "the call's answer was taken",
            ))),
        }
    }

    /// The encoded call that it is, if it is one.
    pub(crate) fn remote_call(&self) -> Option<&Arc<RemoteCall>> {
        if let Answer::Remote(call, _) = &self.answer { Some(call) } else { None }
    }

    /// Why it was not sent.
    pub(crate) fn refusal(&self) -> Option<&RpcError> {
        if let Answer::Ready(Some(Err(error))) = &self.answer { error.rpc() } else { None }
    }

    fn withdraw(&self) -> bool {
        match &self.answer {
            Answer::Local(slot) => slot.abandon(),
            Answer::Remote(call, _) => call.withdraw(),
            Answer::Ready(_) | Answer::Finished => false,
        }
    }
}

pub(crate) fn decode_reply<M: Method>(
    value: Encoded,
    is_ok: bool,
) -> Result<Result<M::Ok, M::Err>, RpcError> {
    let shape = if is_ok { Shape::Value } else { Shape::Error(None) };
    #[cfg(feature = "capnweb")]
    let thrown = (!is_ok && value.form.is_text()).then(|| value.bytes.clone());
    let decoded =
        value.decode(
            &shape,
            |input| {
                if is_ok { M::decode_ok(input).map(Ok) } else { M::decode_err(input).map(Err) }
            },
        );
    decoded.map_err(|error| {
        // Text clients throw what they like, whatever the signature says.
        #[cfg(feature = "capnweb")]
        if let Some(thrown) = thrown {
            return encoding::capnweb::rpc_error(std::str::from_utf8(&thrown).unwrap_or("null"));
        }
        RpcError::new(ErrorKind::Decode, format!("the reply: {error}")).may_run(true)
    })
}

impl<T, E> Future for Call<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = match &mut this.answer {
            Answer::Ready(answer) => {
                // A loop of calls that all end at once would never let others run.
                let turn = ready!(coop::poll_proceed(cx));
                turn.made_progress();
                let answer = answer.take().expect("`Call` polled after completion");
                return Poll::Ready(answer.map_err(|error| this.name_in(*error)));
            }
            Answer::Local(slot) => slot.poll_answer(cx).map(flatten),
            Answer::Remote(call, decode) => {
                call.want();
                call.slot().poll_answer(cx).map(|answer| {
                    flatten(answer.and_then(|body| {
                        let is_empty = body.value.bytes.is_empty();
                        let decoded = decode(body.value, body.is_ok);
                        // Nobody has given a result, and one was wanted.
                        decoded.map_err(|error| call.object.without_members(is_empty).unwrap_or(error))
                    }))
                })
            }
            Answer::Finished => panic!("`Call` polled after completion"),
        };
        match polled {
            Poll::Ready(result) => {
                let result = result.map_err(|error| this.name_in(error));
                this.answer = Answer::Finished;
                Poll::Ready(result)
            }
            Poll::Pending => {
                if let Some(link) = this.link.take() {
                    link.mark_awaited();
                }
                if this.deadline.as_mut().is_some_and(|deadline| deadline.poll(cx).is_ready()) {
                    // What was pipelined on it needs it still.
                    let error = this.name(RpcError::new(ErrorKind::Deadline, "the call's time is over"));
                    let may_have_run = this.pipeline.get().is_some() || this.withdraw();
                    this.answer = Answer::Finished;
                    return Poll::Ready(Err(error.may_run(may_have_run).into()));
                }
                Poll::Pending
            }
        }
    }
}

impl<T, E> Call<T, E> {
    fn name_in(&self, error: CallError<E>) -> CallError<E> {
        match error {
            CallError::Rpc(error) => CallError::Rpc(self.name(error)),
            error @ CallError::App(_) => error,
        }
    }

    /// Says what was called.
    fn name(&self, error: RpcError) -> RpcError {
        match (&self.target, &self.answer) {
            (Some((target, method)), _) => error.at(|| format!("{}.{method}", target.name())),
            (None, Answer::Remote(call, _)) => error.at(|| call.name()),
            (None, _) => error,
        }
    }
}

fn flatten<T, E>(answer: Result<Result<T, E>, RpcError>) -> Result<T, CallError<E>> {
    match answer {
        Ok(result) => result.map_err(CallError::App),
        Err(error) => Err(CallError::Rpc(error)),
    }
}

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at))).poll_unpin(cx)
    }
}

/// When a call made now with this timeout is over. Timeouts beyond the clock's range are none.
pub(crate) fn deadline_after(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl<T, E> Drop for Call<T, E> {
    fn drop(&mut self) {
        // What was pipelined on it needs it still.
        if self.pipeline.get().is_none() {
            self.withdraw();
        }
    }
}

/// The result before it has arrived; see [`Pipelined`].
impl<T: Pipelined + 'static, E: 'static> Deref for Call<T, E> {
    type Target = T::Pipeline;

    fn deref(&self) -> &T::Pipeline {
        Self::pipeline(self)
    }
}

impl<T, E> Unpin for Call<T, E> {}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.answer {
            Answer::Ready(_) => "ended",
            Answer::Local(_) => "local",
            Answer::Remote(..) => "remote",
            Answer::Finished => "finished",
        };
        f.debug_tuple("Call").field(&state).finish()
    }
}
