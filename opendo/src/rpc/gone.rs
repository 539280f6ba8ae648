//! Whether the caller of a call is gone, for whoever wants to know.

use std::task::{Context, Poll, Waker};

/// A flag that is set once. Kept under its owner's lock.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    is: bool,
    watchers: Vec<Waker>,
}

impl Gone {
    pub(crate) fn is(&self) -> bool {
        self.is
    }

    /// Sets it. The watchers are to be woken after the lock.
    #[must_use]
    pub(crate) fn set(&mut self) -> Vec<Waker> {
        self.is = true;
        std::mem::take(&mut self.watchers)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is {
            return Poll::Ready(());
        }
        // A method may watch from several tasks; one that only looks again is known already.
        if !self.watchers.iter().any(|watcher| watcher.will_wake(cx.waker())) {
            self.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
