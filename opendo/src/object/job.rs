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
use crate::object::id::ObjectKey;
use crate::object::inbox::Receipt;
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::RemoteReply;
use crate::rpc::info::{CallInfo, Caller, Waiting};
use crate::rpc::method::{Method, MethodFlags, Run};
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
    pub(crate) key: Option<Arc<ObjectKey>>,
    pub(crate) sequence: u64,
    pub(crate) control: Arc<Control>,
}

/// A started job: gives the object back.
pub(crate) type Running<O> = BoxFuture<'static, Arc<O>>;

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
    pub(crate) caller: Caller,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
}

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
    fn start(&self) -> bool {
        match self {
            Self::Local(reply) => reply.0.start(),
            Self::Remote(reply) => !reply.call().is_unwanted(),
        }
    }

    fn waiting(&self) -> Arc<dyn Waiting> {
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

    pub(crate) fn fail(self, error: RpcError) {
        match self {
            Self::Local(reply) => reply.0.complete(Err(error)),
            Self::Remote(reply) => reply.fail(error),
        }
    }
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
pub(super) enum End<R> {
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
        self.chain.as_ref()
    }

    fn is_wanted(&self) -> bool {
        match &self.reply {
            Reply::Local(reply) => !reply.0.is_abandoned(),
            Reply::Remote(reply) => !reply.call().is_unwanted(),
        }
    }

    fn start(self: Box<Self>, mut object: Arc<O>, place: Place) -> Result<Running<O>, Arc<O>> {
        let Self { args, reply, caller, deadline, trace, chain } = *self;
        if !reply.start() {
            reply.fail(RpcError::new(ErrorKind::Cancelled, "its caller went away before it ran"));
            return Err(object);
        }
        if deadline.is_some_and(|at| at <= Instant::now()) {
            reply.fail(RpcError::new(ErrorKind::Deadline, "its time was over before its turn came"));
            return Err(object);
        }
        let Place { key, sequence, control } = place;
        let span = tracing::debug_span!("call", object = key.as_deref().map(display), method = M::DESC.name);
        let info = CallInfo {
            caller,
            object: key,
            method: M::DESC,
            deadline,
            trace,
            chain,
            control: control.clone(),
            sequence,
            waiting: reply.waiting(),
        };
        Ok(Box::pin(async move {
            let end = {
                let run = info.clone().scope(M::run(&mut object, args, &info)).instrument(span);
                let run = std::pin::pin!(AssertUnwindSafe(run).catch_unwind());
                until_end(run, &control, M::DESC.flags.cancel.then_some(&*info.waiting)).await
            };
            match end {
                // Nobody hears of it before what it wrote is durable; the object goes on meanwhile.
                End::Returned(result) => {
                    let receipt = reply.receipt();
                    control.hold_answer(receipt.as_deref(), move |durable| match (durable, reply) {
                        (Ok(()), Reply::Local(reply)) => reply.0.complete(Ok(result)),
                        (Ok(()), Reply::Remote(reply)) => reply.send::<M>(&result),
                        (Err(error), reply) => reply.fail(error),
                    });
                }
                End::Reset(error) => reply.fail(error.may_run(true)),
                End::Dropped => {
                    control.seal();
                    let error = RpcError::new(ErrorKind::Cancelled, "its caller went away while it ran");
                    reply.fail(error.may_run(true));
                }
            }
            object
        }))
    }

    fn fail(self: Box<Self>, error: RpcError) {
        self.reply.fail(error);
    }
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
        if let Some(error) = control.is_reset() {
            return Poll::Ready(End::Reset(error.clone()));
        }
        polled.map(|result| match result {
            Ok(result) => End::Returned(result),
            Err(panic) => End::Reset(control.reset(panicked("the method", &*panic)).clone()),
        })
    })
    .await
}

/// The error of callers after a panic. Its text goes to the log: it is not for peers.
pub(crate) fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> RpcError {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("(no message)"), "{what} panicked");
    RpcError::new(ErrorKind::Reset, format!("{what} panicked"))
}
