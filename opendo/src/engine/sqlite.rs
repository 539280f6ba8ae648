//! The engine of one machine: one SQLite database in the data directory, for all objects of the node.
//!
//! What waits for the disk runs on Tokio's blocking threads: one commit of a batch at a time, and a few reads beside
//! it. One database for everybody, because then the commits of many objects share one flush.

pub(crate) mod open;
mod owners;
#[cfg(test)]
mod power;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::ErrorCode;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use self::open::OpenError;
use self::owners::Owners;
use self::read::Readers;
use self::write::Writer;
use super::{
    Claim, Commit, Directory, EngineError, EngineResult, Epoch, KeyRange, Outcome, Ownership, Store, Turn,
    UnixMillis,
};
use crate::object::id::ObjectKey;

/// How many read at the same time.
const READERS: usize = 4;

/// See the module.
pub(crate) struct Sqlite {
    /// `None` once it is closed. Otherwise only held by what runs.
    inner: Mutex<Option<Arc<Inner>>>,
    running: TaskTracker,
    reading: Arc<Semaphore>,
}

struct Inner {
    /// Never locked while something waits for the disk.
    owners: Mutex<Owners>,
    // In the order in which they are dropped: whoever closes the last connection moves the log into the database, and
    // only then may somebody else open the directory.
    readers: Readers,
    /// Locked in blocking tasks only.
    writer: Mutex<Writer>,
    _lock: File,
}

impl Sqlite {
    /// Opens the data directory, which is made if it is not there. Waits for the disk.
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        let lock = open::lock(directory)?;
        let database = open::database(directory);
        let (connection, incarnation) = database.open()?;
        let inner = Inner {
            owners: Mutex::new(Owners::new(incarnation)),
            readers: Readers::new(database),
            writer: Mutex::new(Writer::new(connection)),
            _lock: lock,
        };
        Ok(Self {
            inner: Mutex::new(Some(Arc::new(inner))),
            running: TaskTracker::new(),
            reading: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// Runs what waits for the disk. A paused clock stands still meanwhile.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> EngineResult<T> + Send + 'static,
    ) -> EngineResult<T> {
        let task = {
            let open = self.inner.lock();
            let inner = open.clone().ok_or_else(closed)?;
            self.running.spawn_blocking(move || work(&inner))
        };
        task.await
            .unwrap_or_else(|error| Err(EngineError::Failed(format!("the storage did not finish: {error}"))))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> EngineResult<T> {
        self.reading(move |inner| inner.readers.read(work)).await
    }

    /// What needs a connection that reads.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> EngineResult<T> + Send + 'static,
    ) -> EngineResult<T> {
        let permit = self.reading.clone().acquire_owned().await;
        self.run(move |inner| {
            // Held by the work, which goes on when nobody waits for it any more.
            let _permit = permit;
            work(inner)
        })
        .await
    }

    /// What needs nothing of the disk.
    fn owners<T>(&self, look: impl FnOnce(&mut Owners) -> T) -> EngineResult<T> {
        let open = self.inner.lock();
        let inner = open.as_ref().ok_or_else(closed)?;
        Ok(look(&mut inner.owners.lock()))
    }
}

fn closed() -> EngineError {
    EngineError::Failed("the storage is closed".into())
}

/// The text may travel to whoever called the object: it names no files.
fn failed(what: &str, error: &rusqlite::Error) -> EngineError {
    tracing::error!(%error, "the storage {what}");
    let why = match error.sqlite_error() {
        Some(code) if code.code == ErrorCode::DiskFull => {
            "the disk is full; make room on it, then start the node again".to_owned()
        }
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    EngineError::Failed(format!("the storage {what}: {why}"))
}

impl Inner {
    fn claim(&self, object: &Arc<ObjectKey>) -> EngineResult<Claim> {
        let (epoch, carried) = self.owners.lock().claim(object);
        if carried {
            // A commit of the former owner passed the fence before and is being written: what is read next includes
            // it.
            drop(self.writer.lock());
        }
        let loaded = self.readers.read(|snapshot| read::load(snapshot, object));
        let mut owners = self.owners.lock();
        match loaded {
            Ok((name, values)) => {
                owners.named(object, epoch, name);
                Ok(Claim { ownership: Ownership { epoch, sequence: 0 }, values })
            }
            Err(error) => {
                owners.release(object, epoch);
                Err(error)
            }
        }
    }

    fn commit(&self, batch: &[Commit]) -> Vec<EngineResult<Outcome>> {
        let mut writer = self.writer.lock();
        let (turns, accepted) = self.owners.lock().judge(batch);
        let written = writer.commit(&accepted);
        self.owners.lock().settle(&accepted, written.is_ok());
        turns
            .into_iter()
            .map(|turn| match turn {
                Turn::Next => written.clone().map(|()| Outcome::Committed),
                Turn::Repeat => Ok(Outcome::Committed),
                Turn::Fenced => Ok(Outcome::Fenced),
            })
            .collect()
    }
}

impl Directory for Sqlite {
    fn claim<'a>(&'a self, object: &'a Arc<ObjectKey>) -> BoxFuture<'a, EngineResult<Claim>> {
        let object = object.clone();
        self.reading(move |inner| inner.claim(&object)).boxed()
    }

    fn release<'a>(&'a self, object: &'a Arc<ObjectKey>, epoch: Epoch) -> BoxFuture<'a, EngineResult<()>> {
        // An object that holds nothing has no row: the commit that emptied it has deleted it.
        std::future::ready(self.owners(|owners| owners.release(object, epoch))).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            let inner = self.inner.lock().take();
            self.running.close();
            self.running.wait().await;
            // Closing the last connection waits for the disk too.
            if let Err(error) = spawn_blocking(move || drop(inner)).await {
                tracing::error!(%error, "the storage did not close");
            }
        }
        .boxed()
    }

    fn objects<'a>(
        &'a self,
        class: &'a str,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<ObjectKey>>> {
        async move {
            let class: Arc<str> = class.into();
            // Owners first: what is released meanwhile was among them, or is among what is read.
            let owned = self.owners(|owners| owners.list(&class, after, limit))?;
            let kept = self.read(move |snapshot| read::objects(snapshot, &class, after, limit)).await?;
            let all: BTreeMap<_, _> = kept.into_iter().chain(owned).map(|key| (*key.bytes(), key)).collect();
            Ok(all.into_values().take(limit).collect())
        }
        .boxed()
    }
}

impl Store for Sqlite {
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<EngineResult<Outcome>>> {
        async move {
            let many = batch.len();
            let answers = self.run(move |inner| Ok(inner.commit(&batch))).await;
            answers.unwrap_or_else(|error| vec![Err(error); many])
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        keys: Vec<Bytes>,
    ) -> BoxFuture<'a, EngineResult<Vec<Option<Bytes>>>> {
        let object = object.clone();
        self.read(move |snapshot| read::get(snapshot, &object, &keys)).boxed()
    }

    fn list<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<(Bytes, Bytes)>>> {
        let object = object.clone();
        self.read(move |snapshot| read::list(snapshot, &object, &range, reverse, limit)).boxed()
    }

    fn wakes(
        &self,
        from: UnixMillis,
        limit: usize,
    ) -> BoxFuture<'_, EngineResult<Vec<(UnixMillis, ObjectKey)>>> {
        self.read(move |snapshot| read::wakes(snapshot, from, limit)).boxed()
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").finish_non_exhaustive()
    }
}
