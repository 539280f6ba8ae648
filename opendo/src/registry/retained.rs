//! Stubs that objects keep while they sleep: the node has the connections, so it can have these, too.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::object::id::ObjectKey;
use crate::object::outbox::Undelivered;
use crate::object::storage::{Storage, StorageError};
use crate::rpc::stub::{Broken, Stub};

/// The most that may be attached to a retained stub, in bytes (checklist 8.6).
pub(crate) const MAX_ATTACHMENT: usize = 16 * 1024;

/// One stub that an object retains.
pub(crate) struct Entry {
    number: u64,
    tag: Arc<str>,
    stub: Box<dyn Any + Send + Sync>,
    attachment: Bytes,
    /// Of the task that waits for the loss of the stub.
    watch: Mutex<Option<AbortHandle>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get_mut().take() {
            watch.abort();
        }
    }
}

/// What the objects of a class retain.
#[derive(Default)]
pub(crate) struct Shelf {
    last: AtomicU64,
    objects: Mutex<FxHashMap<[u8; 32], Vec<Arc<Entry>>>>,
}

impl Shelf {
    pub(crate) fn add(
        &self,
        object: &ObjectKey,
        tag: &str,
        stub: impl Stub,
        attachment: Bytes,
    ) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            number: self.last.fetch_add(1, Ordering::Relaxed),
            tag: tag.into(),
            stub: Box::new(stub),
            attachment,
            watch: Mutex::default(),
        });
        self.objects.lock().entry(*object.bytes()).or_default().push(entry.clone());
        entry
    }

    fn of(&self, object: &ObjectKey, tag: &str) -> Vec<Arc<Entry>> {
        let objects = self.objects.lock();
        let all = objects.get(object.bytes()).into_iter().flatten();
        all.filter(|entry| *entry.tag == *tag).cloned().collect()
    }

    /// Takes an entry out; `None` if somebody has before.
    pub(crate) fn take(&self, object: &ObjectKey, number: u64) -> Option<Arc<Entry>> {
        let mut objects = self.objects.lock();
        let all = objects.get_mut(object.bytes())?;
        let at = all.iter().position(|entry| entry.number == number)?;
        let entry = all.remove(at);
        if all.is_empty() {
            objects.remove(object.bytes());
        }
        Some(entry)
    }
}

impl Entry {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Has it watched as long as it is retained.
    pub(crate) fn watched_by(&self, watch: AbortHandle) {
        *self.watch.lock() = Some(watch);
    }

    pub(crate) fn lost(&self, storage: &Storage) -> Lost {
        Lost { tag: self.tag.clone(), attachment: self.attachment.clone(), storage: storage.clone() }
    }
}

/// Whoever keeps what an object retains: its class.
pub(crate) trait Keeper: Send + Sync {
    fn shelf(&self) -> &Shelf;
    /// Tells the object of a message that cannot be delivered.
    fn tell_undelivered(&self, object: &Arc<ObjectKey>, undelivered: Undelivered);
    /// Tells the object when the stub of the entry is lost.
    fn watch(&self, object: &Arc<ObjectKey>, entry: &Entry, broken: Broken);
    #[cfg(feature = "websocket")]
    fn sockets(self: Arc<Self>) -> Arc<dyn crate::websocket::Sockets>;
}

/// A stub that the object retains. It is used like the stub itself. See [`Ctx::retain`](crate::Ctx::retain).
pub struct Retained<S> {
    stub: S,
    entry: Arc<Entry>,
    object: Arc<ObjectKey>,
    storage: Storage,
    keeper: Weak<dyn Keeper>,
}

impl<S: Stub> Retained<S> {
    /// Those of `tag` that are stubs of `S`.
    pub(crate) fn of(
        keeper: &Weak<dyn Keeper>,
        object: &Arc<ObjectKey>,
        storage: &Storage,
        tag: &str,
    ) -> Vec<Self> {
        let Some(class) = keeper.upgrade() else { return Vec::new() };
        let retained = |entry: Arc<Entry>| {
            let stub = entry.stub.downcast_ref::<S>()?.clone();
            let (object, storage, keeper) = (object.clone(), storage.clone(), keeper.clone());
            Some(Self { stub, entry, object, storage, keeper })
        };
        class.shelf().of(object, tag).into_iter().filter_map(retained).collect()
    }

    /// What was attached to it.
    ///
    /// # Errors
    /// [`StorageError::Decode`] when that is of another type.
    pub fn attachment<T: DeserializeOwned>(&self) -> Result<T, StorageError> {
        self.storage.decode(&self.entry.tag, &self.entry.attachment)
    }

    /// Lets go of it. The object is not told.
    pub fn release(self) {
        if let Some(keeper) = self.keeper.upgrade() {
            drop(keeper.shelf().take(&self.object, self.entry.number));
        }
    }
}

impl<S> Deref for Retained<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stub
    }
}

impl<S: fmt::Debug> fmt::Debug for Retained<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retained").field("tag", &self.entry.tag).field("stub", &self.stub).finish()
    }
}

/// A stub that the object retained, and that was lost with its connection. See
/// [`DurableObject::lost`](crate::DurableObject::lost).
#[derive(Clone)]
pub struct Lost {
    tag: Arc<str>,
    attachment: Bytes,
    storage: Storage,
}

impl Lost {
    /// The tag under which it was retained.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// What was attached to it.
    ///
    /// # Errors
    /// [`StorageError::Decode`] when that is of another type.
    pub fn attachment<T: DeserializeOwned>(&self) -> Result<T, StorageError> {
        self.storage.decode(&self.tag, &self.attachment)
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").field("tag", &self.tag).finish_non_exhaustive()
    }
}
