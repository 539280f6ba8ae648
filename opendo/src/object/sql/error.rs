//! What can go wrong, with SQLite's own words and codes.

use std::ffi::c_int;
use std::fmt;
use std::path::Path;

use rusqlite::ffi;

/// Why SQL was not run, or not to its end.
///
/// A statement that fails undoes itself and nothing else: what was written before it stays (checklist 6.13).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// SQLite refused: wrong SQL, a violated constraint, a limit, a name that is not the object's.
    #[error(transparent)]
    Sqlite(SqliteError),
    /// `BEGIN`, `COMMIT`, `ROLLBACK` or `SAVEPOINT`: transactions belong to the object.
    #[error(
        "To execute a transaction, please use `sql.transaction(…)` instead of the SQL BEGIN TRANSACTION, COMMIT or \
         SAVEPOINT statements. What one call writes is committed as a whole anyway."
    )]
    Transaction,
    /// The text is empty, or a comment.
    #[error("SQL code did not contain a statement.")]
    NoStatement,
    /// Parameters belong to the last statement, and it takes another number of them.
    #[error("Wrong number of parameter bindings for SQL query. It takes {expected}, and {given} were given.")]
    ParameterCount {
        /// How many the statement has.
        expected: usize,
        /// How many came.
        given: usize,
    },
    /// A value that SQLite has no type for, or a name that the statement does not have.
    #[error("SQL parameters: {reason}")]
    Parameter {
        /// What is wrong with it.
        reason: String,
    },
    /// A row was asked for, and there is none.
    #[error("Expected exactly one result from SQL query, but got no results.")]
    NoRows,
    /// One row was asked for, and there are more.
    #[error("Expected exactly one result from SQL query, but got multiple results.")]
    ManyRows,
    /// A row is not a value of the type asked for.
    #[error("SQL row: not a `{expected}`: {reason}")]
    Row {
        /// The type asked for.
        expected: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A migration failed; it and those behind it were not run.
    #[error("migration {number}: {error}")]
    Migration {
        /// Which one, from 1 on.
        number: usize,
        /// Why.
        error: Box<SqlError>,
    },
    /// The database has run more migrations than there are: it was last used by a newer program.
    #[error(
        "the database has run {ran} migrations and the program has {known}: it was last used by a newer one"
    )]
    MigrationsMissing {
        /// How many the database has run.
        ran: usize,
        /// How many there are.
        known: usize,
    },
    /// SQLite met an error that it cannot go on after (disk, memory, a damaged file). The object is to be reset.
    #[error("Cannot commit transaction due to an earlier SQL critical error: {reason}")]
    Critical {
        /// The first such error.
        reason: String,
    },
    /// `delete_all` inside a transaction (checklist 5.22).
    #[error("Cannot call deleteAll() within a transaction")]
    DeleteAllInTransaction,
    /// The class is not marked `#[durable_object(sql)]`.
    #[error("sql: the object's class has none; mark its impl block `#[durable_object(sql)]`")]
    None,
    /// The instance this belongs to was thrown away; what it would still write must not count.
    #[error("sql: the object's instance is gone")]
    Closed,
}

impl From<SqlError> for String {
    fn from(error: SqlError) -> Self {
        error.to_string()
    }
}

impl SqlError {
    /// What SQLite said, if it was SQLite that said it.
    pub fn sqlite(&self) -> Option<&SqliteError> {
        match self {
            Self::Sqlite(error) => Some(error),
            Self::Migration { error, .. } => error.sqlite(),
            _ => None,
        }
    }

    /// Whether a constraint was violated: a key that is there already, a value that must not be NULL.
    pub fn is_constraint(&self) -> bool {
        self.sqlite().is_some_and(|error| error.code == ffi::SQLITE_CONSTRAINT)
    }
}

/// What SQLite said: `UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteError {
    /// SQLite's text.
    pub message: String,
    /// The primary [result code](https://sqlite.org/rescode.html).
    pub code: i32,
    /// The extended one.
    pub extended_code: i32,
    /// The byte of the SQL the error is at, if SQLite says so.
    pub offset: Option<usize>,
}

