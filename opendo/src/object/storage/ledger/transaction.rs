//! Transactions: a layer each.

use std::sync::Arc;

use super::layer::Layer;
use super::{Ledger, State};
use crate::object::storage::StorageError;

tokio::task_local! {
    /// The transaction that the task runs.
    static TRANSACTION: Scope;
}

/// Runs what is in no transaction, whatever this task is at.
pub(crate) fn outside_of_transactions<R>(run: impl FnOnce() -> R) -> R {
    match TRANSACTION.try_with(|_| ()) {
        Ok(()) => TRANSACTION.sync_scope(Scope { ledger: 0, depth: 0, writes: true }, run),
        Err(_) => run(),
    }
}

#[derive(Clone, Copy)]
struct Scope {
    /// Whose it is.
    ledger: usize,
    depth: usize,
    /// It has a layer of its own to write into.
    writes: bool,
}

/// Undoes a transaction of that depth: also when its body panics, or is dropped.
struct Undo<'a>(&'a Ledger, usize);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if let Some(work) = &mut state.work {
            work.transactions.truncate(self.1 - 1);
        }
        state.tidy();
    }
}

impl Ledger {
    fn scope(&self, depth: usize, writes: bool) -> Scope {
        Scope { ledger: std::ptr::from_ref(self).addr(), depth, writes }
    }

    /// The transaction in which this task runs, if one of this ledger.
    fn current(&self) -> Scope {
        let outside = self.scope(0, true);
        TRANSACTION
            .try_with(|scope| *scope)
            .ok()
            .filter(|scope| scope.ledger == outside.ledger)
            .unwrap_or(outside)
    }

    /// How deep that is; 0 outside of one.
    pub(super) fn depth(&self) -> usize {
        self.current().depth
    }

    /// Whether this task may write: not in a transaction that could not undo it alone.
    pub(super) fn writes(&self) -> bool {
        self.current().writes
    }

    fn one_at_a_time(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.state.lock().transaction.get_or_insert_default().clone()
    }

    /// Runs a transaction: what `body` writes is kept if it returns `Ok`, as if it had been written then.
    pub(in crate::object::storage) async fn transact<R, E>(
        &self,
        body: impl Future<Output = Result<R, E>>,
    ) -> Result<Result<R, E>, StorageError> {
        let depth = self.depth() + 1;
        let _only = if depth == 1 { Some(self.one_at_a_time().lock_owned().await) } else { None };
        {
            let mut state = self.state.lock();
            state.check()?;
            if !state.begin(depth) {
                return Err(StorageError::Transaction);
            }
        }
        let undo = Undo(self, depth);
        let result = TRANSACTION.scope(self.scope(depth, true), body).await;
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
        let only = (depth == 1).then(|| self.one_at_a_time().try_lock_owned());
        let is_alone = self.writes() && !matches!(only, Some(Err(_))) && { self.state.lock().begin(depth) };
        if !is_alone {
            return TRANSACTION.sync_scope(self.scope(depth - 1, false), body);
        }
        let undo = Undo(self, depth);
        let result = TRANSACTION.sync_scope(self.scope(depth, true), body);
        if result.is_ok() {
            self.keep(depth);
        }
        drop(undo);
        result
    }

    /// What the transaction of that depth has written counts.
    fn keep(&self, depth: usize) {
        let mut state = self.state.lock();
        // It may have been closed meanwhile.
        let Some(work) = state.work.as_mut().filter(|work| work.transactions.len() >= depth) else { return };
        let Some(layer) = work.transactions.pop() else { return };
        work.transactions.last_mut().unwrap_or(&mut work.layer).follow(layer);
        drop(state);
        if depth == 1 {
            self.written();
        }
    }
}

impl State {
    /// Begins a transaction of that depth, if it is the next one.
    fn begin(&mut self, depth: usize) -> bool {
        let transactions = &mut self.work.get_or_insert_default().transactions;
        let fits = transactions.len() == depth - 1;
        if fits {
            transactions.push(Layer::default());
        }
        fits
    }
}
