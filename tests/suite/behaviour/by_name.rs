//! Values that travel by name: caller and object of a case are in one process, whatever lies between them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

type Anything = dyn Any + Send + Sync;

/// Kept to the end of the process: a call may be on its way longer than its caller.
static VALUES: LazyLock<Mutex<HashMap<u64, Arc<Anything>>>> = LazyLock::new(Mutex::default);

/// A shared value: its encoding is a number, and what is decoded is the very same value.
pub(crate) struct ByName<T>(u64, Arc<T>);

impl<T: Default + Send + Sync + 'static> ByName<T> {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (number, value) = (NUMBER.fetch_add(1, Ordering::Relaxed), Arc::new(T::default()));
        let anything: Arc<Anything> = value.clone();
        VALUES.lock().unwrap().insert(number, anything);
        Self(number, value)
    }
}

impl<T> Clone for ByName<T> {
    fn clone(&self) -> Self {
        Self(self.0, self.1.clone())
    }
}

impl<T> Deref for ByName<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.1
    }
}

impl<T> fmt::Debug for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl<T> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Send + Sync + 'static> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let value = VALUES.lock().unwrap().get(&number).cloned();
        let value = value.and_then(|value| value.downcast().ok());
        value.map(|value| Self(number, value)).ok_or_else(|| serde::de::Error::custom("the value is gone"))
    }
}

/// Something that happens some number of times, and can be waited for.
pub(crate) type Signal = ByName<Times>;

pub(crate) struct Times(Semaphore);

impl Default for Times {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Times {
    pub(crate) fn raise(&self) {
        self.0.add_permits(1);
    }

    /// Waits for it to happen once more than was waited for.
    pub(crate) async fn wait(&self) {
        self.0.acquire().await.unwrap().forget();
    }

    /// How often it happened without being waited for.
    pub(crate) fn left(&self) -> usize {
        self.0.available_permits()
    }
}

/// How long a case waits at most for what must come.
const HANGS: Duration = Duration::from_secs(20);

/// Where a method stops until the case lets it go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    reached: Signal,
    opened: Signal,
    left: Signal,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { reached: Signal::new(), opened: Signal::new(), left: Signal::new() }
    }

    /// For the method: waits to be let through. Dropped meanwhile, it counts as left.
    pub(crate) async fn pass(&self) {
        struct Leave<'a>(&'a Signal);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.raise();
            }
        }
        self.reached.raise();
        let _leave = Leave(&self.left);
        self.opened.wait().await;
    }

    /// Waits until a method stands at the gate: one more with each call.
    pub(crate) async fn reached(&self) {
        timeout(HANGS, self.reached.wait()).await.expect("nobody came to the gate");
    }

    /// Waits until a method has gone through, or was dropped before.
    pub(crate) async fn left(&self) {
        timeout(HANGS, self.left.wait()).await.expect("nobody left the gate");
    }

    /// Lets one method through.
    pub(crate) fn open(&self) {
        self.opened.raise();
    }

    /// How many stand or stood at the gate that nobody has waited for.
    pub(crate) fn waiting(&self) -> usize {
        self.reached.left()
    }
}

/// What happened, in order.
pub(crate) type Log = ByName<Entries>;

#[derive(Default)]
pub(crate) struct Entries(Mutex<Vec<u64>>);

impl Entries {
    pub(crate) fn push(&self, entry: u64) {
        self.0.lock().unwrap().push(entry);
    }

    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
