//! The facts of one call, as the method that runs it sees them.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use opendo_transport::envelope::TraceContext;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

use crate::object::control::Control;
use crate::object::id::ObjectKey;
use crate::object::storage::ledger::Ledger;
use crate::rpc::chain::Link;
use crate::rpc::method::MethodDesc;
use crate::rpc::session::Session;

thread_local! {
    /// The call that this thread is at.
    static CURRENT: RefCell<Option<CallInfo>> = const { RefCell::new(None) };
}

/// Who made a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Caller {
    /// Code of this process that is not a method of an object.
    Local,
    /// A method of this object, in this process; or a [message](crate::Ctx::send) from it.
    Object(Arc<ObjectKey>),
    /// The peer of this session.
    Session(Session),
}

/// The facts of one call: who called which method of what, by when, and in which trace.
///
/// A method receives them in an argument marked `#[call]`, which is not part of its signature on the wire.
///
/// ```
/// use opendo::prelude::*;
///
/// pub struct Greeter;
///
/// #[rpc_target]
/// impl Greeter {
///     pub fn greet(&self, #[call] call: &CallInfo, name: String) -> String {
///         format!("{name} called {}", call.method().name)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let greeter: GreeterStub = opendo::serve(Greeter);
/// assert_eq!(greeter.greet("Ann".into()).await?, "Ann called greet");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct CallInfo {
    pub(crate) facts: Facts,
    pub(crate) method: &'static MethodDesc,
    /// Of the activation that runs it.
    pub(crate) control: Arc<Control>,
    pub(crate) sequence: u64,
    /// `None` where nobody asks.
    pub(crate) waiting: Option<Arc<dyn Waiting>>,
}

/// What is known of a call before it has its turn.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) caller: Caller,
    pub(crate) deadline: Option<Instant>,
    /// Few calls have one, and all are moved.
    trace: Option<Box<TraceContext>>,
    /// The chain by which this call came.
    pub(crate) chain: Option<Arc<Link>>,
}

impl Facts {
    pub(crate) fn new(
        caller: Caller,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
        chain: Option<Arc<Link>>,
    ) -> Self {
        Self { caller, deadline, trace: trace.map(Box::new), chain }
    }

    pub(crate) fn is_too_late(&self) -> bool {
        self.deadline.is_some_and(|at| at <= Instant::now())
    }
}

/// A span that somebody wants to know of. Work holds it in a box: it is moved, and mostly has none.
pub(crate) fn listened_to(span: Span) -> Option<Box<Span>> {
    (!span.is_none()).then(|| Box::new(span))
}

/// Where a call comes from.
pub(crate) struct Origin {
    pub(crate) caller: Caller,
    pub(crate) chain: Option<Arc<Link>>,
    pub(crate) trace: Option<TraceContext>,
}

/// The caller's side of a call, as far as the callee may look at it.
pub(crate) trait Waiting: Send + Sync {
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()>;
    fn is_gone(&self) -> bool;
}

impl CallInfo {
    /// Of work that is not a call of somebody's, and in nobody's chain.
    pub(crate) fn of_own_work(what: &'static MethodDesc, control: &Arc<Control>) -> Self {
        Self {
            facts: Facts::new(Caller::Local, None, None, None),
            method: what,
            control: control.clone(),
            sequence: u64::MAX,
            waiting: None,
        }
    }

    /// Who made the call.
    pub fn caller(&self) -> &Caller {
        &self.facts.caller
    }

