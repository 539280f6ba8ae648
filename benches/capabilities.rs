//! What stubs in arguments and results, pipelining, streams and groups cost beside plain calls.
//!
//! Client and node share one thread, so that it is the work that is measured, not how long an idle core takes to wake
//! up; times are the thread's time on a processor, so that other programs disturb them little. The things compared take turns, and ratios are taken within a repetition. `benches/memory.rs` says what they
//! take while they are held. `-- --instructions` counts instructions instead, with valgrind.

use std::future::Future;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use opendo::prelude::*;
use opendo::testing::Network;

use crate::callgrind::Case;
use crate::hub::{Counted, Ear, EarStub, Hub, HubStub, State};
use crate::processor::on_processor;
use crate::spread::Spread;
use crate::table::{Number, for_real, table};

#[path = "common/callgrind.rs"]
mod callgrind;
// Only a part of it is measured here.
#[allow(dead_code)]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/processor.rs"]
mod processor;
#[path = "common/spread.rs"]
mod spread;
// The node of the hub hosts it.
#[allow(dead_code)]
#[path = "common/subject.rs"]
mod subject;
#[path = "common/table.rs"]
mod table;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let counted = callgrind::is_counted(&arguments);
    // Where it is counted, the clock stands still: where a call starts depends on how long the method takes.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(counted.is_some()).build().expect("a runtime");
    if let Some((case, times)) = counted {
        runtime.block_on(repeat(case, times));
    } else if !is_set("--instructions") {
        runtime.block_on(measure());
    } else if !callgrind::report(&CASES, is_set("--top")) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn measure() {
    let mut rows = [Vec::new(), Vec::new()];
    for way in ["in process", "unix", "tcp"] {
        let world = World::new(way).await;
        one_at_a_time(way, &world, &mut rows[0]).await;
        streams(way, &world, &mut rows[1]).await;
        world.close().await;
    }
    let [calls, streams] = rows;
    table("One at a time", &["", "what", "CPU µs", "÷ plain call", "÷ two plain calls"], &calls);
    let columns = ["", "what", "round trips", "ms, 20 ms away"];
    table("Three calls, each on the result of the one before", &columns, &delayed().await);
    let columns = [
        "",
        "1 chunk",
        "streamed, chunks per CPU s",
        "64 calls in flight, calls per CPU s",
        "one by one, calls per CPU s",
        "÷ 64",
        "÷ one",
    ];
    table("Streams", &columns, &streams);
    let columns = [
        "members",
        "news",
        "group, CPU µs",
        "1,000 calls, CPU µs",
        "calls ÷ group",
        "encodings, group",
        "encodings, calls",
    ];
    table("One call to each of 1,000 members", &columns, &fan_out().await);
}

/// A hub, and the way to it.
struct World {
    hub: HubStub,
    /// Passed to the hub.
    ear: EarStub,
    client: Option<Client>,
    node: Node,
    path: Option<String>,
    state: Arc<State>,
}

