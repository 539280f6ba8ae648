use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::text_core::Export;

/// What the peer may name, by number. The main interface is 0, and all that most sessions export while they wait: it
/// takes no table.
#[derive(Default)]
pub(super) struct Exports {
    main: Option<Export>,
    /// Each number is one more than the last, or one less: nobody chooses them.
    others: FxHashMap<i64, Export>,
}

impl Exports {
    pub(super) fn len(&self) -> usize {
        self.others.len() + usize::from(self.main.is_some())
    }

    pub(super) fn get(&self, id: i64) -> Option<&Export> {
        if id == 0 { self.main.as_ref() } else { self.others.get(&id) }
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Export> {
        if id == 0 { self.main.as_mut() } else { self.others.get_mut(&id) }
    }

    pub(super) fn insert(&mut self, id: i64, export: Export) {
        if id == 0 {
            self.main = Some(export);
        } else {
            self.others.insert(id, export);
        }
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<Export> {
        if id == 0 { self.main.take() } else { remove(&mut self.others, &id) }
    }

    /// All but the main interface.
    pub(super) fn others(&self) -> impl Iterator<Item = &Export> {
        self.others.values()
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = Export> {
        self.main.into_iter().chain(self.others.into_values())
    }
}

/// Tables of more are not made anew: growing costs more than calls do.
const FEW: usize = 7;

/// Removes from a table that owns nothing while it is empty, as those of a session that waits are, unless it has grown
/// for many calls at a time.
pub(super) fn remove<K: Hash + Eq, T>(table: &mut FxHashMap<K, T>, key: &K) -> Option<T> {
    let gone = table.remove(key);
    if table.is_empty() && table.capacity() <= FEW {
        *table = FxHashMap::default();
    }
    gone
}
