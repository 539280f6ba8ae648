//! SQL: a SQLite database of the object's own.
//!
//! A class that is marked `#[durable_object(sql)]` has `ctx.sql()`. Its keys and its alarm are in the same database, and
//! what one call writes with either is one transaction: after a crash all of it is there, or none
//! (checklist 5.12). An `Err` that a method returns undoes nothing; [`Sql::transaction`] does.
//!
//! ```
//! use opendo::sql::{Sql, SqlError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Line { author: String, text: String }
//!
//! /// In the constructor.
//! fn prepare(sql: &Sql) -> Result<(), SqlError> {
//!     sql.migrate(&[
//!         "CREATE TABLE line(id INTEGER PRIMARY KEY, author TEXT NOT NULL, text TEXT NOT NULL);",
//!         "CREATE INDEX line_author ON line(author);",
//!     ])
//! }
//!
//! fn say(sql: &Sql, line: &Line) -> Result<i64, SqlError> {
//!     sql.exec("INSERT INTO line(author, text) VALUES (:author, :text) RETURNING id", line)?.one() // fields by name
//! }
//!
//! fn last(sql: &Sql, author: &str, count: u32) -> Result<Vec<Line>, SqlError> {
//!     sql.query("SELECT * FROM line WHERE author = ? ORDER BY id DESC LIMIT ?", (author, count)) // or by place
//! }
//! ```
//!
//! # What is allowed
//!
//! One database: no `ATTACH`, no temporary tables, no extensions; of pragmas and functions those that read and
//! compute. FTS5 and JSON are there. Names that begin with `_opendo_` are not yours. Foreign keys are enforced. A text in
//! double quotes is a name. Statements, parameters, columns, values and the whole are bounded as Cloudflare's are.

mod databases;
mod db;
mod error;
mod kv;
mod math;
mod params;
mod policy;
mod row;
mod run;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use databases::Databases;
pub(crate) use db::{ObjectDb, Sealed};
pub(crate) use error::DbError;
pub use error::{SqlError, SqliteError};
#[cfg(test)]
pub(crate) use policy::SqlLimits;
pub use run::Cursor;
pub use value::SqlValue;

use crate::object::storage::ledger::Ledger;
use db::Savepoint;
use row::Columns;

/// The database of one object. Clones are the same one.
///
/// Everything returns when it is done, and nothing waits for the disk: the call's reply does. Of what was not committed
/// nothing is left when the instance is thrown away.
///
/// **Parameters** are any serde value: a tuple, a slice or a single value by place (`?`), a struct or a map by name
/// (`:name`), `()` for none. `None` is NULL, a `bool` is 0 or 1, a list of `u8` and `serde_bytes` are a BLOB, a unit
/// variant is its name. What SQLite has no type for is refused. Integers are exact (Cloudflare binds doubles; checklist
/// 6.9).
///
/// **Rows** are any serde type: a struct by the names of the columns, a tuple or a `Vec` by their places, a single value
/// where there is one column. Of several columns of one name a struct sees the last (6.11).
///
/// A text may hold several statements. The parameters belong to the last one, and so do the rows (6.1).
#[derive(Clone)]
pub struct Sql {
    /// `None`: the class has none.
    db: Option<Arc<ObjectDb>>,
    /// `None`: a database alone, in tests.
    ledger: Option<Arc<Ledger>>,
}

impl Sql {
    pub(crate) fn of(ledger: &Arc<Ledger>) -> Self {
        let db = ledger.own().and_then(|own| own.db()).cloned();
        Self { db, ledger: Some(ledger.clone()) }
    }

    #[cfg(test)]
    fn new(db: Arc<ObjectDb>) -> Self {
        Self { db: Some(db), ledger: None }
    }

    fn db(&self) -> Result<&Arc<ObjectDb>, SqlError> {
        self.db.as_ref().ok_or(SqlError::None)
    }

