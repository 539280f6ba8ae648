//! How a session ends.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use opendo_transport::Frames;
use opendo_transport::envelope::EnvelopeKind as Kind;

use super::{Core, push_control, wake};
use crate::rpc::error::RpcError;

impl Core {
    /// Ready when no call is unanswered, in either direction.
    pub(crate) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.ended.is_some() || self.is_idle(&state) {
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
        self.refuses.store(true, Ordering::Release);
        push_control(&mut state.out, Kind::Drain, |_| ());
        let writer = self.wake_writer(&state);
        drop(state);
        wake(writer);
        self.life.draining();
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
        self.refuses.store(true, Ordering::Release);
        state.out = Frames::default();
        let handed_over = state.handed_over;
        let pending = std::mem::take(&mut state.pending);
        let incoming = std::mem::take(&mut state.incoming);
        self.running.store(0, Ordering::Relaxed);
        self.running_bytes.store(0, Ordering::Relaxed);
        let exports = std::mem::take(&mut state.tables.exports);
        state.tables.imports = 0;
        let idle = std::mem::take(&mut state.idle);
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        for (id, call) in pending.into_iter() {
            call.lost(error.clone().may_run(id < handed_over));
        }
        for (_, (call, _)) in incoming.into_iter() {
            call.abandon();
        }
        idle.into_iter().for_each(Waker::wake);
        self.life.ended(error, exports);
    }
}
