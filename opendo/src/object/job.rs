//! One call on its way through a strand.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use opendo_transport::envelope::TraceContext;
use tokio::time::Instant;
use tracing::Instrument;

use crate::object::control::Control;
use crate::object::inbox::Receipt;
use crate::object::pace::Pace;
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::RemoteReply;
use crate::rpc::info::{CallInfo, Caller, Waiting};
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

/// What a strand runs.
pub(crate) trait Job<O>: Send {
    fn flags(&self) -> MethodFlags;
    fn chain(&self) -> Option<&Arc<Link>>;
    /// False when the caller is gone.
    fn is_wanted(&self) -> bool;
    /// Begins to run on the object; gives it back when nobody wants the job done any more.
    fn start(self: Box<Self>, object: Arc<O>, place: Place) -> Result<Running<O>, Arc<O>>;
    fn fail(self: Box<Self>, error: RpcError);
}

/// A call of `M`.
pub(crate) struct MethodJob<M: Method> {
    pub(crate) args: M::Args,
    pub(crate) reply: Reply<M::Ok, M::Err>,
    pub(crate) facts: Facts,
}

/// A call's circumstances.
pub(crate) struct Facts {
    pub(crate) caller: Caller,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
}

impl Facts {
    pub(crate) fn is_too_late(&self) -> bool {
        self.deadline.is_some_and(|at| at <= Instant::now())
    }

    /// The facts of the call, which runs there.
    pub(super) fn of<M: Method>(self, place: Place, waiting: Option<Arc<dyn Waiting>>) -> CallInfo {
        let Self { caller, deadline, trace, chain } = self;
        let Place { sequence, control } = place;
        CallInfo { caller, method: M::DESC, deadline, trace, chain, control, sequence, waiting }
    }
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

/// The callee's hold on a slot: dropped unanswered, it answers with an error, so that no caller waits for ever.
pub(crate) struct LocalReply<V>(pub(crate) Arc<Slot<V>>);

impl<V> Drop for LocalReply<V> {
    fn drop(&mut self) {
        let error = || RpcError::new(ErrorKind::Reset, "the call was dropped unanswered").may_run(true);
        self.0.complete_with(|| Err(error()));
    }
}

impl<T: Send + 'static, E: Send + 'static> Reply<T, E> {
    /// False when the caller is gone.
    pub(crate) fn start(&self) -> bool {
        match self {
            Self::Local(reply) => reply.0.start(),
            Self::Remote(reply) => !reply.call().is_unwanted(),
        }
    }

    /// The caller's side.
    pub(crate) fn waiting(&self) -> Arc<dyn Waiting> {
        match self {
            Self::Local(reply) => reply.0.clone(),
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
    pub(super) fn answer<M: Method<Ok = T, Err = E>>(self, control: &Control, end: End<Result<T, E>>) {
        match end {
            End::Returned(result) => {
                let receipt = self.receipt();
                control.hold_answer(receipt.as_deref(), move |durable| match (durable, self) {
                    (Ok(()), Self::Local(reply)) => reply.0.complete(Ok(result)),
                    (Ok(()), Self::Remote(reply)) => reply.send::<M>(&result),
                    (Err(error), reply) => reply.fail(error),
                });
            }
            End::Reset(error) => self.fail(error.may_run(true)),
            End::Dropped => {
                control.seal();
                let error = RpcError::new(ErrorKind::Cancelled, "its caller went away while it ran");
                self.fail(error.may_run(true));
            }
        }
    }

    pub(crate) fn fail(self, error: RpcError) {
        match self {
            Self::Local(reply) => reply.0.complete(Err(error)),
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

/// How a run ended.
pub(crate) enum End<R> {
    Returned(R),
    /// The instance is lost.
    Reset(RpcError),
    /// The caller is gone and the method agreed to be dropped.
    Dropped,
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
            Reply::Local(reply) => !reply.0.is_abandoned(),
            Reply::Remote(reply) => !reply.call().is_unwanted(),
        }
    }

    fn start(self: Box<Self>, mut object: Arc<O>, place: Place) -> Result<Running<O>, Arc<O>> {
        let Self { args, reply, facts } = *self;
        if !reply.start() {
            reply.fail(RpcError::new(ErrorKind::Cancelled, "its caller went away before it ran"));
            return Err(object);
        }
        if facts.is_too_late() {
            reply.fail(too_late());
            return Err(object);
        }
        let info = facts.of::<M>(place, M::WATCHES.then(|| reply.waiting()));
        Ok(Box::pin(async move {
            let call = M::Call::of(&info);
            let run = Pace::time(M::pace(), M::run(&mut object, args, &call));
            let control = info.control.clone();
            let end = to_its_end::<M, _>(run, info).await;
            reply.answer::<M>(&control, end);
            Some(object)
        }))
    }

    fn fail(self: Box<Self>, error: RpcError) {
        self.reply.fail(error);
    }
}

/// Runs a method, or the rest of one, in the scope of its call.
pub(super) async fn to_its_end<M: Method, R>(run: impl Future<Output = R>, info: CallInfo) -> End<R> {
    let (control, span) = (info.control.clone(), info.span());
    let cancel = if M::DESC.flags.cancel { info.waiting.clone() } else { None };
    let run = AssertUnwindSafe(info.scope(run).instrument(span)).catch_unwind();
    until_end(std::pin::pin!(run), &control, cancel.as_deref()).await
}

/// Runs a method until it returns, panics, or loses its reason to go on.
pub(super) async fn until_end<R>(
    mut run: std::pin::Pin<&mut impl Future<Output = std::thread::Result<R>>>,
    control: &Control,
    cancel: Option<&dyn Waiting>,
) -> End<R> {
    std::future::poll_fn(|cx| {
        if let Some(error) = control.is_reset() {
            return Poll::Ready(End::Reset(error.clone()));
        }
        if cancel.is_some_and(|caller| caller.poll_gone(cx).is_ready()) {
            return Poll::Ready(End::Dropped);
        }
        let polled = run.as_mut().poll(cx);
        // A method that aborted its object and caught the unwinding has still lost it.
        match (polled, control.is_reset()) {
            (_, Some(error)) => Poll::Ready(End::Reset(error.clone())),
            (polled, None) => polled.map(|result| end_of(control, result)),
        }
    })
    .await
}

/// How a method ended that returned, or panicked.
pub(super) fn end_of<R>(control: &Control, result: std::thread::Result<R>) -> End<R> {
    match (result, control.is_reset()) {
        (_, Some(error)) => End::Reset(error.clone()),
        (Ok(result), None) => End::Returned(result),
        (Err(panic), None) => End::Reset(control.reset(panicked("the method", &*panic)).clone()),
    }
}

/// The error of callers after a panic. Its text goes to the log: it is not for peers.
pub(crate) fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> RpcError {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("(no message)"), "{what} panicked");
    RpcError::new(ErrorKind::Reset, format!("{what} panicked"))
}
