//! One call on its way through a strand.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use pin_project_lite::pin_project;
use tracing::Span;

use crate::object::control::Control;
use crate::object::inbox::Receipt;
use crate::object::pace::Pace;
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::RemoteReply;
use crate::rpc::info::{CallInfo, Facts, InCall, Waiting};
use crate::rpc::method::{Called, Method, MethodFlags, Run};
use crate::rpc::slot::Slot;

/// Whether something may run beside others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Alone.
    Exclusive,
    /// Beside others that are `Shared`.
    Shared,
}

/// Where a job runs.
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) control: Arc<Control>,
}

/// A started job: gives the object back, unless the instance is lost.
pub(crate) type Running<O> = BoxFuture<'static, Option<Arc<O>>>;

/// How far a job came when it was started.
pub(crate) enum Progress<O> {
    /// To its end, or nobody wants it done any more: the object, unless the instance is lost, and the control as it was
    /// given to the job.
    Ended(Option<Arc<O>>, Arc<Control>),
    Runs(Running<O>),
}

/// What a strand runs.
pub(crate) trait Job<O>: Send {
    fn flags(&self) -> MethodFlags;
    fn chain(&self) -> Option<&Arc<Link>>;
    /// False when the caller is gone.
    fn is_wanted(&self) -> bool;
    /// Begins to run on the object.
    fn start(self: Box<Self>, object: Arc<O>, place: Place) -> Progress<O>;
    fn fail(self: Box<Self>, error: RpcError);
}

/// A call of `M`.
pub(crate) struct MethodJob<M: Method> {
    pub(crate) args: M::Args,
    pub(crate) reply: Reply<M::Ok, M::Err>,
    pub(crate) facts: Facts,
}

/// What a method gives.
pub(crate) type ResultOf<M> = Result<<M as Method>::Ok, <M as Method>::Err>;

/// Where the answer goes.
pub(crate) enum Reply<T, E> {
    /// To a caller in this process: the value moves.
    Local(LocalReply<Result<T, E>>),
    /// Over a session.
    Remote(RemoteReply),
}

/// The callee's hold on a slot, until it has answered: dropped before that, it answers with an error, so that no caller
/// waits for ever.
pub(crate) struct LocalReply<V>(Option<Arc<Slot<V>>>);

impl<V> LocalReply<V> {
    pub(crate) fn new(slot: Arc<Slot<V>>) -> Self {
        Self(Some(slot))
    }

    fn slot(&self) -> &Arc<Slot<V>> {
        self.0.as_ref().expect("it has not answered")
    }

    fn answer(mut self, answer: Result<V, RpcError>) {
        if let Some(slot) = self.0.take() {
            slot.complete(answer);
        }
    }
}

impl<V> Drop for LocalReply<V> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            let error = RpcError::new(ErrorKind::Reset, "the call was dropped unanswered");
            slot.complete(Err(error.may_run(true)));
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Reply<T, E> {
    /// False when the caller is gone.
    pub(crate) fn start(&self) -> bool {
        match self {
            Self::Local(reply) => reply.slot().start(),
            Self::Remote(reply) => !reply.call().is_unwanted(),
        }
    }

    /// The caller's side.
    pub(crate) fn waiting(&self) -> Arc<dyn Waiting> {
        match self {
            Self::Local(reply) => reply.slot().clone(),
            Self::Remote(reply) => reply.call().clone(),
        }
    }

    /// Of a message.
    fn receipt(&self) -> Option<Arc<Receipt>> {
        match self {
            Self::Local(_) => None,
            Self::Remote(reply) => reply.call().receipt().cloned(),
        }
    }

    /// Answers a call whose method has ended. Nobody hears of it before what it wrote is durable; the object goes on
    /// meanwhile.
    pub(super) fn answer<M: Method<Ok = T, Err = E>>(self, control: &Control, end: End<M>) {
        match end {
            Ok(Some(result)) => {
                let receipt = self.receipt();
                control.hold_answer(receipt.as_deref(), move |durable| match (durable, self) {
                    (Ok(()), Self::Local(reply)) => reply.answer(Ok(result)),
                    (Ok(()), Self::Remote(reply)) => reply.send::<M>(&result),
                    (Err(error), reply) => reply.fail(error),
                });
            }
            Ok(None) => {
                control.seal();
                let error = RpcError::new(ErrorKind::Cancelled, "its caller went away while it ran");
                self.fail(error.may_run(true));
            }
            Err(lost) => self.fail(lost.may_run(true)),
        }
    }

    pub(crate) fn fail(self, error: RpcError) {
        match self {
            Self::Local(reply) => reply.answer(Err(error)),
            Self::Remote(reply) => reply.fail(error),
        }
    }
}

/// Of a call that came too late.
pub(super) fn too_late() -> RpcError {
    RpcError::new(ErrorKind::Deadline, "its time was over before its turn came")
}

impl<V: Send> Waiting for Slot<V> {
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_abandoned(cx)
    }

    fn is_gone(&self) -> bool {
        self.is_abandoned()
    }
}

