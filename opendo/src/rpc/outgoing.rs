//! An encoded call, from the one who makes it to its answer.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};

use bytes::Bytes;
use opendo_transport::envelope::TraceContext;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::encoding::{Encoded, Form};
use crate::rpc::any_core::{AnyCore, Life, Unsent};
use crate::rpc::arg;
use crate::rpc::call::Named;
use crate::rpc::cap::{AllPassed, Capabilities, Passed};
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, IncomingCall, RemoteReply};
use crate::rpc::info::{CallInfo, Caller, Waiting};
use crate::rpc::limits::Limits;
use crate::rpc::member::Member;
use crate::rpc::method::{MethodDesc, MethodFlags};
use crate::rpc::promise::{Promise, Resolution, failed_call};
use crate::rpc::remote::RemoteObject;
use crate::rpc::slot::Slot;

/// An encoded call on its way out.
#[derive(Clone, Copy)]
pub(crate) struct OutgoingCall<'a> {
    pub(crate) call: &'a Arc<RemoteCall>,
    pub(crate) parts: &'a CallParts,
    pub(crate) body: &'a [u8],
    pub(crate) passed: &'a [Passed],
}

/// What the header of a call says, beside where it goes.
#[derive(Clone)]
pub(crate) struct CallParts {
    pub(crate) method: MethodDesc,
    /// The encoding of the arguments.
    pub(crate) form: Form,
    /// What is called, where that is more than a method.
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
    /// Who calls, where that is of use: within the process.
    pub(crate) caller: Caller,
}

impl CallParts {
    /// What is called, as text clients name it.
    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        self.form.is_text().then(|| {
            let of_method = || Arc::new(Member::of_method(&self.method));
            self.member.clone().unwrap_or_else(of_method)
        })
    }
}

/// What came back: the encoding of the result, or of the method's error.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) is_ok: bool,
    pub(crate) value: Encoded,
}

/// One encoded call, as its caller, the client's queue and the session's table share it.
pub(crate) struct RemoteCall {
    to: To,
    pub(crate) object: Arc<RemoteObject>,
    /// What its method is called, and its signature as the caller knows it.
    pub(super) method: &'static str,
    signature: &'static str,
    route: Mutex<Route>,
    /// The result is used before it has arrived: the other side keeps it until this is dropped.
    pub(crate) keep: bool,
    /// The result, for calls on it, where there is no other side.
    pub(crate) kept: Option<Arc<Promise>>,
    /// For calls on the result while the call itself waits for its arguments: resolved when it leaves.
    pub(super) leaving: Mutex<Option<Arc<Promise>>>,
    /// For an idempotent method: what it takes to make the call again on another connection.
    again: Option<Box<Again>>,
    /// An earlier attempt may have run.
    tried: AtomicBool,
    /// The session it went to knows nothing of it any more.
    answered: AtomicBool,
    failure: OnceLock<RpcError>,
    /// Somebody waits for its answer.
    wanted: AtomicBool,
}

/// What it takes to make a call once more. Boxed where it is kept: few calls may be.
type Again = (CallParts, Box<[u8]>);

/// Who wants the answer.
enum To {
    Caller(Slot<Body>),
    /// The caller's caller: the call was passed on.
    PassedOn(Mutex<PassedOn>),
    /// It is one of many.
    Hook(Mutex<Option<Answered>>),
}

struct PassedOn {
    reply: Option<RemoteReply>,
    hooks: Vec<Hook>,
    /// Kept if the result may be used as a value.
    answer: Option<Result<Body, RpcError>>,
}

/// Takes the answer.
type Answered = Box<dyn FnOnce(Result<Body, RpcError>) + Send>;

/// Told of the answer before its caller is.
pub(crate) type Hook = crate::rpc::slot::Hook<Body>;

