//! What nodes in a row keep their objects on, and how it fails.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, ready};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::memory::Memory;
use crate::engine::{
    Claiming, Commit, Directory, EngineError, EngineResult, Epoch, KeyRange, Outcome, Store, UnixMillis,
};
use crate::node::NodeBuilder;
use crate::object::id::ObjectKey;
#[cfg(feature = "sqlite")]
use crate::object::sql::Databases;

/// A disk in memory that outlives the nodes on it, and fails when it is told to.
///
/// Its commits are counted from 1, over all nodes on it, in the order in which they come; one that is sent again counts
/// again. What is injected for a number happens to the commit that gets it. Commits of one node that come while one is
/// held wait behind it, as they do behind a slow disk.
///
/// The databases of objects with SQL are files, which outlive the nodes too; nothing of this happens to them.
///
/// Clones are the same disk.
///
/// ```
/// use opendo::{Stored, prelude::*};
/// use opendo::testing::{self, Disk, Fault};
///
/// pub struct Counter { value: Stored<u64> }
///
/// #[durable_object]
/// impl Counter {
///     pub fn increment(&mut self) -> u64 { *self.value.edit() += 1; *self.value }
/// }
///
/// impl DurableObject for Counter {
///     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Counter { value: ctx.stored("value").await? }) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let disk = Disk::new();
/// let node = testing::on_disk(Node::builder().object::<Counter>(), &disk).start().await?;
/// let counter: CounterStub = node.get("a");
/// assert_eq!(counter.increment().await?, 1);
///
/// disk.inject_next(Fault::Fail);
/// assert!(counter.increment().await.is_err());
/// assert_eq!(counter.fresh().increment().await?, 2);
///
/// disk.hold();
/// let held = counter.fresh().increment(); // it runs, and its reply waits for the disk
/// disk.reached(disk.commits() + 1).await;
/// testing::crash(&node).await;
/// assert!(held.await.is_err());
///
/// disk.release();
/// let node = testing::on_disk(Node::builder().object::<Counter>(), &disk).start().await?;
/// let counter: CounterStub = node.get("a");
/// assert_eq!(counter.increment().await?, 3); // what was held was never written
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Disk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    memory: Memory,
    #[cfg(feature = "sqlite")]
    databases: Arc<Databases>,
    plan: Mutex<Plan>,
    commits: watch::Sender<u64>,
}

#[derive(Default)]
struct Plan {
    /// The last one that fits counts.
    faults: Vec<(Numbers, Fault)>,
    held: BTreeMap<u64, oneshot::Sender<()>>,
    reads_fail: bool,
}

type Numbers = (Bound<u64>, Bound<u64>);

/// What a [`Disk`] does to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not written, and the node is told so: the object's instance is lost.
    Fail,
    /// It is written, and the node is told that nobody knows: it sends the commit again.
    LoseAnswer,
    /// It is written when it is released.
    Hold,
    /// It is written, and the node is told when it is released.
    HoldAnswer,
}

/// Has the node keep its objects on `disk`. Another one can be started on it after this one has
/// [crashed](super::crash) or was shut down. (One that is started before that takes objects over as they are called.)
pub fn on_disk(mut node: NodeBuilder, disk: &Disk) -> NodeBuilder {
    node.engine = Some(Arc::new(Mount { disk: disk.clone(), gone: CancellationToken::new() }));
    #[cfg(feature = "sqlite")]
    {
        node.databases = Some(disk.0.databases.clone());
    }
    node
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many commits have come.
    pub fn commits(&self) -> u64 {
        *self.0.commits.borrow()
    }

    /// Resolves when that many commits have come.
    pub async fn reached(&self, commits: u64) {
        let mut seen = self.0.commits.subscribe();
        // The sender is ours.
        let _ = seen.wait_for(|seen| *seen >= commits).await;
    }

    /// Has this happen to the commits of these numbers. What is said last counts.
    pub fn inject(&self, commits: impl RangeBounds<u64>, fault: Fault) {
        let numbers = (commits.start_bound().cloned(), commits.end_bound().cloned());
        self.0.plan.lock().faults.push((numbers, fault));
    }

    /// Has this happen to the next commit.
    pub fn inject_next(&self, fault: Fault) {
        let next = self.commits() + 1;
        self.inject(next..=next, fault);
    }

    /// Holds everything that is to be written from now on.
    pub fn hold(&self) {
        self.inject(self.commits() + 1.., Fault::Hold);
    }

    /// Lets the commit go that has been held longest; false when there is none. Others are held all the same.
    pub fn release_one(&self) -> bool {
        let first = self.0.plan.lock().held.pop_first();
        first.is_some_and(|(_, held)| held.send(()).is_ok())
    }

    /// Lets everything go that is held, and has no more faults.
    pub fn release(&self) {
        let mut plan = self.0.plan.lock();
        plan.faults.clear();
        let held = std::mem::take(&mut plan.held);
        drop(plan);
        for held in held.into_values() {
            let _ = held.send(()); // nobody waits who has crashed
        }
    }

    /// Has everything fail that is not a commit, or no longer: nothing can be read, and no object can be made.
    pub fn fail_reads(&self, fail: bool) {
        self.0.plan.lock().reads_fail = fail;
    }

    /// A commit has come: what is to happen to it.
    fn arrived(&self) -> (Option<Fault>, Option<oneshot::Receiver<()>>) {
        let mut plan = self.0.plan.lock();
        let number = self.commits() + 1;
        let fault = plan.faults.iter().rev().find(|(numbers, _)| numbers.contains(&number));
        let fault = fault.map(|(_, fault)| *fault);
        let held = matches!(fault, Some(Fault::Hold | Fault::HoldAnswer)).then(|| {
            let (release, released) = oneshot::channel();
            plan.held.insert(number, release);
            released
        });
        drop(plan);
        self.0.commits.send_replace(number);
        (fault, held)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("commits", &self.commits()).finish_non_exhaustive()
    }
}

