//! What an object keeps: its own keys, read through its own unconfirmed writes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

use crate::engine::{Changes, Commit, Engine, EngineError, Outcome, Ownership};
use crate::node::WeakNode;
use crate::object::id::ObjectKey;
use crate::rpc::cap::{storing, why};

/// Why a key could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The value could not be encoded.
    #[error("storage: the value of `{key}` cannot be encoded: {reason}")]
    Encode {
        /// The key.
        key: String,
        /// What the encoder said.
        reason: String,
    },
    /// What is stored is not a value of the type asked for.
    #[error("storage: what is stored as `{key}` is not a `{expected}`: {reason}")]
    Decode {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The instance this storage belongs to was thrown away; what it would still write must not count.
    #[error("storage: the object's instance is gone")]
    Closed,
    /// The engine could not do it.
    #[error("{0}")]
    Engine(String),
}

impl From<EngineError> for StorageError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

/// The keys and values of one object.
///
/// Keys are texts, values are serde types. Writes go into a buffer and return at once; reads see them. What one
/// call wrote is committed as a whole before its reply leaves, and not at all when the instance is thrown away
/// during it. An `Err` that a method returns undoes nothing.
///
/// Stubs of this node's objects can be stored, alone or inside values: they are found again by class and id. Stubs of
/// anything else cannot.
///
/// The engine of this version keeps everything in memory: it outlives the instance, not the process.
///
/// See [`DurableObject`](crate::DurableObject) for an example.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    key: Arc<ObjectKey>,
    node: WeakNode,
    buffer: Mutex<Buffer>,
    /// One commit at a time, in order.
    committing: tokio::sync::Mutex<()>,
}

struct Buffer {
    ownership: Option<Ownership>,
    /// Writes not confirmed yet, with the number of the commit that carries them.
    writes: BTreeMap<String, (u64, Option<Bytes>)>,
    next_commit: u64,
    closed: bool,
}

impl Storage {
    pub(crate) fn new(engine: Arc<dyn Engine>, key: Arc<ObjectKey>, node: WeakNode) -> Self {
        let buffer = Buffer { ownership: None, writes: BTreeMap::new(), next_commit: 1, closed: false };
        Self(Arc::new(Inner {
            engine,
            key,
            node,
            buffer: Mutex::new(buffer),
            committing: tokio::sync::Mutex::default(),
        }))
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`StorageError::Decode`] when something else is stored there; [`StorageError::Engine`].
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StorageError> {
        let buffered = {
            let buffer = self.0.buffer.lock();
            if buffer.closed {
                return Err(StorageError::Closed);
            }
            buffer.writes.get(key).map(|(_, value)| value.clone())
        };
        let value = match buffered {
            Some(value) => value,
            None => {
                let key = Bytes::copy_from_slice(key.as_bytes());
                self.0.engine.get(&self.0.key, vec![key]).await?.pop().flatten()
            }
        };
        value
            .map(|bytes| {
                storing(&self.0.node, || postcard::from_bytes(&bytes)).map_err(|error| StorageError::Decode {
                    key: key.to_owned(),
                    expected: std::any::type_name::<T>(),
                    reason: why().unwrap_or_else(|| error.to_string()),
                })
            })
            .transpose()
    }

    /// Writes `value` as `key`. It is there for the next read at once.
    ///
    /// # Errors
    /// [`StorageError::Encode`]; [`StorageError::Closed`] after the instance was thrown away.
    pub fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), StorageError> {
        let encoded = storing(&self.0.node, || postcard::to_allocvec(value));
        let bytes = encoded.map_err(|error| StorageError::Encode {
            key: key.to_owned(),
            reason: why().unwrap_or_else(|| error.to_string()),
        })?;
        self.write(key, Some(bytes.into()))
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// [`StorageError::Closed`] after the instance was thrown away.
    pub fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.write(key, None)
    }

    fn write(&self, key: &str, value: Option<Bytes>) -> Result<(), StorageError> {
        let mut buffer = self.0.buffer.lock();
        if buffer.closed {
            return Err(StorageError::Closed);
        }
        let commit = buffer.next_commit;
        buffer.writes.insert(key.to_owned(), (commit, value));
        Ok(())
    }

    /// Claims the object. Before anything else.
    pub(crate) async fn open(&self) -> Result<(), StorageError> {
        let claim = self.0.engine.claim(&self.0.key).await?;
        self.0.buffer.lock().ownership = Some(claim.ownership);
        Ok(())
    }

    /// Commits what was written so far, as one.
    pub(crate) async fn commit(&self) -> Result<(), StorageError> {
        if self.0.buffer.lock().writes.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.0.committing.lock().await;
        let (number, commit) = {
            let mut buffer = self.0.buffer.lock();
            let number = buffer.next_commit;
            let writes: BTreeMap<_, _> = buffer
                .writes
                .iter()
                .map(|(key, (_, value))| (Bytes::copy_from_slice(key.as_bytes()), value.clone()))
                .collect();
            if buffer.closed || writes.is_empty() {
                return if buffer.closed { Err(StorageError::Closed) } else { Ok(()) };
            }
            buffer.next_commit += 1;
            let Some(ownership) = &mut buffer.ownership else { return Err(StorageError::Closed) };
            ownership.sequence += 1;
            let (epoch, sequence) = (ownership.epoch, ownership.sequence);
            let changes = Arc::new(Changes { writes, ..Changes::default() });
            (number, Commit { object: self.0.key.clone(), epoch, sequence, changes })
        };
        match self.0.engine.commit(vec![commit]).await.pop().expect("one answer for each commit")? {
            Outcome::Committed => {
                self.0.buffer.lock().writes.retain(|_, (commit, _)| *commit > number);
                Ok(())
            }
            Outcome::Fenced => Err(StorageError::Engine("another owner has taken the object over".into())),
        }
    }

    /// From here on nothing is written any more; what was not committed is lost.
    pub(crate) fn close(&self) {
        let mut buffer = self.0.buffer.lock();
        buffer.closed = true;
        buffer.writes.clear();
    }

    /// Gives the object up, once its instance is gone.
    pub(crate) async fn release(&self) {
        let ownership = self.0.buffer.lock().ownership.take();
        if let Some(ownership) = ownership
            && let Err(error) = self.0.engine.release(&self.0.key, ownership.epoch).await
        {
            // The next owner claims it all the same; this only costs a record.
            tracing::warn!(object = %self.0.key, %error, "could not release");
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.0.key)
    }
}
