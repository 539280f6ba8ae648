//! The data directory: its lock, the database in it, and the form of that.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// Of the database's form. A database of a larger one is not touched.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE engine (incarnation INTEGER NOT NULL) STRICT;
    INSERT INTO engine VALUES (0);
    CREATE TABLE object (
        number INTEGER PRIMARY KEY,
        class TEXT NOT NULL,
        id BLOB NOT NULL,
        name TEXT,
        wake INTEGER,
        UNIQUE (class, id)
    ) STRICT;
    CREATE INDEX object_wake ON object (wake) WHERE wake IS NOT NULL;
    CREATE TABLE kv (
        object INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (object, key)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// Why a node's data directory could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another node, in this process or in another one, has it open.
    #[error("the data directory {} is in use by another node: stop that one, or give this one another", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A newer version of opendo wrote it. Nothing was changed.
    #[error(
        "{} has format {found}, and this version of opendo knows none above {known}: use the version that wrote it, \
         or a newer one",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is understood.
        known: i64,
    },
    /// The directory or its lock could not be made or opened.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What sort of failure it was.
        kind: io::ErrorKind,
        /// What the operating system said.
        reason: String,
    },
    /// The database could not be opened, or is none.
    #[error("{}: {reason}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Io { path: path.to_owned(), kind: error.kind(), reason: error.to_string() }
}

/// Makes the directory if need be, and locks it for as long as the file is open.
pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    make(directory)?;
    let path = directory.join("LOCK");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

/// SQLite flushes the entries of its files in the directory, but nobody else that of the directory itself.
pub(crate) fn make(directory: &Path) -> Result<(), OpenError> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(directory)(error)),
        _ => {}
    }
    #[cfg(unix)]
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(io_error(parent))?;
    Ok(())
}

/// `PRAGMA`s of the connection that writes.
pub(super) type Settings = &'static [(&'static str, &'static str)];

const SETTINGS: Settings = &[
    ("journal_mode", "WAL"),
    // Flushed before a commit is acknowledged, to the medium itself where the system makes a difference (macOS).
    ("synchronous", "FULL"),
    ("fullfsync", "ON"),
    ("wal_autocheckpoint", "4000"),
];

/// How to open connections to the database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    /// SQLite's name of the file system; `None` for the operating system's.
    pub(super) files: Option<&'static str>,
}

impl Database {
    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match self.files {
            Some(files) => Connection::open_with_flags_and_vfs(&self.path, flags, files),
            None => Connection::open_with_flags(&self.path, flags),
        }
    }

    fn writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        connection.set_prepared_statement_cache_capacity(32);
        for (name, value) in self.settings {
            connection.pragma_update(None, name, value)?;
        }
        Ok(connection)
    }

    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// The connection that writes, and how often the database was opened.
    pub(super) fn open(&self) -> Result<(Connection, u64), OpenError> {
        let sqlite =
            |error: rusqlite::Error| OpenError::Sqlite { path: self.path.clone(), reason: error.to_string() };
        let mut connection = self.writer().map_err(sqlite)?;
        let found = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
        if found > FORMAT {
            return Err(OpenError::Newer { path: self.path.clone(), found, known: FORMAT });
        }
        let incarnation = incarnate(&mut connection, found == 0).map_err(sqlite)?;
        Ok((connection, incarnation))
    }
}

/// The database of a locked directory.
pub(super) fn database(directory: &Path) -> Database {
    Database { path: directory.join("opendo.sqlite3"), settings: SETTINGS, files: None }
}

fn incarnate(connection: &mut Connection, new: bool) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if new {
        transaction.execute_batch(SCHEMA)?;
    }
    let incarnation: i64 = transaction.query_row(
        "UPDATE engine SET incarnation = incarnation + 1 RETURNING incarnation",
        [],
        |row| row.get(0),
    )?;
    transaction.commit()?;
    Ok(incarnation.unsigned_abs())
}
