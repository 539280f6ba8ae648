//! A result that is still to come, and what waits for it.
//!
//! The same for results of calls in this process and for those that a peer may call before they have arrived there:
//! what waits runs in order, and what comes while it runs stays behind it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::encoding::{Encoded, Form};
use crate::rpc::cap::{Cap, Capabilities, Erased};
use crate::rpc::error::{CallError, ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::limits::Limits;
use crate::rpc::outgoing::{OutgoingCall, RemoteCall};
use crate::rpc::pipeline::{PipelineOf, Source};
use crate::rpc::remote::{Binding, Place, Remote, RemoteObject, Uplink};
use crate::rpc::stub::{Broken, Stub};

/// What came of a promise.
pub(crate) enum Resolution {
    /// A result: the capabilities in it, and its encoding for whoever takes all of it.
    Result { capabilities: Capabilities, value: Encoded },
    /// The call was passed on to another peer, which knows what came of it.
    PassedOn(Arc<RemoteCall>),
}

impl Resolution {
    fn at(&self, path: &[Box<str>]) -> Result<Cap, RpcError> {
        match self {
            #[cfg(feature = "capnweb")]
            Self::Result { value, .. } if value.form.is_text() => {
                crate::rpc::capnweb::at_path(value, path).ok_or_else(|| no_stub(path))
            }
            Self::Result { capabilities, .. } => capabilities.at(path).ok_or_else(|| no_stub(path)),
            Self::PassedOn(call) => Ok(Arc::new(Remote::of_result(call.clone(), path.into()))),
        }
    }
}

fn no_stub(path: &[Box<str>]) -> RpcError {
    let text = if path.is_empty() {
        "the result holds no stub here".to_owned()
    } else {
        format!("the result holds no stub at `{}`", path.join("."))
    };
    RpcError::new(ErrorKind::Broken, text)
}

/// Run once when the promise is resolved.
type Waiter = Box<dyn FnOnce(Result<&Resolution, &RpcError>) + Send>;

thread_local! {
    /// Promises whose waiters this thread is to run, after those of the one it is at.
    static RESOLVED: RefCell<Option<VecDeque<Arc<Promise>>>> = const { RefCell::new(None) };
    /// Promises that are asked for the end of what they have become, one for another.
    static ASKED: Cell<u8> = const { Cell::new(0) };
}

/// How many promises one may lead to, one after the other. A promise may be resolved to itself, by way of others, and
/// a peer can bring that about: what follows it must come to an end.
const MOST_PROMISES: u8 = 128;

pub(crate) struct Promise {
    state: Mutex<State>,
    max_waiting: usize,
    /// In which calls on it are encoded.
    form: Form,
}

struct State {
    waiting: VecDeque<Waiter>,
    outcome: Option<Result<Arc<Resolution>, RpcError>>,
    /// Somebody runs the waiters: what comes waits behind them.
    draining: bool,
}

impl Promise {
    pub(crate) fn new(form: Form, max_waiting: usize) -> Arc<Self> {
        Self::with_outcome(form, None, max_waiting)
    }

    pub(crate) fn failed(error: RpcError) -> Arc<Self> {
        Self::with_outcome(Form::Postcard, Some(Err(error)), 0)
    }

    fn with_outcome(
        form: Form,
        outcome: Option<Result<Arc<Resolution>, RpcError>>,
        max_waiting: usize,
    ) -> Arc<Self> {
        let state = State { waiting: VecDeque::new(), outcome, draining: false };
        Arc::new(Self { state: Mutex::new(state), max_waiting, form })
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    #[cfg(feature = "capnweb")]
    pub(crate) fn is_resolved(&self) -> bool {
        self.state.lock().outcome.is_some()
    }

    /// Resolves it; the first time counts. What waits has run when this returns, or another thread is about to
    /// run it; or it runs after what waits for another promise and led here, so that a chain of calls on results does
    /// not take a stack as deep as it is long.
    pub(crate) fn resolve(self: &Arc<Self>, outcome: Result<Resolution, RpcError>) {
        {
            let mut state = self.state.lock();
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome.map(Arc::new));
            state.draining = true;
        }
        let nested = RESOLVED.with_borrow_mut(|resolved| match resolved {
            Some(resolved) => {
                resolved.push_back(self.clone());
                true
            }
            None => {
                *resolved = Some(VecDeque::new());
                false
            }
        });
        if nested {
            return;
        }
        /// Also when a waiter panics.
        struct Outermost;
        impl Drop for Outermost {
            fn drop(&mut self) {
                drop(RESOLVED.take());
            }
        }
        let _outermost = Outermost;
        let mut next = Some(self.clone());
        while let Some(promise) = next {
            promise.run_waiters();
            next = RESOLVED.with_borrow_mut(|resolved| resolved.as_mut().and_then(VecDeque::pop_front));
        }
    }

    /// What became of it is let go of, and nothing more becomes of it.
    #[cfg(feature = "capnweb")]
    pub(crate) fn forget(self: &Arc<Self>, error: &RpcError) {
        self.resolve(Err(error.clone()));
        let before = self.state.lock().outcome.replace(Err(error.clone()));
        // Not under the lock: it may lead here.
        drop(before);
    }

    fn run_waiters(&self) {
        loop {
            let mut state = self.state.lock();
            let Some(waiter) = state.waiting.pop_front() else {
                state.draining = false;
                return;
            };
            let outcome = state.outcome.clone().expect("it was resolved above");
            drop(state);
            waiter(outcome.as_ref().map(|it| &**it));
        }
    }

    /// Runs `waiter` when the promise is resolved: now, if it is; and now, with an error, when too many wait.
    pub(crate) fn when_resolved(&self, waiter: Waiter) {
        let mut state = self.state.lock();
        match &state.outcome {
            Some(outcome) if !state.draining => {
                let outcome = outcome.clone();
                drop(state);
                waiter(outcome.as_ref().map(|it| &**it));
            }
            _ if state.waiting.len() >= self.max_waiting => {
                drop(state);
                let text = format!("{} calls wait for a result that has not come", self.max_waiting);
                waiter(Err(&RpcError::new(ErrorKind::Overloaded, text)));
            }
            _ => state.waiting.push_back(waiter),
        }
    }

    /// Calls or reads a member of the result.
    #[cfg(feature = "capnweb")]
    pub(crate) fn deliver_member(&self, mut call: Incoming) {
        if call.promises >= MOST_PROMISES {
            return call.reply.fail(circular());
        }
        call.promises += 1;
        self.when_resolved(Box::new(move |outcome| match outcome {
            Ok(Resolution::Result { value, .. }) if value.form.is_text() => {
                crate::rpc::capnweb::member_of_result(value, call);
            }
            Ok(resolution) => match resolution.at(&[]) {
                Ok(cap) => cap.deliver(call),
                Err(error) => call.reply.fail(error),
            },
            Err(error) => call.reply.fail(error.clone().may_run(false)),
        }));
    }

    fn deliver_at(&self, path: Arc<[Box<str>]>, mut call: Incoming) {
        #[cfg(feature = "capnweb")]
        if let Some(member) = &call.member {
            call.member = Some(Arc::new(member.behind(&path)));
            return self.deliver_member(call);
        }
        if call.promises >= MOST_PROMISES {
            return call.reply.fail(circular());
        }
        call.promises += 1;
        self.when_resolved(Box::new(move |outcome| match outcome {
            Ok(resolution) => match resolution.at(&path) {
                Ok(cap) => cap.deliver(call),
                Err(error) => call.reply.fail(error),
            },
            Err(error) => call.reply.fail(error.clone().may_run(false)),
        }));
    }
}

impl Uplink for Promise {
    fn send(self: Arc<Self>, outgoing: OutgoingCall<'_>) {
        let path = path_of(&outgoing.call.object);
        if let Some(call) = Incoming::of_own(&outgoing) {
            // What it leads to need not know how to wait for what the call takes.
            call.when_complete(move |call| self.deliver_at(path, call));
        }
    }

    fn deliver(self: Arc<Self>, object: &Arc<RemoteObject>, mut call: Incoming) {
        // Whoever it was passed on to knows it as the one whose promise it is does.
        call.fingerprint = call.fingerprint.or_else(|| object.fingerprint(call.method));
        self.deliver_at(path_of(object), call);
    }

    fn release(&self, _: &Binding) {}

    fn form(&self) -> Form {
        self.form
    }

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        None
    }

    fn broken(self: Arc<Self>, object: &RemoteObject) -> Broken {
        let path = path_of(object);
        async move {
            let (tell, told) = tokio::sync::oneshot::channel();
            self.when_resolved(Box::new(move |outcome| {
                let _ = tell.send(match outcome {
                    Ok(resolution) => resolution.at(&path),
                    Err(error) => Err(error.clone()),
                });
            }));
            match told.await {
                Ok(Ok(cap)) => {
                    let mut broken = cap.broken();
                    poll_fn(|cx| {
                        let asked = ASKED.get();
                        if asked >= MOST_PROMISES {
                            return Poll::Ready(circular());
                        }
                        ASKED.set(asked + 1);
                        let polled = broken.poll_unpin(cx);
                        ASKED.set(asked);
                        polled
                    })
                    .await
                }
                Ok(Err(error)) => error,
                Err(_) => RpcError::new(ErrorKind::Broken, "what should have become of it is gone"),
            }
        }
        .boxed()
    }
}

