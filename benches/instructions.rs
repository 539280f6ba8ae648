//! How many instructions things take: a number that does not depend on what else the machine does.
//!
//! Runs itself under `valgrind --tool=callgrind`, once for a number of repetitions and once for twice as many; the
//! difference has neither start-up nor tear-down in it. `-- --top` also shows which functions they are spent in.

use std::hint::black_box;
use std::process::{Command, ExitCode};

use opendo_transport::envelope::{CallHeader, EnvelopeView};

use crate::floor::Actor;
use crate::subject::{CounterStub, Subject};
use crate::table::{Number, for_real, table};

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

const CASES: [(&str, &str); 6] = [
    ("encode", "envelope and `(u64,)`, encode"),
    ("parse", "envelope and `(u64,)`, decode"),
    ("floor", "round trip in process, by hand (actor task)"),
    ("local", "round trip in process"),
    ("ready", "round trip in process, 64 in flight"),
    ("session", "round trip over a session (`memory:`), both sides"),
];

const TIMES: u32 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, case, times, ..] = &arguments[..]
        && run == "run"
    {
        repeat(case, times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    if !for_real() {
        CASES.iter().for_each(|(case, _)| repeat(case, 64));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("`valgrind` counts the instructions, and is not installed");
        return ExitCode::FAILURE;
    }
    let top = arguments.iter().any(|argument| argument == "--top");
    let rows: Vec<_> = CASES
        .iter()
        .map(|(case, name)| {
            let count = f64::from(TIMES);
            let each = (counted(case, 2 * TIMES, top) - counted(case, TIMES, false)) / count;
            vec![(*name).to_owned(), Number(each).to_string()]
        })
        .collect();
    table("Instructions", &["", "instructions each"], &rows);
    ExitCode::SUCCESS
}

/// Instructions of a whole run.
fn counted(case: &str, times: u32, top: bool) -> f64 {
    let file = std::env::temp_dir().join(format!("opendo-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().expect("it runs"))
        .args(["run", case, &times.to_string()])
        .output()
        .expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let total = said.lines().find_map(|line| line.split("Collected :").nth(1)).expect("its summary");
    if top {
        let annotated =
            Command::new("callgrind_annotate").arg(&file).output().expect("it comes with valgrind");
        println!("\n### {case}, {times} times\n\n```text");
        String::from_utf8_lossy(&annotated.stdout)
            .lines()
            .skip(20)
            .take(45)
            .for_each(|line| println!("{line}"));
        println!("```");
    }
    let _ = std::fs::remove_file(file);
    total.trim().parse().expect("a number")
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
