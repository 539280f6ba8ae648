//! Which objects live here, and how to name them.

pub(crate) mod class;
pub(crate) mod idle;
pub(crate) mod namespace;
pub(crate) mod retained;
pub(crate) mod wakes;

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Gives memory back when hardly anything is left in a table. To be called after each removal.
pub(crate) fn shrink<K: Eq + Hash, V>(table: &mut FxHashMap<K, V>) {
    if table.capacity() > 64 && 8 * table.len() < table.capacity() {
        table.shrink_to(2 * table.len());
    }
}
