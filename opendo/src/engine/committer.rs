//! Carries the commits of all objects of a node to its engine, in batches as large as they come.
//!
//! While one batch is with the engine the next one gathers, and the engine takes it when it can write it: nobody waits for
//! a timer, and under load many commits share one flush of the disk. A commit whose outcome is unknown is sent again, the
//! same, until it is known.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::registry::wakes::Wakes;

use super::{Commit, Engine, EngineError, EngineResult, Outcome};

/// The largest batch.
const BATCH: usize = 1024;

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
    waiting: Commits,
    /// Those whose outcome is unknown. Nothing else is sent before they are.
    unknown: Commits,
    /// Somebody has the engine take what gathers.
    is_carrying: bool,
}

/// Commits, and who is told of each.
#[derive(Default)]
struct Commits {
    commits: Vec<Commit>,
    done: Vec<Arc<dyn Committing>>,
}

impl Commits {
    fn push(&mut self, commit: Commit, done: Arc<dyn Committing>) {
        self.commits.push(commit);
        self.done.push(done);
    }

    fn append(&mut self, mut others: Self) {
        self.commits.append(&mut others.commits);
        self.done.append(&mut others.done);
    }

    /// The first ones. As much room is left as they took: that many will come again.
    fn take(&mut self, most: usize) -> Self {
        let rest = self.commits.len().saturating_sub(most);
        let room = self.commits.len();
        let mut left = Self { commits: Vec::with_capacity(room), done: Vec::with_capacity(room) };
        if rest > 0 {
            left.commits.extend(self.commits.drain(most..));
            left.done.extend(self.done.drain(most..));
        }
        std::mem::replace(self, left)
    }
}

/// Commits that are with the engine.
pub(crate) struct Batch {
    all: Commits,
    committer: Arc<Committer>,
}

impl Batch {
    pub(crate) fn commits(&self) -> &[Commit] {
        &self.all.commits
    }

    /// The same answer to each.
    pub(crate) fn all(&self, error: &EngineError) -> Vec<EngineResult<Outcome>> {
        vec![Err(error.clone()); self.all.commits.len()]
    }

    /// What became of them, in their order. It may run code of users.
    pub(crate) fn answer(self, answers: Vec<EngineResult<Outcome>>) {
        let Self { all: Commits { commits, done }, committer } = self;
        debug_assert_eq!(answers.len(), commits.len(), "one answer for each commit");
        let mut unknown = Commits::default();
        for ((commit, done), answer) in commits.into_iter().zip(done).zip(answers) {
            match judged(&commit, answer) {
                Poll::Ready(result) => {
                    if let (Ok(()), Some(Some(at))) = (&result, commit.changes.wake) {
                        committer.wakes.set(at);
                    }
                    drop(commit);
                    done.committed(result);
                }
                Poll::Pending => unknown.push(commit, done),
            }
        }
        if !unknown.commits.is_empty() {
            committer.again(unknown);
        }
    }
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
            queue.waiting.push(commit, done);
            if queue.is_carrying || !queue.unknown.commits.is_empty() {
                return;
            }
            queue.is_carrying = true;
        }
        self.carry();
    }

    fn carry(self: &Arc<Self>) {
        let this = self.clone();
        let mut carrying = async move { this.engine.carry(this.clone()).await }.boxed();
        // Polled again when it is spawned, so nothing is lost by a waker that does nothing. An engine in memory is
        // done by then.
        if carrying.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.runtime.spawn(carrying);
        }
    }

    /// What has gathered, for the engine. `None` when it is to stop: it is asked anew.
    pub(crate) fn next(self: &Arc<Self>) -> Option<Batch> {
        let mut queue = self.queue.lock();
        if queue.waiting.commits.is_empty() || !queue.unknown.commits.is_empty() {
            queue.is_carrying = false;
            return None;
        }
        Some(Batch { all: queue.waiting.take(BATCH), committer: self.clone() })
    }

    fn again(self: &Arc<Self>, unknown: Commits) {
        self.queue.lock().unknown.append(unknown);
        let this = self.clone();
        self.runtime.spawn(async move {
            sleep(RETRY).await;
            {
                let mut queue = this.queue.lock();
                let Queue { waiting, unknown, .. } = &mut *queue;
                let mut first = std::mem::take(unknown);
                first.append(std::mem::take(waiting));
                *waiting = first;
                if std::mem::replace(&mut queue.is_carrying, true) {
                    return;
                }
            }
            this.carry();
        });
    }
}

/// What is known of a commit by that answer.
fn judged(commit: &Commit, answer: EngineResult<Outcome>) -> Poll<Result<(), CommitError>> {
    Poll::Ready(match answer {
        Ok(Outcome::Committed) => Ok(()),
        Ok(Outcome::Fenced) => Err(CommitError::Fenced),
        Err(EngineError::Failed(text)) => Err(CommitError::Failed(text)),
        Err(EngineError::Unknown(text)) => {
            tracing::warn!(object = %commit.object, error = text, "the outcome of a commit is unknown");
            return Poll::Pending;
        }
    })
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}
