//! Transactions: a layer each.

use super::Ledger;
use super::layer::Layer;
use crate::object::storage::StorageError;

tokio::task_local! {
    /// The transaction that the task runs: of which ledger, and how deep.
    static TRANSACTION: (usize, usize);
}

/// Undoes a transaction of that depth: also when its body panics, or is dropped.
struct Undo<'a>(&'a Ledger, usize);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.state.lock().layers.truncate(self.1);
    }
}

impl Ledger {
    /// How deep the transaction is in which this task runs; 0 outside of one.
    pub(super) fn depth(&self) -> usize {
        let own = std::ptr::from_ref(self).addr();
        TRANSACTION.try_with(|(ledger, depth)| if *ledger == own { *depth } else { 0 }).unwrap_or(0)
    }

    /// Runs a transaction: what `body` writes is kept if it returns `Ok`, as if it had been written then.
    pub(in crate::object::storage) async fn transact<R, E>(
        &self,
        body: impl Future<Output = Result<R, E>>,
    ) -> Result<Result<R, E>, StorageError> {
        let depth = self.depth() + 1;
        let _only = if depth == 1 { Some(self.transaction.lock().await) } else { None };
        {
            let mut state = self.state.lock();
            state.check()?;
            if state.layers.len() != depth {
                return Err(StorageError::Transaction);
            }
            state.layers.push(Layer::default());
        }
        let undo = Undo(self, depth);
        let own = std::ptr::from_ref(self).addr();
        let result = TRANSACTION.scope((own, depth), body).await;
        if result.is_ok() {
            self.state.lock().check()?;
            self.keep(depth);
        }
        drop(undo);
        Ok(result)
    }

    /// The same for a body that does not wait for anything. While another transaction runs beside it, it cannot write.
    #[cfg(feature = "sqlite")]
    pub(crate) fn transact_at_once<R, E>(&self, body: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let depth = self.depth() + 1;
        let only = (depth == 1).then(|| self.transaction.try_lock());
        let is_alone = !matches!(only, Some(Err(_))) && {
            let mut state = self.state.lock();
            let fits = state.layers.len() == depth;
            if fits {
                state.layers.push(Layer::default());
            }
            fits
        };
        let own = std::ptr::from_ref(self).addr();
        if !is_alone {
            return TRANSACTION.sync_scope((own, usize::MAX - 1), body);
        }
        let undo = Undo(self, depth);
        let result = TRANSACTION.sync_scope((own, depth), body);
        if result.is_ok() {
            self.keep(depth);
        }
        drop(undo);
        result
    }

    /// What the transaction of that depth has written counts.
    pub(super) fn keep(&self, depth: usize) {
        let mut state = self.state.lock();
        if state.layers.len() <= depth {
            return; // it was closed meanwhile
        }
        let Some(layer) = state.layers.pop() else { return };
        if let Some(below) = state.layers.last_mut() {
            below.follow(layer);
        }
        drop(state);
        if depth == 1 {
            self.written();
        }
    }
}
