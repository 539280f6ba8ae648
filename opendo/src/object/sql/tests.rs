mod durability;
mod language;
mod limits;
mod migrations;
mod policy;
mod store;
mod transactions;

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{DbError, ObjectDb, Sealed, Sql, SqlError, SqlLimits};
use crate::engine::{Changes, KeyRange, UnixMillis};

/// A database in a directory of its own.
struct Place {
    limits: SqlLimits,
    directory: tempfile::TempDir,
    db: Arc<ObjectDb>,
    sql: Sql,
}

impl Place {
    fn new() -> Self {
        Self::with(&SqlLimits::default())
    }

    fn with(limits: &SqlLimits) -> Self {
        Self::open(tempfile::tempdir().unwrap(), limits)
    }

    fn open(directory: tempfile::TempDir, limits: &SqlLimits) -> Self {
        let db = Arc::new(ObjectDb::open(directory.path().join("object.sqlite3"), limits).unwrap());
        let sql = Sql::new(db.clone());
        Self { limits: limits.clone(), directory, db, sql }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("object.sqlite3")
    }

    fn exec(&self, sql: &str) {
        self.sql.exec(sql, ()).unwrap();
    }

    fn one<T: DeserializeOwned>(&self, sql: &str) -> T {
        self.sql.query_one(sql, ()).unwrap()
    }

    /// The text of what `sql` fails with.
    fn refused(&self, sql: &str) -> String {
        let error = self.sql.exec(sql, ()).expect_err(sql);
        error.to_string()
    }

    fn sealed(&self, changes: &Changes) -> Sealed {
        self.db.seal(changes).unwrap().expect("something to seal")
    }

    fn seal(&self) {
        self.sealed(&Changes::default()).sync().unwrap();
    }

    /// As the next activation finds it.
    fn reopened(self) -> Self {
        self.db.close().unwrap();
        Self::open(self.directory, &self.limits)
    }
}

fn put(key: &'static str, value: impl Into<Vec<u8>>) -> Changes {
    Changes { writes: [(key.into(), Some(value.into().into()))].into(), ..Changes::default() }
}

fn wake(at: Option<u64>) -> Changes {
    Changes { wake: Some(at.map(UnixMillis)), ..Changes::default() }
}

/// What a ledger adds when all is deleted.
fn everything_cleared() -> Changes {
    let all = KeyRange { start: "".into(), end: None };
    Changes { cleared: vec![all], wake: Some(None), ..Changes::default() }
}
