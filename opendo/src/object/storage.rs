//! What an object keeps: its own keys, read through its own unconfirmed writes.

pub(crate) mod keys;
pub(crate) mod ledger;
mod list;
pub(crate) mod own;
mod stored;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::engine::{EngineError, Write};
use crate::object::storage::ledger::{Ledger, Timer};
use crate::rpc::cap::{storing, why};

pub use self::list::List;
pub use self::stored::{Editing, Stored};

/// Why a key could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The key, or the key and its value together, are longer than may be stored.
    #[error("storage: `{key}` takes {size} bytes, and {limit} are the most; store it in parts")]
    TooLarge {
        /// The key, or its beginning.
        key: String,
        /// How long it is, with its value if the key alone is not too long.
        size: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Two transactions run within the same one at the same time: await one before the other. Or keys are written in a
    /// `Sql::transaction` while a transaction of another method runs.
    #[error("storage: another transaction runs; await it first")]
    Transaction,
    /// The instance this storage belongs to was thrown away; what it would still write must not count.
    #[error("storage: the object's instance is gone")]
    Closed,
    /// The engine could not do it.
    #[error("storage: {0}")]
    Engine(String),
}

impl From<EngineError> for StorageError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<StorageError> for String {
    fn from(error: StorageError) -> Self {
        error.to_string()
    }
}

/// The longest key, in bytes (checklist 5.9).
const MAX_KEY: usize = 2048;

/// The most that a key and its value may take together, in bytes (checklist 5.9).
pub(crate) const MAX_ENTRY: usize = 2 << 20;

/// What is encoded is copied if it is no longer than that: then it takes as much memory as it has bytes.
const SMALL: usize = 4 << 10;

/// The keys and values of one object.
///
/// Keys are texts of at most 2 KiB, values are serde types, at most 2 MiB in postcard. Writes go into a buffer and
/// return at once; reads see them.
///
/// **Durability.** Nothing that the object says (replies, errors, calls it makes, callbacks) leaves before everything
/// it has written until then is durable; the object itself does not wait, and takes the next call. What one call wrote
/// up to that point is committed as a whole or not at all. An `Err` that a method returns undoes nothing: use
/// [`transaction`](Self::transaction) for that. If the storage fails, the instance is thrown away, with what was not
/// durable, and with everything that waited for it.
///
/// Stubs of this node's objects and of their [lasting](crate::Lasting) targets can be stored, alone or inside values: they are
/// found again by class and id. Stubs of anything else cannot.
///
/// ```
/// # use opendo::prelude::*;
/// # pub struct Shelf { ctx: Ctx }
/// # #[durable_object]
/// # impl Shelf {
/// pub async fn tidy(&self) -> Result<Vec<String>, String> {
///     let storage = self.ctx.storage();
///     storage.put("book/dune", &1965_u16)?;
///     storage.put_many([("book/solaris", 1961_u16), ("book/ubik", 1969)])?;
///     storage.delete("book/ubik")?;
///     assert_eq!(storage.get::<u16>("book/dune").await?, Some(1965)); // it sees its own writes
///
///     let old = storage.list::<u16>().prefix("book/").reverse().limit(10).await?;
///     Ok(old.into_iter().map(|(key, year)| format!("{key}: {year}")).collect())
/// }
/// # }
/// # impl DurableObject for Shelf { async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Shelf { ctx }) } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// # let node = Node::builder().object::<Shelf>().start().await?;
/// # let shelf: ShelfStub = node.get("a");
/// # assert_eq!(shelf.tidy().await?, ["book/solaris: 1961", "book/dune: 1965"]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Storage(Arc<Ledger>);

