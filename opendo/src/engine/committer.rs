//! Carries the commits of all objects of a node to its engine, in batches as large as they come.
//!
//! While one batch is with the engine the next one gathers: nobody waits for a timer, and under load many commits
//! share one flush of the disk. A commit whose outcome is unknown is sent again, the same, until it is known.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::registry::wakes::Wakes;

use super::{Commit, Engine, EngineError, EngineResult, Outcome};

/// The largest batch.
const BATCH: usize = 256;

/// Between attempts of a commit whose outcome is unknown.
const RETRY: Duration = Duration::from_millis(50);

/// Why what a commit was to change did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("another owner has taken the object over")]
    Fenced,
    #[error("{0}")]
    Failed(String),
}

/// Told what became of a commit. Once.
pub(crate) trait Committing: Send + Sync {
    fn committed(self: Arc<Self>, result: Result<(), CommitError>);
}

/// See the module.
pub(crate) struct Committer {
    engine: Arc<dyn Engine>,
    runtime: Handle,
    queue: Mutex<Queue>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Entry>,
    /// A batch is with the engine: whoever brought it takes what gathers meanwhile along.
    flushing: bool,
}

struct Entry {
    commit: Commit,
    done: Arc<dyn Committing>,
}

impl Committer {
    pub(crate) fn new(engine: Arc<dyn Engine>, runtime: Handle, wakes: Arc<Wakes>) -> Arc<Self> {
        Arc::new(Self { engine, runtime, queue: Mutex::default(), wakes })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn wakes(&self) -> &Arc<Wakes> {
        &self.wakes
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Commits, and tells `done`: possibly before this returns, if the engine is that quick. At most one commit of an
    /// object may be on its way.
    pub(crate) fn submit(self: &Arc<Self>, commit: Commit, done: Arc<dyn Committing>) {
        {
            let mut queue = self.queue.lock();
            queue.waiting.push(Entry { commit, done });
            if std::mem::replace(&mut queue.flushing, true) {
                return;
            }
        }
        let mut flush = self.clone().flush().boxed();
        // Polled again when it is spawned, so nothing is lost by a waker that does nothing. An engine in memory is
        // done by then.
        if flush.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.runtime.spawn(flush);
        }
    }

    fn flush(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            loop {
                let batch: Vec<Entry> = {
                    let mut queue = self.queue.lock();
                    let many = queue.waiting.len().min(BATCH);
                    if many == 0 {
                        queue.flushing = false;
                        return;
                    }
                    queue.waiting.drain(..many).collect()
                };
                self.carry(batch).await;
            }
        }
        .boxed()
    }

    async fn carry(&self, mut batch: Vec<Entry>) {
        loop {
            let commits = batch.iter().map(|entry| entry.commit.clone()).collect();
            let answers = self.engine.commit(commits).await;
            debug_assert_eq!(answers.len(), batch.len(), "one answer for each commit");
            let mut unknown = Vec::new();
            for (entry, answer) in batch.into_iter().zip(answers) {
                match judged(&entry, answer) {
                    Poll::Ready(result) => {
                        if let (Ok(()), Some(Some(at))) = (&result, entry.commit.changes.wake) {
                            self.wakes.set(at);
                        }
                        entry.done.committed(result);
                    }
                    Poll::Pending => unknown.push(entry),
                }
            }
            if unknown.is_empty() {
                return;
            }
            batch = unknown;
            sleep(RETRY).await;
        }
    }
}

/// What is known of a commit by that answer.
fn judged(entry: &Entry, answer: EngineResult<Outcome>) -> Poll<Result<(), CommitError>> {
    Poll::Ready(match answer {
        Ok(Outcome::Committed) => Ok(()),
        Ok(Outcome::Fenced) => Err(CommitError::Fenced),
        Err(EngineError::Failed(text)) => Err(CommitError::Failed(text)),
        Err(EngineError::Unknown(text)) => {
            tracing::warn!(object = %entry.commit.object, error = text, "the outcome of a commit is unknown");
            return Poll::Pending;
        }
    })
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}
