//! What sessions have in common, whatever they speak.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use opendo_transport::Peer;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::registry::namespace::Objects;
use crate::rpc::cap::Passed;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use crate::rpc::outgoing::OutgoingCall;
use crate::rpc::remote::{RemoteObject, Uplink};
use crate::rpc::session::SessionStats;

/// One session, as calls, stubs and clients know it.
pub(crate) trait AnyCore: Uplink {
    fn life(&self) -> &Life;

    /// The same, as a way for calls.
    fn as_uplink(self: Arc<Self>) -> Arc<dyn Uplink>;

    /// Sends a call, or gives the reason why it does not go. Completes nothing: the caller may hold a lock.
    /// `target` is the number of what is called, if that is known.
    fn try_send(self: Arc<Self>, call: &OutgoingCall<'_>, target: Option<i64>) -> Result<(), Unsent>;

    /// The caller of an own call is gone.
    fn cancel(&self, call: u64);

    /// Somebody waits for the answer of an own call.
    fn want(&self, _call: u64) {}

    /// The result of an own call is not used any more.
    fn release_result(&self, call: u64);

    /// Answers a call of the peer.
    fn reply(&self, call: u64, is_ok: bool, body: &[u8], passed: &[Passed]);

    /// Answers a call of the peer that did not come to its method's end.
    fn reply_error(&self, call: u64, error: &RpcError);

    /// Whether the peer takes a message with so many bytes behind its header.
    fn fits(&self, size: usize) -> Result<(), RpcError>;

    /// Who writes to the peer's pipe of that number.
    fn writes_to(&self, _pipe: i64, _writer: &Arc<RemoteObject>) {}

    /// Calls `tell` when a pipe that the peer writes to is read no longer.
    fn unread(&self, _pipe: i64) {}

    /// What waited for the session has been sent.
    fn settle(&self) {}

    /// Whether it ends with its answers, and the next one need not wait.
    fn is_one_of_many(&self) -> bool {
        false
    }

    fn stats(&self) -> SessionStats;

    /// Ready when no call is unanswered, in either direction.
    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes no new calls in either direction, and tells the peer.
    fn drain(&self);

    /// Ends the session: every call in flight fails with the truth about whether it may have run.
    fn end(&self, error: &RpcError);

    /// The same, and tells the peer why.
    fn abort(&self, error: &RpcError);

    /// Ends the session by closing the connection. `reason` is for transports that can say one.
    fn hang_up(&self, reason: &str);
}

/// Why a call does not go.
pub(crate) enum Unsent {
    /// The session takes none any more; another one may.
    Over(RpcError),
    /// This call cannot go.
    Refused(RpcError),
}

/// How far a session is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Status {
    #[default]
    Open,
    /// One side takes no new calls; those that run are still answered.
    Draining,
    Ended(RpcError),
}

/// Sessions and clients share one count, so that a number names one way.
pub(crate) fn uplink_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Who the peer is, how far the session is, and who wants to know.
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) limits: Arc<Limits>,
    pub(crate) runtime: Handle,
    pub(crate) objects: Objects,
    /// What the peer showed for an authenticator.
    pub(crate) credentials: Vec<u8>,
    /// The client that this is a session of: stubs of objects go by it, so that they heal.
    client: OnceLock<(u64, Weak<dyn Uplink>)>,
    hooks: Mutex<Hooks>,
    /// Made for the first that asks.
    status: OnceLock<watch::Sender<Status>>,
    kept_bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Hooks {
    status: Status,
    ended: Option<RpcError>,
    /// By order of registration.
    waiting: Vec<(u64, OnEnd)>,
    next: u64,
}

pub(crate) type OnEnd = Box<dyn FnOnce(&RpcError) + Send>;

/// A result that is kept for the peer.
struct Kept {
    body: Box<[u8]>,
    counted: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.body.len(), Ordering::Relaxed);
    }
}

impl Life {
    pub(crate) fn new(peer: Peer, limits: Arc<Limits>, objects: Objects, credentials: Vec<u8>) -> Self {
        Self {
            number: uplink_number(),
            peer,
            limits,
            runtime: Handle::current(),
            objects,
            credentials,
            client: OnceLock::new(),
            hooks: Mutex::default(),
            status: OnceLock::new(),
            kept_bytes: Arc::default(),
        }
    }