impl Storage {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.0
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`StorageError::Decode`] when something else is stored there; [`StorageError::Engine`].
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StorageError> {
        let stored = keys::of_user(key)?;
        let value = self.read(stored).await?;
        value.map(|bytes| self.decode(key, &bytes)).transpose()
    }

    /// The values of those of `keys` that are there, in byte order of the keys (checklist 5.1).
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<BTreeMap<String, T>, StorageError> {
        let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
        for key in keys {
            let stored = keys::of_user(key.as_ref())?;
            match self.0.pending(&stored)? {
                Some(value) => {
                    value.map(|value| found.insert(stored, value));
                }
                None => missing.push(stored),
            }
        }
        if !missing.is_empty() {
            let values = self.0.get(missing.clone()).await?;
            found.extend(missing.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))));
        }
        found.iter().map(|(key, value)| self.decode_entry(key, value)).collect()
    }

    /// Writes `value` as `key`. It is there for the next read at once. A copy: what happens to `value` later is not
    /// stored (checklist 5.7).
    ///
    /// # Errors
    /// [`StorageError::Encode`], [`StorageError::TooLarge`]; [`StorageError::Closed`] after the instance was thrown
    /// away.
    pub fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), StorageError> {
        self.0.write(self.encode(key, value)?)
    }

    /// Writes all of these, or none of them (checklist 5.14).
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn put_many<K: AsRef<str>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> Result<(), StorageError> {
        let encoded: Result<Vec<_>, _> =
            entries.into_iter().map(|(key, value)| self.encode(key.as_ref(), &value)).collect();
        self.0.write_all(encoded?)
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// [`StorageError::Closed`] after the instance was thrown away.
    pub fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.0.write((keys::of_user(key)?, None))
    }

    /// Removes those of `keys` that are there.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete).
    pub fn delete_many(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), StorageError> {
        let stored: Result<Vec<_>, _> = keys.into_iter().map(|key| keys::of_user(key.as_ref())).collect();
        self.0.write_all(stored?.into_iter().map(|key| (key, None).into()))
    }

    /// The keys and values, in byte order of the keys; which ones is said by what is called on it.
    pub fn list<T: DeserializeOwned>(&self) -> List<T> {
        List::new(self.clone())
    }

    /// Removes every key, the alarm, all schedules, and the [messages](crate::Ctx::send) that were not delivered, in one
    /// step (checklist 5.29). An object that holds nothing is forgotten when it leaves memory.
    ///
    /// What stays is the number of the last message of each sender: without it, one that is delivered once more would
    /// count once more.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete).
    pub fn delete_all(&self) -> Result<(), StorageError> {
        self.0.drop_tables()?;
        self.0.clear(keys::user())?;
        self.0.clear_messages()?;
        self.0.clear_timers()
    }

    /// Runs `body` as a transaction: if it returns `Ok`, everything that it wrote by this storage counts, all of it as
    /// if written at that moment; otherwise (an `Err`, a panic, or when it is dropped) nothing of it does. Alarms and
    /// schedules are part of it. Memory is not: what `body` has done to the object itself stays.
    ///
    /// Transactions of one object run one after the other; one within another one is a savepoint (checklist 5.16 to
    /// 5.20). Reads of `body` see what it wrote, other methods that overlap with this one do not. Rows are not part of it:
    /// see `Sql::transaction`.
    ///
    /// # Errors
    /// What `body` returns; [`StorageError`] when the instance is gone.
    ///
    /// ```
    /// # use opendo::prelude::*;
    /// # pub struct Account { ctx: Ctx }
    /// # #[durable_object]
    /// # impl Account {
    /// pub async fn withdraw(&self, amount: u64) -> Result<u64, String> {
    ///     let storage = self.ctx.storage();
    ///     storage
    ///         .transaction(async {
    ///             storage.put("last", &amount)?;
    ///             let balance: u64 = storage.get("balance").await?.unwrap_or(0);
    ///             let balance = balance.checked_sub(amount).ok_or("not enough")?; // and `last` was never written
    ///             storage.put("balance", &balance)?;
    ///             Ok(balance)
    ///         })
    ///         .await
    /// }
    /// # pub async fn last(&self) -> Result<Option<u64>, String> { Ok(self.ctx.storage().get("last").await?) }
    /// # }
    /// # impl DurableObject for Account { async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Account { ctx }) } }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let node = Node::builder().object::<Account>().start().await?;
    /// # let account: AccountStub = node.get("a");
    /// # assert!(account.withdraw(5).await.is_err());
    /// # assert_eq!(account.last().await?, None);
    /// # assert_eq!(account.withdraw(0).await?, 0);
    /// # assert_eq!(account.last().await?, Some(0));
    /// # Ok(()) }
    /// ```
    pub async fn transaction<R, E: From<StorageError>>(
        &self,
        body: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E> {
        self.0.transact(body).await?
    }

    /// Resolves when everything written before is durable. Nothing has to call this: what the object says waits by
    /// itself (checklist 5.26).
    ///
    /// # Errors
    /// [`StorageError`] when it could not be made durable: the instance is lost.
    pub async fn sync(&self) -> Result<(), StorageError> {
        let durable = self.0.durable().await;
        durable.map_err(|error| StorageError::Engine(error.message().to_owned()))
    }

    /// The record of a timer.
    pub(crate) async fn timer(&self, timer: &Timer) -> Result<Option<Bytes>, StorageError> {
        self.read(keys::of_timer(timer)).await
    }

    /// What is stored there: a key of the engine's.
    pub(crate) async fn read(&self, key: Bytes) -> Result<Option<Bytes>, StorageError> {
        match self.0.pending(&key)? {
            Some(value) => Ok(value),
            None => Ok(self.0.get(vec![key]).await?.pop().flatten()),
        }
    }

    /// The value as it is stored.
    pub(crate) fn encoded<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<Vec<u8>, StorageError> {
        self.encode_to(Vec::new(), key, value)
    }

    fn encode_to<T: Serialize + ?Sized>(
        &self,
        to: Vec<u8>,
        key: &str,
        value: &T,
    ) -> Result<Vec<u8>, StorageError> {
        let encoded = storing(self.0.node(), || postcard::to_extend(value, to));
        encoded.map_err(|error| StorageError::Encode {
            key: key.to_owned(),
            reason: why().unwrap_or_else(|| error.to_string()),
        })
    }

    fn encode<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Write, StorageError> {
        thread_local! {
            static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let mut scratch = SCRATCH.take();
        scratch.clear();
        keys::put_user(key, &mut scratch)?;
        let behind = scratch.len();
        let bytes = self.encode_to(scratch, key, value)?;
        fits(key, &bytes[behind..])?;
        if bytes.len() > SMALL {
            let mut key = Bytes::from(bytes);
            let value = key.split_off(behind);
            return Ok((key, Some(value)).into());
        }
        let write = Write::of(&bytes, behind);
        SCRATCH.set(bytes);
        Ok(write)
    }

    /// The same, if it is not too large together with its key.
    pub(crate) fn encode_entry<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<Vec<u8>, StorageError> {
        let bytes = self.encoded(key, value)?;
        fits(key, &bytes)?;
        Ok(bytes)
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, key: &str, bytes: &[u8]) -> Result<T, StorageError> {
        storing(self.0.node(), || postcard::from_bytes(bytes)).map_err(|error| StorageError::Decode {
            key: key.to_owned(),
            expected: std::any::type_name::<T>(),
            reason: why().unwrap_or_else(|| error.to_string()),
        })
    }

    fn decode_entry<T: DeserializeOwned>(
        &self,
        stored: &[u8],
        value: &[u8],
    ) -> Result<(String, T), StorageError> {
        let key = keys::to_user(stored);
        let value = self.decode(&key, value)?;
        Ok((key, value))
    }
}

/// Whether a value is not too large together with its key.
fn fits(key: &str, value: &[u8]) -> Result<(), StorageError> {
    let size = key.len() + value.len();
    if size > MAX_ENTRY {
        return Err(StorageError::TooLarge { key: key.to_owned(), size, limit: MAX_ENTRY });
    }
    Ok(())
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.0.key())
    }
}