    /// The session the call came over, if it did: with it, the method can call the peer's objects.
    pub fn session(&self) -> Option<&Session> {
        match &self.facts.caller {
            Caller::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The object that runs it; `None` for a target.
    pub fn object(&self) -> Option<&ObjectKey> {
        self.control.key().map(|key| &**key)
    }

    /// The method.
    pub fn method(&self) -> &MethodDesc {
        self.method
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Option<Instant> {
        self.facts.deadline
    }

    /// How long the caller still waits; zero when its time is over, `None` without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.facts.deadline.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The trace the call belongs to. Calls made by the method belong to the same one.
    pub fn trace(&self) -> Option<TraceContext> {
        self.facts.trace.as_deref().copied()
    }

    /// Whether the caller is gone: it dropped the call, ran out of time, or lost its connection.
    pub fn is_cancelled(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.is_gone())
    }

    /// Resolves when the caller is gone. The method goes on all the same, unless it stops itself.
    pub async fn cancelled(&self) {
        match &self.waiting {
            Some(waiting) => poll_fn(|cx| waiting.poll_gone(cx)).await,
            None => std::future::pending().await,
        }
    }

    /// Runs `future` as (part of) this call: calls it makes carry this call's chain and trace.
    pub(crate) fn scope<F: Future>(self, work: F) -> InCall<F> {
        self.scope_in(None, work)
    }

    /// The same; the logs say so.
    #[inline(always)]
    pub(crate) fn scope_in<F: Future>(self, span: Option<Box<Span>>, work: F) -> InCall<F> {
        InCall { info: Some(self), span, work: Some(work) }
    }

    /// What it is in the logs, where they want to know.
    #[inline]
    pub(crate) fn span(&self) -> Option<Box<Span>> {
        if Level::DEBUG > LevelFilter::current() { None } else { self.enabled_span() }
    }

    fn enabled_span(&self) -> Option<Box<Span>> {
        let object = self.object().map(tracing::field::display);
        listened_to(tracing::debug_span!("call", object, method = self.method.name))
    }

    /// Runs what belongs to no call, whatever this thread is at.
    pub(crate) fn in_no_call<R>(run: impl FnOnce() -> R) -> R {
        let mut none = None;
        let _entered = Entered::swap(&mut none);
        run()
    }

    /// Whether what is written to this ledger now is committed when this ends.
    pub(crate) fn commits(&self, ledger: &Ledger) -> bool {
        self.control.ledger().is_some_and(|own| std::ptr::eq(&raw const **own, ledger))
    }

    /// What a call that is made now says of itself, and what its caller has written, which has to be durable before it
    /// leaves.
    #[inline]
    pub(crate) fn for_call_out(
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> (Facts, Option<Arc<Control>>) {
        if Self::with_current(|current| current.is_some()) {
            return Self::for_call_of_method(deadline, trace);
        }
        (Facts::new(Caller::Local, deadline, trace, None), None)
    }

    fn for_call_of_method(
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> (Facts, Option<Arc<Control>>) {
        let origin = Self::origin();
        let facts = Facts::new(origin.caller, deadline, trace.or(origin.trace), origin.chain);
        (facts, Self::gate())
    }

    /// What a call that is made now says about who makes it. Whoever sends it asks for its gate.
    pub(crate) fn origin() -> Origin {
        Self::with_current(|current| match current {
            None => Origin { caller: Caller::Local, chain: None, trace: None },
            Some(info) => {
                let link = Link::new(info.control.number(), info.sequence, info.facts.chain.clone());
                Origin {
                    caller: info.control.key().cloned().map_or(Caller::Local, Caller::Object),
                    chain: Some(link),
                    trace: info.trace(),
                }
            }
        })
    }

    fn gate_of(info: &Self) -> Option<Arc<Control>> {
        info.control.holds().then(|| info.control.clone())
    }

    /// Of what runs it.
    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// What leaves now has to wait for the writes of the object that runs here.
    pub(crate) fn gate() -> Option<Arc<Control>> {
        Self::with_current(|current| current.and_then(Self::gate_of))
    }

    /// Looks at the call that the current task runs, if any.
    #[inline]
    pub(crate) fn with_current<R>(look: impl FnOnce(Option<&CallInfo>) -> R) -> R {
        let mut look = Some(look);
        let mut look = |current: Option<&CallInfo>| look.take().map(|look| look(current));
        let seen = CURRENT.try_with(|current| look(current.borrow().as_ref()));
        // A thread that ends is at no call any more.
        seen.unwrap_or_else(|_| look(None)).expect("one of them looks")
    }
}

pin_project! {
    /// Work that is (part of) a call: what it calls carries its chain and trace, also while it is dropped.
    ///
    /// A scope of its own and none of Tokio's, since the call is looked at while the work is not polled, and taken back
    /// when it has ended.
    pub(crate) struct InCall<F> {
        // Not here while the work is polled.
        info: Option<CallInfo>,
        span: Option<Box<Span>>,
        // `None` when it has ended.
        #[pin]
        work: Option<F>,
    }

    impl<F> PinnedDrop for InCall<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.work.is_some() {
                let _entered = Entered::swap(this.info);
                let _span = this.span.as_deref().map(Span::enter);
                this.work.set(None);
            }
        }
    }
}

impl<F> InCall<F> {
    pub(crate) fn info(&self) -> &CallInfo {
        self.info.as_ref().expect("it is here unless the work is polled")
    }

    /// The call whose work has ended.
    pub(crate) fn into_info(self: Pin<&mut Self>) -> CallInfo {
        self.project().info.take().expect("it is here unless the work is polled")
    }
}

impl<F: Future> Future for InCall<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _entered = Entered::swap(this.info);
        let _span = this.span.as_deref().map(Span::enter);
        let work = this.work.as_mut().as_pin_mut().expect("polled after completion");
        let polled = work.poll(cx);
        if polled.is_ready() {
            this.work.set(None);
        }
        polled
    }
}

/// This thread is at another call, until this is dropped.
struct Entered<'a>(&'a mut Option<CallInfo>);

impl<'a> Entered<'a> {
    fn swap(info: &'a mut Option<CallInfo>) -> Self {
        // A thread that ends is at no call any more.
        let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), info));
        Self(info)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), self.0));
    }
}

impl fmt::Debug for CallInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallInfo")
            .field("caller", self.caller())
            .field("object", &self.object())
            .field("method", &self.method.name)
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}
