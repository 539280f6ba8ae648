//! How costs grow with the number of objects: making them, calling them, having them, and having them asleep.
//!
//! Stubs are made before and are not counted. Every object has one number; which one is called next is left to chance, so
//! that nothing helps but memory. Memory is what the process has resident, with all that the allocator keeps.
//!
//! `-- --quick` shows that it works.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use opendo::Stored;
use opendo::prelude::*;
use opendo::testing::hibernate;

use crate::table::{Number, for_real, table};

#[path = "common/table.rs"]
mod table;

/// Calls of which the time of one is taken.
const CALLS: usize = 200_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { tokio::spawn(bench()).await }).expect("no panics");
}

struct Counter {
    value: u64,
}

#[durable_object(vis = "")]
impl Counter {
    pub fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }
}

impl DurableObject for Counter {
    const IDLE: Option<Duration> = Some(Duration::MAX);

    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: 0 })
    }
}

struct Kept {
    value: Stored<u64>,
}

#[durable_object(vis = "")]
impl Kept {
    pub fn increment(&mut self, by: u64) -> u64 {
        *self.value.edit() += by;
        *self.value
    }

    pub fn value(&self) -> u64 {
        *self.value
    }
}

impl DurableObject for Kept {
    const IDLE: Option<Duration> = Some(Duration::MAX);

    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: ctx.stored("value").await? })
    }
}

async fn bench() {
    let counts: &[usize] = if for_real() { &[1, 100, 10_000, 100_000, 1_000_000] } else { &[1, 10] };
    let mut rows = Vec::new();
    for &count in counts {
        rows.push(in_memory(count, if for_real() { CALLS } else { 10 }).await);
    }
    table(
        "Objects without storage, one call at a time",
        &["objects", "first call, µs", "later calls, µs", "64 in flight, µs each", "resident bytes each"],
        &rows,
    );
    let counts: &[usize] = if for_real() { &[10_000, 100_000, 1_000_000] } else { &[20] };
    let mut rows = Vec::new();
    for &count in counts {
        let data = tempfile::tempdir().expect("a temporary directory");
        rows.push(stored(count, count.min(100_000), data.path()).await);
    }
    table(
        "Objects with a number in SQLite, 64 in flight, µs each",
        &[
            "objects",
            "made",
            "sent to sleep",
            "live again",
            "woken",
            "read",
            "written",
            "resident bytes each live",
        ],
        &rows,
    );
}

/// Not in order, and each once where `count` is a power of ten.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    const STEP: usize = 7_368_787; // a prime
    (0..).map(move |turn: usize| turn.wrapping_mul(STEP) % count)
}

/// Bytes of the process that are resident.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4096.0
}

/// Microseconds each.
fn each(start: Instant, count: usize) -> String {
    Number(start.elapsed().as_secs_f64() * 1e6 / count as f64).to_string()
}

async fn in_memory(count: usize, calls: usize) -> Vec<String> {
    let node = Node::builder().object::<Counter>().start().await.expect("it starts");
    let stubs: Arc<[CounterStub]> = (0..count).map(|number| node.get(format!("counter-{number}"))).collect();
    let before = resident();
    let start = Instant::now();
    for number in shuffled(count).take(count) {
        stubs[number].increment(1).await.expect("it answers");
    }
    let first = each(start, count);
    let bytes = (resident() - before) / count as f64;
    let start = Instant::now();
    for number in shuffled(count).take(calls) {
        stubs[number].increment(1).await.expect("it answers");
    }
    let later = each(start, calls);
    let start = Instant::now();
    let all = shuffled(count).take(calls).map(|number| stubs[number].increment(1));
    futures::stream::iter(all)
        .buffer_unordered(64)
        .for_each(|answer| async { drop(answer.expect("it answers")) })
        .await;
    let together = each(start, calls);
    node.shutdown(Duration::from_secs(60)).await;
    vec![Number(count as f64).to_string(), first, later, together, Number(bytes).to_string()]
}

async fn stored(count: usize, live: usize, data: &Path) -> Vec<String> {
    let node = Node::builder().object::<Kept>().storage(data).start().await.expect("it starts");
    let stubs: Arc<[KeptStub]> = (0..count).map(|number| node.get(format!("kept-{number}"))).collect();
    let mut row = vec![Number(count as f64).to_string()];
    // In parts, so that no more than those are live at once.
    let (mut made, mut slept) = (0.0, 0.0);
    for part in stubs.chunks(live) {
        let start = Instant::now();
        let all = part.iter().map(|stub| stub.increment(1));
        futures::stream::iter(all)
            .buffer_unordered(64)
            .for_each(|answer| async { drop(answer.expect("it answers")) })
            .await;
        made += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let all = part.iter().map(|stub| hibernate(&node, stub));
        futures::stream::iter(all).buffer_unordered(64).collect::<()>().await;
        slept += start.elapsed().as_secs_f64();
    }
    row.extend([made, slept].map(|seconds| Number(seconds * 1e6 / count as f64).to_string()));
    row.push(Number(live as f64).to_string());
    let before = resident();
    let mut bytes = 0.0;
    for (turn, write) in [false, false, true].into_iter().enumerate() {
        let start = Instant::now();
        let all = shuffled(count).take(live).map(|number| {
            let stub = &stubs[number];
            async move { if write { stub.increment(1).await } else { stub.value().await } }
        });
        futures::stream::iter(all)
            .buffer_unordered(64)
            .for_each(|answer| async { assert!(answer.expect("it answers") > 0) })
            .await;
        row.push(each(start, live));
        if turn == 0 {
            bytes = (resident() - before) / live as f64;
        }
    }
    row.push(Number(bytes).to_string());
    node.shutdown(Duration::from_secs(600)).await;
    row
}
