//! The writing end of a stream whose reader is elsewhere.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::Chunk;
use super::flow::{FlowController, Token};
use crate::encoding::Form;
use crate::rpc::any_core::AnyCore;
use crate::rpc::cap::{AllPassed, Capability, PeerInterface};
use crate::rpc::error::RpcError;
use crate::rpc::method::{Interface, MethodDesc, MethodFlags};
use crate::rpc::outgoing::RemoteCall;
use crate::rpc::remote::{Remote, RemoteObject};
use crate::rpc::wire::encode_body;

const fn method(name: &'static str) -> MethodDesc {
    let flags =
        MethodFlags { shared: true, concurrent: true, idempotent: false, cancel: false, property: false };
    MethodDesc::new(name, "", flags)
}

// As in Cap'n Web, where a sink is a target with these three methods.
pub(super) const WRITE: MethodDesc = method("write");
pub(super) const CLOSE: MethodDesc = method("close");
pub(super) const ABORT: MethodDesc = method("abort");

pub(super) const INTERFACE: Interface = Interface { name: "opendo.Sink", methods: &[WRITE, CLOSE, ABORT] };

/// What a write counts as: its value and about what is around it.
pub(super) fn size_of(body: &[u8]) -> usize {
    const AROUND: usize = 32;
    body.len() + AROUND
}

pub(super) fn no_arguments(form: Form) -> &'static [u8] {
    match form {
        Form::Postcard => &[],
        #[cfg(feature = "capnweb")]
        Form::CapnWeb => b"[]",
    }
}

/// Writes that may be unanswered: each is a call, and small values must not use up those of a session.
const MAX_UNREAD: usize = 4096;

/// Writes to a pipe at the other side, as fast as its reader reads.
pub(super) struct Outlet {
    remote: Remote,
    flow: FlowController,
    /// Writes that were not answered, in their order: which is the order in which they are answered.
    unread: VecDeque<(Token, Arc<RemoteCall>)>,
    closing: Option<Arc<RemoteCall>>,
    failed: Option<RpcError>,
    /// One write at a time.
    latest: bool,
}

impl Outlet {
    pub(super) fn new(remote: Remote, latest: bool) -> Self {
        let flow = FlowController::new(remote.stream_buffer());
        Self { remote, flow, unread: VecDeque::new(), closing: None, failed: None, latest }
    }

    pub(super) fn into_pipe(core: Arc<dyn AnyCore>, id: i64, latest: bool) -> Self {
        let peer = Arc::new(PeerInterface::of_sink());
        Self::new(Remote::import(core, id, Some(peer), None), latest)
    }

    pub(super) fn form(&self) -> Form {
        self.remote.form()
    }

    pub(super) fn object(&self) -> &Arc<RemoteObject> {
        self.remote.object()
    }

    pub(super) fn into_remote(self) -> Remote {
        self.remote
    }

    /// Takes in the answers that have come.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Result<(), RpcError> {
        while let Some((_, call)) = self.unread.front() {
            let Poll::Ready(answer) = call.slot().poll_answer(cx) else { break };
            let Some((token, _)) = self.unread.pop_front() else { break };
            match answer {
                Ok(_) => self.flow.ack(token, Instant::now()),
                Err(error) => {
                    self.flow.fail(token);
                    self.failed.get_or_insert(error);
                }
            }
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        self.poll_answers(cx)?;
        let allowed = if self.latest { 1 } else { MAX_UNREAD };
        if self.unread.len() >= allowed || self.flow.is_full() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    pub(super) fn write(&mut self, chunk: Chunk) {
        let token = self.flow.send(size_of(&chunk.bytes) as u64, Instant::now());
        self.unread.push_back((token, self.remote.call_raw(WRITE, &chunk.bytes, chunk.passed)));
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        self.poll_answers(cx)?;
        if self.unread.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        // At once: the end is behind everything that was written, and the reader need not wait for it.
        let remote = &self.remote;
        self.closing
            .get_or_insert_with(|| remote.call_raw(CLOSE, no_arguments(remote.form()), AllPassed::NOTHING));
        ready!(self.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    pub(super) fn abort(self, reason: &RpcError) {
        let (body, passed) = match self.form() {
            Form::Postcard => {
                let mut body = Vec::new();
                encode_body(reason.message(), &mut body);
                (body, AllPassed::NOTHING)
            }
            #[cfg(feature = "capnweb")]
            Form::CapnWeb => crate::rpc::capnweb::with_reason(reason),
        };
        self.remote.call_raw(ABORT, &body, passed);
    }

    /// Writes everything in `chunks`, until one of the ends is gone.
    pub(super) async fn pump(mut self, mut chunks: BoxStream<'static, Result<Chunk, RpcError>>) {
        let mut gone = Capability::broken(&self.remote);
        loop {
            let next = poll_fn(|cx| {
                // Also while there is nothing to write: a reader that is gone may be heard of.
                if self.poll_ready(cx).map_err(drop)?.is_pending() {
                    return Poll::Pending;
                }
                match chunks.poll_next_unpin(cx) {
                    // With no write under way, nothing else tells.
                    Poll::Pending if gone.poll_unpin(cx).is_ready() => Poll::Ready(Err(())),
                    polled => polled.map(Ok),
                }
            });
            match next.await {
                Ok(Some(Ok(chunk))) => self.write(chunk),
                Ok(Some(Err(error))) => return self.abort(&error),
                Ok(None) => {
                    // Whether the rest is read is the reader's business: there is nobody here to tell.
                    self.remote.call_raw(CLOSE, no_arguments(self.form()), AllPassed::NOTHING);
                    return;
                }
                Err(()) => return,
            }
        }
    }
}
