//! Where objects live and what they keep: a directory of owners and a store of keys, behind one trait.
//!
//! An engine supplies both halves, because the fence that keeps a former owner from writing must be in the same
//! atomic step as the write. It knows no object types: it sees keys, epochs and batches.

pub(crate) mod memory;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::object::id::ObjectKey;

/// Counts the owners of an object: each claim has a larger one, and a commit names its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) u64);

/// The right to write an object's state. Not `Clone`: there is one owner in the process too.
#[derive(Debug)]
pub(crate) struct Ownership {
    pub(crate) epoch: Epoch,
    /// The number of the last commit in this epoch.
    pub(crate) sequence: u64,
}

/// What one object's calls wrote, to be applied as a whole or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) key: ObjectKey,
    pub(crate) epoch: Epoch,
    /// The last one's plus 1: a repeated commit is recognised.
    pub(crate) sequence: u64,
    /// `None` deletes.
    pub(crate) writes: Vec<(String, Option<Bytes>)>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    /// Another owner has claimed the object since.
    Fenced,
}

/// Why the engine could not do it. A commit whose outcome is unknown may be repeated as it is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("storage: {0}")]
pub(crate) struct EngineError(pub(crate) String);

/// A directory and a store. Every method may be called from any thread; futures are not tied to a runtime.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Makes the caller the owner, in a larger epoch than any before.
    fn claim<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Ownership, EngineError>>;

    /// Gives the ownership up, if it is still held.
    fn release<'a>(&'a self, key: &'a ObjectKey, epoch: Epoch) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Applies a commit, if its epoch is the owner's.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Outcome, EngineError>>;

    /// The committed value of a key.
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>, EngineError>>;
}
