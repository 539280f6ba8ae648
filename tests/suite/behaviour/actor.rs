//! The object that most cases use: it does what it is told, and its instances are counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use opendo::prelude::*;
use serde::{Deserialize, Serialize};

use super::by_name::{Gate, Log, Signal};
use super::world::World;

/// What becomes of the instances of one object: by name, so that nothing needs to be called to know it.
#[derive(Default)]
pub(crate) struct Life {
    made: AtomicUsize,
    live: AtomicUsize,
    most: AtomicUsize,
    construction: Mutex<Construction>,
    hibernation: Mutex<Option<Hibernation>>,
}

/// What the constructor does.
#[derive(Clone, Default)]
pub(crate) enum Construction {
    #[default]
    Succeeds,
    Fails,
    Panics,
    Aborts,
    Waits(Gate),
    WaitsAndFails(Gate),
    Writes(u64),
}

/// What the `hibernate` hook does.
#[derive(Clone)]
pub(crate) enum Hibernation {
    Tells(Signal),
    Writes(u64),
    Panics,
    Waits(Gate),
}

impl Life {
    /// The life of the object of that name.
    pub(crate) fn of(name: &str) -> Arc<Self> {
        static LIVES: LazyLock<Mutex<HashMap<String, Arc<Life>>>> = LazyLock::new(Mutex::default);
        LIVES.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }

    /// How many instances were begun.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// How many are in memory.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// How many there were at most at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(crate) fn construct(&self, construction: Construction) {
        *self.construction.lock().unwrap() = construction;
    }

    pub(crate) fn hibernate(&self, hibernation: Hibernation) {
        *self.hibernation.lock().unwrap() = Some(hibernation);
    }
}

/// One instance, counted while it exists.
pub struct Alive(Arc<Life>);

impl Alive {
    pub(crate) fn new(life: Arc<Life>) -> Self {
        life.made.fetch_add(1, Ordering::SeqCst);
        let live = life.live.fetch_add(1, Ordering::SeqCst) + 1;
        life.most.fetch_max(live, Ordering::SeqCst);
        Self(life)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

pub struct Actor {
    ctx: Ctx,
    alive: Alive,
    count: u64,
}

/// An error with all that an error may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("not today")]
    NotToday,
    #[error("{wanted} is more than {allowed}")]
    TooMuch { wanted: u64, allowed: u64 },
}

#[durable_object]
impl Actor {
    /// Counts calls, in memory.
    pub fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Counts calls, in memory, with a point at which others could come between.
    pub async fn count_slowly(&mut self) -> u64 {
        let count = self.count;
        tokio::task::yield_now().await;
        self.count = count + 1;
        self.count
    }

    /// Notes the entry when it starts.
    pub fn note(&mut self, log: Log, entry: u64) {
        log.push(entry);
    }

    /// Notes the entry when it starts, beside others.
    #[method(concurrent)]
    pub async fn note_beside(&self, log: Log, entry: u64, gate: Gate) {
        log.push(entry);
        gate.pass().await;
    }

    /// Notes the entry when it starts, then stands at the gate.
    pub async fn note_and_hold(&mut self, log: Log, entry: u64, gate: Gate) {
        log.push(entry);
        gate.pass().await;
    }

    /// Stands at the gate; counts when it has passed.
    pub async fn hold(&mut self, gate: Gate) -> u64 {
        gate.pass().await;
        self.count()
    }

    /// The same with `&self`, which makes no difference to a durable object.
    pub async fn hold_shared(&self, gate: Gate) {
        gate.pass().await;
    }

    /// The same, dropped when its caller is gone.
    #[method(cancel)]
    pub async fn hold_cancel(&mut self, gate: Gate) {
        gate.pass().await;
    }

    /// Tells when its caller is gone, then stands at the gate.
    pub async fn hold_watchful(
        &mut self,
        #[call] call: &CallInfo,
        started: Signal,
        gone: Signal,
        gate: Gate,
    ) {
        started.raise();
        call.cancelled().await;
        assert!(call.is_cancelled());
        gone.raise();
        gate.pass().await;
        self.count += 1;
    }

    /// Keeps a value in storage.
    pub fn keep(&mut self, value: u64) -> kept::Stored<()> {
        Ok(self.ctx.storage().put("kept", &value)?)
    }

    /// The value in storage.
    pub async fn kept(&self) -> kept::Stored<Option<u64>> {
        Ok(self.ctx.storage().get("kept").await?)
    }