    /// Does something to the database, and what follows from it for the object.
    fn used<R, E: From<SqlError>>(&self, work: impl FnOnce(&Arc<ObjectDb>) -> Result<R, E>) -> Result<R, E> {
        struct Follow<'s>(&'s Sql);
        impl Drop for Follow<'_> {
            fn drop(&mut self) {
                let Sql { db: Some(db), ledger: Some(ledger) } = self.0 else { return };
                if db.is_busy() {
                    return; // whoever is at it comes here later
                }
                ledger.seal_postponed();
                if db.is_written() {
                    ledger.written();
                }
            }
        }
        let db = self.db()?;
        let _follow = Follow(self);
        work(db)
    }

    /// Runs `sql` to its end. The rows, if there are any, are kept: for many, [`cursor`](Self::cursor) does not.
    ///
    /// # Errors
    /// [`SqlError::Sqlite`] for what SQLite refuses; [`SqlError::Transaction`] for `BEGIN` and its like;
    /// [`SqlError::ParameterCount`] and [`SqlError::Parameter`] for parameters that do not fit.
    pub fn exec(&self, sql: &str, params: impl Serialize) -> Result<Rows, SqlError> {
        self.cursor(sql, params, |cursor| {
            let mut values = Vec::new();
            while let Some(row) = cursor.next::<Vec<SqlValue>>()? {
                values.push(row);
            }
            Ok(Rows { written: cursor.written(), columns: cursor.take_columns(), values })
        })
    }

    /// Every row, as a `T`.
    ///
    /// # Errors
    /// As [`exec`](Self::exec), and [`SqlError::Row`] for a row that is no `T`.
    pub fn query<T: DeserializeOwned>(&self, sql: &str, params: impl Serialize) -> Result<Vec<T>, SqlError> {
        self.cursor(sql, params, |cursor| {
            let mut rows = Vec::new();
            while let Some(row) = cursor.next()? {
                rows.push(row);
            }
            Ok(rows)
        })
    }

    /// The only row.
    ///
    /// # Errors
    /// As [`query`](Self::query); [`SqlError::NoRows`], [`SqlError::ManyRows`].
    pub fn query_one<T: DeserializeOwned>(&self, sql: &str, params: impl Serialize) -> Result<T, SqlError> {
        self.query_optional(sql, params)?.ok_or(SqlError::NoRows)
    }

    /// The only row, or `None`.
    ///
    /// # Errors
    /// As [`query`](Self::query); [`SqlError::ManyRows`].
    pub fn query_optional<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: impl Serialize,
    ) -> Result<Option<T>, SqlError> {
        self.cursor(sql, params, |cursor| {
            let row = cursor.next()?;
            match row.is_some() && cursor.next::<()>()?.is_some() {
                true => Err(SqlError::ManyRows),
                false => Ok(row),
            }
        })
    }

    /// Has `read` take the rows one at a time: as many as it likes, and none of them is kept.
    ///
    /// A statement that runs borrows the database, and its row borrows the statement; so a cursor lives as long as the
    /// closure. The closure may use the database. Other threads wait.
    ///
    /// ```
    /// # use opendo::sql::{Sql, SqlError};
    /// fn longest(sql: &Sql) -> Result<usize, SqlError> {
    ///     sql.cursor("SELECT text FROM line", (), |rows| {
    ///         let mut longest = 0;
    ///         while let Some(text) = rows.next::<&str>()? {
    ///             longest = longest.max(text.len());
    ///         }
    ///         Ok(longest)
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`exec`](Self::exec), and what `read` fails with. What a statement had written by then stays.
    pub fn cursor<R, E: From<SqlError>>(
        &self,
        sql: &str,
        params: impl Serialize,
        read: impl FnOnce(&mut Cursor<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.used(|db| db.with(|live| live.run(sql, &params, read)))
    }

    /// Runs `work`, and undoes what it wrote if it returns an `Err` or panics: rows, keys, the alarm and schedules. They
    /// nest: an inner one that fails undoes its own writes only (checklist 5.20, 5.23). Other threads wait.
    ///
    /// Committed is all of it with the call it is part of. (While a [`Storage::transaction`](crate::Storage::transaction)
    /// of an overlapping method runs, keys cannot be written in here.)
    ///
    /// ```
    /// # use opendo::sql::{Sql, SqlError};
    /// #[derive(Debug)]
    /// enum Refused { TooPoor, Sql(SqlError) }
    /// # impl From<SqlError> for Refused { fn from(error: SqlError) -> Self { Self::Sql(error) } }
    ///
    /// fn pay(sql: &Sql, from: &str, to: &str, amount: i64) -> Result<(), Refused> {
    ///     sql.transaction(|sql| {
    ///         sql.exec("UPDATE account SET money = money + ? WHERE name = ?", (amount, to))?;
    ///         let left: i64 =
    ///             sql.query_one("UPDATE account SET money = money - ? WHERE name = ? RETURNING money", (amount, from))?;
    ///         if left < 0 { Err(Refused::TooPoor) } else { Ok(()) }
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// What `work` fails with; [`SqlError::Critical`], [`SqlError::Closed`].
    pub fn transaction<R, E: From<SqlError>>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, E>,
    ) -> Result<R, E> {
        self.used(|db| {
            let _alone = db.alone();
            let savepoint = Savepoint::new(db)?;
            let result = match &self.ledger {
                Some(ledger) => ledger.transact_at_once(|| work(self)),
                None => work(self),
            }?;
            savepoint.release()?;
            Ok(result)
        })
    }

    /// Runs the migrations that this database has not run yet, in order; each may hold several statements. For the
    /// constructor.
    ///
    /// How many were run is remembered, not what they were: add new ones at the end, and leave the old ones as they are.
    ///
    /// # Errors
    /// [`SqlError::Migration`] for the first that fails, of which nothing is kept;
    /// [`SqlError::MigrationsMissing`] if the database has run more than there are.
    pub fn migrate(&self, migrations: &[&str]) -> Result<(), SqlError> {
        let (ran, known) = (self.db()?.migrations()?, migrations.len());
        if ran > known {
            return Err(SqlError::MigrationsMissing { ran, known });
        }
        for (number, migration) in (1..).zip(migrations).skip(ran) {
            let done = self.transaction(|sql| {
                sql.exec(migration, ())?;
                sql.db()?.set_migrations(number)
            });
            done.map_err(|error| SqlError::Migration { number, error: error.into() })?;
        }
        Ok(())
    }

    /// How many bytes the database takes; less after something was deleted.
    ///
    /// # Errors
    /// [`SqlError::Critical`], [`SqlError::Closed`].
    pub fn database_size(&self) -> Result<u64, SqlError> {
        self.db()?.size()
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sql")
    }
}

/// The rows of a statement that has run.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Columns,
    values: Vec<Vec<SqlValue>>,
    written: u64,
}

impl Rows {
    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// The rows, a value for each column: also of columns that have the same name.
    pub fn raw(&self) -> &[Vec<SqlValue>] {
        &self.values
    }

    /// Every row, as a `T`.
    ///
    /// # Errors
    /// [`SqlError::Row`] for a row that is no `T`.
    pub fn to_vec<T: DeserializeOwned>(&self) -> Result<Vec<T>, SqlError> {
        self.values.iter().map(|values| row::read(&&values[..], &self.columns)).collect()
    }

    /// The only row.
    ///
    /// # Errors
    /// [`SqlError::NoRows`], [`SqlError::ManyRows`]; [`SqlError::Row`] if it is no `T`.
    pub fn one<T: DeserializeOwned>(&self) -> Result<T, SqlError> {
        match &self.values[..] {
            [values] => row::read(&&values[..], &self.columns),
            [] => Err(SqlError::NoRows),
            _ => Err(SqlError::ManyRows),
        }
    }

    /// How many rows the statement inserted, changed or deleted, those of triggers and foreign keys included.
    pub fn rows_written(&self) -> u64 {
        self.written
    }
}
