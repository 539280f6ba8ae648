//! The object that the cases about capabilities use: it makes targets, keeps them, calls them and passes them on.
//!
//! Targets are counted, wherever they are made: the last stub of each must be gone when a case ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use opendo::prelude::*;
use opendo::{Arg, NodeBuilder};
use serde::{Deserialize, Serialize};

use super::by_name::{ByName, Gate, Log};
use super::world::until;

/// What the targets made from it have heard, and how many of them there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ear {
    log: Log,
    live: ByName<AtomicUsize>,
}

impl Ear {
    pub(crate) fn new() -> Self {
        Self { log: Log::new(), live: ByName::new() }
    }

    /// One more target.
    pub(crate) fn serve(&self) -> ListenerStub {
        self.live.fetch_add(1, Ordering::SeqCst);
        opendo::serve(Listener { ear: self.clone() })
    }

    pub(crate) fn heard(&self) -> Vec<u64> {
        self.log.take()
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Waits until every target made from it was dropped.
    pub(crate) async fn gone(&self) {
        until("the targets are gone", || self.live() == 0).await;
    }
}

/// A target, and its ear.
pub(crate) fn listener() -> (ListenerStub, Ear) {
    let ear = Ear::new();
    (ear.serve(), ear)
}

/// A target on any side.
pub struct Listener {
    ear: Ear,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ear.live.fetch_sub(1, Ordering::SeqCst);
    }
}

#[rpc_target]
impl Listener {
    /// Notes it; one more.
    pub fn hear(&mut self, what: u64) -> u64 {
        self.ear.log.push(what);
        what + 1
    }

    /// The same, with a point at which others could come between.
    pub async fn hear_slowly(&mut self, what: u64) -> u64 {
        tokio::task::yield_now().await;
        self.hear(what)
    }

    /// Stands at the gate, then notes it.
    pub async fn hold(&mut self, gate: Gate, what: u64) -> u64 {
        gate.pass().await;
        self.hear(what)
    }

    /// Stands at the gate, but not when its caller is gone.
    #[method(cancel)]
    pub async fn wait(&self, gate: Gate) {
        gate.pass().await;
    }

    pub fn refuse(&self) -> Result<u64, String> {
        Err("not today".into())
    }

    pub fn panic(&mut self) -> u64 {
        panic!("as the test wants");
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Pair {
    pub first: ListenerStub,
    pub second: Option<ListenerStub>,
    pub count: u64,
}

/// What comes of encoding a [`Trap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Springs {
    Never,
    Refuses,
    Panics,
}

/// A value that may be more than its encoding takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap(pub Springs);

impl Serialize for Trap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Springs::Never => serializer.serialize_unit(),
            Springs::Refuses => Err(serde::ser::Error::custom("as the test wants")),
            Springs::Panics => panic!("as the test wants"),
        }
    }
}

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self(Springs::Never))
    }
}

/// A stub, and something behind it that may not be encoded.
#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Trapped {
    pub stub: ListenerStub,
    pub trap: Trap,
    pub padding: String,
}

pub struct Broker {
    ctx: Ctx,
    kept: Vec<ListenerStub>,
}

#[durable_object]
impl Broker {
    // ---- what it is given

    pub async fn tell(&self, listener: ListenerStub, what: u64) -> u64 {
        listener.hear(what).await.unwrap()
    }

    /// Its own words when that cannot be done.
    pub async fn try_tell(&self, listener: ListenerStub, what: u64) -> Result<u64, String> {
        listener.hear(what).await.map_err(|error| error.to_string())
    }

    /// Lets go of it while it is called.
    pub async fn tell_and_drop(&self, listener: ListenerStub, gate: Gate, what: u64) -> u64 {
        let call = listener.hold(gate, what);
        drop(listener);
        call.await.unwrap()
    }