#[derive(Clone)]
enum Route {
    Unsent,
    Sent(Arc<dyn AnyCore>, u64),
    /// It was handed to something in this process.
    Here(Arc<IncomingCall>),
    /// Answered or withdrawn; where its result is kept, if it is.
    Over(Option<(Arc<dyn AnyCore>, u64)>),
}

impl RemoteCall {
    // Inlined: it is built where it is allocated, and not copied there twice.
    #[inline(always)]
    fn new(
        object: Arc<RemoteObject>,
        (method, signature): (&'static str, &'static str),
        keep: bool,
        to: impl FnOnce() -> To,
        again: Option<Box<Again>>,
    ) -> Arc<Self> {
        let here = keep && object.number.is_none();
        let kept = here.then(|| Promise::new(object.form, Limits::default().max_pipelined));
        Arc::new(Self {
            to: to(),
            object,
            method,
            signature,
            route: Mutex::new(Route::Unsent),
            keep,
            kept,
            leaving: Mutex::default(),
            again,
            tried: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            failure: OnceLock::new(),
            wanted: AtomicBool::new(false),
        })
    }

    /// A call that somebody in this process may await.
    pub(crate) fn awaited(
        object: Arc<RemoteObject>,
        method: MethodDesc,
        keep: bool,
        again: Option<Again>,
    ) -> Arc<Self> {
        let to = || To::Caller(Slot::new());
        Self::new(object, (method.name, method.signature), keep, to, again.map(Box::new))
    }

    /// The same call to one of many.
    pub(crate) fn for_hook(
        whole: &Self,
        object: Arc<RemoteObject>,
        hook: impl FnOnce(Result<Body, RpcError>) + Send + 'static,
    ) -> Arc<Self> {
        let to = || To::Hook(Mutex::new(Some(Box::new(hook))));
        Self::new(object, (whole.method, whole.signature), false, to, None)
    }

    /// Notes where the call went; false when it was withdrawn before.
    pub(crate) fn sent(&self, core: Arc<dyn AnyCore>, id: u64) -> bool {
        self.leave(Route::Sent(core, id))
    }

    /// The same for a call that stays in this process.
    pub(crate) fn delivered(&self, call: &Arc<IncomingCall>) -> bool {
        self.leave(Route::Here(call.clone()))
    }

    #[inline]
    fn leave(&self, to: Route) -> bool {
        let mut route = self.route.lock();
        let unsent = matches!(*route, Route::Unsent);
        if unsent {
            *route = to;
        }
        unsent
    }

    /// The call's number in that session, if it went there.
    pub(crate) fn number_in(&self, session: &Life) -> Option<u64> {
        if self.is_answered() {
            return None;
        }
        match &*self.route.lock() {
            Route::Sent(to, id) | Route::Over(Some((to, id))) if to.life().number == session.number => {
                Some(*id)
            }
            _ => None,
        }
    }

    /// The encoding of its arguments and its result.
    pub(crate) fn form(&self) -> Form {
        self.object.form
    }

    /// Somebody waits for its answer: text sessions do not give one unasked, where the result is kept anyway.
    #[inline]
    pub(crate) fn want(&self) {
        if self.form().is_text() {
            self.want_unasked();
        }
    }

    fn want_unasked(&self) {
        if self.wanted.swap(true, Ordering::Relaxed) {
            return;
        }
        let sent = match &*self.route.lock() {
            Route::Sent(core, id) if !self.is_answered() => Some((core.clone(), *id)),
            _ => None,
        };
        if let Some((core, id)) = sent {
            core.want(id);
        }
    }

