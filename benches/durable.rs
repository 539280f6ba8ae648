//! Calls that are durable before they are answered: of one object and of 10,000, beside rows that are written to SQLite
//! in batches by hand, and beside workerd (npm), the runtime of Cloudflare's Durable Objects.
//!
//! Every call adds to a number that is stored under one key. The batches are what the engine does and nothing else: one
//! thread, one connection (`WAL`, `synchronous=FULL`), up to 256 writes a transaction, each answered when its
//! transaction is flushed. A closed loop: so many tasks, each call-await-call. The systems alternate, all on the disk of
//! the temporary directory (`TMPDIR`).
//!
//! `-- --quick` shows that it works; `-- --instructions` counts instructions instead, with valgrind, and `-- --top` says
//! where. Without Node and npm there is no workerd to compare with.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use opendo::Stored;
use opendo::prelude::*;
use opendo::testing::hibernate;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::callgrind::Case;
use crate::spread::Spread;
use crate::table::{Number, for_real, table};

#[path = "common/callgrind.rs"]
mod callgrind;
#[path = "common/npm.rs"]
mod npm;
#[path = "common/spread.rs"]
mod spread;
#[path = "common/table.rs"]
mod table;

const CASES: [Case; 5] = [
    ("batches", "a write of one of 1,000 rows, in batches by hand"),
    ("durable", "a durable call of one of 1,000 objects"),
    ("memory", "the same, in memory"),
    ("new", "the first call of an object, in memory"),
    ("new-durable", "the first call of an object, durable"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let Some((case, times)) = callgrind::is_counted(&arguments) {
        // The clock stands still: where a call starts depends on how long the method takes.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(repeat(case, times as usize));
    } else if is_set("--instructions") || is_set("--top") {
        return if callgrind::report(&CASES, is_set("--top")) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    } else {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async { tokio::spawn(bench()).await }).expect("no panics");
    }
    ExitCode::SUCCESS
}

/// 64 in flight.
async fn repeat(case: &str, times: usize) {
    async fn all<C: Counters>(counters: &C, count: usize, times: usize) {
        let all = (0..times).map(|call| counters.increment(call % count));
        futures::stream::iter(all).buffer_unordered(64).collect::<Vec<_>>().await;
    }
    let data = tempfile::tempdir().expect("a temporary directory");
    match case {
        "batches" => {
            let batches = Batches::start(1_000, data.path());
            all(&batches, 1_000, 1_000).await;
            all(&batches, 1_000, times).await;
        }
        "new" | "new-durable" => {
            let durable = (case == "new-durable").then_some(data.path());
            let (_node, stubs) = objects(4_000, durable).await;
            all(&stubs, 4_000, times).await;
        }
        _ => {
            let (_node, stubs) = objects(1_000, (case == "durable").then_some(data.path())).await;
            all(&stubs, 1_000, 1_000).await;
            all(&stubs, 1_000, times).await;
        }
    }
}

// ---- the systems

/// Something that keeps numbers, each by its name.
trait Counters: Clone + Send + Sync + 'static {
    fn increment(&self, number: usize) -> impl Future<Output = u64> + Send;
}

struct Counter {
    value: Stored<u64>,
}

#[durable_object(vis = "")]
impl Counter {
    pub fn increment(&mut self, by: u64) -> u64 {
        *self.value.edit() += by;
        *self.value
    }
}

impl DurableObject for Counter {
    const IDLE: Option<Duration> = Some(Duration::MAX);

    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: ctx.stored("value").await? })
    }
}

impl Counters for Arc<[CounterStub]> {
    async fn increment(&self, number: usize) -> u64 {
        self[number].increment(1).await.expect("it answers")
    }
}

/// Objects of a node that keeps them in this directory, or in memory.
async fn objects(count: usize, data: Option<&Path>) -> (Node, Arc<[CounterStub]>) {
    let node = Node::builder().object::<Counter>();
    let node = data.into_iter().fold(node, opendo::NodeBuilder::storage).start().await.expect("it starts");
    let stubs = (0..count).map(|number| node.get(format!("counter-{number}"))).collect();
    (node, stubs)
}

