//! The callee's side of a call that comes encoded: over a session, or through a promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use opendo_transport::envelope::TraceContext;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::encoding::{Encoded, Form, Shape, with_encoder};
use crate::object::inbox::Receipt;
use crate::object::turn;
use crate::rpc::any_core::AnyCore;
use crate::rpc::arg;
use crate::rpc::cap::{AllPassed, Capabilities, Passed};
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::gone::Gone;
use crate::rpc::info::{Caller, Waiting};
use crate::rpc::member::Member;
use crate::rpc::method::{Method, MethodDesc};
use crate::rpc::outgoing::{Body, CallParts, OutgoingCall, RemoteCall};
use crate::rpc::promise::{Promise, Resolution, failed_call};
use crate::rpc::session::Session;

/// A call whose arguments are not decoded yet.
pub struct Incoming {
    pub(crate) reply: RemoteReply,
    pub(crate) method: u32,
    /// What the caller takes the method's signature for, where nobody has compared it yet.
    pub(crate) fingerprint: Option<u64>,
    pub(crate) args: Encoded,
    /// What is called, as text clients name it: until it is known which method that is.
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
    /// `None`: the peer of the session that is answered.
    pub(crate) caller: Option<Caller>,
    /// Promises it has come through.
    pub(crate) promises: u8,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Incoming {
    /// A call of this process that takes the encoded way; `None` when it was withdrawn.
    pub(crate) fn of_own(outgoing: &OutgoingCall<'_>) -> Option<Self> {
        let OutgoingCall { call, parts, body, passed } = outgoing;
        Self::shared(call, parts, Bytes::copy_from_slice(body), (*passed).into())
    }

    /// The same, of a body that others have too.
    pub(crate) fn shared(
        call: &Arc<RemoteCall>,
        parts: &CallParts,
        body: Bytes,
        passed: AllPassed,
    ) -> Option<Self> {
        let incoming = IncomingCall::of_caller(call.clone(), parts.form);
        call.delivered(&incoming).then(|| Self {
            reply: RemoteReply::new(incoming),
            method: parts.method.id,
            // What the promise becomes need not be what the stub is.
            fingerprint: Some(parts.method.fingerprint),
            args: Encoded { form: parts.form, bytes: body, passed },
            member: parts.member(),
            deadline: parts.deadline,
            trace: parts.trace,
            chain: parts.chain.clone(),
            caller: Some(parts.caller.clone()),
            promises: 0,
        })
    }

    /// A call without a target, made for this one.
    #[cfg(feature = "capnweb")]
    pub(crate) fn made_for(&self, reply: RemoteReply, args: Encoded, member: Option<Arc<Member>>) -> Self {
        Self {
            reply,
            method: 0,
            fingerprint: None,
            args,
            member,
            deadline: self.deadline,
            trace: self.trace,
            chain: self.chain.clone(),
            caller: Some(self.caller()),
            promises: self.promises,
        }
    }

    /// A message that another object of this node has recorded, and what it takes to answer it.
    pub(crate) fn of_message(
        method: u32,
        fingerprint: u64,
        args: Encoded,
        trace: Option<TraceContext>,
        receipt: Receipt,
    ) -> Self {
        let caller = Some(Caller::Object(receipt.sender.clone()));
        Self {
            reply: RemoteReply::new(IncomingCall::of_message(receipt)),
            method,
            fingerprint: Some(fingerprint),
            args,
            member: None,
            deadline: None,
            trace,
            chain: None,
            caller,
            promises: 0,
        }
    }

    /// Who calls.
    pub(crate) fn caller(&self) -> Caller {
        match (&self.caller, &self.reply.call.to) {
            (Some(caller), _) => caller.clone(),
            (None, To::Session(core, _)) => Caller::Session(Session::new(core.clone())),
            (None, _) => Caller::Local,
        }
    }

    /// The id of the called method.
    pub fn method(&self) -> u32 {
        self.method
    }

    /// Answers that there is no such method.
    pub fn no_such_method(self) {
        let text = format!("no method has the id {:#010x}; is the peer newer than this node?", self.method);
        self.reply.fail(RpcError::new(ErrorKind::NoSuchMethod, text));
    }

    /// Why the call cannot be taken as it is, if the caller knows the method under another signature.
    pub(crate) fn mismatch(&self, ours: impl Fn(u32) -> Option<MethodDesc>) -> Option<RpcError> {
        let theirs = self.fingerprint.filter(|print| *print != 0)?;
        let ours = ours(self.method).filter(|ours| ours.fingerprint != theirs && ours.fingerprint != 0)?;
        let text = format!(
            "`{}` is `{}` at this node; build caller and object against the same signature",
            ours.name, ours.signature
        );
        Some(RpcError::new(ErrorKind::SignatureMismatch, text).with_signatures(ours.signature, ""))
    }

    /// The arguments, which must be all there is in the body.
    pub(crate) fn decode<M: Method>(&mut self) -> Result<M::Args, RpcError> {
        let args = std::mem::replace(&mut self.args, Encoded::NOTHING);
        args.decode(&Shape::Arguments, M::decode_args)
            .map_err(|error| RpcError::new(ErrorKind::Decode, format!("the arguments: {error}")))
    }

    /// Whether every value that the call takes has arrived.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        !self.args.passed.iter().any(|passed| matches!(passed, Passed::Value(_)))
    }