    #[cfg(feature = "capnweb")]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// What was called, for errors.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.object.name(), self.method)
    }

    /// Why it has no result, if that is known.
    pub(super) fn failed(&self) -> Option<&RpcError> {
        self.failure.get()
    }

    /// Why it has no result.
    pub(crate) fn failure(&self) -> RpcError {
        let gone = || RpcError::new(ErrorKind::Broken, "the result it needs went with an earlier connection");
        self.failure.get().cloned().unwrap_or_else(gone)
    }

    /// Whether the result can be named in a message that goes the same way as this call did.
    pub(crate) fn goes_with(&self, uplink: Option<u64>) -> bool {
        self.keep && uplink.is_some() && self.object.number == uplink && self.leaving.lock().is_none()
    }

    /// The method's signature as the caller knows it.
    pub(crate) fn signature(&self) -> &'static str {
        self.signature
    }

    pub(crate) fn slot(&self) -> &Slot<Body> {
        match &self.to {
            To::Caller(slot) => slot,
            To::PassedOn(_) | To::Hook(_) => {
                unreachable!("only the calls of a caller in this process are awaited")
            }
        }
    }

    /// The connection was lost before the answer came: makes the call again if that does no harm.
    pub(crate) fn lost(self: Arc<Self>, error: RpcError) {
        match self.again.as_deref() {
            Some((parts, body)) if error.kind() == ErrorKind::Disconnected => {
                {
                    let mut route = self.route.lock();
                    if matches!(*route, Route::Over(_)) {
                        return; // withdrawn
                    }
                    *route = Route::Unsent;
                }
                self.tried.fetch_or(error.may_have_run(), Ordering::Relaxed);
                let outgoing = OutgoingCall { call: &self, parts, body, passed: &[] };
                hand_over(outgoing);
            }
            _ => self.complete(Err(error)),
        }
    }

    fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    fn over(&self) -> Route {
        if self.is_answered() {
            return Route::Over(None);
        }
        let mut route = self.route.lock();
        let kept = match &*route {
            Route::Sent(core, id) if self.keep => Some((core.clone(), *id)),
            Route::Over(kept) => kept.clone(),
            _ => None,
        };
        std::mem::replace(&mut *route, Route::Over(kept))
    }

    /// The answer, from the session or from whatever prevented one.
    pub(crate) fn complete(&self, answer: Result<Body, RpcError>) {
        if let Some(caller) = self.fill(answer) {
            caller.wake();
        }
    }

    /// The same, and leaves it to others to wake who waits for it.
    #[must_use]
    pub(crate) fn fill(&self, answer: Result<Body, RpcError>) -> Option<Waker> {
        let answer = match answer {
            Err(error) if self.tried.load(Ordering::Relaxed) => Err(error.may_run(true)),
            answer => answer,
        };
        if self.keep || self.object.number.is_none() {
            drop(self.over());
        } else {
            // A session does not hold it any more, so nothing has to be let go of here.
            self.answered.store(true, Ordering::Release);
        }
        match &answer {
            Err(error) => {
                if error.is_reset() || self.object.is_sink() {
                    self.object.break_with(error);
                }
                let _ = self.failure.set(error.clone());
                if let Some(kept) = &self.kept {
                    kept.resolve(Err(error.clone()));
                }
            }
            Ok(body) if !body.is_ok => {
                // Whoever speaks text is told of the error itself.
                let failure = failed_call(self.method).with_thrown(body.value.clone());
                let _ = self.failure.set(failure);
            }
            Ok(_) => {}
        }
        match &self.to {
            To::Caller(slot) => return slot.fill(answer),
            To::Hook(hook) => {
                let hook = hook.lock().take();
                if let Some(hook) = hook {
                    hook(answer);
                }
            }
            To::PassedOn(passed_on) => {
                let (reply, hooks) = {
                    let mut passed_on = passed_on.lock();
                    passed_on.answer = Some(answer.clone()).filter(|_| self.keep);
                    (passed_on.reply.take(), std::mem::take(&mut passed_on.hooks))
                };
                for hook in hooks {
                    hook(answer.as_ref());
                }
                match (reply, answer) {
                    (Some(reply), Ok(Body { is_ok, value })) => {
                        let Encoded { bytes, passed, .. } = value;
                        reply.answer(self.method, is_ok, &bytes, passed, || Capabilities::None);
                    }
                    (Some(reply), Err(error)) => reply.fail(error),
                    (None, _) => {}
                }
            }
        }
        None
    }

    /// Has `hook` told of the answer: now, if it is there.
    pub(crate) fn when_done(&self, hook: Hook) {
        self.want();
        match &self.to {
            To::Caller(slot) => slot.on_done(hook),
            To::Hook(_) => unreachable!("the result of one of many is nobody's argument"),
            To::PassedOn(passed_on) => {
                let mut passed_on = passed_on.lock();
                match passed_on.answer.clone() {
                    Some(answer) => {
                        drop(passed_on);
                        hook(answer.as_ref());
                    }
                    None => passed_on.hooks.push(hook),
                }
            }
        }
    }

    /// The caller is gone. Returns whether the method may have run.
    pub(crate) fn withdraw(&self) -> bool {
        let route = self.over();
        match &self.to {
            To::Caller(slot) => drop(slot.abandon()),
            To::Hook(_) => {}
            To::PassedOn(passed_on) => {
                let reply = passed_on.lock().reply.take();
                if let Some(reply) = reply {
                    let error = RpcError::new(ErrorKind::Cancelled, "its caller went away");
                    reply.fail(error.may_run(true));
                }
            }
        }
        match route {
            Route::Sent(core, id) => {
                core.cancel(id);
                true
            }
            Route::Here(call) => {
                call.abandon();
                true
            }
            Route::Unsent => self.tried.load(Ordering::Relaxed),
            Route::Over(_) => true,
        }
    }
}