struct Write1 {
    number: usize,
    done: oneshot::Sender<u64>,
}

/// A thread that writes batches.
#[derive(Clone)]
struct Batches(std::sync::mpsc::Sender<Write1>);

impl Batches {
    fn start(count: usize, data: &Path) -> Self {
        let (ask, asked) = std::sync::mpsc::channel::<Write1>();
        let mut database = Connection::open(data.join("batches.sqlite3")).expect("it opens");
        database
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
                 CREATE TABLE kv(object INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
                 PRIMARY KEY (object, key)) STRICT, WITHOUT ROWID",
            )
            .expect("it is new");
        std::thread::spawn(move || {
            let mut values = vec![0_u64; count];
            while let Ok(first) = asked.recv() {
                let batch: Vec<_> = std::iter::once(first).chain(asked.try_iter().take(255)).collect();
                let transaction = database.transaction().expect("it begins");
                {
                    let sql = "INSERT OR REPLACE INTO kv VALUES (?, ?, ?)";
                    let mut put = transaction.prepare_cached(sql).expect("it is right");
                    for Write1 { number, .. } in &batch {
                        values[*number] += 1;
                        let row = (*number as i64, &b"uvalue"[..], &values[*number].to_le_bytes()[..]);
                        put.execute(row).expect("it writes");
                    }
                }
                transaction.commit().expect("it commits");
                for Write1 { number, done } in batch {
                    let _ = done.send(values[number]);
                }
            }
        });
        Self(ask)
    }
}

impl Counters for Batches {
    async fn increment(&self, number: usize) -> u64 {
        let (done, wait) = oneshot::channel();
        self.0.send(Write1 { number, done }).expect("the thread is there");
        wait.await.expect("it writes")
    }
}

