//! What many connections take of a server: memory while they are idle, time to open them, and calls among them.
//!
//! The server is a process of its own, which has one target for each session. It counts what its allocator has given
//! out, and this process looks at what it has resident; what the kernel keeps for a socket is in neither. Each number
//! of connections has a server of its own, in which some were opened and closed before anything is counted.
//!
//! Both processes raise how many files they may have open as far as they are allowed to: 10,000 connections take as
//! many in each. `-- --quick` shows that it works.

use std::alloc::System;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use opendo::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::resident::resident_kib;
use crate::server::Server;
use crate::table::{Number, for_real, table};

#[path = "common/resident.rs"]
mod resident;
#[path = "common/server.rs"]
mod server;
#[path = "common/table.rs"]
mod table;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What there is beside one for each connection.
const OTHER_FILES: usize = 100;

/// Calls of which the time of one is taken.
const CALLS: usize = 50_000;

/// How many are opened, or called, at a time.
const AT_A_TIME: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match &arguments[..] {
        [what, address] if what == "serve" => runtime.block_on(serve(address)),
        _ => runtime.block_on(async { tokio::spawn(bench()).await }).expect("no panics"),
    }
}

// ---- the server

struct Counter {
    value: u64,
}

#[rpc_target(vis = "")]
impl Counter {
    pub async fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }

    /// Bytes that the allocator has given out.
    pub async fn live(&self) -> u64 {
        let stats = ALLOCATOR.stats();
        // What reallocations add and take away is in both already.
        (stats.bytes_allocated - stats.bytes_deallocated) as u64
    }
}

async fn serve(address: &str) {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let counter = |_: &opendo::Session| Ok(opendo::serve::<CounterStub, _>(Counter { value: 0 }));
    let node = Node::builder().accept(counter).start().await.expect("no classes");
    println!("{}", node.listen(address).await.expect("a free address"));
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
}

// ---- its clients

#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    scheme: &'static str,
    text: bool,
}

const WAYS: [Way; 4] = [
    Way { name: "unix", scheme: "unix", text: false },
    Way { name: "tcp", scheme: "tcp", text: false },
    Way { name: "ws", scheme: "ws", text: false },
    Way { name: "ws, text", scheme: "ws", text: true },
];

impl Way {
    fn serve(self) -> Server {
        let address = match self.scheme {
            "unix" => {
                let name = format!("opendo-bench-{}", std::process::id());
                format!("unix:{}", std::env::temp_dir().join(name).display())
            }
            scheme => format!("{scheme}://127.0.0.1:0"),
        };
        Server::start(Command::new(std::env::current_exe().expect("it runs")).args(["serve", &address]))
    }

    /// So many connections, on each of which one call was made.
    async fn connect(self, server: &Server, count: usize) -> Vec<(Client, CounterStub)> {
        let one = |_| async {
            let client = Client::builder(&server.address);
            let client = if self.text { client.text() } else { client };
            let client = client.connect().await.expect("it listens");
            let counter: CounterStub = client.root();
            assert_eq!(counter.increment(1).await.expect("it answers"), 1);
            (client, counter)
        };
        stream::iter(0..count).map(one).buffer_unordered(AT_A_TIME).collect().await
    }
}

async fn bench() {
    let counts: &[usize] = if for_real() { &[1, 1_000, 3_000, 10_000] } else { &[1, 3] };
    let most = counts.iter().max().expect("there are some") + OTHER_FILES;
    let allowed = rlimit::increase_nofile_limit(most as u64).expect("it can be asked for");
    let fit = |count: &&usize| (**count + OTHER_FILES) as u64 <= allowed;
    if counts.iter().any(|count| !fit(&count)) {
        eprintln!(
            "{most} open files are not allowed, {allowed} are: raise the hard limit (`ulimit -Hn`) for all rows"
        );
    }
    let mut rows = Vec::new();
    for way in WAYS {
        for &count in counts.iter().filter(fit) {
            rows.push(row(way, count, if for_real() { CALLS } else { 10 }).await);
        }
    }
    table(
        "Connections that have made one call and are idle",
        &[
            "",
            "connections",
            "opened, µs each",
            "bytes each, allocated",
            "bytes each, resident",
            "one call at a time, p50 µs",
            "p99 µs",
            "64 in flight, µs each",
        ],
        &rows,
    );
}

async fn row(way: Way, count: usize, calls: usize) -> Vec<String> {
    let server = way.serve();
    drop(way.connect(&server, AT_A_TIME).await);
    let observer = way.connect(&server, 1).await.remove(0).1;
    let before = settled(&observer).await;
    let resident_before = resident_kib(&server.id());
    let start = Instant::now();
    let all = way.connect(&server, count).await;
    let opened = start.elapsed().as_secs_f64() * 1e6 / count as f64;
    let bytes = settled(&observer).await - before;
    let resident = (resident_kib(&server.id()) - resident_before) * 1024.0;
    let mut times = Vec::with_capacity(calls);
    for number in shuffled(count).take(calls) {
        let start = Instant::now();
        assert!(all[number].1.increment(1).await.expect("it answers") > 0);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_unstable_by(f64::total_cmp);
    let start = Instant::now();
    let together = stream::iter(shuffled(count).take(calls)).map(|number| all[number].1.increment(1));
    together
        .buffer_unordered(AT_A_TIME)
        .for_each(async |value| assert!(value.expect("it answers") > 0))
        .await;
    let together = start.elapsed().as_secs_f64() * 1e6 / calls as f64;
    let each =
        |bytes: f64| if count < 100 { "–".to_owned() } else { Number(bytes / count as f64).to_string() };
    vec![
        way.name.to_owned(),
        Number(count as f64).to_string(),
        Number(opened).to_string(),
        each(bytes),
        each(resident),
        Number(times[times.len() / 2]).to_string(),
        Number(times[times.len() * 99 / 100]).to_string(),
        Number(together).to_string(),
    ]
}

/// What the server has allocated, once that does not change any more: closed connections go a little later.
async fn settled(observer: &CounterStub) -> f64 {
    let mut live = observer.live().await.expect("it answers");
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = observer.live().await.expect("it answers");
        if now == std::mem::replace(&mut live, now) {
            return now as f64;
        }
    }
}

/// In an order that no cache foresees.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    const STEP: usize = 7_368_787; // a prime
    (0..).map(move |turn: usize| turn.wrapping_mul(STEP) % count)
}
