//! Who owns which object, in memory.
//!
//! No other process can write to the directory while its lock is held, so the fence is judged here and costs no
//! write: rows carry neither epoch nor sequence. What another life of the process has granted is none of this table's
//! epochs.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::super::{Commit, Epoch, Id, Turn, id};
use crate::object::id::ObjectKey;

#[derive(Debug)]
pub(super) struct Owners {
    epochs: u64,
    table: BTreeMap<Id, Owner>,
    /// What the batch that is being written changes.
    carried: FxHashSet<Id>,
}

#[derive(Debug)]
struct Owner {
    /// With the name, as soon as one is known.
    key: Arc<ObjectKey>,
    epoch: Epoch,
    sequence: u64,
}

/// A commit that passed the fence, and its object as its row is to name it.
#[derive(Debug)]
pub(super) struct Accepted<'a> {
    pub(super) commit: &'a Commit,
    pub(super) key: Arc<ObjectKey>,
}

impl Owners {
    /// `incarnation` counts how often the directory was opened. There is room for a trillion claims in each.
    pub(super) fn new(incarnation: u64) -> Self {
        Self { epochs: incarnation << 40, table: BTreeMap::new(), carried: FxHashSet::default() }
    }

    /// Whether a commit of the object is being written comes along.
    pub(super) fn claim(&mut self, object: &Arc<ObjectKey>) -> (Epoch, bool) {
        self.epochs += 1;
        let (id, epoch) = (id(object), Epoch(self.epochs));
        let carried = self.carried.contains(&id);
        self.table.insert(id, Owner { key: object.clone(), epoch, sequence: 0 });
        (epoch, carried)
    }

    /// What the object's row calls it.
    pub(super) fn named(&mut self, object: &ObjectKey, epoch: Epoch, name: Option<Arc<str>>) {
        if let Some(owner) = self.table.get_mut(&id(object))
            && owner.epoch == epoch
            && owner.key.name().is_none()
            && name.is_some()
        {
            owner.key = Arc::new(ObjectKey::kept(object.class_arc().clone(), *object.bytes(), name));
        }
    }

    pub(super) fn release(&mut self, object: &ObjectKey, epoch: Epoch) {
        let id = id(object);
        if self.table.get(&id).is_some_and(|owner| owner.epoch == epoch) {
            self.table.remove(&id);
        }
    }

    /// What may be written; [`settle`](Self::settle) follows.
    pub(super) fn judge<'a>(&mut self, batch: &'a [Commit]) -> (Vec<Turn>, Vec<Accepted<'a>>) {
        let mut accepted = Vec::with_capacity(batch.len());
        let turns = batch
            .iter()
            .map(|commit| {
                let id = id(&commit.object);
                let Some(owner) = self.table.get(&id) else { return Turn::Fenced };
                let turn = commit.turn(Some(owner.epoch), owner.sequence);
                if turn == Turn::Next {
                    accepted.push(Accepted { commit, key: owner.key.clone() });
                    self.carried.insert(id);
                }
                turn
            })
            .collect();
        (turns, accepted)
    }

    pub(super) fn settle(&mut self, accepted: &[Accepted<'_>], written: bool) {
        self.carried.clear();
        for Accepted { commit, .. } in accepted.iter().filter(|_| written) {
            // It may have been claimed anew meanwhile.
            let owner = self.table.get_mut(&id(&commit.object)).filter(|owner| owner.epoch == commit.epoch);
            if let Some(owner) = owner {
                owner.sequence = commit.sequence;
            }
        }
    }

    pub(super) fn list(&self, class: &Arc<str>, after: Option<[u8; 32]>, limit: usize) -> Vec<ObjectKey> {
        let start = match after {
            Some(after) => Bound::Excluded((class.clone(), after)),
            None => Bound::Included((class.clone(), [0; 32])),
        };
        let bounds = (start, Bound::Included((class.clone(), [0xff; 32])));
        self.table.range(bounds).take(limit).map(|(_, owner)| (*owner.key).clone()).collect()
    }
}