/// A disk as one node has it.
struct Mount {
    disk: Disk,
    /// The node has crashed, or was shut down: what it still wants is not done.
    gone: CancellationToken,
}

impl Mount {
    fn check(&self) -> EngineResult<()> {
        if self.gone.is_cancelled() {
            return Err(EngineError::Failed("the node is gone".into()));
        }
        Ok(())
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&'a Memory) -> BoxFuture<'a, EngineResult<T>>,
    ) -> BoxFuture<'a, EngineResult<T>> {
        if let Err(error) = self.check() {
            return ready(Err(error)).boxed();
        }
        if self.disk.0.plan.lock().reads_fail {
            return ready(Err(EngineError::Failed("the disk cannot be read".into()))).boxed();
        }
        read(&self.disk.0.memory)
    }

    async fn write(&self, commit: Commit) -> EngineResult<Outcome> {
        self.check()?;
        let memory = &self.disk.0.memory;
        let write = || memory.apply(&commit);
        let (fault, held) = self.disk.arrived();
        let released = async {
            if let Some(held) = held {
                // A crash comes before a release.
                let _ = self.gone.run_until_cancelled(held).await;
            }
            self.check()
        };
        match fault {
            None => Ok(write()),
            Some(Fault::Fail) => Err(EngineError::Failed("the disk has failed".into())),
            Some(Fault::LoseAnswer) => {
                write();
                Err(EngineError::Unknown("the disk has not answered".into()))
            }
            Some(Fault::Hold) => released.await.map(|()| write()),
            Some(Fault::HoldAnswer) => {
                let outcome = write();
                released.await.map(|()| outcome)
            }
        }
    }
}

impl Directory for Mount {
    fn claim<'a>(&'a self, object: &'a Arc<ObjectKey>) -> Claiming<'a> {
        Either::Right(self.read(|memory| memory.claim(object).boxed()))
    }

    fn release<'a>(&'a self, object: &'a Arc<ObjectKey>, epoch: Epoch) -> BoxFuture<'a, EngineResult<()>> {
        self.read(|memory| memory.release(object, epoch))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.gone.cancel();
        ready(()).boxed()
    }

    fn objects<'a>(
        &'a self,
        class: &'a str,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<ObjectKey>>> {
        self.read(|memory| memory.objects(class, after, limit))
    }
}

impl Store for Mount {
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<EngineResult<Outcome>>> {
        async move {
            let mut answers = Vec::with_capacity(batch.len());
            for commit in batch {
                answers.push(self.write(commit).await);
            }
            answers
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        keys: Vec<Bytes>,
    ) -> BoxFuture<'a, EngineResult<Vec<Option<Bytes>>>> {
        self.read(|memory| memory.get(object, keys))
    }

    fn list<'a>(
        &'a self,
        object: &'a Arc<ObjectKey>,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<(Bytes, Bytes)>>> {
        self.read(|memory| memory.list(object, range, reverse, limit))
    }

    fn wakes(
        &self,
        from: UnixMillis,
        limit: usize,
    ) -> BoxFuture<'_, EngineResult<Vec<(UnixMillis, ObjectKey)>>> {
        self.read(|memory| memory.wakes(from, limit))
    }
}