    /// Goes on when every value that the call takes has arrived; fails it when one does not.
    #[inline]
    pub(crate) fn when_complete(self, then: impl FnOnce(Self) + Send + 'static) {
        if self.is_complete() {
            return then(self);
        }
        self.complete_later(then);
    }

    fn complete_later(mut self, then: impl FnOnce(Self) + Send + 'static) {
        let passed = std::mem::take(&mut self.args.passed);
        arg::when_all_there(passed, move |passed| match passed {
            Ok(passed) => {
                self.args.passed = passed;
                then(self);
            }
            Err(error) => self.reply.fail(error.may_run(false)),
        });
    }
}

/// Where the answer to one call goes. Exactly one answer is sent: dropping it unanswered sends an error.
pub(crate) struct RemoteReply {
    call: Arc<IncomingCall>,
    answered: bool,
}

/// A call that is not answered yet.
pub(crate) struct IncomingCall {
    to: To,
    /// Of its arguments, and so of the answer.
    pub(crate) form: Form,
    /// What the caller may call on the result before it has it.
    pub(crate) kept: Option<Arc<Promise>>,
    /// Looked at without the lock by whoever only asks.
    is_gone: AtomicBool,
    gone: Mutex<Gone>,
}

enum To {
    Session(Arc<dyn AnyCore>, u64),
    /// A call of this process that came the encoded way.
    Caller(Arc<RemoteCall>),
    /// To nobody; that there was one is told.
    Sender(Arc<Receipt>),
    /// Only to the promise.
    #[cfg(feature = "capnweb")]
    Promise,
}

impl IncomingCall {
    fn new(to: To, form: Form, kept: Option<Arc<Promise>>) -> Self {
        Self { to, form, kept, is_gone: AtomicBool::new(false), gone: Mutex::default() }
    }

    pub(crate) fn of_session(core: Arc<dyn AnyCore>, id: u64, kept: Option<Arc<Promise>>) -> Arc<Self> {
        let form = core.form();
        Arc::new(Self::new(To::Session(core, id), form, kept))
    }

    /// An answered call of a session, whose result is not kept, as another one of the same; `None` if somebody else has
    /// it.
    pub(crate) fn serve(mut self: Arc<Self>, next: u64) -> Option<Arc<Self>> {
        let Self { to: To::Session(_, id), kept: None, is_gone, gone, .. } = Arc::get_mut(&mut self)? else {
            return None;
        };
        *id = next;
        *is_gone.get_mut() = false;
        *gone.get_mut() = Gone::default();
        Some(self)
    }

    /// A call for whoever waits for `kept`.
    #[cfg(feature = "capnweb")]
    pub(crate) fn of_promise(kept: Arc<Promise>) -> Arc<Self> {
        Arc::new(Self::new(To::Promise, kept.form(), Some(kept)))
    }

    /// Its caller is gone, so it need not start. A text client that lets go of a result wants the call to be made.
    pub(crate) fn is_unwanted(&self) -> bool {
        !self.form.is_text() && self.is_gone()
    }

    fn of_caller(call: Arc<RemoteCall>, form: Form) -> Arc<Self> {
        let kept = call.kept.clone();
        Arc::new(Self::new(To::Caller(call), form, kept))
    }

    fn of_message(receipt: Receipt) -> Arc<Self> {
        Arc::new(Self::new(To::Sender(Arc::new(receipt)), Form::Postcard, None))
    }

    /// Of a message.
    pub(crate) fn receipt(&self) -> Option<&Arc<Receipt>> {
        match &self.to {
            To::Sender(receipt) => Some(receipt),
            _ => None,
        }
    }

    /// The caller is gone: it said so, or the session ended.
    pub(crate) fn abandon(&self) {
        self.is_gone.store(true, Ordering::Release);
        let watchers = self.gone.lock().set();
        watchers.into_iter().for_each(Waker::wake);
    }
}

impl Waiting for IncomingCall {
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.gone.lock().poll(cx)
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
}

