//! Which instance of an object a stub calls.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::object::strand::Activation;
use crate::object::turn::Found;

/// The instance that took the last call. One that went to sleep is replaced; one that was reset stays, and the stub with
/// it is broken.
///
/// Most stubs see one instance: they look at it without counting. What is left of the first one, once it has gone to
/// sleep, stays as long as the stub.
pub(super) struct Connected<O> {
    first: OnceLock<Arc<Activation<O>>>,
    /// From the first replacement on: writing there costs as much as the rest of making an instance.
    later: OnceLock<Box<ArcSwapOption<Activation<O>>>>,
}

impl<O> Default for Connected<O> {
    fn default() -> Self {
        Self { first: OnceLock::new(), later: OnceLock::new() }
    }
}

impl<O> Connected<O> {
    /// The one that takes the calls, if it is known.
    #[inline(always)]
    pub(super) fn get(&self) -> Option<Found<'_, O>> {
        match self.later.get() {
            None => self.first.get().map(Found::Always),
            Some(later) => Found::last(later.load()),
        }
    }

    /// The same, or what `find` gives.
    #[inline(always)]
    pub(super) fn or_else<E>(
        &self,
        find: impl Fn() -> Result<Arc<Activation<O>>, E>,
    ) -> Result<Found<'_, O>, E> {
        loop {
            if let Some(found) = self.get() {
                return Ok(found);
            }
            self.connect(find()?);
        }
    }

    /// Unless another thread was faster: clones have one order.
    fn connect(&self, found: Arc<Activation<O>>) {
        match self.later.get() {
            None => drop(self.first.set(found)),
            Some(later) => drop(later.compare_and_swap(&None::<Arc<_>>, Some(found))),
        }
    }

    /// This one has gone to sleep.
    pub(super) fn disconnect(&self, asleep: &Arc<Activation<O>>) {
        match self.later.get() {
            None => drop(self.later.get_or_init(Box::default)),
            Some(later) => drop(later.compare_and_swap(Arc::as_ptr(asleep), None)),
        }
    }
}
