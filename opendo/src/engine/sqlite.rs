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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use parking_lot::Mutex;
use rusqlite::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use self::open::OpenError;
use self::owners::Owners;
use self::read::{Loaded, Readers};
use self::write::Writer;
use super::committer::{Batch, Committer};
use super::{
    Claim, Claiming, Commit, Directory, EngineError, EngineResult, Epoch, KeyRange, Outcome, Ownership,
    Store, Turn, UnixMillis,
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

/// An object that was claimed: it is to be told what it holds.
struct Claimed {
    object: Arc<ObjectKey>,
    epoch: Epoch,
    /// A commit of the former owner is being written.
    is_carried: bool,
    done: oneshot::Sender<EngineResult<Claim>>,
}

struct Inner {
    /// Never locked while something waits for the disk.
    owners: Mutex<Owners>,
    /// Those that wait for somebody to read. Whoever does so reads for all.
    claimed: Mutex<Vec<Claimed>>,
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
            claimed: Mutex::default(),
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
        task.await.unwrap_or_else(|_| Err(unfinished()))
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

    async fn claimed(&self, object: Arc<ObjectKey>) -> EngineResult<Claim> {
        let (done, claim) = oneshot::channel();
        {
            let open = self.inner.lock();
            let inner = open.as_ref().ok_or_else(closed)?;
            let (epoch, is_carried) = inner.owners.lock().claim(&object);
            let mut claimed = inner.claimed.lock();
            claimed.push(Claimed { object, epoch, is_carried, done });
            // Otherwise there is somebody who will read, and has not begun.
            if claimed.len() == 1 {
                let inner = inner.clone();
                match self.reading.clone().try_acquire_owned() {
                    Ok(permit) => drop(self.running.spawn_blocking(move || inner.load(permit))),
                    Err(_) => {
                        let (reading, running) = (self.reading.clone(), self.running.clone());
                        self.running.spawn(async move {
                            if let Ok(permit) = reading.acquire_owned().await {
                                drop(running.spawn_blocking(move || inner.load(permit)));
                            }
                        });
                    }
                }
            }
        }
        claim.await.unwrap_or_else(|_| Err(unfinished()))
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

/// It has panicked, or the runtime is shutting down.
fn unfinished() -> EngineError {
    EngineError::Failed("the storage did not finish".into())
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
    /// Reads what those hold that were claimed: all at once.
    fn load(self: Arc<Self>, permit: OwnedSemaphorePermit) {
        let claimed = std::mem::take(&mut *self.claimed.lock());
        if claimed.iter().any(|claimed| claimed.is_carried) {
            // A commit of a former owner passed the fence before and is being written: what is read next includes it.
            drop(self.writer.lock());
        }
        let loaded = self
            .readers
            .read(|snapshot| claimed.iter().map(|claimed| read::load(snapshot, &claimed.object)).collect());
        let mut owners = self.owners.lock();
        let loaded: Vec<EngineResult<Loaded>> = match loaded {
            Ok(loaded) => Vec::into_iter(loaded).map(Ok).collect(),
            Err(error) => claimed.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut claims = Vec::with_capacity(claimed.len());
        for (Claimed { object, epoch, done, .. }, loaded) in claimed.into_iter().zip(loaded) {
            let claim = match loaded {
                Ok(Loaded { row, name, values }) => {
                    owners.found(&object, epoch, row, name);
                    Ok(Claim { ownership: Ownership { epoch, sequence: 0 }, values })
                }
                Err(error) => {
                    owners.release(&object, epoch);
                    Err(error)
                }
            };
            claims.push((done, claim));
        }
        drop(owners);
        // Before anybody hears of it: what is not held any more can be opened again.
        drop((self, permit));
        for (done, claim) in claims {
            let _ = done.send(claim); // nobody may wait any more
        }
    }

    fn commit(&self, batch: &[Commit]) -> Vec<EngineResult<Outcome>> {
        let mut writer = self.writer.lock();
        let (turns, mut accepted) = self.owners.lock().judge(batch);
        // Neighbours are written together.
        accepted.sort_unstable_by_key(|accepted| accepted.row.number);
        let written = writer.commit(&mut accepted);
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
    fn claim<'a>(&'a self, object: &'a Arc<ObjectKey>) -> Claiming<'a> {
        Either::Right(self.claimed(object.clone()).boxed())
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

    /// One thread writes batch after batch; the runtime answers meanwhile.
    fn carry(&self, from: Arc<Committer>) -> BoxFuture<'_, ()> {
        async move {
            let source = from.clone();
            let carried = self.run(move |inner| {
                let mut last: Option<(Batch, Vec<_>)> = None;
                while let Some(batch) = source.next() {
                    if let Some((batch, answers)) = last.take() {
                        source.runtime().spawn(async move { batch.answer(answers) });
                    }
                    let commit = || inner.commit(batch.commits());
                    let answers = catch_unwind(AssertUnwindSafe(commit));
                    let answers = answers.unwrap_or_else(|_| batch.all(&unfinished()));
                    last = Some((batch, answers));
                }
                Ok(last)
            });
            match carried.await {
                Ok(last) => last.into_iter().for_each(|(batch, answers)| batch.answer(answers)),
                // It is closed.
                Err(error) => {
                    while let Some(batch) = from.next() {
                        let answers = batch.all(&error);
                        batch.answer(answers);
                    }
                }
            }
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
