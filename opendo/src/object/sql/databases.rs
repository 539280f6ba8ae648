//! Where the databases of objects are.

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::db::ObjectDb;
use super::error::DbError;
use super::policy::SqlLimits;
use crate::engine::sqlite::open;
use crate::object::id::ObjectKey;

/// A directory with a file for each object.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    /// `None`: one that goes with the process.
    directory: Option<PathBuf>,
    temporary: Mutex<Option<TempDir>>,
    limits: SqlLimits,
}

impl Databases {
    /// Below the data directory of a node.
    pub(crate) fn below(data: &Path) -> Self {
        Self { directory: Some(data.join("objects")), ..Self::default() }
    }

    fn directory(&self) -> Result<PathBuf, DbError> {
        if let Some(directory) = &self.directory {
            return Ok(directory.clone());
        }
        let mut temporary = self.temporary.lock();
        if temporary.is_none() {
            let made = tempfile::Builder::new().prefix("opendo-").tempdir();
            *temporary = Some(made.map_err(DbError::io(&std::env::temp_dir()))?);
        }
        Ok(temporary.as_ref().map(|temporary| temporary.path().to_owned()).unwrap_or_default())
    }

    /// Opens the database of an object, or makes it. Blocks.
    pub(crate) fn open(&self, key: &ObjectKey) -> Result<ObjectDb, DbError> {
        // An id is of one class, and no two objects have the same.
        let id = key.id_text();
        let directory = self.directory()?.join(&id[..2]);
        open::make(&directory)
            .map_err(|error| DbError::io(&directory)(io::Error::other(error.to_string())))?;
        ObjectDb::open(directory.join(format!("{id}.sqlite3")), &self.limits)
    }
}
