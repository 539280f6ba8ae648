//! A peer that speaks Cap'n Web, in its own way: no panic, no hang, no more in the tables than may be and nothing at
//! the end, and a peer beside it notices nothing.
//!
//! An input that begins with `[` is lines, and any other chooses what is said.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz text tests/fuzz/corpus/text tests/fuzz/seeds/text -- -max_total_time=120`

#![no_main]

mod lines;

use std::cell::Cell;
use std::time::Duration;

use futures::StreamExt;
use libfuzzer_sys::fuzz_target;
use lines::{Peer, says};
use opendo::prelude::*;
use opendo::testing::{SessionStats, node_stats};
use opendo::value::Value;
use opendo::{DynStub, Limits, RpcSink, RpcStream, Session};
use tokio::time::{sleep, timeout};

thread_local! {
    static COUNTERS: Cell<i64> = const { Cell::new(0) };
}

struct Counter(f64);

impl Counter {
    fn stub() -> CounterStub {
        COUNTERS.set(COUNTERS.get() + 1);
        opendo::serve(Self(0.0))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        COUNTERS.set(COUNTERS.get() - 1);
    }
}

#[rpc_target]
impl Counter {
    pub fn increment(&mut self, by: Option<f64>) -> f64 {
        self.0 += by.unwrap_or(1.0);
        self.0
    }

    #[method(property)]
    pub fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Default)]
struct Api(Vec<Value>);

#[rpc_target]
impl Api {
    pub fn square(&self, n: f64) -> f64 {
        n * n
    }

    pub fn echo(&self, value: Value) -> Value {
        value
    }

    pub fn keep(&mut self, value: Value) {
        self.0.push(value);
    }

    pub fn counter(&self) -> CounterStub {
        Counter::stub()
    }

    pub fn counters(&self) -> Vec<CounterStub> {
        (0..3).map(|_| Counter::stub()).collect()
    }

    pub fn numbers(&self) -> Vec<u32> {
        (0..5).collect()
    }

    pub async fn call(&self, function: DynStub, value: Value) -> Result<Value, Value> {
        Ok(function.invoke([value]).await?)
    }

    pub async fn increment(&self, counter: CounterStub) -> Option<f64> {
        counter.increment(None).await.ok()
    }

    pub async fn collect(&self, mut stream: RpcStream<Value>) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(Ok(value)) = stream.next().await {
            all.push(value);
        }
        all
    }

    pub async fn give(&self) -> RpcStream<u32> {
        RpcStream::from_iter(0..10)
    }

    pub async fn sink(&self) -> RpcSink<Value> {
        let (sink, stream) = opendo::pipe::<Value>();
        tokio::spawn(stream.for_each(|_| std::future::ready(())));
        sink
    }

    pub async fn fill(&self, mut sink: RpcSink<u32>) -> bool {
        sink.send(1).await.is_ok() && sink.close().await.is_ok()
    }

    pub async fn hold(&self, #[call] call: &CallInfo) {
        call.cancelled().await;
    }
}

fn limits() -> Limits {
    Limits {
        max_message: 1 << 16,
        max_calls: 16,
        max_capabilities: 16,
        max_call_bytes: 1 << 14,
        max_pipelined: 16,
        max_map_steps: 100,
        max_stream_buffer: 1 << 10,
        max_bindings: 32,
        max_unsent: 1 << 16,
        ..Limits::default()
    }
}

fn within(stats: &SessionStats) -> bool {
    let limits = limits();
    stats.running_calls <= limits.max_calls as usize
        && stats.kept_results <= limits.max_bindings as usize + 1
        && stats.imports <= limits.max_capabilities as usize + limits.max_calls as usize
        && stats.unsent_bytes <= limits.max_unsent + limits.max_message
}

fuzz_target!(|input: &[u8]| {
    let says = says(input);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let run = async {
            let root = |_: &Session| Ok(opendo::serve::<ApiStub, _>(Api::default()));
            let node = Node::builder().limits(limits()).accept(root).start().await.unwrap();
            let mut bystander = Peer::of(&node).await;
            bystander.say(r#"["push",["pipeline",0,["square"],[3]]]"#).await;
            let mut peer = Peer::of(&node).await;
            for (at, line) in says.iter().enumerate() {
                peer.say(line).await;
                if at % 3 == 2 {
                    sleep(Duration::from_millis(1)).await;
                    peer.listen();
                }
                for stats in node_stats(&node) {
                    assert!(within(&stats), "{stats:?}");
                }
            }
            sleep(Duration::from_millis(10)).await;
            drop(peer);
            bystander.say(r#"["pull",1]"#).await;
            assert_eq!(bystander.hear().await.as_deref(), Some(r#"["resolve",1,9]"#));
            bystander.say(r#"["release",1,1]"#).await;
            sleep(Duration::from_secs(20)).await;
            assert_eq!(node_stats(&node), [SessionStats::default()]);
            assert_eq!(COUNTERS.get(), 0);
        };
        timeout(Duration::from_secs(300), run).await.expect("it hangs");
    });
});