    /// From here on stubs of objects go by the client.
    pub(crate) fn belongs_to(&self, number: u64, client: Weak<dyn Uplink>) {
        let _ = self.client.set((number, client));
    }

    /// The client that this is a session of, if there is one.
    pub(crate) fn client(&self) -> Option<Arc<dyn Uplink>> {
        self.client.get().and_then(|(_, client)| client.upgrade())
    }

    /// Whether calls by that way go over this session.
    pub(crate) fn is_reached_by(&self, uplink: Option<u64>) -> bool {
        uplink == Some(self.number)
            || (uplink.is_some() && uplink == self.client.get().map(|(number, _)| *number))
    }

    /// A result that the peer may use until it releases it, which counts as long as it is there.
    pub(crate) fn keep(&self, body: impl Into<Box<[u8]>>) -> Result<Bytes, RpcError> {
        let body = body.into();
        if body.is_empty() {
            return Ok(Bytes::new());
        }
        let size = body.len();
        let before = self.kept_bytes.fetch_add(size, Ordering::Relaxed);
        let kept = Kept { body, counted: self.kept_bytes.clone() };
        if before.saturating_add(size) > self.limits.max_call_bytes {
            let text = format!("{before} bytes of results are kept for {}", self.peer);
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        Ok(Bytes::from_owner(kept))
    }

    /// Runs `hook` when the session has ended: now, if it has. The number is for [`Life::forget`].
    pub(crate) fn on_end(&self, hook: OnEnd) -> u64 {
        let mut hooks = self.hooks.lock();
        if let Some(error) = hooks.ended.clone() {
            drop(hooks);
            hook(&error);
            return 0;
        }
        hooks.next += 1;
        let number = hooks.next;
        hooks.waiting.push((number, hook));
        number
    }

    pub(crate) fn forget(&self, number: u64) {
        let hook = {
            let mut hooks = self.hooks.lock();
            let at = hooks.waiting.iter().position(|(registered, _)| *registered == number);
            at.map(|at| hooks.waiting.remove(at))
        };
        drop(hook);
    }

    /// It takes no new calls.
    pub(crate) fn draining(&self) {
        let mut hooks = self.hooks.lock();
        if matches!(hooks.status, Status::Open) {
            self.set_status(&mut hooks, Status::Draining);
        }
    }

    fn set_status(&self, hooks: &mut Hooks, status: Status) {
        if let Some(asked) = self.status.get() {
            asked.send_replace(status.clone());
        }
        hooks.status = status;
    }

    /// Tells everybody, after every call in flight was failed; and lets `exports` go.
    pub(crate) fn ended<T>(&self, error: &RpcError, exports: impl IntoIterator<Item = T>) {
        self.set_status(&mut self.hooks.lock(), Status::Ended(error.clone()));
        // Other people's code, which must not keep the rest from being told.
        for export in exports {
            quietly("a target's `Drop`", || drop(export));
        }
        let hooks = {
            let mut hooks = self.hooks.lock();
            hooks.ended = Some(error.clone());
            std::mem::take(&mut hooks.waiting)
        };
        for (_, hook) in hooks {
            quietly("a hook of a session's end", || hook(error));
        }
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        let hooks = self.hooks.lock();
        self.status.get_or_init(|| watch::Sender::new(hooks.status.clone())).subscribe()
    }

    /// Resolves with the reason when the session has ended.
    pub(crate) async fn wait_for_end(&self) -> RpcError {
        let mut status = self.status();
        let ended = status.wait_for(|status| matches!(status, Status::Ended(_))).await;
        match ended.as_deref() {
            Ok(Status::Ended(error)) => error.clone(),
            // The sender lives in `self`.
            _ => RpcError::new(ErrorKind::Broken, "the session is gone"),
        }
    }
}

/// Runs code of the user's where a panic is nobody else's business.
fn quietly(what: &str, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!("{what} panicked");
    }
}

/// The error of what a session took with it.
pub(crate) fn broken(error: &RpcError) -> RpcError {
    let text = format!("it belonged to a session that has ended ({}); get a new one", error.message());
    RpcError::new(ErrorKind::Broken, text)
}

/// The error of calls in flight when this side hung up.
pub(crate) fn hung_up(reason: &str) -> RpcError {
    RpcError::new(ErrorKind::Closed, format!("this side hung up: {reason}"))
}
