//! Running what users write: several statements, parameters for the last, its rows one at a time.

use std::fmt;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Statement};
use serde::{Deserialize, Serialize};

use super::db::Live;
use super::error::{SqlError, SqliteError};
use super::params::Given;
use super::policy;
use super::row::{self, Columns};

impl Live {
    /// Runs every statement of `sql`, and has `read` take the rows of the last one.
    pub(super) fn run<R, E: From<SqlError>>(
        &self,
        sql: &str,
        params: &impl Serialize,
        read: impl FnOnce(&mut Cursor<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let given = Given::new(params)?;
        let (_user, _running) = (self.policy.user(sql), self.running());
        // What is in the cache was allowed to whoever prepared it, and is found by its text. Ours mention our names,
        // so a text that does not is never one of ours.
        if !policy::mentions_ours(sql)
            && let Ok(mut statement) = self.connection.prepare_cached(sql)
            && (statement.column_count() > 0 || !statement.readonly())
        {
            return self.last(&mut statement, sql, &given, read);
        }
        let mut batch = Batch::new(&self.connection, sql);
        let mut statement = self.prepare(&mut batch, sql)?;
        loop {
            // Only the last one takes parameters, so the next one is looked for before this one runs. It may need
            // what this one makes: that it cannot be prepared yet says no more than that there is one.
            match batch.next() {
                Ok(None) => return self.last(&mut statement, sql, &given, read),
                Ok(Some(next)) => {
                    self.earlier(statement, sql)?;
                    statement = next;
                }
                Err(_) => {
                    self.earlier(statement, sql)?;
                    statement = self.prepare(&mut batch, sql)?;
                }
            }
        }
    }

    fn prepare<'c>(&'c self, batch: &mut Batch<'c, '_>, sql: &str) -> Result<Statement<'c>, SqlError> {
        self.policy.take_transaction();
        batch.next().map_err(|error| self.failed(error, sql))?.ok_or(SqlError::NoStatement)
    }

    /// A statement with others behind it.
    fn earlier(&self, mut statement: Statement<'_>, sql: &str) -> Result<(), SqlError> {
        self.last(&mut statement, sql, &Given::Placed(Vec::new()), |cursor| cursor.finish())
    }

    fn last<R, E: From<SqlError>>(
        &self,
        statement: &mut Statement<'_>,
        sql: &str,
        given: &Given,
        read: impl FnOnce(&mut Cursor<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        given.bind(statement)?;
        if !statement.readonly() {
            self.writes()?;
        }
        let columns = names(statement);
        let before = self.connection.total_changes();
        let rows = statement.raw_query();
        let mut cursor = Cursor { rows, live: self, sql, columns, started: false, before };
        let result = read(&mut cursor)?;
        if !cursor.started {
            cursor.step()?;
        }
        Ok(result)
    }

    /// What SQLite said, in our words, and whether anything can come after it.
    pub(super) fn failed(&self, error: rusqlite::Error, sql: &str) -> SqlError {
        let error = SqliteError::new(error, sql);
        if self.policy.take_transaction() && error.code == rusqlite::ffi::SQLITE_AUTH {
            return SqlError::Transaction;
        }
        if error.is_critical() || self.lost_transaction() {
            self.condemn(&error.to_string());
        }
        SqlError::Sqlite(error)
    }
}

fn names(statement: &Statement<'_>) -> Columns {
    Columns::new(statement.column_names().map(str::to_owned).collect())
}

/// The rows of a statement that runs, one after the other. See [`Sql::cursor`](super::Sql::cursor).
///
/// It is no snapshot: a row that is written meanwhile may still come (checklist 6.12).
pub struct Cursor<'c> {
    rows: rusqlite::Rows<'c>,
    live: &'c Live,
    sql: &'c str,
    columns: Columns,
    started: bool,
    /// Rows that the connection had written.
    before: u64,
}

impl Cursor<'_> {
    /// The next row, or `None` behind the last one. What it holds may be borrowed: `next::<(i64, &str)>()`.
    ///
    /// # Errors
    /// What the statement fails with; [`SqlError::Row`] for a row that is no `T`.
    pub fn next<'r, T: Deserialize<'r>>(&'r mut self) -> Result<Option<T>, SqlError> {
        match step(&mut self.rows, self.live, self.sql, &mut self.columns, &mut self.started)? {
            Some(row) => row::read(&row, &self.columns).map(Some),
            None => Ok(None),
        }
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    pub(super) fn written(&self) -> u64 {
        self.live.connection.total_changes() - self.before
    }

    pub(super) fn take_columns(&mut self) -> Columns {
        std::mem::take(&mut self.columns)
    }

    fn step(&mut self) -> Result<bool, SqlError> {
        let row = step(&mut self.rows, self.live, self.sql, &mut self.columns, &mut self.started)?;
        Ok(row.is_some())
    }

    fn finish(&mut self) -> Result<(), SqlError> {
        while self.step()? {}
        Ok(())
    }
}

fn step<'r>(
    rows: &'r mut rusqlite::Rows<'_>,
    live: &Live,
    sql: &str,
    columns: &mut Columns,
    started: &mut bool,
) -> Result<Option<&'r rusqlite::Row<'r>>, SqlError> {
    let row = rows.next().map_err(|error| live.failed(error, sql))?;
    if let Some(row) = row
        && !std::mem::replace(started, true)
        && !row.as_ref().column_names().eq(&columns.names)
    {
        // A `SELECT *` from the cache learns of an `ALTER TABLE` when it starts.
        *columns = names(row.as_ref());
    }
    *started = true;
    Ok(row)
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("columns", &self.columns.names).finish_non_exhaustive()
    }
}
