//! Fields that are kept.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Serialize, de::DeserializeOwned};

use crate::object::storage::{Storage, StorageError};

/// A part of an object that is kept: read it like a value, change it by [`edit`](Self::edit), and what was changed is
/// stored with the call that did it.
///
/// ```
/// use opendo::prelude::*;
/// use opendo::Stored;
///
/// pub struct Counter { value: Stored<u64> }
///
/// #[durable_object]
/// impl Counter {
///     pub fn increment(&mut self) -> u64 {
///         *self.value.edit() += 1;
///         *self.value
///     }
/// }
///
/// impl DurableObject for Counter {
///     async fn new(ctx: Ctx) -> opendo::Result<Self> {
///         Ok(Counter { value: ctx.stored("value").await? })
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// # let node = Node::builder().object::<Counter>().start().await?;
/// # let counter: CounterStub = node.get("a");
/// # assert_eq!(counter.increment().await?, 1);
/// # opendo::testing::hibernate(&node, &counter).await;
/// # assert_eq!(counter.increment().await?, 2);
/// # Ok(()) }
/// ```
///
/// The whole value is encoded at each edit. What is large and changes in parts is better put under keys of its own.
pub struct Stored<T> {
    value: T,
    key: Box<str>,
    storage: Storage,
}

impl<T: Serialize + DeserializeOwned> Stored<T> {
    pub(crate) async fn load(storage: &Storage, key: &str) -> Result<Self, StorageError>
    where
        T: Default,
    {
        let value = storage.get(key).await?.unwrap_or_default();
        Ok(Self { value, key: key.into(), storage: storage.clone() })
    }
}

impl<T: Serialize> Stored<T> {
    /// The value, to be changed. It is stored when what this returns is dropped.
    ///
    /// A value that cannot be encoded, or is too large, costs the instance: it could not be made again as it is. Use
    /// [`set`](Self::set) to be told.
    pub fn edit(&mut self) -> Editing<'_, T> {
        Editing(self)
    }

    /// Replaces the value; gives back the former one.
    ///
    /// # Errors
    /// As for [`Storage::put`]; then it is as before.
    pub fn set(&mut self, value: T) -> Result<T, StorageError> {
        self.storage.put(&self.key, &value)?;
        Ok(std::mem::replace(&mut self.value, value))
    }
}

impl<T> Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Stored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// A [`Stored`] value while it is changed.
#[must_use = "it is stored when this is dropped"]
pub struct Editing<'a, T: Serialize>(&'a mut Stored<T>);

impl<T: Serialize> Deref for Editing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Serialize> DerefMut for Editing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.value
    }
}

impl<T: Serialize> Drop for Editing<'_, T> {
    fn drop(&mut self) {
        let Stored { value, key, storage } = &*self.0;
        if let Err(error) = storage.put(key, value) {
            storage.ledger().give_up(&error);
        }
    }
}

impl<T: Serialize + fmt::Debug> fmt::Debug for Editing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}
