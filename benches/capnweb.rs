//! A node beside the server of Cap'n Web's own library in Node, under the same load: `increment(u64) -> u64` of a
//! target that each session has of its own.
//!
//! The load is the library's own client, and opendo's, which takes less of the processor and so leaves it to the
//! server; clients and servers are processes of their own. Servers alternate. Needs Node and npm, which fetches
//! what `capnweb/package.json` names, into the target directory once.
//!
//! `-- --pinned` puts all on one core: only there is the latency of a call the work, and not the waking of a core.
//! `-- --memory` measures what an idle connection takes of its server instead. `-- --quick` shows that it works.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use opendo::prelude::*;

use crate::cpu::{cpu_seconds, pinned};
use crate::resident::resident_kib;
use crate::server::Server;
use crate::spread::Spread;
use crate::table::{Number, for_real, table};

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/npm.rs"]
mod npm;
#[path = "common/resident.rs"]
mod resident;
#[path = "common/server.rs"]
mod server;
#[path = "common/spread.rs"]
mod spread;
#[path = "common/table.rs"]
mod table;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if is_set("--pinned") {
        return pinned(&arguments);
    }
    match &arguments[..] {
        [what, ..] if what == "serve" => runtime().block_on(serve()),
        [what, address, in_flight] if what == "load" => {
            let in_flight = in_flight.parse().expect("a number");
            runtime().block_on(async { load(address, in_flight).await });
        }
        _ => {
            let npm = match Npm::install() {
                Ok(npm) => npm,
                Err(error) => {
                    eprintln!("Node and npm are needed to compare with, and cannot be run: {error}");
                    return ExitCode::FAILURE;
                }
            };
            if is_set("--memory") { memory(&npm) } else { calls(&npm) }
        }
    }
    ExitCode::SUCCESS
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

// ---- the server, and a client

/// What both servers have.
struct Counter {
    value: u64,
}

/// Its remote methods.
#[rpc_target(vis = "pub(crate)")]
impl Counter {
    /// Adds `by`; returns the new value.
    pub async fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }

    /// Collects garbage, where there is any.
    pub async fn settle(&self) {}
}

async fn serve() {
    let counter = |_: &opendo::Session| Ok(opendo::serve::<CounterStub, _>(Counter { value: 0 }));
    let node = Node::builder().accept(counter).start().await.expect("no classes");
    println!("{}", node.listen("ws://127.0.0.1:0").await.expect("a free address"));
    let _ = tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new())).await;
}