impl Drop for RemoteCall {
    fn drop(&mut self) {
        if let Route::Over(Some((core, id))) | Route::Sent(core, id) = self.route.get_mut()
            && self.keep
        {
            core.release_result(*id);
        }
    }
}

/// Woken when the caller of a call that was passed on is gone.
impl Wake for RemoteCall {
    fn wake(self: Arc<Self>) {
        self.withdraw();
    }
}

/// Makes the call for the one that came.
pub(super) fn pass_on(object: &Arc<RemoteObject>, incoming: Incoming) {
    let refusal = match (&object.peer, object.interface.get()) {
        // What it was given as, or what it is called as here, need not be what the caller takes it for.
        (Some(peer), _) => incoming.mismatch(|id| {
            let fingerprint = *peer.methods.get(&id)?;
            Some(MethodDesc { id, fingerprint, ..UNKNOWN })
        }),
        (None, Some(interface)) => incoming.mismatch(|id| interface.method(id).copied()),
        (None, None) => None,
    };
    if let Some(refusal) = refusal {
        return incoming.reply.fail(refusal);
    }
    let method = object.interface.get().and_then(|interface| interface.method(incoming.method)).copied();
    let method = method.unwrap_or(MethodDesc { id: incoming.method, ..UNKNOWN });
    if object.number.is_some() && incoming.args.form != object.form {
        return incoming.reply.fail(untranslatable());
    }
    let caller = incoming.caller();
    let Incoming { reply, args, member, deadline, trace, chain, .. } = incoming;
    let Encoded { form, bytes: body, passed } = args;
    let (waiting, keep) = (reply.call().clone(), reply.call().kept.is_some());
    let to = || To::PassedOn(Mutex::new(PassedOn { reply: Some(reply), hooks: Vec::new(), answer: None }));
    let call = RemoteCall::new(object.clone(), (method.name, method.signature), keep, to, None);
    if waiting.poll_gone(&mut Context::from_waker(&Waker::from(call.clone()))).is_ready() {
        call.withdraw();
    }
    let parts = CallParts { method, form, member, deadline, trace, chain, caller };
    hand_over(OutgoingCall { call: &call, parts: &parts, body: &body, passed: &passed });
    // After it: calls on the result go the same way, and there it must be known.
    if let Some(kept) = &waiting.kept {
        kept.resolve(Ok(Resolution::PassedOn(call)));
    }
}

