//! The calls of the peer that are not answered.
//!
//! Most are answered while they are delivered. They are never in the table: the driver alone takes calls in, so that what
//! it needs for that is to be seen without the lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::{Core, State};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::IncomingCall;

impl Core {
    /// Takes a call of the peer, which is to be delivered now; an error when it must be refused.
    pub(crate) fn admit(&self, id: u64, bytes: usize) -> Result<(), RpcError> {
        let limits = &self.life.limits;
        // Others only take away from them.
        let has_room = self.running.load(Ordering::Relaxed) < limits.max_calls as usize
            && self.running_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= limits.max_call_bytes;
        if !has_room || self.refuses.load(Ordering::Acquire) {
            self.refusal(bytes)?;
        }
        self.delivering.store(id, Ordering::Release);
        Ok(())
    }

    #[cold]
    fn refusal(&self, bytes: usize) -> Result<(), RpcError> {
        let state = self.state.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone()); // nobody would tell the call that its caller is gone
        }
        if state.we_drain {
            return Err(RpcError::new(ErrorKind::Closed, "this node takes no new calls"));
        }
        if state.incoming.len() >= self.life.limits.max_calls as usize {
            let text = format!("{} calls of this session are unanswered", state.incoming.len());
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        let unanswered = self.running_bytes.load(Ordering::Relaxed);
        if unanswered.saturating_add(bytes) > self.life.limits.max_call_bytes {
            let text = format!("{unanswered} bytes of this session's calls are unanswered");
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        Ok(())
    }

    /// The call was delivered. Gives it back if it was answered by that; keeps it in the table until it is otherwise.
    pub(crate) fn was_delivered(
        &self,
        id: u64,
        call: Arc<IncomingCall>,
        bytes: usize,
    ) -> Option<Arc<IncomingCall>> {
        if !self.is_delivering() {
            return Some(call);
        }
        let mut state = self.state.lock();
        if !self.is_delivering() {
            return Some(call);
        }
        self.delivering.store(0, Ordering::Relaxed);
        if state.ended.is_some() {
            drop(state);
            call.abandon();
            return None;
        }
        self.running_bytes.fetch_add(bytes, Ordering::Relaxed);
        state.incoming.push(id, (call, bytes));
        self.running.store(state.incoming.len(), Ordering::Relaxed);
        None
    }

    /// Whether a call is unanswered that is not in the table.
    pub(super) fn is_delivering(&self) -> bool {
        self.delivering.load(Ordering::Acquire) != 0
    }

    /// Its answer is on its way.
    pub(super) fn is_answered(&self, state: &mut State, id: u64) {
        if self.delivering.load(Ordering::Relaxed) == id {
            self.delivering.store(0, Ordering::Release);
        } else if let Some((_, bytes)) = state.incoming.remove(id) {
            self.running_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.running.store(state.incoming.len(), Ordering::Relaxed);
        }
    }

    /// One that is not answered yet.
    pub(crate) fn incoming(&self, id: u64) -> Option<Arc<IncomingCall>> {
        self.state.lock().incoming.get(id).map(|(call, _)| call.clone())
    }

    /// Whether no call is unanswered, in either direction.
    pub(super) fn is_idle(&self, state: &State) -> bool {
        state.pending.is_empty() && state.incoming.is_empty() && !self.is_delivering()
    }

    /// Whoever waits for the session to be idle, if it is. Mostly nobody does.
    #[inline]
    pub(super) fn who_waits_for_idle(&self, state: &mut State) -> Option<Vec<Waker>> {
        (!state.idle.is_empty() && self.is_idle(state)).then(|| std::mem::take(&mut state.idle))
    }
}
