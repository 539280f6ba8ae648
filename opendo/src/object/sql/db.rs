//! The database of one object: one file, one connection, one transaction at a time.
//!
//! # Durability
//!
//! The database is in [WAL mode](https://sqlite.org/wal.html) with `synchronous=NORMAL`: a commit appends its pages to
//! the file `…-wal` and does not wait for the disk. `synchronous=FULL` differs in one thing only, an fsync of that file
//! after each commit. [`Sealed::sync`] does the same fsync later and elsewhere, so that the object's next call runs
//! meanwhile. That is as safe, because nothing that the object says leaves before it has succeeded, and because
//!
//! * the WAL is only appended to, with a running checksum, and a commit is its last page: whatever the disk has of it
//!   when the power fails, recovery finds the commits of a beginning of it, each as a whole;
//! * the fsync covers all that was appended before it, whichever handle of the file it is asked of;
//! * a checkpoint under NORMAL syncs the WAL before it copies pages into the database, and the database before the WAL
//!   may be begun anew; the new header is synced before what follows it. So a commit is found in the WAL or in the
//!   database, and none is lost in between;
//! * a process that comes after a crash may read commits that the system has and the disk has not. It syncs the WAL
//!   before it reads.
//!
//! The lock on the file is exclusive and is kept. That keeps other processes out, and spares the shared memory file.
//! Locks of POSIX end when the process closes *any* handle of the file, so nothing here may open the database file by
//! itself; on the WAL file SQLite has none.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::ReentrantMutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::error::{DbError, SqlError, SqliteError};
use super::policy::{Policy, SqlLimits};
use super::{kv, math};
#[cfg(test)]
use crate::engine::UnixMillis;
use crate::engine::{Changes, KeyRange};

/// "opdo": says whose database the file is.
const APPLICATION: i32 = 0x6f70_646f;
/// Of the tables that are ours.
const FORMAT: i32 = 1;

/// At this many pages the WAL is copied into the database, by whoever syncs.
const CHECKPOINT: u32 = 1000;
/// At this many by whoever commits: the object is in the middle of something each time a sync has ended.
const CHECKPOINT_AT_LAST: u32 = 8 * CHECKPOINT;

/// The database of one object. All of it is behind one lock, which a thread may take again: inside a transaction, or
/// while it reads rows, an object uses its database.
pub(crate) struct ObjectDb {
    path: PathBuf,
    wal: File,
    /// In the WAL, at the last commit.
    pages: Arc<AtomicU32>,
    live: ReentrantMutex<RefCell<Option<Live>>>,
}

/// What there is while the database is open.
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) policy: Arc<Policy>,
    /// A transaction is open: everything since the last seal.
    open: Cell<bool>,
    /// Something was written in it.
    written: Cell<bool>,
    /// How many savepoints there are.
    depth: Cell<usize>,
    /// How many statements of the user's run, each within the one before it.
    running: Cell<usize>,
    /// The instance was thrown away.
    ended: Cell<bool>,
    /// The first error that nothing can come after.
    condemned: RefCell<Option<String>>,
    /// The [`ObjectDb`]'s.
    pages: Arc<AtomicU32>,
}