/// Between encodings a call is translated by the types of its method, which are not known here.
fn untranslatable() -> RpcError {
    let text = "it leads to a session with another encoding, and was passed on without its type";
    RpcError::new(ErrorKind::Encode, text)
}

/// A method of which only the id is known.
const UNKNOWN: MethodDesc = MethodDesc {
    id: 0,
    name: "method",
    fingerprint: 0,
    signature: "",
    flags: MethodFlags {
        shared: false,
        concurrent: false,
        idempotent: false,
        cancel: false,
        property: false,
    },
};

/// Sends a call, once the values that cannot be named where it goes have arrived.
pub(crate) fn send(call: &Arc<RemoteCall>, parts: &CallParts, body: &[u8], passed: AllPassed) {
    #[cfg(feature = "capnweb")]
    if crate::rpc::capnweb::records(call, parts, body, &passed) {
        return;
    }
    let object = &call.object;
    if object.stays {
        return hand_over(OutgoingCall { call, parts, body, passed: &passed });
    }
    let (gate, number) = (CallInfo::gate(), object.number);
    let incomplete = !passed.is_empty() && arg::must_wait(&passed, number);
    if gate.is_none() && !incomplete {
        return hand_over(OutgoingCall { call, parts, body, passed: &passed });
    }
    if call.keep && call.kept.is_none() {
        *call.leaving.lock() = Some(Promise::new(parts.form, Limits::default().max_pipelined));
    }
    let (call, parts, body) = (call.clone(), parts.clone(), Bytes::copy_from_slice(body));
    let leave = move |passed: Result<AllPassed, RpcError>| {
        match passed {
            Ok(passed) => {
                hand_over(OutgoingCall { call: &call, parts: &parts, body: &body, passed: &passed });
            }
            Err(error) => call.complete(Err(error.may_run(false))),
        }
        // Calls on the result go the same way, or find that there is none.
        let leaving = call.leaving.lock().take();
        if let Some(leaving) = leaving {
            leaving.resolve(Ok(Resolution::PassedOn(call)));
        }
    };
    match gate {
        None => arg::when_nameable(passed, number, leave),
        Some(gate) => gate.hold(move |durable| match durable {
            Ok(()) if incomplete => arg::when_nameable(passed, number, leave),
            Ok(()) => leave(Ok(passed)),
            Err(error) => leave(Err(error)),
        }),
    }
}

/// Sends the call: straight to the session that took the one before it, or by whatever way finds one.
#[inline]
fn hand_over(outgoing: OutgoingCall<'_>) {
    let object = &outgoing.call.object;
    if let Some((session, target)) = object.way() {
        match session.try_send(&outgoing, Some(target)) {
            Ok(()) => return,
            Err(Unsent::Refused(error)) => return outgoing.call.complete(Err(error)),
            Err(Unsent::Over(_)) => {}
        }
    }
    object.uplink.clone().send(outgoing);
}

thread_local! {
    /// Calls that this thread is to let go, after the one it is at.
    static LET_GO: RefCell<Option<Vec<Arc<RemoteCall>>>> = const { RefCell::new(None) };
}

/// Lets go of a call whose result was used. It may hold the result of another one, and so on: a chain as long as a peer
/// likes, which must not take a stack as deep.
pub(super) fn let_go(call: Arc<RemoteCall>) {
    let mut next = Some(call);
    // The outermost of these on the stack takes the others over, unless the thread is about to end.
    let outermost = LET_GO.try_with(|waiting| match &mut *waiting.borrow_mut() {
        Some(waiting) => {
            waiting.extend(next.take());
            false
        }
        none => {
            *none = Some(Vec::new());
            true
        }
    });
    while let Some(call) = next {
        drop(call);
        next = LET_GO.try_with(|waiting| waiting.borrow_mut().as_mut().and_then(Vec::pop)).ok().flatten();
    }
    if outermost == Ok(true) {
        let _ = LET_GO.try_with(RefCell::take);
    }
}
