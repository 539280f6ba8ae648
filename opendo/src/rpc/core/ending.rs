//! How a session ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use opendo_transport::Frames;
use opendo_transport::envelope::EnvelopeKind as Kind;
use tokio::sync::watch;

use super::{Core, OnEnd, Status, wake};
use crate::rpc::error::RpcError;

impl Core {
    /// Runs `hook` when the session has ended: now, if it has. The number is for [`Core::forget`].
    pub(crate) fn on_end(&self, hook: OnEnd) -> u64 {
        let mut state = self.state.lock();
        if let Some(error) = state.ended.clone() {
            drop(state);
            hook(&error);
            return 0;
        }
        state.next_on_end += 1;
        let number = state.next_on_end;
        state.on_end.push((number, hook));
        number
    }

    pub(crate) fn forget(&self, number: u64) {
        let hook = {
            let mut state = self.state.lock();
            let at = state.on_end.iter().position(|(registered, _)| *registered == number);
            at.map(|at| state.on_end.remove(at))
        };
        drop(hook);
    }

    /// Ready when no call is unanswered, in either direction.
    pub(crate) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.ended.is_some() || (state.pending.is_empty() && state.incoming.is_empty()) {
            return Poll::Ready(());
        }
        if !state.idle.iter().any(|known| known.will_wake(cx.waker())) {
            state.idle.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes no new calls in either direction, and tells the peer.
    pub(crate) fn drain(&self) {
        let mut state = self.state.lock();
        if state.we_drain || state.ended.is_some() {
            return;
        }
        state.we_drain = true;
        state.push_control(Kind::Drain, |_| ());
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        self.status.send_if_modified(to_draining);
    }

    /// The peer takes no new calls. It is answered with the same: then it knows that no call of ours is on its way.
    pub(crate) fn peer_drains(&self) {
        self.state.lock().peer_drains = true;
        self.drain();
    }

    /// Ends the session: every call in flight fails with the truth about whether it may have run.
    pub(crate) fn end(&self, error: &RpcError) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(error.clone());
        state.out = Frames::default();
        let handed_over = state.handed_over;
        let mut pending: Vec<_> = std::mem::take(&mut state.pending).into_iter().collect();
        let incoming = std::mem::take(&mut state.incoming);
        let exports = std::mem::take(&mut state.tables.exports);
        state.tables.imports = 0;
        let on_end = std::mem::take(&mut state.on_end);
        let idle = std::mem::take(&mut state.idle);
        let writer = state.wake_writer();
        drop(state);
        wake(writer);
        pending.sort_unstable_by_key(|(id, _)| *id);
        for (id, call) in pending {
            call.lost(error.clone().may_run(id < handed_over));
        }
        for (call, _) in incoming.into_values() {
            call.abandon();
        }
        self.status.send_replace(Status::Ended(error.clone()));
        idle.into_iter().for_each(Waker::wake);
        // Other people's code, which must not keep the rest from being told.
        for export in exports {
            quietly("a target's `Drop`", || drop(export));
        }
        for (_, hook) in on_end {
            quietly("a hook of a session's end", || hook(error));
        }
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) async fn ended(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.status().wait_for(|status| matches!(status, Status::Ended(_))).await;
    }
}

fn to_draining(status: &mut Status) -> bool {
    let open = matches!(status, Status::Open);
    if open {
        *status = Status::Draining;
    }
    open
}

/// Runs code of the user's where a panic is nobody else's business.
fn quietly(what: &str, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!("{what} panicked");
    }
}
