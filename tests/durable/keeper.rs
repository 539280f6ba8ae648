//! An object that does what its test says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use opendo::prelude::*;
use opendo::testing::{Disk, on_disk, with_tokio_clock};
use opendo::{AlarmInfo, Scheduled};
use tokio::sync::oneshot;

use crate::by_name::ByName;

type Once = Box<dyn FnOnce(Ctx) -> BoxFuture<'static, ()> + Send>;
type Made = Arc<dyn Fn(Ctx) -> BoxFuture<'static, opendo::Result<()>> + Send + Sync>;
type Rang = Arc<dyn Fn(Ctx, AlarmInfo) -> BoxFuture<'static, opendo::Result<()>> + Send + Sync>;
type Due = Arc<dyn Fn(Ctx, Scheduled) -> BoxFuture<'static, opendo::Result<()>> + Send + Sync>;
type Slept = Arc<dyn Fn(Ctx) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a method of a keeper does: handed over as an argument.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Once>>);

type Work = ByName<Slot>;

/// What the keeper of one name does by itself, and how often it was there.
#[derive(Default)]
pub(crate) struct Script {
    new: Mutex<Option<Made>>,
    alarm: Mutex<Option<Rang>>,
    scheduled: Mutex<Option<Due>>,
    hibernate: Mutex<Option<Slept>>,
    made: AtomicUsize,
    live: AtomicUsize,
}

impl Script {
    /// The script of the keeper of that name: names are for one test each.
    pub(crate) fn of(name: &str) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<String, Arc<Script>>>> = LazyLock::new(Mutex::default);
        ALL.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }

    pub(crate) fn on_new<F>(&self, run: impl Fn(Ctx) -> F + Send + Sync + 'static)
    where
        F: Future<Output = opendo::Result<()>> + Send + 'static,
    {
        *self.new.lock().unwrap() = Some(Arc::new(move |ctx| run(ctx).boxed()));
    }

    pub(crate) fn on_alarm<F>(&self, run: impl Fn(Ctx, AlarmInfo) -> F + Send + Sync + 'static)
    where
        F: Future<Output = opendo::Result<()>> + Send + 'static,
    {
        *self.alarm.lock().unwrap() = Some(Arc::new(move |ctx, info| run(ctx, info).boxed()));
    }

    pub(crate) fn on_schedule<F>(&self, run: impl Fn(Ctx, Scheduled) -> F + Send + Sync + 'static)
    where
        F: Future<Output = opendo::Result<()>> + Send + 'static,
    {
        *self.scheduled.lock().unwrap() = Some(Arc::new(move |ctx, event| run(ctx, event).boxed()));
    }

    pub(crate) fn on_hibernate<F>(&self, run: impl Fn(Ctx) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        *self.hibernate.lock().unwrap() = Some(Arc::new(move |ctx| run(ctx).boxed()));
    }

    /// How many instances there were.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// How many instances there are.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }
}

/// See the module.
pub(crate) struct Keeper {
    ctx: Ctx,
    script: Arc<Script>,
}

#[durable_object]
impl Keeper {
    pub async fn work(&mut self, work: Work) {
        let work = work.0.lock().unwrap().take().expect("work is done once");
        work(self.ctx.clone()).await;
    }

    #[method(concurrent)]
    pub async fn work_beside(&self, work: Work) {
        let work = work.0.lock().unwrap().take().expect("work is done once");
        work(self.ctx.clone()).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.script.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl DurableObject for Keeper {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let script = Script::of(ctx.key().name().expect("it is called by name"));
        script.made.fetch_add(1, Ordering::SeqCst);
        script.live.fetch_add(1, Ordering::SeqCst);
        let keeper = Self { ctx, script };
        let run = keeper.script.new.lock().unwrap().clone();
        if let Some(run) = run {
            run(keeper.ctx.clone()).await?;
        }
        Ok(keeper)
    }

    async fn alarm(&mut self, info: AlarmInfo) -> opendo::Result<()> {
        let run = self.script.alarm.lock().unwrap().clone().expect("an alarm that nobody expected");
        run(self.ctx.clone(), info).await
    }

    async fn scheduled(&mut self, event: Scheduled) -> opendo::Result<()> {
        let run = self.script.scheduled.lock().unwrap().clone().expect("a schedule that nobody expected");
        run(self.ctx.clone(), event).await
    }

    async fn hibernate(&mut self) {
        let run = self.script.hibernate.lock().unwrap().clone();
        if let Some(run) = run {
            run(self.ctx.clone()).await;
        }
    }
}

/// A call that does something in an object and gives back what comes of it.
#[must_use]
pub(crate) struct Doing<T>(Call<()>, oneshot::Receiver<T>);

impl<T: Send + 'static> Doing<T> {
    fn begin<F>(call: impl FnOnce(Work) -> Call<()>, work: impl FnOnce(Ctx) -> F + Send + 'static) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (done, wait) = oneshot::channel();
        let slot = Work::new();
        *slot.0.lock().unwrap() = Some(Box::new(move |ctx| {
            async move {
                let _ = done.send(work(ctx).await);
            }
            .boxed()
        }));
        Self(call(slot), wait)
    }

    /// What came of it, if it was answered.
    pub(crate) async fn result(self) -> Result<T, CallError> {
        self.0.await?;
        Ok(self.1.await.expect("it was answered"))
    }

    /// What came of it.
    pub(crate) async fn done(self) -> T {
        self.result().await.unwrap()
    }

    /// Whether it is answered by now.
    pub(crate) fn is_answered(&mut self) -> bool {
        (&mut self.0).now_or_never().is_some()
    }

    /// Whether it is not answered.
    pub(crate) async fn is_held(&mut self) -> bool {
        crate::world::is_pending(&mut self.0).await
    }
}

/// Does this in the object, alone.
pub(crate) fn within<T, F>(stub: &KeeperStub, work: impl FnOnce(Ctx) -> F + Send + 'static) -> Doing<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    Doing::begin(|work| stub.work(work), work)
}

/// Does this in the object, beside others that are done so.
pub(crate) fn beside<T, F>(stub: &KeeperStub, work: impl FnOnce(Ctx) -> F + Send + 'static) -> Doing<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    Doing::begin(|work| stub.work_beside(work), work)
}

/// A keeper on a disk of its own.
pub(crate) async fn keeper(name: &str) -> (Disk, Node, KeeperStub) {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let stub = node.get(name);
    (disk, node, stub)
}

/// All numbers that it keeps.
pub(crate) async fn all(stub: &KeeperStub) -> Vec<(String, u64)> {
    within(stub, |ctx| async move { ctx.storage().list().await.unwrap() }).done().await
}

/// A node with keepers on `disk`, whose alarms go by Tokio's clock.
pub(crate) async fn node_on(disk: &Disk) -> Node {
    with_tokio_clock(on_disk(Node::builder().object::<Keeper>(), disk)).start().await.unwrap()
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
