//! How much memory things take that a program may have many of: by the difference between few of them and many.
//!
//! What is live is counted by the allocator, so the numbers are exact and the same in each run, but for tables that
//! double. Over `memory:` both sides are this process; over `unix:` the node is a process of its own, which tells
//! what it has, so that each side has its number. What the kernel keeps for a socket is not in them.

use std::alloc::System;
use std::any::Any;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opendo::prelude::*;
use serde_bytes::ByteBuf;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::hub::{Ear, EarStub, Hub, HubStub, State, settle};
use crate::subject::CounterStub;
use crate::table::{Number, for_real, table};

// Only a part of it is measured here.
#[allow(dead_code)]
#[path = "common/hub.rs"]
mod hub;
// Only its object is used here.
#[allow(dead_code)]
#[path = "common/subject.rs"]
mod subject;
#[path = "common/table.rs"]
mod table;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes and allocations of this process that are live.
fn live() -> (u64, u64) {
    let stats = ALLOCATOR.stats();
    // What reallocations add and take away is in both already.
    let bytes = stats.bytes_allocated - stats.bytes_deallocated;
    (bytes as u64, (stats.allocations - stats.deallocations) as u64)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, address, ..] = &arguments[..]
        && serve == "serve"
    {
        return serve_until_closed(address).await;
    }
    let (few, many) = if for_real() { (1_000, 10_000) } else { (1, 3) };
    let mut rows = Vec::new();
    for (item, name, ways) in ITEMS {
        let mut row = vec![(*name).to_owned()];
        for way in [Way::InProcess, Way::Memory, Way::Unix] {
            let cells = if way == Way::Unix { 2 } else { 1 };
            if !ways.contains(&way) {
                row.extend((0..cells).map(|_| "–".to_owned()));
                continue;
            }
            let [less, more] = [held(*item, way, few).await, held(*item, way, many).await];
            for (less, more) in less.iter().zip(&more) {
                let each = |less: f64, more: f64| Number((more - less) / (many - few) as f64);
                row.push(format!("{} ({})", each(less.0, more.0), each(less.1, more.1)));
            }
        }
        rows.push(row);
    }
    table(
        "Memory each: bytes (allocations)",
        &["", "in process", "`memory:`, both sides", "`unix:`, node", "`unix:`, client"],
        &rows,
    );
    let [less, more] = [kept(few).await, kept(many).await];
    let each = |at: usize| Number((more[at] - less[at]) / (many - few) as f64);
    table(
        "Bytes for each object with a number in storage (SQLite), without a stub",
        &["in memory, idle", "asleep"],
        &[vec![each(0).to_string(), each(1).to_string()]],
    );
}

// ---- objects with storage

struct Kept {
    value: opendo::Stored<u64>,
}

#[durable_object(vis = "")]
impl Kept {
    pub fn set(&mut self, value: u64) {
        *self.value.edit() = value;
    }
}

impl DurableObject for Kept {
    const IDLE: Option<Duration> = Some(Duration::MAX);

    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: ctx.stored("value").await? })
    }
}

/// What so many objects take: in memory, and asleep.
async fn kept(count: usize) -> [f64; 2] {
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = Node::builder().object::<Kept>().storage(data.path()).start().await.expect("it starts");
    let name = |number: usize| format!("kept-{number}");
    // What grows with the first of them is there.
    node.get::<KeptStub>(name(0)).set(1).await.expect("it answers");
    settle().await;
    let (before, _) = live();
    for number in 1..=count {
        node.get::<KeptStub>(name(number)).set(number as u64).await.expect("it answers");
    }
    settle().await;
    let (awake, _) = live();
    for number in 1..=count {
        opendo::testing::hibernate(&node, &node.get::<KeptStub>(name(number))).await;
    }
    settle().await;
    let (asleep, _) = live();
    node.shutdown(Duration::from_secs(60)).await;
    [awake as f64 - before as f64, asleep as f64 - before as f64]
}

// ---- what is held

type Ways = &'static [Way];
const EVERY: Ways = &[Way::InProcess, Way::Memory, Way::Unix];
const HERE: Ways = &[Way::InProcess];
const OVER: Ways = &[Way::Memory, Way::Unix];

const ITEMS: &[(Item, &str, Ways)] = &[
    (Item::Target, "a target and its stub", HERE),
    (Item::Object, "an object, called once, and its stub", HERE),
    (Item::Session { echo: 0 }, "a session that has carried nothing", OVER),
    (Item::Session { echo: 1024 }, "… that has carried 1 KiB, there and back, 10 times", OVER),
    (Item::Session { echo: 65_536 }, "… that has carried 64 KiB, there and back, 10 times", OVER),
    (Item::Bound, "a stub of an object in memory, called once", EVERY),
    (Item::ObjectStub, "a stub of an object, passed as a result and kept", EVERY),
    (Item::TargetStub, "a stub of a target, passed as an argument and kept", EVERY),
    (Item::Member, "… and joined to a `Group`", EVERY),
    (Item::Queued, "a call that waits for its turn", EVERY),
    (Item::Running, "a call that runs", EVERY),
    (Item::Pipelined, "a call that waits for the result it is made on", EVERY),
    (Item::Kept, "a number, kept by `promised()` and not taken", OVER),
    (Item::KeptStub, "a stub, kept because it was used, and not taken", EVERY),
    (Item::Stream, "a stream in which nothing comes", EVERY),
];

#[derive(Clone, Copy, Debug)]
enum Item {
    Target,
    Object,
    Session { echo: usize },
    Bound,
    ObjectStub,
    TargetStub,
    Member,
    Queued,
    Running,
    Pipelined,
    Kept,
    KeptStub,
    Stream,
}

