//! When the object is to be woken, and what for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::layer::Timers;
use super::{Ledger, State};
use crate::engine::{Changes, UnixMillis};
use crate::object::storage::{StorageError, keys};

/// What is stored of a timer, and when it is due; `None` if nothing is.
pub(crate) type TimerRecord = Option<(UnixMillis, Bytes)>;

/// Says what is to be stored of a timer whose handler is cut off now.
pub(super) type Retry = Box<dyn FnOnce() -> TimerRecord + Send>;

/// What the object is woken for: the alarm, a schedule by its name, or messages that have not been delivered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Alarm,
    Schedule(Arc<str>),
    Messages,
}

impl Timer {
    /// Of a schedule. Its name has the limit of a key.
    pub(crate) fn named(name: &str) -> Result<Self, StorageError> {
        keys::check(name)?;
        Ok(Self::Schedule(name.into()))
    }
}

impl Ledger {
    /// Removes every timer.
    pub(in crate::object::storage) fn clear_timers(&self) -> Result<(), StorageError> {
        self.change(|layer| {
            layer.changes.edit().follow(Changes { cleared: vec![keys::timers()], ..Changes::default() });
            layer.aside().timers = Timers { cleared: true, ..Timers::default() };
        })
    }

    /// Sets a timer, or removes it.
    pub(crate) fn set_timer(&self, timer: Timer, set: TimerRecord) -> Result<(), StorageError> {
        self.change(|layer| {
            let (due, record) = set.unzip();
            layer.changes.edit().writes.insert((keys::of_timer(&timer), record));
            layer.aside().timers.set.insert(timer, due);
        })
    }

    /// When the timer is due; `None` while its handler runs.
    pub(crate) fn timer(&self, timer: &Timer) -> Option<UnixMillis> {
        let depth = self.depth();
        let state = self.state.lock();
        let mut layers = state.work.iter().flat_map(|work| work.layers(depth).rev());
        let upper = layers.find_map(|layer| layer.timer(timer));
        upper.unwrap_or_else(|| state.set_timers().get(timer).copied())
    }

    /// All timers but the one whose handler runs.
    pub(crate) fn timers(&self) -> BTreeMap<Timer, UnixMillis> {
        let depth = self.depth();
        let state = self.state.lock();
        let mut timers = state.set_timers();
        for layer in state.work.iter().flat_map(|work| work.layers(depth)) {
            if let Some(aside) = &layer.aside {
                aside.timers.apply(&mut timers);
            }
        }
        timers
    }

    /// The timer's handler runs from now on. Its record stays as it is meanwhile; if the instance is lost, it becomes what
    /// `retry` says then.
    pub(crate) fn begin(&self, timer: Timer, retry: impl FnOnce() -> TimerRecord + Send + 'static) {
        self.state.lock().facts().running = Some((timer, Box::new(retry)));
    }

    /// The timer's handler has run. Its record becomes `next`, unless the handler has changed it.
    pub(crate) fn finish(&self, timer: &Timer, next: TimerRecord) {
        let undecided = {
            let mut state = self.state.lock();
            let ran = state.facts.as_mut().is_some_and(|facts| facts.running.take().is_some());
            ran && state.work.as_ref().is_none_or(|work| work.layer.timer(timer).is_none())
        };
        if undecided {
            // An instance that is gone has left `retry` behind.
            let _ = self.set_timer(timer.clone(), next);
        }
    }
}

impl State {
    /// All but the one whose handler runs.
    pub(super) fn set_timers(&self) -> BTreeMap<Timer, UnixMillis> {
        let Some(facts) = &self.facts else { return BTreeMap::new() };
        let mut timers = facts.timers.clone();
        if let Some((running, _)) = &facts.running {
            timers.remove(running);
        }
        timers
    }
}
