//! What was written and not sealed, layer by layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Sent, Timer};
use crate::engine::{Changes, KeyRange, Piece, UnixMillis};

#[derive(Default)]
pub(super) struct Layer {
    pub(super) changes: Draft,
    /// There if it says something.
    pub(super) aside: Option<Box<Aside>>,
}

/// Changes, if there are any, where the engine will find them: what was written once is not moved any more.
#[derive(Default)]
pub(super) struct Draft(Option<Arc<Changes>>);

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.get().is_none_or(Changes::is_empty)
    }

    pub(super) fn get(&self) -> Option<&Changes> {
        self.0.as_deref()
    }

    pub(super) fn edit(&mut self) -> &mut Changes {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Adds what came later.
    pub(super) fn follow(&mut self, later: Self) {
        match later.0 {
            Some(later) if self.is_empty() => self.0 = Some(later),
            Some(later) => self.edit().follow(Arc::unwrap_or_clone(later)),
            None => {}
        }
    }

    pub(super) fn take(&mut self) -> Arc<Changes> {
        self.0.take().unwrap_or_default()
    }
}

/// What a layer may have besides keys.
#[derive(Default)]
pub(super) struct Aside {
    pub(super) timers: Timers,
    /// Messages that were recorded in it, and whether all that were recorded before it are removed.
    pub(super) sent: Vec<Sent>,
    pub(super) forgets: bool,
}

impl Layer {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.sent() == 0
    }

    pub(super) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// How many messages were recorded in it.
    pub(super) fn sent(&self) -> usize {
        self.aside.as_ref().map_or(0, |aside| aside.sent.len())
    }

    /// What it says of a timer: when it is due, that it is not set, or nothing.
    pub(super) fn timer(&self, timer: &Timer) -> Option<Option<UnixMillis>> {
        self.aside.as_ref()?.timers.get(timer)
    }

    /// Adds what came later.
    pub(super) fn follow(&mut self, later: Self) {
        self.changes.follow(later.changes);
        let Some(later) = later.aside else { return };
        let aside = self.aside();
        aside.timers.follow(later.timers);
        if later.forgets {
            aside.forgets = true;
            aside.sent.clear();
        }
        aside.sent.extend(later.sent);
    }
}

/// What a layer says of timers.
#[derive(Default)]
pub(super) struct Timers {
    /// Those that were set before are removed.
    pub(super) cleared: bool,
    /// `None` removes.
    pub(super) set: BTreeMap<Timer, Option<UnixMillis>>,
}

impl Timers {
    /// Adds what came later.
    pub(super) fn follow(&mut self, later: Self) {
        if later.cleared {
            *self = later;
        } else {
            self.set.extend(later.set);
        }
    }

    pub(super) fn apply(&self, timers: &mut BTreeMap<Timer, UnixMillis>) {
        if self.cleared {
            timers.clear();
        }
        for (timer, due) in &self.set {
            match due {
                Some(due) => timers.insert(timer.clone(), *due),
                None => timers.remove(timer),
            };
        }
    }

    /// What it says of a timer: when it is due, that it is not set, or nothing.
    pub(super) fn get(&self, timer: &Timer) -> Option<Option<UnixMillis>> {
        self.set.get(timer).copied().or_else(|| self.cleared.then_some(None))
    }
}

impl Changes {
    /// Adds what came later.
    pub(super) fn follow(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        for range in &later.cleared {
            self.writes.retain(|key| !range.contains(key));
        }
        self.cleared.extend(later.cleared);
        self.writes.extend(later.writes);
        self.wake = later.wake.or(self.wake);
    }

    /// What it says of a key: its value, that there is none, or nothing.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let cleared = || self.cleared.iter().any(|range| range.contains(key)).then_some(None);
        self.writes.get(key).map(|value| value.map(Piece::to_bytes)).or_else(cleared)
    }
}

/// What the layers say of a range, to be laid over what the engine says.
pub(in crate::object::storage) struct Overlay {
    pub(in crate::object::storage) cleared: Vec<KeyRange>,
    pub(in crate::object::storage) writes: BTreeMap<Bytes, Option<Bytes>>,
    /// What lies below, if that is known.
    pub(in crate::object::storage) below: Option<Vec<(Bytes, Bytes)>>,
}

pub(super) fn within(
    values: &BTreeMap<Bytes, Bytes>,
    range: &KeyRange,
) -> impl Iterator<Item = (Bytes, Bytes)> {
    let from = values.range::<Bytes, _>(range.start.clone()..);
    let end = range.end.clone();
    from.take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end))
        .map(|(key, value)| (key.clone(), value.clone()))
}
