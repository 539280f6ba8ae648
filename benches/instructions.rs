//! How many instructions plain calls take: a number that does not depend on what else the machine does.
//!
//! `-- --top` also shows which functions they are spent in. `-- --check` fails where they have become more than
//! `instructions.txt` expects, `-- --record` writes that file anew.

use std::hint::black_box;
use std::process::ExitCode;

use opendo::__private::append_postcard;
use opendo::Stored;
use opendo::prelude::*;
use opendo_transport::envelope::{CallHeader, EnvelopeView};

use crate::callgrind::Case;
use crate::floor::Actor;
use crate::subject::{CounterStub, Subject};
use crate::table::for_real;

#[path = "common/callgrind.rs"]
mod callgrind;
#[path = "common/expected.rs"]
mod expected;
// Only its part in one process is used here.
#[allow(dead_code)]
#[path = "common/floor.rs"]
mod floor;
// Only the smallest call is used here.
#[allow(dead_code)]
#[path = "common/subject.rs"]
mod subject;
#[path = "common/table.rs"]
mod table;

const FLOOR: &str = "floor";

const CASES: [Case; 12] = [
    (FLOOR, "round trip in process, by hand (actor task)"),
    ("encode", "envelope and `(u64,)`, encode"),
    ("parse", "envelope and `(u64,)`, decode"),
    ("local", "round trip in process"),
    ("ready", "round trip in process, 64 in flight"),
    ("queued", "round trip in process through the object's queue, 64 in flight"),
    ("session", "round trip over a session (`memory:`), both sides"),
    ("unix", "round trip over a session (`unix:`), both sides"),
    ("pipelined", "round trip over a session (`unix:`), both sides, 64 in flight"),
    ("activation", "first call of an object"),
    ("commit", "round trip in process, committed in memory"),
    ("sqlite", "round trip in process, committed by SQLite"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let succeeded = if let Some((case, times)) = callgrind::is_counted(&arguments) {
        repeat(case, times);
        true
    } else if !for_real() {
        CASES.iter().for_each(|(case, _)| repeat(case, 64));
        true
    } else if is_set("--check") {
        expected::check(&CASES, FLOOR)
    } else if is_set("--record") {
        expected::record(&CASES)
    } else {
        callgrind::report(&CASES, is_set("--top"))
    };
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An object whose number is stored: its answers wait for their commits.
struct Keeper {
    value: Stored<u64>,
}

#[durable_object(vis = "")]
impl Keeper {
    pub fn increment(&mut self, by: u64) -> u64 {
        *self.value.edit() += by;
        *self.value
    }
}

impl DurableObject for Keeper {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: ctx.stored("value").await? })
    }
}

impl Subject for KeeperStub {
    async fn increment(&self, by: u64) -> u64 {
        self.increment(by).await.expect("the object answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }
}

/// An object whose calls queue.
struct Queuing {
    value: u64,
}

#[durable_object(vis = "", inline = false)]
impl Queuing {
    pub fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }
}

impl DurableObject for Queuing {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: 0 })
    }
}

impl Subject for QueuingStub {
    async fn increment(&self, by: u64) -> u64 {
        self.increment(by).await.expect("the object answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }
}

fn repeat(case: &str, times: u32) {
    // The clock stands still: where a call starts depends on how long the method takes, and valgrind takes its time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    // Nor does it skip to the next timer when there is nothing to do, as long as this runs.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || ended.recv());
    match case {
        "encode" => {
            let mut out = Vec::with_capacity(256);
            for call in 0..times {
                out.clear();
                encode(black_box(call), &mut out);
                black_box(&out);
            }
        }
        "parse" => {
            let mut message = Vec::new();
            encode(300, &mut message);
            for _ in 0..times {
                let view = EnvelopeView::parse(black_box(&message)).expect("an envelope");
                let args: (u64,) = postcard::from_bytes(view.body()).expect("arguments");
                black_box((view.call(), view.target(), view.method(), args));
            }
        }
        FLOOR => runtime.block_on(async { increment(Actor::spawn(), times).await }),
        "local" => runtime.block_on(async {
            let node = subject::node().await;
            increment(node.get::<CounterStub>("bench"), times).await;
        }),
        "ready" => runtime.block_on(async {
            let node = subject::node().await;
            in_flight(&node.get::<CounterStub>("bench"), times).await;
        }),
        "queued" => runtime.block_on(async {
            let node = Node::builder().object::<Queuing>().start().await.expect("one class");
            in_flight(&node.get::<QueuingStub>("bench"), times).await;
        }),
        "session" => runtime.block_on(async {
            let node = subject::node().await;
            node.listen("memory:bench").await.expect("a free name");
            let client = opendo::connect("memory:bench").await.expect("it listens");
            increment(client.get::<CounterStub>("bench"), times).await;
        }),
        "unix" => runtime.block_on(over_unix(|stub| increment(stub, times))),
        "pipelined" => runtime.block_on(over_unix(async |stub| in_flight(&stub, times).await)),
        "activation" => runtime.block_on(async {
            let node = subject::node().await;
            for number in 0..times {
                increment(node.get::<CounterStub>(number.to_string()), 1).await;
            }
        }),
        "commit" => runtime.block_on(async {
            let node = Node::builder().object::<Keeper>().start().await.expect("one class");
            increment(node.get::<KeeperStub>("bench"), times).await;
        }),
        "sqlite" => runtime.block_on(async {
            let directory = tempfile::tempdir().expect("a directory");
            let node = Node::builder().object::<Keeper>().storage(directory.path());
            let node = node.start().await.expect("one class");
            increment(node.get::<KeeperStub>("bench"), times).await;
            node.shutdown(std::time::Duration::from_secs(10)).await;
        }),
        other => panic!("`{other}` is none of the cases"),
    }
    drop(end);
}

fn encode(call: u32, out: &mut Vec<u8>) {
    CallHeader { call: call.into(), target: 1, method: 7, timestamp: 1 << 50, ..CallHeader::default() }
        .encode(out);
    append_postcard(&(u64::from(call),), out).expect("encodable");
}

async fn over_unix(calls: impl AsyncFnOnce(CounterStub)) {
    let node = subject::node().await;
    let path = std::env::temp_dir().join(format!("opendo-instructions-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    node.listen(&address).await.expect("a free name");
    let client = opendo::connect(&address).await.expect("it listens");
    calls(client.get::<CounterStub>("bench")).await;
    let _ = std::fs::remove_file(path);
}

/// 64 tasks, which make all calls together.
async fn in_flight(stub: &impl Subject, times: u32) {
    let tasks = (0..64).map(|task| {
        let times = times / 64 + u32::from(task < times % 64);
        tokio::spawn(increment(stub.clone(), times))
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panics");
    }
}

async fn increment(subject: impl Subject, times: u32) {
    for _ in 0..times {
        subject.increment(1).await;
    }
}
