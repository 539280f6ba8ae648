//! Round trips through opendo beside the floor: the same calls written by hand (`common/floor.rs`).
//!
//! A closed loop: so many tasks, each call-await-call, over one connection to a server in a process of its own. Floor
//! and opendo alternate, and ratios are taken within each repetition.
//!
//! `-- --pinned` puts both processes on one core. Sequential latency means something only there: with two cores idle
//! it measures how long a core takes to wake up. `-- --current-thread` runs both on the one-threaded runtime,
//! `-- --quick` shows that it works, and measures nothing.

use std::future::Future;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opendo::Client;

use crate::cpu::{cpu_seconds, pinned};
use crate::floor::{Actor, Connection};
use crate::server::Server;
use crate::spread::Spread;
use crate::subject::{CounterStub, Subject};
use crate::table::{Number, for_real, table};

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/floor.rs"]
mod floor;
#[path = "common/server.rs"]
mod server;
#[path = "common/spread.rs"]
mod spread;
#[path = "common/subject.rs"]
mod subject;
#[path = "common/table.rs"]
mod table;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if is_set("--pinned") {
        return pinned(&arguments);
    }
    let runtime = if is_set("--current-thread") {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    };
    let runtime = runtime.expect("a runtime");
    if let [serve, system, address, ..] = &arguments[..]
        && serve == "serve"
    {
        runtime.block_on(serve_until_closed(system, address));
        return ExitCode::SUCCESS;
    }
    let flags: Vec<&str> = ["--current-thread", "--quick"].into_iter().filter(|flag| is_set(flag)).collect();
    runtime.block_on(async { tokio::spawn(bench(flags.join(" "))).await }).expect("no panics");
    ExitCode::SUCCESS
}

// ---- the server's process

async fn serve_until_closed(system: &str, address: &str) {
    let node = subject::node().await;
    let address = match system {
        "floor" => floor::serve(address).await.expect("a free address"),
        _ => node.listen(address).await.expect("a free address").to_string(),
    };
    println!("{address}");
    // The bench holds the other end of this pipe: when it ends, however it ends, so does its server.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
}

// ---- the load

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Increment,
    Echo,
    EchoBytes,
}

const SIZE: usize = 64 * 1024;

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Increment => "increment",
            Self::Echo => "echo 64 KiB, `Vec<u8>`",
            Self::EchoBytes => "echo 64 KiB, bytes",
        }
    }

    async fn run<S: Subject>(self, subject: &S) {
        match self {
            Self::Increment => assert!(subject.increment(1).await > 0),
            Self::Echo => assert_eq!(subject.echo(vec![7; SIZE]).await.len(), SIZE),
            Self::EchoBytes => assert_eq!(subject.echo_bytes(vec![7; SIZE]).await.len(), SIZE),
        }
    }
}

/// One repetition.
struct Sample {
    p50: f64,
    p99: f64,
    /// Calls per second.
    rate: f64,
    /// Microseconds of processor time for each call, both sides.
    cpu: f64,
}

