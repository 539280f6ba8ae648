//! How many instructions plain calls take: a number that does not depend on what else the machine does.
//!
//! `-- --top` also shows which functions they are spent in.

use std::hint::black_box;
use std::process::ExitCode;

use opendo_transport::envelope::{CallHeader, EnvelopeView};

use crate::callgrind::Case;
use crate::floor::Actor;
use crate::subject::{CounterStub, Subject};
use crate::table::for_real;

#[path = "common/callgrind.rs"]
mod callgrind;
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

const CASES: [Case; 7] = [
    ("encode", "envelope and `(u64,)`, encode"),
    ("parse", "envelope and `(u64,)`, decode"),
    ("floor", "round trip in process, by hand (actor task)"),
    ("local", "round trip in process"),
    ("ready", "round trip in process, 64 in flight"),
    ("session", "round trip over a session (`memory:`), both sides"),
    ("unix", "round trip over a session (`unix:`), both sides"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((case, times)) = callgrind::is_counted(&arguments) {
        repeat(case, times);
    } else if !for_real() {
        CASES.iter().for_each(|(case, _)| repeat(case, 64));
    } else if !callgrind::report(&CASES, arguments.iter().any(|argument| argument == "--top")) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn repeat(case: &str, times: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
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
        "floor" => runtime.block_on(async { increment(Actor::spawn(), times).await }),
        "local" => runtime.block_on(async {
            let node = subject::node().await;
            increment(node.get::<CounterStub>("bench"), times).await;
        }),
        "ready" => runtime.block_on(async {
            let node = subject::node().await;
            let stub = node.get::<CounterStub>("bench");
            let tasks = (0..64).map(|task| {
                let times = times / 64 + u32::from(task < times % 64);
                tokio::spawn(increment(stub.clone(), times))
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("no panics");
            }
        }),
        "session" => runtime.block_on(async {
            let node = subject::node().await;
            node.listen("memory:bench").await.expect("a free name");
            let client = opendo::connect("memory:bench").await.expect("it listens");
            increment(client.get::<CounterStub>("bench"), times).await;
        }),
        "unix" => runtime.block_on(async {
            let node = subject::node().await;
            let path = std::env::temp_dir().join(format!("opendo-instructions-{}.sock", std::process::id()));
            let address = format!("unix:{}", path.display());
            node.listen(&address).await.expect("a free name");
            let client = opendo::connect(&address).await.expect("it listens");
            increment(client.get::<CounterStub>("bench"), times).await;
            let _ = std::fs::remove_file(path);
        }),
        other => panic!("`{other}` is none of the cases"),
    }
}

fn encode(call: u32, out: &mut Vec<u8>) {
    CallHeader { call: call.into(), target: 1, method: 7, timestamp: 1 << 50, ..CallHeader::default() }
        .encode(out);
    *out = postcard::to_extend(&(u64::from(call),), std::mem::take(out)).expect("encodable");
}

async fn increment(subject: impl Subject, times: u32) {
    for _ in 0..times {
        subject.increment(1).await;
    }
}
