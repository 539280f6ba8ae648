//! An object that does what its test says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use opendo::prelude::*;
use opendo::testing::{Disk, on_disk, with_tokio_clock};
use tokio::sync::oneshot;

use crate::by_name::ByName;

type Once = Box<dyn FnOnce(Ctx) -> BoxFuture<'static, ()> + Send>;
/// What a method of a keeper does: handed over as an argument.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Once>>);

type Work = ByName<Slot>;

/// How often the keeper of one name was there.
#[derive(Default)]
pub(crate) struct Script {
    made: AtomicUsize,
}

impl Script {
    /// The script of the keeper of that name: names are for one test each.
    pub(crate) fn of(name: &str) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<String, Arc<Script>>>> = LazyLock::new(Mutex::default);
        ALL.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }

    /// How many instances there were.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

/// See the module.
pub(crate) struct Keeper {
    ctx: Ctx,
}

#[durable_object]
impl Keeper {
    pub async fn work(&mut self, work: Work) {
        let work = work.0.lock().unwrap().take().expect("work is done once");
        work(self.ctx.clone()).await;
    }
}

impl DurableObject for Keeper {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let script = Script::of(ctx.key().name().expect("it is called by name"));
        script.made.fetch_add(1, Ordering::SeqCst);
        Ok(Self { ctx })
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
}

/// Does this in the object, alone.
pub(crate) fn within<T, F>(stub: &KeeperStub, work: impl FnOnce(Ctx) -> F + Send + 'static) -> Doing<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    Doing::begin(|work| stub.work(work), work)
}

/// A node with keepers on `disk`, whose alarms go by Tokio's clock.
pub(crate) async fn node_on(disk: &Disk) -> Node {
    with_tokio_clock(on_disk(Node::builder().object::<Keeper>(), disk)).start().await.unwrap()
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
