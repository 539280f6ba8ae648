//! The engine of tests and of nodes without storage: everything is gone with the process.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, ready};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::committer::Committer;
use super::{
    Changes, Claim, Claiming, Commit, Directory, EAGER, EngineResult, Epoch, Id, KeyRange, Outcome,
    Ownership, Piece, Store, Turn, UnixMillis, id, page,
};
use crate::object::id::ObjectKey;

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    epochs: u64,
    objects: FxHashMap<Arc<ObjectKey>, Record>,
    wakes: BTreeSet<(UnixMillis, Id)>,
}

#[derive(Debug, Default)]
struct Record {
    owner: Option<Epoch>,
    /// From the first commit on.
    contents: Option<Box<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    /// Of the last commit.
    sequence: u64,
    values: BTreeMap<Bytes, Bytes>,
    /// Of keys and values.
    size: usize,
    wake: Option<UnixMillis>,
}

impl Record {
    fn sequence(&self) -> u64 {
        self.contents.as_ref().map_or(0, |contents| contents.sequence)
    }

    fn holds_nothing(&self) -> bool {
        self.contents.as_ref().is_none_or(|contents| contents.values.is_empty() && contents.wake.is_none())
    }
}

impl Contents {
    fn remove(&mut self, key: &[u8]) {
        self.size -= self.values.remove(key).map_or(0, |before| key.len() + before.len());
    }

    fn set(&mut self, key: Piece<'_>, value: Piece<'_>) {
        self.size += value.len();
        match self.values.get_mut(&*key) {
            Some(known) => self.size -= std::mem::replace(known, value.to_bytes()).len(),
            None => {
                self.size += key.len();
                self.values.insert(key.to_bytes(), value.to_bytes());
            }
        }
    }

    fn apply(&mut self, changes: &Changes) {
        for range in &changes.cleared {
            let keys: Vec<_> = self.range(range).map(|(key, _)| key.clone()).collect();
            keys.into_iter().for_each(|key| self.remove(&key));
        }
        for (key, value) in changes.writes.iter() {
            match value {
                Some(value) => self.set(key, value),
                None => self.remove(&key),
            }
        }
    }

    fn range(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        let end = match &range.end {
            // The map panics at a range that ends before it starts.
            Some(_) if range.is_empty() => Bound::Excluded(&range.start),
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        self.values.range::<Bytes, _>((Bound::Included(&range.start), end))
    }
}

impl State {
    fn contents(&self, object: &ObjectKey) -> Option<&Contents> {
        self.objects.get(object)?.contents.as_deref()
    }

    fn commit(&mut self, commit: &Commit) -> Outcome {
        let Some(record) = self.objects.get_mut(&commit.object) else { return Outcome::Fenced };
        match commit.turn(record.owner, record.sequence()) {
            Turn::Next => {}
            Turn::Repeat => return Outcome::Committed,
            Turn::Fenced => return Outcome::Fenced,
        }
        let contents = record.contents.get_or_insert_default();
        contents.sequence = commit.sequence;
        contents.apply(&commit.changes);
        if let Some(wake) = commit.changes.wake {
            let before = std::mem::replace(&mut contents.wake, wake);
            before.map(|at| self.wakes.remove(&(at, id(&commit.object))));
            wake.map(|at| self.wakes.insert((at, id(&commit.object))));
        }
        Outcome::Committed
    }
}

impl Memory {
    fn apply_all(&self, batch: &[Commit]) -> Vec<EngineResult<Outcome>> {
        let mut state = self.0.lock();
        batch.iter().map(|commit| Ok(state.commit(commit))).collect()
    }

    pub(crate) fn apply(&self, commit: &Commit) -> Outcome {
        self.0.lock().commit(commit)
    }
}

impl Directory for Memory {
    fn claim<'a>(&'a self, object: &'a Arc<ObjectKey>) -> Claiming<'a> {
        let mut state = self.0.lock();
        state.epochs += 1;
        let epoch = Epoch(state.epochs);
        let record = match state.objects.entry(object.clone()) {
            Entry::Vacant(free) => free.insert(Record::default()),
            // With the name, as soon as one is known.
            Entry::Occupied(known) if known.key().name().is_none() && object.name().is_some() => {
                let record = known.remove();
                state.objects.entry(object.clone()).or_insert(record)
            }
            Entry::Occupied(known) => known.into_mut(),
        };
        record.owner = Some(epoch);
        let ownership = Ownership { epoch, sequence: record.sequence() };
        let values = match &record.contents {
            None => Some(BTreeMap::new()),
            Some(contents) => (contents.size <= EAGER).then(|| contents.values.clone()),
        };
        Either::Left(ready(Ok(Claim { ownership, values })))
    }

    fn release<'a>(&'a self, object: &'a Arc<ObjectKey>, epoch: Epoch) -> BoxFuture<'a, EngineResult<()>> {
        let mut state = self.0.lock();
        if let Some(record) = state.objects.get_mut(object).filter(|record| record.owner == Some(epoch)) {
            record.owner = None;
            if record.holds_nothing() {
                state.objects.remove(object);
            }
        }
        ready(Ok(())).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn objects<'a>(
        &'a self,
        class: &'a str,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<ObjectKey>>> {
        ready(Ok(page(self.0.lock().objects.keys(), class, after, limit))).boxed()
    }
}

impl Store for Memory {
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<EngineResult<Outcome>>> {
        ready(self.apply_all(&batch)).boxed()
    }

    fn carry(&self, from: Arc<Committer>) -> BoxFuture<'_, ()> {
        async move {
            while let Some(batch) = from.next() {
                let answers = self.apply_all(batch.commits());
                batch.answer(answers);
            }
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        keys: Vec<Bytes>,
    ) -> BoxFuture<'a, EngineResult<Vec<Option<Bytes>>>> {
        let state = self.0.lock();
        let contents = state.contents(object);
        let values = keys.iter().map(|key| contents.and_then(|contents| contents.values.get(key)).cloned());
        ready(Ok(values.collect())).boxed()
    }

    fn list<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<(Bytes, Bytes)>>> {
        let state = self.0.lock();
        let copy = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        let listed = match state.contents(object) {
            None => Vec::new(),
            Some(contents) if reverse => contents.range(&range).rev().take(limit).map(copy).collect(),
            Some(contents) => contents.range(&range).take(limit).map(copy).collect(),
        };
        ready(Ok(listed)).boxed()
    }

    fn wakes(
        &self,
        from: UnixMillis,
        limit: usize,
    ) -> BoxFuture<'_, EngineResult<Vec<(UnixMillis, ObjectKey)>>> {
        let state = self.0.lock();
        let first = state.wakes.iter().skip_while(|(at, _)| *at < from).take(limit);
        let named = |(class, bytes): &Id| {
            let key = ObjectKey::kept(class.clone(), *bytes, None);
            state.objects.get_key_value(&key).map_or(key, |(known, _)| (**known).clone())
        };
        ready(Ok(first.map(|(at, id)| (*at, named(id))).collect())).boxed()
    }
}
