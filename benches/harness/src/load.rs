//! A closed loop: so many tasks, each call-await-call, over one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::allocations;
use crate::command::Args;
use crate::process::{cpu_seconds, machine_seconds};

/// A counter as its callers see it. Clones share their connection.
#[allow(async_fn_in_trait)] // what is not `Send` is compared too; who spawns names the type
pub trait Subject: Clone + 'static {
    /// Whether the library has a better way for bytes than what its users write first, `Vec<u8>`.
    const HAS_BYTES: bool = false;

    /// Adds `by`; gives the new value.
    async fn increment(&self, by: u64) -> u64;

    /// Gives it back.
    async fn echo(&self, data: Vec<u8>) -> Vec<u8>;

    /// Gives it back, the better way.
    async fn echo_bytes(&self, data: Vec<u8>) -> Vec<u8> {
        self.echo(data).await
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Op {
    Increment,
    Echo(usize),
    EchoBytes(usize),
}

const PLAN: [(&str, Op, &[usize]); 4] = [
    ("increment", Op::Increment, &[1, 64, 1024]),
    ("echo1k", Op::Echo(1024), &[1, 64]),
    ("echo64k", Op::Echo(64 * 1024), &[1, 64]),
    ("echo64k_bytes", Op::EchoBytes(64 * 1024), &[1, 64]),
];

/// Reading the clock takes as long as some calls do, so that one of so many is timed.
const TIMED_EACH: u64 = 8;

/// What a task is to do until it is told to stop.
#[derive(Clone, Debug)]
pub struct Load {
    op: Op,
    /// How many times are kept: a list that never grows.
    room: usize,
    is_recording: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

/// What a task has seen while it was recorded.
#[derive(Debug)]
pub struct Tally {
    calls: u64,
    /// Nanoseconds, of those that were timed.
    times: Vec<u32>,
}

impl Load {
    /// One call after the other.
    pub async fn run<S: Subject>(self, subject: S) -> Tally {
        let mut times = Vec::with_capacity(self.room);
        let (mut calls, mut last) = (0_u64, 0);
        let data = match self.op {
            Op::Increment => Vec::new(),
            Op::Echo(size) | Op::EchoBytes(size) => vec![7; size],
        };
        while !self.is_over.load(Relaxed) {
            let is_recording = self.is_recording.load(Relaxed);
            let start = (is_recording && calls.is_multiple_of(TIMED_EACH)).then(Instant::now);
            match self.op {
                Op::Increment => {
                    let value = subject.increment(1).await;
                    assert!(value > last, "a counter grows");
                    last = value;
                }
                Op::Echo(size) => assert_eq!(subject.echo(data.clone()).await.len(), size),
                Op::EchoBytes(size) => assert_eq!(subject.echo_bytes(data.clone()).await.len(), size),
            }
            if let Some(start) = start
                && times.len() < self.room
            {
                times.push(start.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
            }
            calls += u64::from(is_recording);
            // Calls that never wait would keep the thread from the other tasks.
            tokio::task::consume_budget().await;
        }
        Tally { calls, times }
    }
}

/// A moment's counters.
struct Moment {
    at: Instant,
    client: f64,
    server: Option<f64>,
    machine: [f64; 2],
    allocations: Option<[f64; 2]>,
}

impl Moment {
    fn now() -> Self {
        let server = std::env::var("PEERS_SERVER_PID").ok();
        Self {
            allocations: allocations::so_far(),
            machine: machine_seconds(),
            server: server.map(|process| cpu_seconds(&process)),
            client: cpu_seconds("self"),
            at: Instant::now(),
        }
    }
}

/// Measures all that is planned and not left out by the environment, and prints it. `spawn` starts a task that
/// [runs](Load::run) the load on the subject: `|load| tokio::spawn(load.run(subject.clone()))`.
pub async fn bench<S: Subject>(args: &Args, _: &S, spawn: impl Fn(Load) -> JoinHandle<Tally>) {
    let listed = |name: &str, it: &str| {
        std::env::var(name).map_or(true, |list| list.split(',').any(|listed| listed == it))
    };
    for (name, op, in_flights) in PLAN {
        let is_possible = S::HAS_BYTES || !matches!(op, Op::EchoBytes(_));
        for &in_flight in in_flights {
            if is_possible && listed("PEERS_OPS", name) && listed("PEERS_FLIGHTS", &in_flight.to_string()) {
                measure(args, (name, op), in_flight, &spawn).await;
            }
        }
    }
}

async fn measure(
    args: &Args,
    (name, op): (&str, Op),
    in_flight: usize,
    spawn: &impl Fn(Load) -> JoinHandle<Tally>,
) {
    let load =
        Load { op, room: (1 << 22) / in_flight, is_recording: Arc::default(), is_over: Arc::default() };
    let secs = std::env::var("PEERS_SECS").ok().and_then(|secs| secs.parse().ok()).unwrap_or(2.0);
    let tasks: Vec<_> = (0..in_flight).map(|_| spawn(load.clone())).collect();
    // On a thread of its own: calls that never wait leave a runtime no time to look at its timers.
    let keeper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs_f64(secs * 0.15)); // warm-up
        let start = Moment::now();
        load.is_recording.store(true, Relaxed);
        std::thread::sleep(Duration::from_secs_f64(secs));
        load.is_recording.store(false, Relaxed);
        let end = Moment::now();
        load.is_over.store(true, Relaxed);
        (start, end)
    });
    let (mut calls, mut times) = (0, Vec::new());
    for task in tasks {
        let tally = task.await.expect("no panics");
        calls += tally.calls;
        times.extend(tally.times);
    }
    times.sort_unstable();
    let (start, end) = keeper.join().expect("no panics");

    let took = (end.at - start.at).as_secs_f64();
    let each = |amount: f64| amount / calls.max(1) as f64;
    let [client, server] =
        [Some(end.client - start.client), end.server.zip(start.server).map(|(b, a)| b - a)];
    let micros = |part: usize| {
        times
            .get((times.len() * part / 100).min(times.len().saturating_sub(1)))
            .map(|ns| f64::from(*ns) / 1e3)
    };
    let allocated =
        |what: usize| end.allocations.zip(start.allocations).map(|(b, a)| each(b[what] - a[what]));
    args.print(json!({
        "op": name, "inflight": in_flight, "secs": took, "calls": calls,
        "calls_per_s": (calls as f64 / took).round(),
        "p50_us": micros(50), "p99_us": micros(99),
        "cpu_us_per_call": client.map(|secs| each(secs * 1e6)),
        "server_cpu_us_per_call": server.map(|secs| each(secs * 1e6)),
        // Processors that others had: 0 on a machine that does nothing else.
        "other_cpu": (end.machine[0] - start.machine[0] - client.unwrap_or(0.0) - server.unwrap_or(0.0)) / took,
        "steal": (end.machine[1] - start.machine[1]) / took,
        "allocs_per_call": allocated(0), "alloc_bytes_per_call": allocated(1),
    }));
}