impl ObjectDb {
    /// Opens the database, or makes it. Its directory is there, durably. Blocks.
    pub(crate) fn open(path: PathBuf, limits: &SqlLimits) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        // Whoever has the lock has it until the end of an activation.
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(&format!(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             PRAGMA fullfsync = ON;
             PRAGMA max_page_count = {}",
            limits.database / 4096
        ))?;
        initialize(&connection, &path)?;
        math::install(&connection)?;
        let policy = Policy::install(&mut connection, limits)?;
        let pages = Arc::new(AtomicU32::new(0));
        let count = pages.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            count.store(u32::try_from(pages).unwrap_or(0), Relaxed);
            Ok(())
        }))?;
        let wal_path = beside(&path, "-wal");
        let wal =
            OpenOptions::new().read(true).write(true).open(&wal_path).map_err(DbError::io(&wal_path))?;
        // It was made just now, or the last process has not closed it: what it committed may not be on the disk, nor that
        // there is such a file.
        if wal.metadata().map_err(DbError::io(&wal_path))?.len() > 0 {
            wal.sync_data().map_err(DbError::io(&wal_path))?;
            sync_directory(path.parent().unwrap_or(Path::new("")))?;
        }
        let live = Live {
            connection,
            policy,
            open: Cell::new(false),
            written: Cell::new(false),
            depth: Cell::new(0),
            running: Cell::new(0),
            ended: Cell::new(false),
            condemned: RefCell::new(None),
            pages: pages.clone(),
        };
        Ok(Self { path, wal, pages, live: ReentrantMutex::new(RefCell::new(Some(live))) })
    }

    /// When the object is to be woken.
    #[cfg(test)]
    pub(crate) fn wake(&self) -> Result<Option<UnixMillis>, SqlError> {
        self.ours(kv::wake)
    }

    /// The values of keys, in their order.
    pub(crate) fn get(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, SqlError> {
        self.ours(|connection| kv::get(connection, keys))
    }

    /// The keys and values of a range, in byte order of the keys (or against it), `limit` at most.
    pub(crate) fn list(
        &self,
        range: &KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, SqlError> {
        self.ours(|connection| kv::list(connection, range, reverse, limit))
    }

    /// All keys and values, if they are at most `most` bytes.
    pub(crate) fn load(&self, most: usize) -> Result<Option<BTreeMap<Bytes, Bytes>>, SqlError> {
        self.ours(|connection| kv::load(connection, most))
    }

    /// Whether there is something to seal.
    pub(crate) fn is_written(&self) -> bool {
        self.live.lock().borrow().as_ref().is_some_and(|live| live.written.get())
    }

    /// Whether a statement or a transaction of the user's runs: nothing can be sealed now.
    pub(crate) fn is_busy(&self) -> bool {
        let in_use = |live: &Live| live.depth.get() + live.running.get() > 0;
        self.live.lock().borrow().as_ref().is_some_and(in_use)
    }

    /// Commits what was written since the last time, and `changes` with it, as a whole. Not durable before the answer's
    /// [`sync`](Sealed::sync). Not to be called while it [is busy](Self::is_busy). After an error the object is
    /// to be reset; nothing of it was committed.
    pub(crate) fn seal(self: &Arc<Self>, changes: &Changes) -> Result<Option<Sealed>, DbError> {
        self.with(|live| {
            if changes.is_empty() && !live.written.get() {
                return Ok(None);
            }
            live.seal(changes)?;
            Ok(Some(Sealed(self.clone())))
        })
    }

    /// Drops what is not sealed.
    pub(crate) fn rollback(&self) {
        if let Some(live) = &*self.live.lock().borrow() {
            live.roll_back();
            live.depth.set(0);
        }
    }

    /// From here on nothing is read or written: the instance is gone.
    pub(crate) fn end(&self) {
        if let Some(live) = &*self.live.lock().borrow() {
            live.ended.set(true);
        }
    }

    /// Drops every table and what is known of migrations. With the next seal they are gone for good.
    pub(crate) fn drop_tables(&self) -> Result<(), SqlError> {
        self.with(|live| {
            if live.depth.get() > 0 {
                return Err(SqlError::DeleteAllInTransaction);
            }
            live.writes()?;
            live.ours(kv::clear)
        })
    }

    pub(super) fn migrations(&self) -> Result<usize, SqlError> {
        let ran = self.ours(|connection| kv::meta(connection, kv::MIGRATIONS))?;
        Ok(ran.and_then(|ran| usize::try_from(ran).ok()).unwrap_or(0))
    }

    pub(super) fn set_migrations(&self, ran: usize) -> Result<(), SqlError> {
        self.with(|live| {
            live.writes()?;
            live.ours(|connection| kv::set(connection, kv::MIGRATIONS, i64::try_from(ran).ok()))
        })
    }

    /// The pages that hold something, in bytes (checklist 6.18).
    pub(super) fn size(&self) -> Result<u64, SqlError> {
        self.ours(|connection| {
            let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
            let size = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
            Ok(u64::try_from(size).unwrap_or(0))
        })
    }

    /// Closes the file, with what was sealed; removes it, if it holds nothing: whether it does. Blocks. Before another
    /// activation may open it.
    pub(crate) fn close(&self) -> Result<bool, DbError> {
        let guard = self.live.lock();
        // Only an object that closes its own database while it reads from it is in the way; the last handle closes it.
        let Ok(mut live) = guard.try_borrow_mut() else { return Ok(false) };
        let Some(live) = live.take() else { return Ok(false) };
        live.roll_back();
        let condemned = live.condemned.take().is_some();
        if condemned {
            live.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        let is_empty = !condemned && live.ours(kv::is_empty)?;
        live.connection.close().map_err(|(_, error)| error)?;
        if is_empty {
            fs::remove_file(&self.path).map_err(DbError::io(&self.path))?;
        }
        Ok(is_empty)
    }

    /// Until the guard is dropped, no other thread gets at the database.
    pub(crate) fn alone(&self) -> impl Drop + '_ {
        self.live.lock()
    }

    pub(super) fn with<R, E: From<SqlError>>(
        &self,
        work: impl FnOnce(&Live) -> Result<R, E>,
    ) -> Result<R, E> {
        let guard = self.live.lock();
        let live = guard.borrow();
        let live = live.as_ref().ok_or(SqlError::Closed)?;
        live.usable()?;
        work(live)
    }

    fn ours<R>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, SqlError> {
        self.with(|live| live.ours(work))
    }
}

impl Live {
    fn usable(&self) -> Result<(), SqlError> {
        if self.ended.get() {
            return Err(SqlError::Closed);
        }
        match &*self.condemned.borrow() {
            Some(reason) => Err(SqlError::Critical { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn ours<R>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, SqlError> {
        let _ours = self.policy.ourselves();
        work(&self.connection).map_err(|error| self.failed(error, ""))
    }

    fn execute(&self, sql: &str) -> Result<(), SqlError> {
        self.ours(|connection| connection.execute_batch(sql))
    }

    /// There is a transaction from here on.
    fn begin(&self) -> Result<(), SqlError> {
        if !self.open.get() {
            self.execute("BEGIN IMMEDIATE")?;
            self.open.set(true);
        }
        Ok(())
    }

    /// Something is about to be written.
    pub(super) fn writes(&self) -> Result<(), SqlError> {
        self.begin()?;
        self.written.set(true);
        Ok(())
    }

    /// Until the guard is dropped, a statement of the user's runs.
    pub(super) fn running(&self) -> impl Drop + '_ {
        struct Running<'l>(&'l Cell<usize>);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.running.set(self.running.get() + 1);
        Running(&self.running)
    }

    /// SQLite has rolled the transaction back by itself.
    pub(super) fn lost_transaction(&self) -> bool {
        self.open.get() && self.connection.is_autocommit()
    }

    /// Nothing can come any more (checklist 6.17).
    pub(super) fn condemn(&self, reason: &str) {
        self.condemned.borrow_mut().get_or_insert_with(|| reason.to_owned());
    }

    fn seal(&self, changes: &Changes) -> Result<(), DbError> {
        debug_assert_eq!(self.depth.get(), 0, "sealed in the middle of a transaction");
        self.begin()?;
        let sealed =
            self.ours(|connection| kv::apply(connection, changes)).map_err(DbError::Sql).and_then(|()| {
                let _ours = self.policy.ourselves();
                self.connection.execute_batch("COMMIT").map_err(|error| {
                    let error = SqliteError::new(error, "");
                    match error.code {
                        ffi::SQLITE_CONSTRAINT => DbError::Constraints(error),
                        _ => SqlError::Critical { reason: error.to_string() }.into(),
                    }
                })
            });
        if let Err(error) = sealed {
            self.roll_back();
            self.condemn(&error.to_string());
            return Err(error);
        }
        self.open.set(false);
        self.written.set(false);
        if self.pages.load(Relaxed) >= CHECKPOINT_AT_LAST {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn roll_back(&self) {
        if self.open.replace(false)
            && !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            self.condemn(&error.to_string());
        }
        self.written.set(false);
    }

    /// Copies the WAL into the database; the next commit begins it anew.
    fn checkpoint(&self) -> Result<(), SqlError> {
        self.execute("PRAGMA wal_checkpoint(PASSIVE)")?;
        self.pages.store(0, Relaxed);
        Ok(())
    }
}

impl fmt::Debug for ObjectDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectDb({})", self.path.display())
    }
}

/// What was committed and may not be on the disk yet.
#[derive(Debug)]
#[must_use = "nothing may leave before it is synced"]
pub(crate) struct Sealed(Arc<ObjectDb>);

impl Sealed {
    /// Makes everything durable that was sealed so far. Blocks; the object's calls run meanwhile.
    pub(crate) fn sync(self) -> Result<(), DbError> {
        let Self(db) = self;
        if let Err(error) = db.wal.sync_data() {
            // The system may have given up pages that the disk has not: a later sync would succeed without them.
            if let Some(live) = &*db.live.lock().borrow() {
                live.condemn(&error.to_string());
            }
            return Err(DbError::io(&db.path)(error));
        }
        // An object in the middle of something is not waited for: what was sealed is durable.
        if db.pages.load(Relaxed) >= CHECKPOINT
            && let Some(guard) = db.live.try_lock()
            && let Some(live) = &*guard.borrow()
            && !live.open.get()
            && live.usable().is_ok()
        {
            live.checkpoint()?;
        }
        Ok(())
    }
}

/// What is written after it can be undone on its own. They nest, the last one ends first. Dropped, it is undone.
#[derive(Debug)]
pub(crate) struct Savepoint {
    db: Arc<ObjectDb>,
    /// It opened the transaction.
    first: bool,
    /// Something was written before.
    written: bool,
    ended: bool,
}

impl Savepoint {
    pub(crate) fn new(db: &Arc<ObjectDb>) -> Result<Self, SqlError> {
        db.with(|live| {
            let (first, written) = (!live.open.get(), live.written.get());
            // Without a transaction around it, the end of a savepoint is a commit.
            live.begin()?;
            live.execute("SAVEPOINT _opendo_savepoint")?;
            live.depth.set(live.depth.get() + 1);
            Ok(Self { db: db.clone(), first, written, ended: false })
        })
    }

    /// Keeps what was written.
    pub(crate) fn release(mut self) -> Result<(), SqlError> {
        self.end("RELEASE _opendo_savepoint", |live| live.written.get())
    }

    fn end(&mut self, sql: &str, written: impl FnOnce(&Live) -> bool) -> Result<(), SqlError> {
        self.db.with(|live| {
            live.execute(sql)?;
            self.ended = true;
            live.depth.set(live.depth.get().saturating_sub(1));
            live.written.set(written(live));
            if self.first && !live.written.get() {
                // Nothing to seal, and so nobody who would.
                live.execute("COMMIT")?;
                live.open.set(false);
            }
            Ok(())
        })
    }
}

impl Drop for Savepoint {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let written = self.written;
        let undone = self.end("ROLLBACK TO _opendo_savepoint; RELEASE _opendo_savepoint", |_| written);
        // The whole transaction is gone with an instance that was thrown away, and after a critical error.
        if let Err(error @ SqlError::Sqlite(_)) = undone {
            let _ = self.db.with(|live| {
                live.condemn(&error.to_string());
                Ok::<_, SqlError>(())
            });
        }
    }
}

fn initialize(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, FORMAT) => {}
        (0, 0) => connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT",
            kv::SCHEMA
        ))?,
        _ => {
            tracing::error!(path = %path.display(), "{}", DbError::Foreign);
            return Err(DbError::Foreign);
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_directory(path: &Path) -> Result<(), DbError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // Elsewhere a directory cannot be opened, and needs no sync.
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(DbError::io(path))?;
    }
    Ok(())
}