/// Bytes and allocations that so many of them take, at each side or at both together.
async fn held(item: Item, way: Way, count: usize) -> Vec<(f64, f64)> {
    let world = World::new(way).await;
    let hub = &world.hub;
    // What there is one of, whatever the count.
    let ear: EarStub = opendo::serve(Ear);
    hub.takes(ear.clone()).await.expect("it answers");
    let door = hub.door().await.expect("it answers");
    let first = door.pass(0);
    let late = hub.gives_late();
    let _ = Call::pipeline(&late);
    if matches!(item, Item::Bound) {
        hub.wake(count as u64).await.expect("it answers");
    }
    let before = world.live().await;
    macro_rules! hold {
        ($number:ident => $what:expr) => {{
            let mut held = Vec::with_capacity(count);
            for $number in 0..count as u64 {
                held.push($what);
                // Messages that pile up would make buffers grow that stay.
                if $number % 16 == 15 {
                    hub.plain(1).await.expect("it answers");
                }
            }
            Box::new(held) as Box<dyn Any>
        }};
    }
    let all = match item {
        Item::Target => hold!(number => opendo::serve::<EarStub, _>(Ear)),
        Item::Object | Item::Bound => hold!(number => {
            let counter = world.counter(number);
            counter.increment(1).await.expect("it answers");
            counter
        }),
        Item::Session { echo } => hold!(number => {
            let client = world.connect().await;
            let hub: HubStub = client.root();
            for _ in 0..if echo == 0 { 0 } else { 10 } {
                hub.echo(ByteBuf::from(vec![7; echo])).await.expect("it answers");
            }
            client
        }),
        Item::ObjectStub => hold!(number => hub.object(number).await.expect("it answers")),
        Item::TargetStub => hold!(number => hub.keep(ear.clone()).await.expect("it answers")),
        Item::Member => hold!(number => hub.join(ear.clone()).await.expect("it answers")),
        Item::Queued => hold!(number => door.pass(number)),
        Item::Running => hold!(number => hub.waits(number)),
        Item::Pipelined => hold!(number => late.plain(number)),
        Item::Kept => {
            let promised = hub.promised();
            hold!(number => promised.plain(number))
        }
        Item::KeptStub => hold!(number => {
            let call = hub.gives();
            let _ = Call::pipeline(&call);
            call
        }),
        Item::Stream => hold!(number => hub.silence().await.expect("it answers")),
    };
    let after = world.live().await;
    drop((all, first, late));
    world.close().await;
    let change = |(before, after): (&(f64, f64), &(f64, f64))| (after.0 - before.0, after.1 - before.1);
    before.iter().zip(&after).map(change).collect()
}

// ---- the two sides

#[derive(Clone, Copy, PartialEq)]
enum Way {
    InProcess,
    Memory,
    Unix,
}

/// A node, wherever it is, and a way to its hub.
struct World {
    address: String,
    node: Option<(Node, Arc<State>)>,
    server: Option<Child>,
    client: Option<Client>,
    hub: HubStub,
}

async fn start(address: Option<&str>) -> (HubStub, Node, Arc<State>) {
    let (hub, state) = Hub::serve(live);
    let node = Hub::node(&hub).start().await.expect("one class");
    if let Some(address) = address {
        node.listen(address).await.expect("a free address");
    }
    let _ = state.node.set(node.clone());
    (hub, node, state)
}

async fn serve_until_closed(address: &str) {
    let _served = start(Some(address)).await;
    println!("{address}");
    // The bench holds the other end of this pipe: when it ends, however it ends, so does its server.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
}

fn start_apart(address: &str) -> Child {
    let mut server = Command::new(std::env::current_exe().expect("it runs"))
        .args(["serve", address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can run again");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut line).expect("text");
    server
}

impl World {
    async fn new(way: Way) -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let name = format!("opendo-bench-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let address = match way {
            Way::Unix => format!("unix:{}", std::env::temp_dir().join(name).display()),
            Way::InProcess | Way::Memory => format!("memory:{name}"),
        };
        if way == Way::InProcess {
            let (hub, node, state) = start(None).await;
            return Self { address, node: Some((node, state)), server: None, client: None, hub };
        }
        let (node, server) = if way == Way::Memory {
            let (_, node, state) = start(Some(&address)).await;
            (Some((node, state)), None)
        } else {
            (None, Some(start_apart(&address)))
        };
        let client = opendo::connect(&address).await.expect("it listens");
        Self { hub: client.root(), address, node, server, client: Some(client) }
    }

    async fn connect(&self) -> Client {
        opendo::connect(&self.address).await.expect("it listens")
    }

    /// What is live at each side, or at both together.
    async fn live(&self) -> Vec<(f64, f64)> {
        let there = self.hub.live().await.expect("it answers");
        settle().await;
        let float = |(bytes, allocations): (u64, u64)| (bytes as f64, allocations as f64);
        if self.server.is_none() { vec![float(live())] } else { vec![float(there), float(live())] }
    }

    fn counter(&self, number: u64) -> CounterStub {
        match (&self.client, &self.node) {
            (Some(client), _) => client.get(number.to_string()),
            (None, Some((node, _))) => node.get(number.to_string()),
            (None, None) => unreachable!("a node that is elsewhere has a client here"),
        }
    }

    /// Leaves nothing that could change while the next ones are counted.
    async fn close(mut self) {
        drop((self.hub, self.client.take()));
        settle().await;
        if let Some((node, state)) = self.node.take() {
            state.ears.lock().expect("no panics").clear();
            node.shutdown(Duration::ZERO).await;
        }
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            let _ = server.wait();
        }
        if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
    }
}
