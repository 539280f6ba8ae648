//! The state of a ledger under its lock, and what is known of it without.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::State;

/// Most calls write nothing, and need not take the lock to know that nothing waits.
pub(super) struct Lock {
    state: Mutex<State>,
    is_settled: AtomicBool,
}

impl Default for Lock {
    fn default() -> Self {
        Self { state: Mutex::default(), is_settled: AtomicBool::new(true) }
    }
}

impl Lock {
    pub(super) fn lock(&self) -> Guard<'_> {
        Guard { state: self.state.lock(), is_settled: &self.is_settled }
    }

    /// As when the lock was last let go of.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }
}

pub(super) struct Guard<'a> {
    state: MutexGuard<'a, State>,
    is_settled: &'a AtomicBool,
}

impl Guard<'_> {
    /// Lets go of the lock meanwhile.
    pub(super) fn unlocked<R>(&mut self, run: impl FnOnce() -> R) -> R {
        self.tell();
        MutexGuard::unlocked(&mut self.state, run)
    }

    fn tell(&self) {
        self.is_settled.store(self.state.is_settled(), Ordering::Release);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}
