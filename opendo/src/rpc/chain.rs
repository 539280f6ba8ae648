//! The chain of calls that led to a call, so that a cycle is refused instead of hanging.
//!
//! A call made by a running method carries a [`Link`]: who made it, and by which link that one came. An object
//! that is asked, by way of its own running call, to run another one would wait for itself, *if* every call on
//! the way is awaited. In one process that is known exactly: a link is marked when its call is first awaited,
//! and a queued call that closes a cycle is looked at again then. So a notification that nobody awaits may well
//! lead to a call back. Links that came over a session count as awaited.

use std::sync::Arc;

use opendo_transport::envelope::ChainLink;
use parking_lot::Mutex;

/// One call made by a running method.
pub(crate) struct Link {
    /// The activation that made the call…
    activation: u64,
    /// … and which of its calls did.
    sequence: u64,
    parent: Option<Arc<Link>>,
    awaited: Mutex<Awaited>,
}

type Check = Box<dyn FnOnce() + Send>;

enum Awaited {
    Yes,
    NotYet(Vec<Check>),
}

/// What a walk up the chain found.
pub(crate) enum Walk {
    /// The chain does not lead back.
    Clear,
    /// It does, and everybody on the way waits: a deadlock.
    Cycle,
    /// It does, but this link is not awaited (yet).
    Unless(Arc<Link>),
}

impl Link {
    pub(crate) fn new(activation: u64, sequence: u64, parent: Option<Arc<Link>>) -> Arc<Self> {
        Arc::new(Self { activation, sequence, parent, awaited: Mutex::new(Awaited::NotYet(Vec::new())) })
    }

    /// The chain of a call that came over a session, nearest link first.
    pub(crate) fn from_wire(links: impl DoubleEndedIterator<Item = ChainLink>) -> Option<Arc<Self>> {
        links.rev().fold(None, |parent, link| {
            Some(Arc::new(Self {
                activation: link.activation,
                sequence: link.sequence,
                parent,
                awaited: Mutex::new(Awaited::Yes),
            }))
        })
    }

    /// Nearest link first.
    pub(crate) fn to_wire(self: &Arc<Self>) -> Vec<ChainLink> {
        self.iter().map(|link| ChainLink { activation: link.activation, sequence: link.sequence }).collect()
    }

    fn iter(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |link| link.parent.as_ref())
    }

    /// Follows the chain up to a call of `activation` that is `running` there.
    pub(crate) fn walk(self: &Arc<Self>, activation: u64, running: impl Fn(u64) -> bool) -> Walk {
        let mut unawaited = None;
        for link in self.iter() {
            if unawaited.is_none() && matches!(*link.awaited.lock(), Awaited::NotYet(_)) {
                unawaited = Some(link);
            }
            if link.activation == activation && running(link.sequence) {
                return unawaited.map_or(Walk::Cycle, |link| Walk::Unless(link.clone()));
            }
        }
        Walk::Clear
    }

    /// The call is being awaited: whoever made it waits.
    pub(crate) fn mark_awaited(&self) {
        let checks = match std::mem::replace(&mut *self.awaited.lock(), Awaited::Yes) {
            Awaited::Yes => return,
            Awaited::NotYet(checks) => checks,
        };
        for check in checks {
            check();
        }
    }

    /// Runs `check` when the call is awaited: now, if it is.
    pub(crate) fn when_awaited(&self, check: Check) {
        let mut awaited = self.awaited.lock();
        match &mut *awaited {
            Awaited::NotYet(checks) => checks.push(check),
            Awaited::Yes => {
                drop(awaited);
                check();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_counts_when_every_link_is_awaited() {
        let outer = Link::new(1, 1, None);
        let inner = Link::new(2, 9, Some(outer.clone()));
        assert!(matches!(inner.walk(3, |_| true), Walk::Clear));
        assert!(matches!(inner.walk(1, |sequence| sequence == 7), Walk::Clear));
        assert!(matches!(inner.walk(1, |_| true), Walk::Unless(link) if Arc::ptr_eq(&link, &inner)));
        inner.mark_awaited();
        assert!(matches!(inner.walk(1, |_| true), Walk::Unless(link) if Arc::ptr_eq(&link, &outer)));
        outer.mark_awaited();
        assert!(matches!(inner.walk(1, |_| true), Walk::Cycle));
    }

    #[test]
    fn the_wire_keeps_the_order() {
        let chain = Link::new(2, 9, Some(Link::new(1, 1, None)));
        let wire = chain.to_wire();
        assert_eq!(wire.iter().map(|link| link.activation).collect::<Vec<_>>(), [2, 1]);
        let back = Link::from_wire(wire.into_iter()).unwrap();
        assert!(matches!(back.walk(1, |sequence| sequence == 1), Walk::Cycle));
    }
}
