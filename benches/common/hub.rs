//! A target that deals in stubs, streams and calls that take their time, and what it gives out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use opendo::prelude::*;
use opendo::{Limits, NodeBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use tokio::sync::Notify;

use crate::subject::{Counter, CounterStub};

/// The payload of blocks.
pub(crate) const BLOCK: usize = 1024;

/// What is passed to a hub and called by it.
pub(crate) struct Ear;

/// Its remote methods.
#[rpc_target(vis = "pub(crate)")]
impl Ear {
    /// Gives it back.
    pub async fn told(&self, value: u64) -> u64 {
        value
    }

    /// Hears it.
    pub async fn heard(&self, _news: Counted) {}
}

/// Counts how often it is encoded.
#[derive(Clone, Debug)]
pub(crate) struct Counted(pub(crate) String);

static ENCODED: AtomicU64 = AtomicU64::new(0);

impl Counted {
    /// How often one was encoded since the last time.
    pub(crate) fn take_count() -> u64 {
        ENCODED.swap(0, Ordering::Relaxed)
    }
}

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ENCODED.fetch_add(1, Ordering::Relaxed);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Runs one call at a time, the first of them for ever.
pub(crate) struct Door;

/// Its remote methods.
#[rpc_target(vis = "pub(crate)")]
impl Door {
    /// Does not return.
    pub async fn pass(&mut self, _by: u64) -> u64 {
        std::future::pending().await
    }
}

/// What a bench sees of its hub.
pub(crate) struct State {
    pub(crate) ears: Mutex<Vec<EarStub>>,
    pub(crate) group: Group<EarStub>,
    /// Lets the late ones go on.
    pub(crate) gate: Notify,
    ear: EarStub,
    door: DoorStub,
    hub: OnceLock<HubStub>,
    pub(crate) node: OnceLock<Node>,
    /// Bytes and allocations of this process that are live.
    live: fn() -> (u64, u64),
}

pub(crate) struct Hub(Arc<State>);

impl Hub {
    /// Within a runtime.
    pub(crate) fn serve(live: fn() -> (u64, u64)) -> (HubStub, Arc<State>) {
        let state = Arc::new(State {
            ears: Mutex::default(),
            group: Group::new(),
            gate: Notify::new(),
            ear: opendo::serve(Ear),
            door: opendo::serve(Door),
            hub: OnceLock::new(),
            node: OnceLock::new(),
            live,
        });
        let hub: HubStub = opendo::serve(Self(state.clone()));
        let _ = state.hub.set(hub.clone());
        (hub, state)
    }

    /// A node whose root it is, and that hosts counters.
    pub(crate) fn node(hub: &HubStub) -> NodeBuilder {
        let hub = hub.clone();
        let limits = Limits { max_pipelined: 1 << 20, ..Limits::default() };
        let node = Node::builder().object::<Counter>().limits(limits);
        node.accept(move |_| Ok(hub.clone())).allow_names()
    }
}

/// Its remote methods.
#[rpc_target(vis = "pub(crate)")]
impl Hub {
    /// Gives it back.
    pub async fn plain(&self, value: u64) -> u64 {
        value
    }

    /// As many bytes as a chunk of `blocks` has.
    pub async fn block(&self, value: u64) -> ByteBuf {
        ByteBuf::from(vec![value as u8; BLOCK])
    }

    /// Gives it back.
    pub async fn echo(&self, data: ByteBuf) -> ByteBuf {
        data
    }

    /// Lets go of it at once.
    pub async fn takes(&self, _ear: EarStub) -> u64 {
        1
    }

    /// Calls it once.
    pub async fn calls_back(&self, ear: EarStub, value: u64) -> u64 {
        ear.told(value).await.expect("it answers")
    }

    /// Calls it once.
    pub async fn runs(&self, function: Callback<u64, u64>, value: u64) -> u64 {
        function.call(value).await.expect("it answers")
    }

    /// A stub of something else.
    pub async fn gives(&self) -> EarStub {
        self.0.ear.clone()
    }

    /// A stub of this.
    pub async fn gives_hub(&self) -> HubStub {
        self.0.hub.get().expect("it was set").clone()
    }

    /// The same, when the gate is open.
    pub async fn gives_late(&self) -> HubStub {
        self.0.gate.notified().await;
        self.0.hub.get().expect("it was set").clone()
    }

    /// Does not return.
    pub async fn waits(&self, _value: u64) -> u64 {
        std::future::pending().await
    }

    /// What runs one call at a time.
    pub async fn door(&self) -> DoorStub {
        self.0.door.clone()
    }

    /// A stub of an object that nobody has called.
    pub async fn object(&self, number: u64) -> CounterStub {
        self.0.node.get().expect("it was set").get(number.to_string())
    }

    /// Calls that many objects, which are in memory then.
    pub async fn wake(&self, objects: u64) {
        for number in 0..objects {
            let counter: CounterStub = self.0.node.get().expect("it was set").get(number.to_string());
            counter.increment(1).await.expect("it answers");
        }
    }

    /// Keeps it.
    pub async fn keep(&self, ear: EarStub) {
        self.0.ears.lock().expect("no panics").push(ear);
    }

    /// Adds it to the group.
    pub async fn join(&self, ear: EarStub) {
        self.0.group.join(ear);
    }

    /// That many numbers.
    pub async fn numbers(&self, count: u64) -> RpcStream<u64> {
        RpcStream::from_iter(0..count)
    }

    /// That many blocks.
    pub async fn blocks(&self, count: u64) -> RpcStream<ByteBuf> {
        RpcStream::from_iter((0..count).map(|value| ByteBuf::from(vec![value as u8; BLOCK])))
    }

    /// Nothing, for ever.
    pub async fn silence(&self) -> RpcStream<u64> {
        RpcStream::from_stream(futures::stream::pending())
    }

    /// Bytes and allocations of this process that are live, when everything has come to rest.
    pub async fn live(&self) -> (u64, u64) {
        settle().await;
        (self.0.live)()
    }
}

/// Lets the other tasks of this thread do what they can do without us.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
