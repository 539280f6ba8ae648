//! The callee's side of a call that came over a session.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use opendo_transport::envelope::{ReplyStatus, TraceContext};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::encoding::{decode_all, with_encoder};
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::gone::Gone;
use crate::rpc::info::Waiting;
use crate::rpc::method::Method;
use crate::rpc::session::{Core, Session};

/// What a session delivers calls to: an object or target of this process, its type erased.
pub(crate) trait Served: Send + Sync {
    /// Decodes the arguments and queues the call. Returns before the method has finished.
    fn deliver(&self, call: Incoming);
}

/// A call as it was read from a session: the body not decoded yet.
pub struct Incoming {
    pub(crate) reply: RemoteReply,
    pub(crate) method: u32,
    pub(crate) body: Bytes,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) chain: Option<Arc<Link>>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Incoming {
    /// The id of the called method.
    pub fn method(&self) -> u32 {
        self.method
    }

    /// Answers that there is no such method.
    pub fn no_such_method(self) {
        let text = format!("no method has the id {:#010x}; is the peer newer than this node?", self.method);
        self.reply.fail(&RpcError::new(ErrorKind::NoSuchMethod, text));
    }

    /// The arguments, which must be all there is in the body.
    pub(crate) fn decode<M: Method>(&self) -> Result<M::Args, RpcError> {
        decode_all(&self.body, M::decode_args)
            .map_err(|error| RpcError::new(ErrorKind::Decode, format!("the arguments: {error}")))
    }
}

/// Where the answer to one call of the peer goes. Exactly one answer is sent: dropping it unanswered sends an error.
pub(crate) struct RemoteReply {
    call: Arc<IncomingCall>,
    answered: bool,
}

/// A call of the peer that is not answered yet.
pub(crate) struct IncomingCall {
    pub(crate) core: Arc<Core>,
    id: u64,
    gone: Mutex<Gone>,
}

impl IncomingCall {
    pub(crate) fn new(core: Arc<Core>, id: u64) -> Arc<Self> {
        Arc::new(Self { core, id, gone: Mutex::default() })
    }

    /// The caller is gone: it said so, or the session ended.
    pub(crate) fn abandon(&self) {
        let watchers = self.gone.lock().set();
        watchers.into_iter().for_each(Waker::wake);
    }
}

impl Waiting for IncomingCall {
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.gone.lock().poll(cx)
    }

    fn is_gone(&self) -> bool {
        self.gone.lock().is()
    }
}

impl RemoteReply {
    pub(crate) fn new(call: Arc<IncomingCall>) -> Self {
        Self { call, answered: false }
    }

    pub(crate) fn call(&self) -> &Arc<IncomingCall> {
        &self.call
    }

    pub(crate) fn session(&self) -> Session {
        Session::new(self.call.core.clone())
    }

    pub(crate) fn send<M: Method>(mut self, result: &Result<M::Ok, M::Err>) {
        self.answered = true;
        let (core, id) = (&self.call.core, self.call.id);
        with_encoder(
            |out| match result {
                Ok(value) => M::encode_ok(value, out),
                Err(error) => M::encode_err(error, out),
            },
            |body| match body {
                Ok(body) => {
                    let status = if result.is_ok() { ReplyStatus::Ok } else { ReplyStatus::Application };
                    core.reply(id, status, body);
                }
                Err(error) => {
                    let error = RpcError::new(ErrorKind::Encode, format!("the result: {error}"));
                    core.reply_error(id, &error.may_run(true));
                }
            },
        );
    }

    pub(crate) fn fail(mut self, error: &RpcError) {
        self.answered = true;
        self.call.core.reply_error(self.call.id, error);
    }
}

impl Drop for RemoteReply {
    fn drop(&mut self) {
        if !self.answered {
            let error = RpcError::new(ErrorKind::Reset, "the call was dropped unanswered").may_run(true);
            self.call.core.reply_error(self.call.id, &error);
        }
    }
}
