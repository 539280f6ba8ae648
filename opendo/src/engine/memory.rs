//! The engine of tests and of nodes without storage: everything is gone with the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{Commit, Engine, EngineError, Epoch, Outcome, Ownership};
use crate::object::id::ObjectKey;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    epochs: AtomicU64,
    objects: Mutex<FxHashMap<ObjectKey, Record>>,
}

#[derive(Debug, Default)]
struct Record {
    epoch: u64,
    sequence: u64,
    values: BTreeMap<String, Bytes>,
}

impl Engine for Memory {
    fn claim<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Ownership, EngineError>> {
        let mut objects = self.objects.lock();
        let record = objects.entry(key.clone()).or_default();
        record.epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        record.sequence = 0;
        ready(Ok(Ownership { epoch: Epoch(record.epoch), sequence: 0 })).boxed()
    }

    fn release<'a>(&'a self, key: &'a ObjectKey, epoch: Epoch) -> BoxFuture<'a, Result<(), EngineError>> {
        let mut objects = self.objects.lock();
        // An object that has stored nothing leaves nothing behind (checklist 1.23).
        if objects.get(key).is_some_and(|record| record.epoch == epoch.0 && record.values.is_empty()) {
            objects.remove(key);
        }
        ready(Ok(())).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Outcome, EngineError>> {
        let mut objects = self.objects.lock();
        let outcome = match objects.get_mut(&commit.key) {
            Some(record) if record.epoch == commit.epoch.0 => {
                // A repeated commit was applied before.
                if commit.sequence > record.sequence {
                    record.sequence = commit.sequence;
                    for (name, value) in commit.writes {
                        match value {
                            Some(value) => record.values.insert(name, value),
                            None => record.values.remove(&name),
                        };
                    }
                }
                Outcome::Committed
            }
            _ => Outcome::Fenced,
        };
        ready(Ok(outcome)).boxed()
    }

    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>, EngineError>> {
        let value = self.objects.lock().get(key).and_then(|record| record.values.get(name).cloned());
        ready(Ok(value)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn key() -> ObjectKey {
        let class: Arc<str> = "k1".into();
        let hex = "7ff1a519fb840f6f1e43b3ee9428f7c1b48f14180c4e5a15bf40c5786614d595";
        let id = std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
        ObjectKey::verified(&class, id, None).unwrap()
    }

    fn write(epoch: Epoch, sequence: u64, value: Option<&'static [u8]>) -> Commit {
        let writes = vec![("a".to_owned(), value.map(Bytes::from_static))];
        Commit { key: key(), epoch, sequence, writes }
    }

    #[tokio::test]
    async fn a_former_owner_is_fenced_and_a_repeat_is_not_applied_twice() {
        let engine = Memory::default();
        let first = engine.claim(&key()).await.unwrap();
        assert_eq!(engine.commit(write(first.epoch, 1, Some(b"1"))).await.unwrap(), Outcome::Committed);
        let second = engine.claim(&key()).await.unwrap();
        assert!(second.epoch > first.epoch);
        assert_eq!(engine.commit(write(first.epoch, 2, None)).await.unwrap(), Outcome::Fenced);
        assert_eq!(engine.commit(write(second.epoch, 1, Some(b"2"))).await.unwrap(), Outcome::Committed);
        assert_eq!(engine.commit(write(second.epoch, 1, None)).await.unwrap(), Outcome::Committed);
        assert_eq!(engine.get(&key(), "a").await.unwrap().as_deref(), Some(&b"2"[..]));
    }

    #[tokio::test]
    async fn an_object_that_stored_nothing_leaves_nothing() {
        let engine = Memory::default();
        let owner = engine.claim(&key()).await.unwrap();
        engine.release(&key(), owner.epoch).await.unwrap();
        assert!(engine.objects.lock().is_empty());
    }
}