impl RemoteReply {
    pub(crate) fn new(call: Arc<IncomingCall>) -> Self {
        Self { call, answered: false }
    }

    pub(crate) fn call(&self) -> &Arc<IncomingCall> {
        &self.call
    }

    pub(crate) fn send<M: Method>(self, result: &Result<M::Ok, M::Err>) {
        if let Some(receipt) = self.call.receipt() {
            if let Err(error) = result {
                receipt.ignore(M::DESC.name, M::ERROR_TEXT.map(|text| text(error)));
            }
            return self.taken();
        }
        let capabilities = || match (result, M::PIPELINE) {
            (Ok(value), Some(capabilities)) => capabilities(value),
            _ => Capabilities::None,
        };
        let shape = match result {
            Ok(_) => Shape::Value,
            Err(error) => {
                Shape::Error(M::ERROR_TEXT.filter(|_| self.call.form.is_text()).map(|text| text(error)))
            }
        };
        with_encoder(
            self.call.form,
            shape,
            |out| match result {
                Ok(value) => M::encode_ok(value, out),
                Err(error) => M::encode_err(error, out),
            },
            |encoded| match encoded {
                Ok((body, passed)) => {
                    self.answer(M::DESC.name, result.is_ok(), body, passed, capabilities);
                }
                Err(error) => {
                    let error = RpcError::new(ErrorKind::Encode, format!("the result: {error}"));
                    self.fail(error.may_run(true));
                }
            },
        );
    }

    /// Answers a message.
    pub(crate) fn taken(mut self) {
        self.answered = true;
        if let Some(receipt) = self.call.receipt() {
            receipt.tell(Ok(()));
        }
    }

    /// Answers a method that gives nothing.
    pub(crate) fn done(self, method: &str) {
        let nothing: &[u8] = match self.call.form {
            Form::Postcard => &[],
            #[cfg(feature = "capnweb")]
            Form::CapnWeb => br#"["undefined"]"#,
        };
        self.answer(method, true, nothing, AllPassed::NOTHING, || Capabilities::None);
    }

    /// Answers with an encoded result. Calls that wait for it start before the caller can know it: so those the
    /// caller makes then come after them.
    pub(crate) fn answer(
        mut self,
        method: &str,
        is_ok: bool,
        body: &[u8],
        passed: AllPassed,
        capabilities: impl FnOnce() -> Capabilities,
    ) {
        if let Some(kept) = &self.call.kept {
            // What the caller cannot be told, it should not find to have been called, either.
            let body = match &self.call.to {
                To::Session(core, _) => core.fits(body.len()).and_then(|()| core.life().keep(body)),
                To::Caller(_) | To::Sender(_) => Ok(Bytes::copy_from_slice(body)),
                #[cfg(feature = "capnweb")]
                To::Promise => Ok(Bytes::copy_from_slice(body)),
            };
            match body {
                Err(refusal) => return self.fail(refusal.may_run(true)),
                Ok(body) if !is_ok => {
                    let error = Encoded { form: self.call.form, bytes: body, passed: passed.clone() };
                    kept.resolve(Err(failed_call(method).with_thrown(error)));
                }
                Ok(body) => {
                    let (capabilities, passed) = (capabilities(), passed.clone());
                    let value = Encoded { form: self.call.form, bytes: body, passed };
                    // Queued, so that they are not answered before this one is.
                    turn::queued(|| kept.resolve(Ok(Resolution::Result { capabilities, value })));
                }
            }
        }
        self.answered = true;
        match &self.call.to {
            To::Session(core, id) => {
                core.reply(*id, is_ok, body, &passed);
            }
            To::Caller(call) => {
                let value = Encoded { form: self.call.form, bytes: Bytes::copy_from_slice(body), passed };
                call.complete(Ok(Body { is_ok, value }));
            }
            To::Sender(receipt) => receipt.tell(Ok(())),
            #[cfg(feature = "capnweb")]
            To::Promise => {}
        }
    }

    pub(crate) fn fail(mut self, error: RpcError) {
        self.send_error(error);
    }

    fn send_error(&mut self, error: RpcError) {
        self.answered = true;
        if let Some(kept) = &self.call.kept {
            kept.resolve(Err(error.clone()));
        }
        match &self.call.to {
            To::Session(core, id) => core.reply_error(*id, &error),
            To::Caller(call) => call.complete(Err(error)),
            To::Sender(receipt) => receipt.tell(Err(error)),
            #[cfg(feature = "capnweb")]
            To::Promise => {}
        }
    }
}

impl Drop for RemoteReply {
    fn drop(&mut self) {
        if !self.answered {
            self.send_error(RpcError::new(ErrorKind::Reset, "the call was dropped unanswered").may_run(true));
        }
    }
}
