//! Who owns which object, in memory.
//!
//! No other process can write to the directory while its lock is held, so the fence is judged here and costs no
//! write: rows carry neither epoch nor sequence. For the same reason an owner knows its object's row, and a commit does
//! not look for it. What another life of the process has granted is none of this table's epochs.

use std::num::NonZeroI64;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::{Commit, Epoch, Turn, page};
use crate::object::id::ObjectKey;
use crate::object::name::Name;
use crate::registry::shrink;

#[derive(Debug)]
pub(super) struct Owners {
    epochs: u64,
    table: FxHashMap<Arc<ObjectKey>, Owner>,
}

#[derive(Debug)]
struct Owner {
    epoch: Epoch,
    sequence: u64,
    number: Option<NonZeroI64>,
    is_named: bool,
    /// The batch that is being written changes the object.
    is_carried: bool,
}

/// The row of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// `None` as long as the object holds nothing.
    pub(super) number: Option<NonZeroI64>,
    pub(super) is_named: bool,
}

/// A commit that passed the fence.
#[derive(Debug)]
pub(super) struct Accepted<'a> {
    pub(super) commit: &'a Commit,
    /// As it is before the commit, then as it is behind it.
    pub(super) row: Row,
    /// What the row is to call the object, if it does not yet.
    pub(super) name: Option<Name>,
}

impl Owner {
    fn row(&self) -> Row {
        Row { number: self.number, is_named: self.is_named }
    }

    fn set(&mut self, row: Row) {
        (self.number, self.is_named) = (row.number, row.is_named);
    }
}

impl Owners {
    /// `incarnation` counts how often the directory was opened. There is room for a trillion claims in each.
    pub(super) fn new(incarnation: u64) -> Self {
        Self { epochs: incarnation << 40, table: FxHashMap::default() }
    }

    /// Whether a commit of the object is being written comes along.
    pub(super) fn claim(&mut self, object: &Arc<ObjectKey>) -> (Epoch, bool) {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        let mut owner = Owner { epoch, sequence: 0, number: None, is_named: false, is_carried: false };
        // With the name, as soon as one is known.
        let former = self.table.remove_entry(object);
        let (key, is_carried) = match former {
            Some((key, former)) if key.name().is_some() => (key, former.is_carried),
            Some((_, former)) => (object.clone(), former.is_carried),
            None => (object.clone(), false),
        };
        owner.is_carried = is_carried;
        self.table.insert(key, owner);
        (epoch, is_carried)
    }

    /// What the object's row is, and calls it. Before it commits anything.
    pub(super) fn found(&mut self, object: &ObjectKey, epoch: Epoch, row: Row, name: Option<Name>) {
        let Some(owner) = self.table.get_mut(object).filter(|owner| owner.epoch == epoch) else { return };
        owner.set(row);
        if name.is_some()
            && let Some((key, owner)) = self.table.remove_entry(object)
        {
            let key = match key.name() {
                Some(_) => key,
                None => Arc::new(ObjectKey::kept(key.class_arc().clone(), *key.bytes(), name)),
            };
            self.table.insert(key, owner);
        }
    }

    pub(super) fn release(&mut self, object: &ObjectKey, epoch: Epoch) {
        if self.table.get(object).is_some_and(|owner| owner.epoch == epoch) {
            self.table.remove(object);
            shrink(&mut self.table);
        }
    }

    /// What may be written; [`settle`](Self::settle) follows.
    pub(super) fn judge<'a>(&mut self, batch: &'a [Commit]) -> (Vec<Turn>, Vec<Accepted<'a>>) {
        let mut accepted = Vec::with_capacity(batch.len());
        let turns = batch.iter().map(|commit| {
            let Some(owner) = self.table.get_mut(&commit.object) else { return Turn::Fenced };
            let turn = commit.turn(Some(owner.epoch), owner.sequence);
            if turn == Turn::Next {
                owner.is_carried = true;
                let row = owner.row();
                let name = if row.is_named { None } else { self.name(&commit.object) };
                accepted.push(Accepted { commit, row, name });
            }
            turn
        });
        (turns.collect(), accepted)
    }

    fn name(&self, object: &ObjectKey) -> Option<Name> {
        self.table.get_key_value(object)?.0.kept_name()
    }

    pub(super) fn settle(&mut self, accepted: &[Accepted<'_>], written: bool) {
        for Accepted { commit, row, .. } in accepted {
            let Some(owner) = self.table.get_mut(&commit.object) else { continue };
            owner.is_carried = false;
            // It may have been claimed anew meanwhile.
            if written && owner.epoch == commit.epoch {
                owner.sequence = commit.sequence;
                owner.set(*row);
            }
        }
    }

    pub(super) fn list(&self, class: &str, after: Option<[u8; 32]>, limit: usize) -> Vec<ObjectKey> {
        page(self.table.keys(), class, after, limit)
    }
}