impl SqliteError {
    /// The name of [`code`](Self::code): `SQLITE_CONSTRAINT`.
    pub fn code_name(&self) -> &'static str {
        name(self.code).unwrap_or("SQLITE_ERROR")
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.code_name())?;
        match name(self.extended_code) {
            Some(extended) if self.extended_code != self.code => write!(f, " (extended: {extended})"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for SqliteError {}

impl SqliteError {
    /// `sql` is the whole text, of which rusqlite may have seen the end only.
    pub(super) fn new(error: rusqlite::Error, sql: &str) -> Self {
        let (code, message, offset) = match error {
            rusqlite::Error::SqliteFailure(code, message) => {
                (code.extended_code, message.unwrap_or_else(|| code.to_string()), None)
            }
            rusqlite::Error::SqlInputError { error, msg, sql: seen, offset } => {
                let before = sql.len().saturating_sub(seen.len());
                (error.extended_code, msg, usize::try_from(offset).ok().map(|offset| before + offset))
            }
            other => (ffi::SQLITE_ERROR, other.to_string(), None),
        };
        Self { message, code: code & 0xff, extended_code: code, offset }
    }

    /// Whether SQLite's documentation says that the transaction may be lost, or the file is not to be trusted.
    pub(super) fn is_critical(&self) -> bool {
        matches!(
            self.code,
            ffi::SQLITE_IOERR
                | ffi::SQLITE_NOMEM
                | ffi::SQLITE_CORRUPT
                | ffi::SQLITE_NOTADB
                | ffi::SQLITE_CANTOPEN
        )
    }
}

macro_rules! names {
    ($($code:ident)*) => {
        fn name(code: c_int) -> Option<&'static str> {
            match code {
                $(ffi::$code => Some(stringify!($code)),)*
                _ => None,
            }
        }
    };
}

names! {
    SQLITE_ERROR SQLITE_INTERNAL SQLITE_PERM SQLITE_ABORT SQLITE_BUSY SQLITE_LOCKED SQLITE_NOMEM SQLITE_READONLY
    SQLITE_INTERRUPT SQLITE_IOERR SQLITE_CORRUPT SQLITE_NOTFOUND SQLITE_FULL SQLITE_CANTOPEN SQLITE_PROTOCOL
    SQLITE_SCHEMA SQLITE_TOOBIG SQLITE_CONSTRAINT SQLITE_MISMATCH SQLITE_MISUSE SQLITE_NOLFS SQLITE_AUTH
    SQLITE_RANGE SQLITE_NOTADB
    SQLITE_CONSTRAINT_CHECK SQLITE_CONSTRAINT_COMMITHOOK SQLITE_CONSTRAINT_DATATYPE SQLITE_CONSTRAINT_FOREIGNKEY
    SQLITE_CONSTRAINT_FUNCTION SQLITE_CONSTRAINT_NOTNULL SQLITE_CONSTRAINT_PINNED SQLITE_CONSTRAINT_PRIMARYKEY
    SQLITE_CONSTRAINT_ROWID SQLITE_CONSTRAINT_TRIGGER SQLITE_CONSTRAINT_UNIQUE SQLITE_CONSTRAINT_VTAB
    SQLITE_ABORT_ROLLBACK SQLITE_CORRUPT_INDEX SQLITE_CORRUPT_SEQUENCE SQLITE_CORRUPT_VTAB
    SQLITE_IOERR_READ SQLITE_IOERR_SHORT_READ SQLITE_IOERR_WRITE SQLITE_IOERR_FSYNC SQLITE_IOERR_TRUNCATE
}

/// Why an object's database could not be opened, sealed or closed. The object is to be reset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Checklist 6.16.
    #[error(
        "Durable Object was reset and rolled back to its last known good state because the application left the \
         database in a state where constraints were violated: {0}"
    )]
    Constraints(SqliteError),
    /// The text may travel to whoever called the object: it names no files.
    #[error("the object's database: {0}")]
    Io(std::io::Error),
    #[error("the object's database is none, or one of a newer version of opendo")]
    Foreign,
}

impl DbError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| {
            tracing::error!(path = %path.display(), %error, "the database of an object failed");
            Self::Io(error)
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the database of an object failed");
        let mut error = SqliteError::new(error, "");
        error.message = rusqlite::ffi::Error::new(error.extended_code).to_string();
        Self::Sql(SqlError::Sqlite(error))
    }
}
