//! Where objects live and what they keep: a directory of owners and a store of keys, behind two traits.
//!
//! An engine supplies both halves, because the fence that keeps a former owner from writing must be in the same
//! atomic step as the write. It knows no object types: it sees objects' keys, epochs and batches.

pub(crate) mod committer;
#[cfg(test)]
mod conformance;
pub(crate) mod memory;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready};

use self::committer::Committer;
pub(crate) use self::writes::{Piece, Write, Writes};
use crate::object::id::ObjectKey;

/// Class and id: the order in which objects are listed.
pub(crate) type Id = (Arc<str>, [u8; 32]);

pub(crate) fn id(object: &ObjectKey) -> Id {
    (object.class_arc().clone(), *object.bytes())
}

/// Those of a class behind `after`, `limit` at most, in the order of their ids: of keys in no order.
fn page<'a>(
    keys: impl Iterator<Item = &'a Arc<ObjectKey>>,
    class: &str,
    after: Option<[u8; 32]>,
    limit: usize,
) -> Vec<ObjectKey> {
    let is_behind = |key: &ObjectKey| after.is_none_or(|after| *key.bytes() > after);
    let mut found: Vec<_> = keys.filter(|key| key.class() == class && is_behind(key)).collect();
    if limit < found.len() {
        found.select_nth_unstable_by_key(limit, |key| *key.bytes());
        found.truncate(limit);
    }
    found.sort_unstable_by_key(|key| *key.bytes());
    found.into_iter().map(|key| (**key).clone()).collect()
}

/// Counts the owners of an object: each claim has a larger one, and a commit names its own. Never reused, also not
/// after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) u64);

/// The right to write an object's state. Not `Clone`: there is one owner in the process too.
#[derive(Debug)]
pub(crate) struct Ownership {
    pub(crate) epoch: Epoch,
    /// The number of the last commit.
    pub(crate) sequence: u64,
}

/// What a claim gives.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) ownership: Ownership,
    /// Everything the object holds, if that is at most [`EAGER`] bytes: it need not be asked for again.
    pub(crate) values: Option<BTreeMap<Bytes, Bytes>>,
}

/// How many bytes of keys and values a claim loads.
pub(crate) const EAGER: usize = 64 << 10;

/// A moment by the wall clock, in milliseconds since 1970: it outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnixMillis(pub(crate) u64);

impl UnixMillis {
    pub(crate) const ZERO: Self = Self(0);

    /// The time of an object that keeps its times itself, as long as it is in memory: whoever starts after a crash has to
    /// ask it.
    pub(crate) const ASK: Self = Self(i64::MAX as u64);
}

/// Keys from `start` on, up to but without `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Bytes,
    pub(crate) end: Option<Bytes>,
}

impl KeyRange {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// What is to change in the state of one object, as a whole or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Emptied first.
    pub(crate) cleared: Vec<KeyRange>,
    pub(crate) writes: Writes,
    /// When the object is to be woken: `Some(None)` for not at all, `None` for as before.
    pub(crate) wake: Option<Option<UnixMillis>>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.cleared.is_empty() && self.writes.is_empty() && self.wake.is_none()
    }
}

/// Changes under the right to make them.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) object: Arc<ObjectKey>,
    pub(crate) epoch: Epoch,
    /// The last one's plus 1: a repeated commit is recognised.
    pub(crate) sequence: u64,
    pub(crate) changes: Arc<Changes>,
}

/// What a commit is to the owner and the sequence it meets: the rule of every engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Next,
    /// It was applied before.
    Repeat,
    Fenced,
}

impl Commit {
    pub(crate) fn turn(&self, owner: Option<Epoch>, sequence: u64) -> Turn {
        if owner != Some(self.epoch) {
            Turn::Fenced
        } else if self.sequence == sequence {
            Turn::Repeat
        } else if self.sequence == sequence + 1 {
            Turn::Next
        } else {
            Turn::Fenced
        }
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is durable. Also the answer to a repeat of a commit that was applied.
    Committed,
    /// Another owner has claimed the object since, or the sequence is none that can come now. Nothing was changed.
    Fenced,
}

/// Why the engine could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// It may have been done, or not: the same commit may be sent again.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// It was not done, and will not be when it is repeated.
    #[error("{0}")]
    Failed(String),
}

pub(crate) type EngineResult<T> = Result<T, EngineError>;

/// What a claim gives: at once, where nothing is waited for.
pub(crate) type Claiming<'a> = Either<Ready<EngineResult<Claim>>, BoxFuture<'a, EngineResult<Claim>>>;

/// Who owns an object.
///
/// The methods of both traits may be called from any thread within a Tokio runtime. A future that is dropped may have
/// done what it was to do.
pub(crate) trait Directory: Send + Sync + 'static {
    /// Makes the caller the owner, in a larger epoch than any before.
    fn claim<'a>(&'a self, object: &'a Arc<ObjectKey>) -> Claiming<'a>;

    /// Gives the ownership up, if it is still held. No commit may be on its way. An object without keys and without a
    /// time to be woken leaves nothing behind (checklist 1.23).
    fn release<'a>(&'a self, object: &'a Arc<ObjectKey>, epoch: Epoch) -> BoxFuture<'a, EngineResult<()>>;

    /// Lets go of everything: nothing is done any more, and another node may take over what this one had. What runs comes
    /// to its end first.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// The objects of a class that hold something or are owned, in the order of their ids, from the one behind `after`
    /// on, `limit` at most.
    fn objects<'a>(
        &'a self,
        class: &'a str,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<ObjectKey>>>;
}

/// What objects hold.
pub(crate) trait Store: Send + Sync + 'static {
    /// Applies commits, each if its epoch is the owner's and its sequence the next one; the answers in their order.
    /// Each is atomic; they do not depend on each other. At most one of an object at a time.
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<EngineResult<Outcome>>>;

    /// Commits what gathers there, batch after batch, until nothing has. Each batch is taken when it can be written, and
    /// answered within a task of the runtime.
    fn carry(&self, from: Arc<Committer>) -> BoxFuture<'_, ()> {
        async move {
            while let Some(batch) = from.next() {
                let answers = self.commit(batch.commits().to_vec()).await;
                batch.answer(answers);
            }
        }
        .boxed()
    }

    /// The committed values of keys, in their order.
    fn get<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        keys: Vec<Bytes>,
    ) -> BoxFuture<'a, EngineResult<Vec<Option<Bytes>>>>;

    /// The committed keys and values of a range, in byte order of the keys (or against it), `limit` at most.
    fn list<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<(Bytes, Bytes)>>>;

    /// The objects that are to be woken at `from` or later, with the times, the earliest first, `limit` at most. Their keys
    /// have the names by which they were first committed (checklist 1.10).
    fn wakes(
        &self,
        from: UnixMillis,
        limit: usize,
    ) -> BoxFuture<'_, EngineResult<Vec<(UnixMillis, ObjectKey)>>>;
}

/// A directory and a store of the same objects.
pub(crate) trait Engine: Directory + Store {}

impl<E: Directory + Store> Engine for E {}
