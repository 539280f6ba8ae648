//! The database of an object's own, beneath its ledger: for classes with SQL. Without the feature there is none.

#[cfg(feature = "sqlite")]
pub(crate) use crate::object::sql::Sealed;
#[cfg(feature = "sqlite")]
pub(crate) use here::Own;
#[cfg(not(feature = "sqlite"))]
pub(crate) use nowhere::{Own, Sealed};

#[cfg(feature = "sqlite")]
mod here {
    use std::collections::BTreeMap;
    use std::sync::{Arc, OnceLock};

    use bytes::Bytes;
    use tokio::runtime::Handle;

    use crate::engine::{Changes, EAGER, EngineError, EngineResult, KeyRange};
    use crate::object::id::ObjectKey;
    use crate::object::sql::{Databases, DbError, ObjectDb, Sealed};

    /// See the module.
    pub(crate) struct Own {
        databases: Arc<Databases>,
        /// Once the ledger is open.
        db: OnceLock<Arc<ObjectDb>>,
    }

    fn failed(error: &impl ToString) -> EngineError {
        EngineError::Failed(error.to_string())
    }

    impl Own {
        pub(crate) fn new(databases: Arc<Databases>) -> Self {
            Self { databases, db: OnceLock::new() }
        }

        pub(crate) async fn open(&self, key: &Arc<ObjectKey>) -> EngineResult<()> {
            if self.db().is_some() {
                return Ok(()); // by the instance before, which slept for no time at all
            }
            let (databases, key) = (self.databases.clone(), key.clone());
            let opening = Handle::current().spawn_blocking(move || databases.open(&key));
            let db = opening.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
            let _ = self.db.set(Arc::new(db));
            Ok(())
        }

        pub(crate) fn db(&self) -> Option<&Arc<ObjectDb>> {
            self.db.get()
        }

        fn opened(&self) -> EngineResult<&Arc<ObjectDb>> {
            self.db().ok_or_else(|| EngineError::Failed("the object's database is not open".into()))
        }

        /// Until it is dropped, no other thread gets at the database. To be taken before the ledger's lock.
        pub(crate) fn alone(&self) -> Option<impl Drop + '_> {
            self.db().map(|db| db.alone())
        }

        /// Whether a statement or a transaction of the user's runs: nothing can be sealed now.
        pub(crate) fn is_busy(&self) -> bool {
            self.db().is_some_and(|db| db.is_busy())
        }

        /// Whether there is something to seal.
        pub(crate) fn is_written(&self) -> bool {
            self.db().is_some_and(|db| db.is_written())
        }

        pub(crate) fn seal(&self, changes: &Changes) -> Result<Option<Sealed>, DbError> {
            self.db().map_or(Ok(None), |db| db.seal(changes))
        }

        pub(crate) fn roll_back(&self) {
            if let Some(db) = self.db() {
                db.rollback();
            }
        }

        /// From here on nothing is read or written any more.
        pub(crate) fn end(&self) {
            if let Some(db) = self.db() {
                db.end();
            }
        }

        pub(crate) fn drop_tables(&self) -> EngineResult<()> {
            self.db().map_or(Ok(()), |db| db.drop_tables()).map_err(|error| failed(&error))
        }

        pub(crate) fn get(&self, keys: &[Bytes]) -> EngineResult<Vec<Option<Bytes>>> {
            self.opened()?.get(keys).map_err(|error| failed(&error))
        }

        pub(crate) fn list(
            &self,
            range: &KeyRange,
            reverse: bool,
            limit: usize,
        ) -> EngineResult<Vec<(Bytes, Bytes)>> {
            self.opened()?.list(range, reverse, limit).map_err(|error| failed(&error))
        }

        /// Everything, if it is little.
        pub(crate) fn load(&self) -> EngineResult<Option<BTreeMap<Bytes, Bytes>>> {
            self.opened()?.load(EAGER).map_err(|error| failed(&error))
        }

        /// Closes the file. Whether it held nothing, and is gone.
        pub(crate) async fn close(&self) -> EngineResult<bool> {
            let Some(db) = self.db().cloned() else { return Ok(false) };
            let closing = Handle::current().spawn_blocking(move || db.close());
            closing.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
        }
    }

    impl Sealed {
        /// Makes it durable, and tells.
        pub(crate) fn sync_beside(
            self,
            runtime: &Handle,
            done: impl FnOnce(Result<(), String>) + Send + 'static,
        ) {
            runtime.spawn_blocking(move || done(self.sync().map_err(|error| error.to_string())));
        }
    }
}

#[cfg(not(feature = "sqlite"))]
mod nowhere {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::runtime::Handle;

    use crate::engine::{Changes, EngineResult, KeyRange};
    use crate::object::id::ObjectKey;

    /// See the module.
    pub(crate) enum Own {}

    /// What there is to make durable: nothing.
    pub(crate) enum Sealed {}

    impl Own {
        #[expect(clippy::unused_async, reason = "as where there is one")]
        pub(crate) async fn open(&self, _key: &Arc<ObjectKey>) -> EngineResult<()> {
            match *self {}
        }

        pub(crate) fn alone(&self) -> Option<Box<dyn std::any::Any>> {
            match *self {}
        }

        pub(crate) fn is_busy(&self) -> bool {
            match *self {}
        }

        pub(crate) fn is_written(&self) -> bool {
            match *self {}
        }

        pub(crate) fn seal(&self, _changes: &Changes) -> Result<Option<Sealed>, std::convert::Infallible> {
            match *self {}
        }

        pub(crate) fn roll_back(&self) {
            match *self {}
        }

        pub(crate) fn end(&self) {
            match *self {}
        }

        pub(crate) fn drop_tables(&self) -> EngineResult<()> {
            match *self {}
        }

        pub(crate) fn get(&self, _keys: &[Bytes]) -> EngineResult<Vec<Option<Bytes>>> {
            match *self {}
        }

        pub(crate) fn list(&self, _: &KeyRange, _: bool, _: usize) -> EngineResult<Vec<(Bytes, Bytes)>> {
            match *self {}
        }

        pub(crate) fn load(&self) -> EngineResult<Option<BTreeMap<Bytes, Bytes>>> {
            match *self {}
        }

        #[expect(clippy::unused_async, reason = "as where there is one")]
        pub(crate) async fn close(&self) -> EngineResult<bool> {
            match *self {}
        }
    }

    impl Sealed {
        pub(crate) fn sync_beside(self, _: &Handle, _: impl FnOnce(Result<(), String>) + Send + 'static) {
            match self {}
        }
    }
}
