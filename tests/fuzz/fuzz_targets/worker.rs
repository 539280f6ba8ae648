//! What is called: an object that takes, keeps, gives and streams, and a target.

use std::cell::Cell;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::testing::SessionStats;
use opendo::{Arg, Limits, RpcSink, RpcStream, Stub};
use serde::{Deserialize, Serialize};

thread_local! {
    static LISTENERS: Cell<i64> = const { Cell::new(0) };
}

/// How many listeners there are.
pub fn listeners() -> i64 {
    LISTENERS.get()
}

pub struct Listener;

impl Listener {
    pub fn stub() -> ListenerStub {
        LISTENERS.set(LISTENERS.get() + 1);
        opendo::serve(Self)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENERS.set(LISTENERS.get() - 1);
    }
}

#[rpc_target]
impl Listener {
    pub fn hear(&self, what: u8) -> u8 {
        what
    }

    pub fn next(&self) -> ListenerStub {
        Self::stub()
    }

    pub async fn pass(&self, to: ListenerStub, what: Arg<u8>) -> Option<u8> {
        to.hear(*what).await.ok()
    }
}

#[derive(Clone, Serialize, Deserialize, opendo::Pipelined)]
pub struct Pair {
    pub first: ListenerStub,
    pub second: Option<ListenerStub>,
}

#[derive(Default)]
pub struct Worker {
    log: Vec<u8>,
    kept: Vec<ListenerStub>,
    streams: Vec<RpcStream<u8>>,
    sinks: Vec<RpcSink<u8>>,
}

#[durable_object]
impl Worker {
    pub fn push(&mut self, byte: u8) -> usize {
        self.log.push(byte);
        self.log.len()
    }

    pub fn swap(&mut self, log: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.log, log)
    }

    pub fn name(&self, of: Option<String>) -> Result<(u64, String), String> {
        of.map(|name| (name.len() as u64, name)).ok_or_else(|| "nobody".to_owned())
    }

    #[method(concurrent)]
    pub async fn hold(&self, #[call] call: &CallInfo) -> Option<ListenerStub> {
        call.cancelled().await;
        None
    }

    #[method(concurrent)]
    pub async fn call_back(&self, #[call] call: &CallInfo) -> Option<usize> {
        let back: WorkerStub = call.session()?.get("back");
        back.push(1).await.ok()
    }

    pub async fn keep(&mut self, listener: ListenerStub) {
        self.kept.push(listener);
    }

    pub async fn keep_all(&mut self, listeners: Vec<ListenerStub>) {
        self.kept.extend(listeners);
    }

    pub async fn kept(&self) -> Vec<ListenerStub> {
        self.kept.clone()
    }

    #[method(concurrent)]
    pub async fn tell(&self, listener: ListenerStub, what: u8) -> Option<u8> {
        listener.hear(what).await.ok()
    }

    #[method(concurrent)]
    pub async fn echo(&self, listener: ListenerStub) -> ListenerStub {
        listener
    }

    #[method(concurrent)]
    pub async fn give(&self) -> ListenerStub {
        Listener::stub()
    }

    #[method(concurrent)]
    pub async fn pair(&self, second: Option<ListenerStub>) -> Pair {
        Pair { first: Listener::stub(), second }
    }

    #[method(concurrent)]
    pub async fn add(&self, a: Arg<u8>, b: Arg<u8>) -> u8 {
        a.wrapping_add(*b)
    }

    #[method(concurrent)]
    pub async fn read(&self, mut stream: RpcStream<u8>) -> u64 {
        let mut count = 0;
        while let Some(Ok(_)) = stream.next().await {
            count += 1;
        }
        count
    }

    pub async fn ignore(&mut self, stream: RpcStream<u8>) {
        self.streams.push(stream);
    }

    pub async fn streams(&mut self) -> Vec<RpcStream<u8>> {
        std::mem::take(&mut self.streams)
    }

    pub async fn write(&self, count: u8) -> RpcStream<ListenerStub> {
        RpcStream::from_iter((0..count).map(|_| Listener::stub()))
    }

    pub async fn sink(&mut self) -> RpcSink<u8> {
        let (sink, stream) = opendo::pipe();
        self.streams.push(stream);
        sink
    }

    pub async fn fill(&mut self, sink: RpcSink<u8>) {
        self.sinks.push(sink);
    }

    pub fn forget(&mut self) {
        self.kept.clear();
        self.streams.clear();
        self.sinks.clear();
    }
}

impl DurableObject for Worker {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self::default())
    }
}

/// Small enough to be reached.
pub fn limits() -> Limits {
    Limits {
        max_calls: 64,
        max_capabilities: 16,
        max_pipelined: 4,
        max_stream_buffer: 200,
        max_bindings: 32,
        ..Limits::default()
    }
}

/// Whether a session holds no more than that allows: what ends it may have come just now.
pub fn within(stats: &SessionStats) -> bool {
    stats.running_calls <= 64
        && stats.bound_objects + stats.kept_results <= 32
        && stats.exports <= 16
        && stats.imports <= 17
}

/// Of the object, the target and a sink.
pub fn methods() -> Vec<u32> {
    let all = WorkerStub::INTERFACE.methods.iter().chain(ListenerStub::INTERFACE.methods);
    let fnv32 = |name: &str| {
        name.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    all.map(|method| method.id).chain(["write", "close", "abort"].map(fnv32)).collect()
}