async fn sample<S: Subject>(
    subject: &S,
    op: Op,
    in_flight: usize,
    server: Option<&Server>,
    time: Duration,
) -> Sample {
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let cpu = || cpu_seconds("self") + server.map_or(0.0, |server| cpu_seconds(&server.id()));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (subject, stop, calls) = (subject.clone(), stop.clone(), calls.clone());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(if in_flight == 1 { 1 << 20 } else { 0 });
                while !stop.load(Ordering::Relaxed) {
                    if in_flight == 1 {
                        let start = Instant::now();
                        op.run(&subject).await;
                        times.push(start.elapsed().as_nanos() as u32);
                    } else {
                        op.run(&subject).await;
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(time / 8).await; // warm-up
    let (start, cpu_before, before) = (Instant::now(), cpu(), calls.load(Ordering::Relaxed));
    tokio::time::sleep(time).await;
    let (took, cpu_after, after) = (start.elapsed(), cpu(), calls.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panics"));
    }
    times.sort_unstable();
    let micros =
        |part: usize| times.get(times.len() * part / 100).map_or(f64::NAN, |ns| f64::from(*ns) / 1e3);
    let count = (after - before).max(1) as f64;
    Sample {
        p50: micros(50),
        p99: micros(99),
        rate: count / took.as_secs_f64(),
        cpu: (cpu_after - cpu_before) * 1e6 / count,
    }
}

/// Makes the two run in turn, and returns the repetitions of both.
async fn alternate<F, O, FF, OF>(mut floor: F, mut ours: O) -> [Vec<Sample>; 2]
where
    F: FnMut(Duration) -> FF,
    O: FnMut(Duration) -> OF,
    FF: Future<Output = Sample>,
    OF: Future<Output = Sample>,
{
    let (rounds, time) =
        if for_real() { (7, Duration::from_millis(500)) } else { (1, Duration::from_millis(10)) };
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        samples[0].push(floor(time).await);
        samples[1].push(ours(time).await);
    }
    samples
}

#[derive(Default)]
struct Rows {
    sequential: Vec<Vec<String>>,
    parallel: Vec<Vec<String>>,
}

impl Rows {
    async fn add<F: Subject, O: Subject>(
        &mut self,
        transport: &str,
        (floor, floor_at): (F, Option<&Server>),
        (ours, ours_at): (O, Option<&Server>),
    ) {
        use Op::{Echo, EchoBytes, Increment};
        // 1,024 echoes in flight would be 64 MiB, which is where opendo's limits refuse more.
        let mut loads =
            vec![(Increment, 1), (Increment, 64), (Increment, 1024), (EchoBytes, 1), (EchoBytes, 64)];
        if floor_at.is_some() {
            loads.extend([(Echo, 1), (Echo, 64)]); // in process nothing is encoded, so both are the same
        }
        for (op, in_flight) in loads {
            let [floor, ours] = alternate(
                |time| sample(&floor, op, in_flight, floor_at, time),
                |time| sample(&ours, op, in_flight, ours_at, time),
            )
            .await;
            let both = |get: fn(&Sample) -> f64| -> [Vec<f64>; 2] {
                [&floor, &ours].map(|samples| samples.iter().map(get).collect())
            };
            let median = |values: &Vec<f64>| Number(Spread::of(values.iter().copied()).median).to_string();
            let mut row = vec![transport.to_owned(), op.name().to_owned()];
            if in_flight == 1 {
                let [floor, ours] = both(|sample| sample.p50);
                row.extend([median(&floor), median(&ours), Spread::ratios(&ours, &floor).to_string()]);
                row.extend(both(|sample| sample.p99).map(|values| median(&values)));
                row.extend(both(|sample| sample.cpu).map(|values| median(&values)));
                self.sequential.push(row);
            } else {
                row.push(Number(in_flight as f64).to_string());
                let [floor, ours] = both(|sample| sample.rate);
                row.extend([median(&floor), median(&ours), Spread::ratios(&floor, &ours).to_string()]);
                row.extend(both(|sample| sample.cpu).map(|values| median(&values)));
                self.parallel.push(row);
            }
        }
    }
}

/// What opendo speaks over what, and what the floor does beside it.
const CONNECTIONS: [(&str, &str, &str); 4] =
    [("unix", "unix", "unix"), ("tcp", "tcp", "tcp"), ("ws", "ws", "tcp"), ("ws, text", "ws", "tcp")];

fn address(transport: &str, system: &str) -> String {
    if transport != "unix" {
        return format!("{transport}://127.0.0.1:0");
    }
    let name = format!("opendo-bench-{system}-{}.sock", std::process::id());
    format!("unix:{}", std::env::temp_dir().join(name).display())
}

async fn bench(flags: String) {
    let mut rows = Rows::default();
    let node = subject::node().await;
    rows.add("in process", (Actor::spawn(), None), (node.get::<CounterStub>("bench"), None)).await;
    for (name, transport, beside) in CONNECTIONS {
        let [at_floor, at_ours] = [("floor", beside), ("opendo", transport)].map(|(system, transport)| {
            let mut serve = Command::new(std::env::current_exe().expect("it runs"));
            serve.args(["serve", system, &address(transport, system)]).args(flags.split_whitespace());
            Server::start(&mut serve)
        });
        let floor = Connection::open(&at_floor.address).await.expect("it listens");
        let mut builder = Client::builder(&at_ours.address);
        if name.ends_with("text") {
            builder = builder.text();
        }
        let client = builder.connect().await.expect("it listens");
        let ours = client.get::<CounterStub>("bench");
        rows.add(name, (floor, Some(&at_floor)), (ours, Some(&at_ours))).await;
        client.close().await;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nLoad of the machine at the end (its own included): {}", load.trim());
    table(
        "One call at a time",
        &[
            "",
            "call",
            "floor p50 µs",
            "opendo p50 µs",
            "opendo ÷ floor",
            "floor p99",
            "opendo p99",
            "floor CPU µs/call",
            "opendo CPU µs/call",
        ],
        &rows.sequential,
    );
    table(
        "Many calls at a time",
        &[
            "",
            "call",
            "in flight",
            "floor calls/s",
            "opendo calls/s",
            "floor ÷ opendo",
            "floor CPU µs/call",
            "opendo CPU µs/call",
        ],
        &rows.parallel,
    );
}