impl World {
    async fn new(way: &str) -> Self {
        let (local, state) = Hub::serve(|| (0, 0));
        let node = Hub::node(&local).start().await.expect("one class");
        let _ = state.node.set(node.clone());
        let ear = opendo::serve(Ear);
        let name = format!("opendo-capabilities-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name).display().to_string();
        let (address, path) = match way {
            "unix" => (format!("unix:{path}"), Some(path)),
            "tcp" => ("tcp://127.0.0.1:0".to_owned(), None),
            _ => return Self { hub: local, ear, client: None, node, path: None, state },
        };
        let address = node.listen(&address).await.expect("a free address").to_string();
        let client = opendo::connect(&address).await.expect("it listens");
        Self { hub: client.root(), ear, client: Some(client), node, path, state }
    }

    async fn close(self) {
        if let Some(client) = &self.client {
            client.close().await;
        }
        self.state.ears.lock().expect("no panics").clear();
        self.node.shutdown(Duration::ZERO).await;
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

const ROUNDS: usize = 9;

/// How often, when it is for real.
fn times(count: u64) -> u64 {
    if for_real() { count } else { 4 }
}

/// Microseconds of processor time for each of so many.
async fn micros<F: Future>(count: u64, mut each: impl FnMut(u64) -> F) -> f64 {
    let start = on_processor();
    for number in 0..count {
        black_box(each(number).await);
    }
    (on_processor() - start) * 1e6 / count as f64
}

// ---- calls with stubs in them

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Plain,
    TwoPlain,
    Takes,
    Gives,
    CallsBack,
    Runs,
    ThreeAwaited,
    ThreePipelined,
}

impl Op {
    const ALL: [(Self, &str); 8] = [
        (Self::Plain, "plain call"),
        (Self::TwoPlain, "two plain calls"),
        (Self::Takes, "stub as the argument"),
        (Self::Gives, "stub as the result"),
        (Self::CallsBack, "stub as an argument, called once"),
        (Self::Runs, "new `Callback` as an argument, called once"),
        (Self::ThreeAwaited, "three calls on results, each awaited"),
        (Self::ThreePipelined, "three calls on results, pipelined"),
    ];

    async fn run(self, world: &World, value: u64) -> u64 {
        let World { hub, ear, .. } = world;
        let answer = match self {
            Self::Plain => hub.plain(value).await,
            Self::TwoPlain => {
                let first = hub.plain(value).await.expect("it answers");
                hub.plain(first).await
            }
            Self::Takes => hub.takes(ear.clone()).await,
            Self::Gives => hub.gives().await.map(|_| 1),
            Self::CallsBack => hub.calls_back(ear.clone(), value).await,
            Self::Runs => hub.runs(Callback::new(async |value| value), value).await,
            Self::ThreeAwaited => awaited(hub, value).await,
            Self::ThreePipelined => hub.gives_hub().gives_hub().plain(value).await,
        };
        answer.expect("it answers")
    }
}

async fn awaited(hub: &HubStub, value: u64) -> Result<u64, CallError> {
    let first = hub.gives_hub().await?;
    let second = first.gives_hub().await?;
    second.plain(value).await
}

async fn one_at_a_time(way: &str, world: &World, rows: &mut Vec<Vec<String>>) {
    let mut samples = Op::ALL.map(|_| Vec::new());
    let count = times(if world.client.is_some() { 2_000 } else { 10_000 });
    for _ in 0..ROUNDS {
        for ((op, _), samples) in Op::ALL.iter().zip(&mut samples) {
            micros(count / 4, |value| op.run(world, value)).await;
            samples.push(micros(count, |value| op.run(world, value)).await);
        }
    }
    for ((op, name), taken) in Op::ALL.iter().zip(&samples) {
        let ratio = |base: &[f64]| Spread::ratios(taken, base).to_string();
        let two = matches!(op, Op::CallsBack | Op::Runs);
        rows.push(vec![
            way.to_owned(),
            (*name).to_owned(),
            Spread::of(taken.iter().copied()).to_string(),
            if *op == Op::Plain { String::new() } else { ratio(&samples[0]) },
            if two { ratio(&samples[1]) } else { String::new() },
        ]);
    }
}

/// The same chain to a node that is far away.
async fn delayed() -> Vec<Vec<String>> {
    const ONE_WAY: Duration = Duration::from_millis(10);
    let world = World::new("in process").await;
    let network = Network::new(&world.node);
    let client = network.client().connect().await.expect("it leads there");
    let hub: HubStub = client.root();
    awaited(&hub, 1).await.expect("it answers");
    network.delay(ONE_WAY);
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (pipelined, samples) in samples.iter_mut().enumerate() {
            let start = Instant::now();
            let answer = if pipelined == 1 {
                hub.gives_hub().gives_hub().plain(1).await
            } else {
                awaited(&hub, 1).await
            };
            answer.expect("it answers");
            samples.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // What was released has arrived: it would delay what comes behind it.
        tokio::time::sleep(2 * ONE_WAY).await;
    }
    network.hurry();
    client.close().await;
    world.close().await;
    let rows = ["each awaited", "pipelined"].iter().zip(samples).map(|(name, samples)| {
        let taken = Spread::of(samples);
        let trips = (taken.median / (2.0 * ONE_WAY.as_secs_f64() * 1e3)).floor();
        vec!["`memory:`".to_owned(), (*name).to_owned(), Number(trips).to_string(), taken.to_string()]
    });
    rows.collect()
}

// ---- streams

async fn streams(way: &str, world: &World, rows: &mut Vec<Vec<String>>) {
    let hub = &world.hub;
    let count = times(if world.client.is_some() { 6_400 } else { 32_000 });
    for is_block in [false, true] {
        let one = async |value| {
            if is_block {
                hub.block(value).await.map(|it| it.len())
            } else {
                hub.plain(value).await.map(|_| 1)
            }
        };
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let start = on_processor();
            if is_block {
                read(hub.blocks(count).await.expect("it answers"), count).await;
            } else {
                read(hub.numbers(count).await.expect("it answers"), count).await;
            }
            samples[0].push(count as f64 / (on_processor() - start));
            let start = on_processor();
            let calls = futures::stream::iter(0..count).map(one).buffer_unordered(64);
            calls.for_each(async |answer| assert!(answer.expect("it answers") > 0)).await;
            samples[1].push(count as f64 / (on_processor() - start));
            samples[2].push(1e6 / micros(count / 4, one).await);
        }
        let [streamed, many, single] = &samples;
        let median =
            |samples: &Vec<f64>| Number(Spread::of(samples.iter().copied()).median.round()).to_string();
        let name = if is_block { "1 KiB, bytes" } else { "`u64`" };
        rows.push(vec![
            way.to_owned(),
            name.to_owned(),
            median(streamed),
            median(many),
            median(single),
            Spread::ratios(streamed, many).to_string(),
            Spread::ratios(streamed, single).to_string(),
        ]);
    }
}

async fn read<T: opendo::Streamed>(mut stream: RpcStream<T>, count: u64) {
    let mut seen = 0;
    while let Some(value) = stream.next().await {
        black_box(value.expect("it goes on"));
        seen += 1;
    }
    assert_eq!(seen, count);
}

// ---- many at once

async fn fan_out() -> Vec<Vec<String>> {
    let members: usize = if for_real() { 1_000 } else { 10 };
    let mut rows = Vec::new();
    for sessions in [0, 1, 10, 1_000].map(|sessions| members.min(sessions)) {
        let world = World::new("in process").await;
        let address = format!("memory:fan-out-{sessions}");
        world.node.listen(&address).await.expect("a free name");
        let mut clients = Vec::new();
        for _ in 0..sessions {
            clients.push(opendo::connect(&address).await.expect("it listens"));
        }
        for number in 0..members {
            let hub = if sessions == 0 { world.hub.clone() } else { clients[number % sessions].root() };
            let ear: EarStub = opendo::serve(Ear);
            hub.keep(ear.clone()).await.expect("it answers");
            hub.join(ear).await.expect("it answers");
        }
        let group = &world.state.group;
        let ears = world.state.ears.lock().expect("no panics").clone();
        for size in [32, 4096] {
            let news = Counted("x".repeat(size));
            let mut samples = [Vec::new(), Vec::new()];
            let mut encodings = [0, 0];
            let publishes = times(20);
            for _ in 0..ROUNDS {
                Counted::take_count();
                let to_group =
                    micros(publishes, async |_| group.heard(news.clone()).await.expect("they answer"));
                samples[0].push(to_group.await);
                encodings[0] = Counted::take_count() / publishes;
                let to_each = micros(publishes, async |_| {
                    let answers = join_all(ears.iter().map(|ear| ear.heard(news.clone()))).await;
                    answers.into_iter().for_each(|answer| answer.expect("it answers"));
                });
                samples[1].push(to_each.await);
                encodings[1] = Counted::take_count() / publishes;
            }
            let [grouped, each] = &samples;
            let spread = |samples: &Vec<f64>| Spread::of(samples.iter().copied()).to_string();
            let place = match sessions {
                0 => "in process".to_owned(),
                1 => "in 1 session".to_owned(),
                more => format!("in {} sessions", Number(more as f64)),
            };
            let ratio = Spread::ratios(each, grouped).to_string();
            let counts = encodings.map(|count| Number(count as f64).to_string());
            let size = format!("{} bytes", Number(size as f64));
            rows.push([vec![place, size, spread(grouped), spread(each), ratio], counts.to_vec()].concat());
        }
        for client in &clients {
            client.close().await;
        }
        world.close().await;
    }
    rows
}

// ---- instructions

const CASES: [Case; 10] = [
    ("plain", "plain call"),
    ("takes", "stub as the argument"),
    ("gives", "stub as the result"),
    ("calls back", "stub as an argument, called once"),
    ("runs", "new `Callback` as an argument, called once"),
    ("awaited", "three calls on results, each awaited"),
    ("pipelined", "three calls on results, pipelined"),
    ("chunk", "number of a stream"),
    ("group", "call to a `Group` of 100, for each member"),
    ("loop", "the same as 100 calls"),
];

/// What is done with stubs, streams and groups, over a session.
async fn repeat(case: &str, times: u32) {
    const MEMBERS: u32 = 100;
    let (hub, state) = Hub::serve(|| (0, 0));
    let node = Hub::node(&hub).start().await.expect("one class");
    node.listen("memory:hub").await.expect("a free name");
    let client = opendo::connect("memory:hub").await.expect("it listens");
    let hub: HubStub = client.root();
    let ear: EarStub = opendo::serve(Ear);
    match case {
        "chunk" => {
            let mut numbers = hub.numbers(times.into()).await.expect("it answers");
            while let Some(number) = numbers.next().await {
                black_box(number.expect("it goes on"));
            }
            return;
        }
        "group" | "loop" => {
            for _ in 0..MEMBERS {
                hub.keep(ear.clone()).await.expect("it answers");
                hub.join(ear.clone()).await.expect("it answers");
            }
            let ears = state.ears.lock().expect("no panics").clone();
            for _ in 0..times / MEMBERS {
                let news = Counted("somebody has said something".into());
                if case == "group" {
                    state.group.heard(news).await.expect("they answer");
                } else {
                    let answers = ears.iter().map(|ear| ear.heard(news.clone()));
                    for answer in futures::future::join_all(answers).await {
                        answer.expect("it answers");
                    }
                }
            }
            return;
        }
        _ => {}
    }
    for value in 0..u64::from(times) {
        let answer = match case {
            "plain" => hub.plain(value).await,
            "takes" => hub.takes(ear.clone()).await,
            "gives" => hub.gives().await.map(|_| 1),
            "calls back" => hub.calls_back(ear.clone(), value).await,
            "runs" => hub.runs(Callback::new(async |value| value), value).await,
            "pipelined" => hub.gives_hub().gives_hub().plain(value).await,
            _ => {
                let first = hub.gives_hub().await.expect("it answers");
                let second = first.gives_hub().await.expect("it answers");
                second.plain(value).await
            }
        };
        black_box(answer.expect("it answers"));
    }
}