impl<O: Send + Sync + 'static, M: Run<O>> Job<O> for MethodJob<M> {
    fn flags(&self) -> MethodFlags {
        M::DESC.flags
    }

    fn chain(&self) -> Option<&Arc<Link>> {
        self.facts.chain.as_ref()
    }

    fn is_wanted(&self) -> bool {
        match &self.reply {
            Reply::Local(reply) => !reply.slot().is_abandoned(),
            Reply::Remote(reply) => !reply.call().is_unwanted(),
        }
    }

    fn start(self: Box<Self>, object: Arc<O>, place: Place) -> Progress<O> {
        let Self { args, reply, facts } = *self;
        if !reply.start() {
            reply.fail(RpcError::new(ErrorKind::Cancelled, "its caller went away before it ran"));
            return Progress::Ended(Some(object), place.control);
        }
        if facts.is_too_late() {
            reply.fail(too_late());
            return Progress::Ended(Some(object), place.control);
        }
        let info = info_of::<M>(facts, place, M::WATCHES.then(|| reply.waiting()));
        if M::WAITS {
            let control = info.control.clone();
            return Progress::Runs(answered::<O, M>(run::<O, M>(object, args, info), control, reply));
        }
        let (ended, control) = run_to_end::<O, M>(object, args, info);
        let (object, end) = parted::<O, M>(ended);
        reply.answer::<M>(&control, end);
        Progress::Ended(object, control)
    }

    fn fail(self: Box<Self>, error: RpcError) {
        self.reply.fail(error);
    }
}

/// Of the call, which runs there.
#[inline(always)]
pub(super) fn info_of<M: Method>(facts: Facts, place: Place, waiting: Option<Arc<dyn Waiting>>) -> CallInfo {
    let Place { sequence, control } = place;
    CallInfo { facts, method: const { &M::DESC }, control, sequence, waiting }
}

/// What a method leaves: the object, and its result unless it was dropped because its caller is gone.
pub(super) type Returned<O, M> = (Arc<O>, Option<ResultOf<M>>);

/// How a call has ended: see [`Returned`]; with an error if the instance is lost.
pub(super) type End<M> = Result<Option<ResultOf<M>>, RpcError>;

/// Runs a method.
#[inline(always)]
pub(super) fn run<O: Send + Sync + 'static, M: Run<O>>(
    mut object: Arc<O>,
    args: M::Args,
    info: CallInfo,
) -> UntilLost<impl Future<Output = Returned<O, M>> + Send> {
    let (call, span) = (M::Call::of(&info), info.span());
    let caller = if M::DESC.flags.cancel { info.waiting.clone() } else { None };
    let run = async move {
        let result = {
            let mut run = pin!(M::run(&mut object, args, &call));
            let until_gone = |cx: &mut Context<'_>| match &caller {
                Some(caller) if caller.poll_gone(cx).is_ready() => Poll::Ready(None),
                _ => run.as_mut().poll(cx).map(Some),
            };
            poll_fn(until_gone).await
        };
        (object, result)
    };
    UntilLost { pace: M::pace(), ..UntilLost::new(info, span, run) }
}

/// Runs a method that is no `async fn`.
#[inline(always)]
pub(super) fn run_to_end<O: Send + Sync + 'static, M: Run<O>>(
    object: Arc<O>,
    args: M::Args,
    info: CallInfo,
) -> (Result<Returned<O, M>, RpcError>, Arc<Control>) {
    let mut run = pin!(run::<O, M>(object, args, info));
    match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => (ended, run.control()),
        Poll::Pending => unreachable!("what is no `async fn` does not wait"),
    }
}

/// Answers when the method has ended.
pub(super) fn answered<O: Send + Sync + 'static, M: Run<O>>(
    run: impl Future<Output = Result<Returned<O, M>, RpcError>> + Send + 'static,
    control: Arc<Control>,
    reply: Reply<M::Ok, M::Err>,
) -> Running<O> {
    let ended = move |ended| {
        let (object, end) = parted::<O, M>(ended);
        reply.answer::<M>(&control, end);
        object
    };
    run.map(ended).boxed()
}

/// The object, unless it is lost, and the end of the call.
pub(super) fn parted<O, M: Method>(ended: Result<Returned<O, M>, RpcError>) -> (Option<Arc<O>>, End<M>) {
    match ended {
        Ok((object, result)) => (Some(object), Ok(result)),
        Err(lost) => (None, Err(lost)),
    }
}

pin_project! {
    /// Work of an instance: until it returns, or the instance is lost, be it by the work's panic.
    pub(super) struct UntilLost<F> {
        // To be timed, when it is first polled.
        pace: Option<&'static Pace>,
        #[pin]
        work: InCall<F>,
    }
}

impl<F: Future> UntilLost<F> {
    #[inline(always)]
    pub(super) fn new(info: CallInfo, span: Option<Box<Span>>, work: F) -> Self {
        Self { pace: None, work: info.scope_in(span, work) }
    }
}

impl<F> UntilLost<F> {
    /// Its hold on the control of the instance, when it has ended.
    pub(super) fn control(self: Pin<&mut Self>) -> Arc<Control> {
        self.project().work.into_info().control
    }
}

impl<F: Future> Future for UntilLost<F> {
    type Output = Result<F::Output, RpcError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(error) = this.work.info().control.is_reset() {
            return Poll::Ready(Err(error.clone()));
        }
        let poll = || Pace::poll(this.pace.take(), || this.work.as_mut().poll(cx));
        let polled = catch_unwind(AssertUnwindSafe(poll));
        let control = &this.work.info().control;
        match (polled, control.is_reset()) {
            // One that aborted its object and caught the unwinding has still lost it.
            (_, Some(error)) => Poll::Ready(Err(error.clone())),
            (Ok(polled), None) => polled.map(Ok),
            (Err(panic), None) => Poll::Ready(Err(control.reset(panicked("the method", &*panic)).clone())),
        }
    }
}

/// The error of callers after a panic. Its text goes to the log: it is not for peers.
pub(crate) fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> RpcError {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("(no message)"), "{what} panicked");
    RpcError::new(ErrorKind::Reset, format!("{what} panicked"))
}