    /// Keeps and counts, then refuses.
    pub fn refuse(&mut self, refusal: Refusal) -> Result<u64, Refusal> {
        self.count += 1;
        self.ctx.storage().put("kept", &self.count).map_err(|_| Refusal::NotToday)?;
        Err(refusal)
    }

    /// Keeps, stands at the gate, panics.
    pub async fn panic(&mut self, value: u64, gate: Gate) {
        self.ctx.storage().put("kept", &value).unwrap();
        gate.pass().await;
        panic!("as the test wants");
    }

    /// Keeps, stands at the gate, aborts.
    pub async fn abort(&mut self, value: u64, gate: Gate) {
        self.ctx.storage().put("kept", &value).unwrap();
        gate.pass().await;
        self.ctx.abort("as the test wants");
    }

    /// Aborts beside the calls, once the gate is passed.
    pub fn abort_later(&mut self, gate: Gate) {
        let ctx = self.ctx.clone();
        self.ctx.wait_until(async move {
            gate.pass().await;
            ctx.abort("later");
        });
    }

    /// Goes through the gate beside the calls.
    pub fn later(&mut self, gate: Gate) {
        self.ctx.wait_until(async move { gate.pass().await });
    }

    /// Keeps a value beside the calls, once the gate is passed.
    pub fn keep_later(&mut self, value: u64, gate: Gate) {
        let ctx = self.ctx.clone();
        self.ctx.wait_until(async move {
            gate.pass().await;
            ctx.storage().put("kept", &value).unwrap();
        });
    }

    /// Counts by a call to itself beside the calls, once the gate is passed.
    pub fn count_later(&mut self, gate: Gate, done: Signal) {
        let ctx = self.ctx.clone();
        self.ctx.wait_until(async move {
            gate.pass().await;
            let own = ctx.get::<ActorStub>(ctx.key().name().expect("the tests call it by name"));
            own.count().await.unwrap();
            done.raise();
        });
    }

    /// Panics beside the calls.
    pub fn panic_later(&mut self, gate: Gate) {
        self.ctx.wait_until(async move {
            gate.pass().await;
            panic!("as the test wants");
        });
    }

    /// Panics at once.
    pub fn panic_now(&mut self) {
        panic!("as the test wants");
    }

    /// The object's name, as it knows it.
    pub fn name(&self) -> Option<String> {
        self.ctx.key().name().map(str::to_owned)
    }

    /// The object's id, as it knows it.
    pub fn own_id(&self) -> String {
        self.ctx.key().bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What methods give that use storage.
pub(crate) mod kept {
    use serde::{Deserialize, Serialize};

    /// A storage error's text.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
    #[error("{0}")]
    pub struct NotStored(String);

    impl From<opendo::StorageError> for NotStored {
        fn from(error: opendo::StorageError) -> Self {
            Self(error.to_string())
        }
    }

    pub type Stored<T> = Result<T, NotStored>;
}

impl DurableObject for Actor {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let life = ctx.key().name().map_or_else(Arc::default, Life::of);
        let alive = Alive::new(life.clone());
        let construction = life.construction.lock().unwrap().clone();
        match construction {
            Construction::Succeeds => {}
            Construction::Fails => return Err(opendo::Error::msg("no room")),
            Construction::Panics => panic!("as the test wants"),
            Construction::Aborts => ctx.abort("as the test wants"),
            Construction::Waits(gate) => gate.pass().await,
            Construction::WaitsAndFails(gate) => {
                gate.pass().await;
                return Err(opendo::Error::msg("no room"));
            }
            Construction::Writes(value) => ctx.storage().put("kept", &value)?,
        }
        Ok(Self { ctx, alive, count: 0 })
    }

    async fn hibernate(&mut self) {
        let hibernation = self.alive.0.hibernation.lock().unwrap().clone();
        match hibernation {
            None => {}
            Some(Hibernation::Tells(signal)) => signal.raise(),
            Some(Hibernation::Writes(value)) => self.ctx.storage().put("kept", &value).unwrap(),
            Some(Hibernation::Panics) => panic!("as the test wants"),
            Some(Hibernation::Waits(gate)) => gate.pass().await,
        }
    }
}

/// Waits until every call made so far is queued at its object: what a session carries arrives in order.
pub(crate) async fn arrived(world: &World) {
    let barrier: ActorStub = world.get("barrier");
    barrier.count().await.unwrap();
}