/// As `capnweb/load.mjs` does it.
async fn load(address: &str, in_flight: usize) {
    let client = Client::builder(address).text().connect().await.expect("it listens");
    let counter: CounterStub = client.root();
    println!("ready");
    while let Some(time) = read_number().await {
        let (cpu, end) = (cpu_seconds("self"), Instant::now() + Duration::from_millis(time));
        let turns: Vec<_> = (0..in_flight)
            .map(|_| {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    let mut start = Instant::now();
                    while start < end {
                        assert!(counter.increment(1).await.expect("it answers") > 0);
                        let now = Instant::now();
                        times.push((now - start).as_nanos() as f64 / 1e3);
                        start = now;
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for turn in turns {
            times.extend(turn.await.expect("no panics"));
        }
        let cpu = (cpu_seconds("self") - cpu) * 1e6;
        println!("{} {} {cpu}", times.len(), Spread::of(times.iter().copied()).median);
    }
    client.close().await;
}

async fn read_number() -> Option<u64> {
    let mut line = String::new();
    let read = || io::stdin().read_line(&mut line).map(|_| line);
    tokio::task::spawn_blocking(read).await.ok()?.ok()?.trim().parse().ok()
}

// ---- what is run

/// A directory with the scripts and what they need.
struct Npm(PathBuf);

impl Npm {
    fn install() -> io::Result<Self> {
        npm::install("capnweb", &["server.mjs", "load.mjs"]).map(Self)
    }

    fn node(&self, script: &str) -> Command {
        let mut node = Command::new("node");
        node.arg("--expose-gc").arg(self.0.join(script));
        node
    }

    /// Node's, and ours.
    fn servers(&self) -> [Server; 2] {
        [Server::start(&mut self.node("server.mjs")), Server::start(this_program().arg("serve"))]
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("it runs"))
}

/// A process that makes load when it is told to.
struct Loader {
    process: Child,
    told: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Loader {
    fn start(command: &mut Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be run");
        let told = process.stdin.take().expect("it is piped");
        let said = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut this = Self { process, told, said };
        assert_eq!(this.hear(), "ready");
        this
    }

    fn tell(&mut self, number: u128) {
        writeln!(self.told, "{number}").expect("it listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        assert!(!line.is_empty(), "the process is gone");
        line.trim().to_owned()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- calls

#[derive(Clone, Copy)]
enum Kind {
    Npm,
    Ours,
    Batches,
}

struct Load {
    name: &'static str,
    kind: Kind,
    processes: usize,
    in_flight: usize,
}

const fn by(name: &'static str, kind: Kind, processes: usize, in_flight: usize) -> Load {
    Load { name, kind, processes, in_flight }
}

const LOADS: [Load; 9] = [
    by("npm", Kind::Npm, 1, 1),
    by("npm", Kind::Npm, 1, 64),
    by("npm", Kind::Npm, 1, 1024),
    by("npm, 2 processes", Kind::Npm, 2, 512),
    by("opendo", Kind::Ours, 1, 1),
    by("opendo", Kind::Ours, 1, 64),
    by("opendo", Kind::Ours, 1, 1024),
    by("npm, batches of 10", Kind::Batches, 1, 1),
    by("npm, batches of 10", Kind::Batches, 1, 16),
];

impl Load {
    fn start(&self, npm: &Npm, server: &Server) -> Vec<Loader> {
        let in_flight = self.in_flight.to_string();
        let start = || {
            let mut command = match self.kind {
                Kind::Ours => this_program(),
                Kind::Npm | Kind::Batches => npm.node("load.mjs"),
            };
            command.arg(match self.kind {
                Kind::Npm => "calls",
                Kind::Ours => "load",
                Kind::Batches => "batches",
            });
            Loader::start(command.args([&server.address, &in_flight]))
        };
        (0..self.processes).map(|_| start()).collect()
    }
}

/// One repetition: of calls, or of batches.
struct Sample {
    rate: f64,
    p50: f64,
    /// Microseconds of processor time for each.
    server_cpu: f64,
    client_cpu: f64,
}

fn sample(server: &Server, loaders: &mut [Loader], time: Duration) -> Sample {
    let (start, cpu) = (Instant::now(), cpu_seconds(&server.id()));
    loaders.iter_mut().for_each(|loader| loader.tell(time.as_millis()));
    let said: Vec<Vec<f64>> = loaders
        .iter_mut()
        .map(|loader| loader.hear().split(' ').map(|number| number.parse().expect("a number")).collect())
        .collect();
    let (took, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds(&server.id()) - cpu);
    let sum = |at: usize| said.iter().map(|numbers| numbers[at]).sum::<f64>();
    Sample {
        rate: sum(0) / took,
        p50: sum(1) / said.len() as f64,
        server_cpu: cpu * 1e6 / sum(0),
        client_cpu: sum(2) / sum(0),
    }
}

fn calls(npm: &Npm) {
    let (rounds, time, warm_up) = if for_real() {
        (7, Duration::from_millis(1_000), Duration::from_millis(1_500))
    } else {
        (1, Duration::from_millis(10), Duration::from_millis(10))
    };
    let servers = npm.servers();
    let rows: Vec<_> = LOADS
        .iter()
        .map(|load| {
            let mut loaders = [load.start(npm, &servers[0]), load.start(npm, &servers[1])];
            let mut samples = [Vec::new(), Vec::new()];
            for (server, loaders) in servers.iter().zip(&mut loaders) {
                sample(server, loaders, warm_up);
            }
            for _ in 0..rounds {
                for ((server, loaders), samples) in servers.iter().zip(&mut loaders).zip(&mut samples) {
                    samples.push(sample(server, loaders, time));
                }
            }
            let get = |get: fn(&Sample) -> f64| -> [Vec<f64>; 2] {
                samples.each_ref().map(|samples| samples.iter().map(get).collect())
            };
            let spread = |values: &Vec<f64>| Spread::of(values.iter().copied()).to_string();
            let median = |values: &Vec<f64>| Number(Spread::of(values.iter().copied()).median).to_string();
            let mut row =
                vec![load.name.to_owned(), Number((load.in_flight * load.processes) as f64).to_string()];
            row.extend(get(|sample| sample.p50).map(|values| median(&values)));
            let [node, ours] = get(|sample| sample.rate);
            row.extend([spread(&node), spread(&ours), Spread::ratios(&ours, &node).to_string()]);
            let [node, ours] = get(|sample| sample.server_cpu);
            row.extend([median(&node), median(&ours), Spread::ratios(&node, &ours).to_string()]);
            row.extend(get(|sample| sample.client_cpu).map(|values| median(&values)));
            row
        })
        .collect();
    table(
        "Beside Node",
        &[
            "client",
            "in flight",
            "Node p50 µs",
            "opendo p50 µs",
            "Node /s",
            "opendo /s",
            "opendo ÷ Node",
            "Node server CPU µs",
            "opendo server CPU µs",
            "Node ÷ opendo",
            "client CPU µs, Node",
            "client CPU µs, opendo",
        ],
        &rows,
    );
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nLoad of the machine at the end (its own included): {}", load.trim());
}

// ---- memory

fn memory(npm: &Npm) {
    // The servers inherit it, and so does the client. Each connection takes one file.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (rounds, counts) = if for_real() { (3, [1, 1_000, 10_000]) } else { (1, [1, 2, 3]) };
    let mut resident = [const { [const { Vec::new() }; 3] }; 2];
    for _ in 0..rounds {
        for (server, resident) in npm.servers().iter().zip(&mut resident) {
            let mut loader = Loader::start(npm.node("load.mjs").args(["idle", &server.address]));
            for (count, resident) in counts.iter().zip(resident) {
                loader.tell(*count);
                loader.hear();
                resident.push(resident_kib(&server.id()));
            }
        }
    }
    let rows: Vec<_> = ["Node", "opendo"]
        .iter()
        .zip(&resident)
        .map(|(name, [none, some, many])| {
            let spread = |values: &Vec<f64>| Spread::of(values.iter().copied()).to_string();
            let each =
                none.iter().zip(many).map(|(none, many)| (many - none) / (counts[2] - counts[0]) as f64);
            vec![(*name).to_owned(), spread(none), spread(some), spread(many), Spread::of(each).to_string()]
        })
        .collect();
    table(
        "Resident memory of the server, KiB",
        &["", "1 connection", "1,000", "10,000", "each, from 1 to 10,000"],
        &rows,
    );
}