/// workerd, with the same object.
struct Workerd {
    process: Child,
    ask: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Workerd {
    fn start() -> std::io::Result<Self> {
        let work = npm::install("workerd", &["serve.mjs", "worker.mjs"])?;
        let mut node = Command::new("node");
        let node = node.arg(work.join("serve.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = node.spawn()?;
        let (ask, hear) = (process.stdin.take(), process.stdout.take());
        let mut workerd =
            Self { process, ask: ask.expect("piped"), hear: BufReader::new(hear.expect("piped")) };
        workerd.line();
        Ok(workerd)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).expect("text");
        line
    }

    fn seconds(&mut self, calls: u64, in_flight: usize, objects: usize) -> f64 {
        writeln!(self.ask, "{calls} {in_flight} {objects}").expect("it listens");
        self.line().trim().parse().expect("seconds")
    }

    /// Calls per second. They are made within workerd; how many fill the time is found out first.
    fn rate(&mut self, in_flight: usize, objects: usize, time: Duration) -> f64 {
        let mut calls = in_flight as u64;
        loop {
            let seconds = self.seconds(calls, in_flight, objects);
            if seconds >= time.as_secs_f64() / 4.0 {
                let fill = (calls as f64 * time.as_secs_f64() / seconds) as u64 + 1;
                return fill as f64 / self.seconds(fill, in_flight, objects);
            }
            calls *= 4;
        }
    }
}

impl Drop for Workerd {
    fn drop(&mut self) {
        let _ = writeln!(self.ask);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- the load

/// Calls per second.
async fn rate<C: Counters>(counters: &C, in_flight: usize, objects: usize, time: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let (calls, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (counters, stop) = (counters.clone(), stop.clone());
            let (calls, next) = (calls.clone(), next.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed) as usize % objects;
                    assert!(counters.increment(number).await > 0);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(time / 4).await; // warm-up
    let (start, before) = (Instant::now(), calls.load(Ordering::Relaxed));
    tokio::time::sleep(time).await;
    let (took, after) = (start.elapsed(), calls.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no panics");
    }
    (after - before) as f64 / took.as_secs_f64()
}

async fn bench() {
    let (rounds, time, many) =
        if for_real() { (5, Duration::from_secs(1), 10_000) } else { (1, Duration::from_millis(30), 100) };
    let mut workerd = match Workerd::start() {
        Ok(workerd) => Some(workerd),
        Err(error) => {
            eprintln!("workerd cannot be compared with: {error}");
            None
        }
    };
    let data = tempfile::tempdir().expect("a temporary directory");
    let (node, stubs) = objects(many, Some(&data.path().join("node"))).await;
    let batches = Batches::start(many, data.path());
    // All objects are in memory from the start.
    let all = futures::stream::iter(0..many).map(|number| stubs.increment(number));
    all.buffer_unordered(256).collect::<Vec<_>>().await;
    let mut rows = Vec::new();
    for (count, in_flight) in [(1, 1), (1, 64), (1, 1024), (many, 1), (many, 64), (many, 1024)] {
        let [mut raw, mut ours, mut theirs] = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            raw.push(rate(&batches, in_flight, count, time).await);
            ours.push(rate(&stubs, in_flight, count, time).await);
            // As many objects as that would each be a file that is open.
            if let Some(workerd) = workerd.as_mut().filter(|_| count == 1) {
                theirs.push(tokio::task::block_in_place(|| workerd.rate(in_flight, count, time)));
            }
        }
        let or_nothing = |values: &[f64], show: &dyn Fn() -> Spread| match values {
            [] => "–".to_owned(),
            _ => show().to_string(),
        };
        rows.push(vec![
            format!("{}", Number(count as f64)),
            format!("{}", Number(in_flight as f64)),
            Spread::of(raw.iter().copied()).to_string(),
            Spread::of(ours.iter().copied()).to_string(),
            Spread::ratios(&ours, &raw).to_string(),
            or_nothing(&theirs, &|| Spread::of(theirs.iter().copied())),
            or_nothing(&theirs, &|| Spread::ratios(&ours, &theirs)),
        ]);
    }
    let columns = [
        "objects",
        "in flight",
        "SQLite in batches",
        "opendo",
        "opendo ÷ SQLite",
        "workerd",
        "opendo ÷ workerd",
    ];
    table("Durable calls per second", &columns, &rows);
    node.shutdown(Duration::from_secs(60)).await;
    drop(workerd);
    sleep_and_wake(many).await;
}

/// What it takes to make objects, and to bring them back.
async fn sleep_and_wake(many: usize) {
    let mut rows = Vec::new();
    for durable in [false, true] {
        let data = tempfile::tempdir().expect("a temporary directory");
        let (node, stubs) = objects(many, durable.then_some(data.path())).await;
        let called = async |in_flight: usize| {
            let start = Instant::now();
            let all = futures::stream::iter(0..many).map(|number| stubs.increment(number));
            all.buffer_unordered(in_flight).collect::<Vec<_>>().await;
            start.elapsed().as_secs_f64() * 1e6 / many as f64
        };
        let first = called(64).await;
        let again = called(64).await;
        let mut asleep = Vec::new();
        for in_flight in [64, 1] {
            for stub in stubs.iter() {
                hibernate(&node, stub).await;
            }
            asleep.push(called(in_flight).await);
        }
        rows.push(vec![
            if durable { "SQLite" } else { "in memory" }.to_owned(),
            Number(first).to_string(),
            Number(again).to_string(),
            Number(asleep[0]).to_string(),
            Number(asleep[1]).to_string(),
        ]);
        node.shutdown(Duration::from_secs(60)).await;
    }
    let columns =
        ["storage", "first, 64 in flight", "second", "after a sleep, 64 in flight", "… one at a time"];
    table("Microseconds for a call, each of its own object", &columns, &rows);
}