    /// Tells the numbers below that, without waiting for one before the next.
    pub async fn tell_many(&self, listener: ListenerStub, count: u64) {
        let calls: Vec<_> = (0..count).map(|what| listener.hear_slowly(what)).collect();
        for (what, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), what as u64 + 1);
        }
    }

    /// What comes of a method that fails.
    pub async fn provoke(&self, listener: ListenerStub, panic: bool) -> String {
        if panic {
            listener.panic().await.unwrap_err().to_string()
        } else {
            listener.refuse().await.unwrap_err().to_string()
        }
    }

    /// Waits with it, as long as the caller does.
    #[method(cancel)]
    pub async fn wait(&self, listener: ListenerStub, gate: Gate) {
        listener.wait(gate).await.unwrap();
    }

    pub async fn tell_value(&self, listener: Arg<ListenerStub>, what: Arg<u64>) -> u64 {
        listener.hear(*what).await.unwrap()
    }

    pub fn keep(&mut self, listener: ListenerStub) {
        self.kept.push(listener);
    }

    pub async fn tell_all(&mut self, what: u64) -> u64 {
        let mut sum = 0;
        for listener in &self.kept {
            sum += listener.hear(what).await.unwrap();
        }
        sum
    }

    /// One that it keeps.
    pub fn kept(&self) -> Option<ListenerStub> {
        self.kept.first().cloned()
    }

    pub fn forget(&mut self) {
        self.kept.clear();
    }

    // ---- what it gives

    pub fn echo(&self, listener: ListenerStub) -> ListenerStub {
        listener
    }

    pub fn echo_all(&self, listeners: Vec<ListenerStub>) -> Vec<ListenerStub> {
        listeners
    }

    pub async fn echo_slowly(&self, listener: ListenerStub, gate: Gate) -> ListenerStub {
        gate.pass().await;
        listener
    }

    pub fn make(&self, ear: Ear) -> ListenerStub {
        ear.serve()
    }

    pub async fn make_slowly(&self, ear: Ear, gate: Gate) -> ListenerStub {
        gate.pass().await;
        ear.serve()
    }

    /// Needs a number first.
    pub fn make_after(&self, ear: Ear, _number: Arg<u64>) -> ListenerStub {
        ear.serve()
    }

    pub fn pair(&self, ear: Ear, both: bool) -> Pair {
        let first = ear.serve();
        Pair { first: first.clone(), second: both.then_some(first), count: 3 }
    }

    pub fn trapped(&self, ear: Ear, springs: Springs, padding: u64) -> Trapped {
        let padding = "x".repeat(usize::try_from(padding).unwrap());
        Trapped { stub: ear.serve(), trap: Trap(springs), padding }
    }

    /// Takes such a value.
    pub async fn spring(&self, trapped: Trapped) -> u64 {
        trapped.stub.hear(1).await.unwrap()
    }

    pub fn fail(&self) -> Result<ListenerStub, String> {
        Err("not today".into())
    }

    pub fn fail_with_broker(&self) -> Result<BrokerStub, String> {
        Err("not today".into())
    }

    pub fn panic(&mut self) -> BrokerStub {
        panic!("as the test wants");
    }

    /// Keeps it busy.
    pub async fn hold(&self, gate: Gate) -> u64 {
        gate.pass().await;
        0
    }

    pub fn other(&self, name: String) -> BrokerStub {
        self.ctx.get(name)
    }

    pub fn name(&self) -> Option<String> {
        self.ctx.key().name().map(Into::into)
    }

    // ---- by way of others

    /// Has another one echo it.
    pub async fn echo_by(&self, broker: BrokerStub, listener: ListenerStub) -> ListenerStub {
        broker.echo(listener).await.unwrap()
    }

    /// Calls what another one makes before it has it.
    pub async fn make_by(&self, broker: BrokerStub, ear: Ear, what: u64) -> Result<u64, String> {
        broker.make(ear).hear(what).await.map_err(|error| error.to_string())
    }

    // ---- what it stores

    pub fn store(&mut self, broker: BrokerStub) -> Result<(), String> {
        self.ctx.storage().put("broker", &broker).map_err(|error| error.to_string())
    }

    pub fn store_listener(&mut self, listener: ListenerStub) -> Result<(), String> {
        self.ctx.storage().put("listener", &listener).map_err(|error| error.to_string())
    }

    pub async fn stored(&self) -> BrokerStub {
        self.ctx.storage().get("broker").await.unwrap().unwrap()
    }

    // ---- numbers

    pub fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }

    pub async fn add_slowly(&self, a: u64, b: u64, gate: Gate) -> u64 {
        gate.pass().await;
        a + b
    }

    pub fn square(&self, n: Arg<u64>) -> u64 {
        *n * *n
    }

    pub fn sum(&self, a: Arg<u64>, b: u64, c: Arg<u64>) -> u64 {
        *a + b + *c
    }

    pub fn refuse(&self) -> Result<u64, String> {
        Err("no".into())
    }
}

impl DurableObject for Broker {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { ctx, kept: Vec::new() })
    }
}

pub(crate) fn hosted() -> NodeBuilder {
    Node::builder().object::<Broker>()
}