fn circular() -> RpcError {
    RpcError::new(ErrorKind::Broken, "a result that becomes itself, or is too many promises away")
}

fn path_of(object: &RemoteObject) -> Arc<[Box<str>]> {
    match &object.place {
        Place::Promise(path) => path.clone(),
        _ => Arc::new([]),
    }
}

/// Resolves the promise to an error if it is dropped before anything else was made of it.
pub(crate) struct Resolver(Arc<Promise>);

impl Resolver {
    pub(crate) fn new(promise: Arc<Promise>) -> Self {
        Self(promise)
    }

    pub(crate) fn resolve(self, outcome: Result<Resolution, RpcError>) {
        self.0.resolve(outcome);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.resolve(Err(RpcError::new(ErrorKind::Broken, "what should have become of it is gone")));
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").finish_non_exhaustive()
    }
}

/// A stub of what `future` will give: it can be passed on and called at once; its calls wait, in order.
///
/// When the future fails, all calls fail with its error. Dropping the stubs does not stop the future.
///
/// # Panics
/// Outside of a Tokio runtime.
///
/// ```
/// # use opendo::prelude::*;
/// # pub struct Greeter; #[rpc_target] impl Greeter { pub fn greet(&self) -> String { "hi".into() } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let (ready, wait) = tokio::sync::oneshot::channel::<GreeterStub>();
/// let greeter: GreeterStub = opendo::promise(async { Ok(wait.await.unwrap()) });
/// let call = greeter.greet(); // waits
/// ready.send(opendo::serve(Greeter)).unwrap();
/// assert_eq!(call.await?, "hi");
/// # Ok(()) }
/// ```
pub fn promise<S: Stub>(future: impl Future<Output = Result<S, RpcError>> + Send + 'static) -> S {
    let promise = Promise::new(Form::Postcard, Limits::default().max_pipelined);
    let resolver = Resolver::new(promise.clone());
    Handle::current().spawn(async move {
        let outcome = future.await.map(|stub| Resolution::Result {
            capabilities: Capabilities::One(Erased(Arc::new(stub))),
            value: Encoded::NOTHING,
        });
        resolver.resolve(outcome);
    });
    PipelineOf::new(Source::Promise(promise)).stub()
}

/// The error of calls that wait for the result of one that returned an error of its own.
pub(crate) fn refused_by<E>(error: &CallError<E>, method: &str) -> RpcError {
    match error {
        CallError::Rpc(error) => error.clone(),
        CallError::App(_) => failed_call(method),
    }
}

pub(crate) fn failed_call(method: &str) -> RpcError {
    let text = format!("it needs the result of `{method}`, which returned an error");
    RpcError::new(ErrorKind::Failed, text)
}
