//! How often a call allocates, and how much: client and server together, in one process, beside the floor.

use std::alloc::System;
use std::future::Future;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::floor::{Actor, Connection};
use crate::subject::{CounterStub, Subject};
use crate::table::{Number, for_real, table};

#[path = "common/floor.rs"]
mod floor;
#[path = "common/subject.rs"]
mod subject;
#[path = "common/table.rs"]
mod table;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs the calls in as many tasks as are in flight; allocations and bytes per call.
async fn count<F>(in_flight: usize, call: impl Fn() -> F + Clone + Send + 'static) -> [f64; 2]
where
    F: Future + Send,
{
    let each = if for_real() { 20_000 / in_flight } else { 1 };
    let run = || async {
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| {
                let call = call.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        call().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panics");
        }
    };
    run().await; // connections, buffers and tables grow to their sizes
    let region = Region::new(ALLOCATOR);
    run().await;
    let change = region.change();
    let calls = (each * in_flight) as f64;
    // A reallocation is one as well.
    [(change.allocations + change.reallocations) as f64 / calls, change.bytes_allocated as f64 / calls]
}

async fn rows<F: Subject, O: Subject>(transport: &str, floor: F, ours: O, rows: &mut Vec<Vec<String>>) {
    for in_flight in [1, 64] {
        let (one, other) = (floor.clone(), ours.clone());
        let increments = [
            count(in_flight, move || increment(one.clone())).await,
            count(in_flight, move || increment(other.clone())).await,
        ];
        let (one, other) = (floor.clone(), ours.clone());
        let echoes = [
            count(in_flight, move || echo(one.clone())).await,
            count(in_flight, move || echo(other.clone())).await,
        ];
        for (name, [floor, ours]) in [("increment", increments), ("echo 1 KiB, bytes", echoes)] {
            let mut row = vec![transport.to_owned(), name.to_owned(), in_flight.to_string()];
            row.extend([floor[0], ours[0], floor[1], ours[1]].map(|it| Number(it).to_string()));
            rows.push(row);
        }
    }
}

async fn increment(subject: impl Subject) {
    subject.increment(1).await;
}

async fn echo(subject: impl Subject) {
    subject.echo_bytes(vec![7; 1024]).await;
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut table_rows = Vec::new();
    let node = subject::node().await;
    rows("in process", Actor::spawn(), node.get::<CounterStub>("local"), &mut table_rows).await;
    let address = node.listen("tcp://127.0.0.1:0").await.expect("a free port").to_string();
    let floor = floor::serve("tcp://127.0.0.1:0").await.expect("a free port");
    let floor = Connection::open(&floor).await.expect("it listens");
    let client = opendo::connect(&address).await.expect("it listens");
    rows("tcp", floor, client.get::<CounterStub>("remote"), &mut table_rows).await;
    table(
        "Allocations per call, both sides",
        &["", "call", "in flight", "floor", "opendo", "floor bytes", "opendo bytes"],
        &table_rows,
    );
}
