//! One run: a node, its clients, their programs, and a network that does not leave them alone.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Direction, Network, SessionStats, node_stats, stats};
use opendo::{Limits, Node};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::actor::{Actor, Hold};
use super::chance::Chance;
use super::party::{PartyStub, Room, root};
use super::record::{self, Story};

/// In virtual time.
const HANG: Duration = Duration::from_secs(3600);

pub(crate) fn run(seed: u64) -> Story {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        record::begin(seed % 4 == 3);
        if timeout(HANG, simulate(seed)).await.is_err() {
            record::wrong("it hangs".into());
        }
    });
    let story = record::end();
    drop(runtime);
    story
}

fn limits(seed: u64) -> Limits {
    match seed % 4 {
        3 => Limits {
            max_capabilities: 10,
            max_calls: 12,
            max_pipelined: 3,
            max_stream_buffer: 400,
            ..Limits::default()
        },
        _ => Limits::default(),
    }
}

/// A party elsewhere.
struct Guest {
    network: Network,
    client: Client,
    /// Its own objects, which others may call.
    _node: Option<Node>,
}

impl Guest {
    async fn connect(hub: &Node, hosts: bool, limits: &Limits, patience: Duration) -> Self {
        let network = Network::new(hub);
        let node = if hosts {
            Some(Node::builder().object::<Room>().limits(limits.clone()).start().await.unwrap())
        } else {
            None
        };
        let builder = match &node {
            Some(node) => network.client_of(node),
            None => network.client().limits(limits.clone()),
        };
        let client = builder.patience(patience).root(&root()).connect().await.unwrap();
        Self { network, client, _node: node }
    }

    fn holds(&self) -> Vec<Hold> {
        vec![Hold::new(self.client.get("a")), Hold::new(self.client.get("b")), Hold::new(self.client.root())]
    }
}

async fn simulate(seed: u64) {
    let mut chance = Chance::new(seed, 0);
    let limits = limits(seed);
    let hub = Node::builder()
        .object::<Room>()
        .accept(|_| Ok::<PartyStub, _>(root()))
        .allow_names()
        .limits(limits.clone())
        .start()
        .await
        .unwrap();
    let bystander = Network::new(&hub).client().connect().await.unwrap();

    let mut guests = Vec::new();
    for _ in 0..1 + chance.below(3) {
        let hosts = chance.percent(60);
        let patience = Duration::from_millis([0, 700, 10_000][chance.place(3)]);
        guests.push(Guest::connect(&hub, hosts, &limits, patience).await);
    }

    let meddling = Arc::new(AtomicBool::new(true));
    let calm = chance.percent(25);
    let meddlers: Vec<_> = (0..)
        .zip(&guests)
        .filter(|_| !calm)
        .map(|(at, guest)| {
            let chance = Chance::new(seed, 100 + at);
            tokio::spawn(meddle(guest.network.clone(), chance, meddling.clone()))
        })
        .collect();
    let mut programs = Vec::new();
    for (at, guest) in (0..).zip(&guests) {
        let mut actor = Actor::new(Chance::new(seed, 200 + at));
        actor.holds.extend(guest.holds());
        programs.push(tokio::spawn(play(actor, guest.client.clone())));
    }
    if chance.percent(40) {
        let mut actor = Actor::new(Chance::new(seed, 300));
        actor.holds.extend([Hold::new(hub.get("a")), Hold::new(hub.get("b"))]);
        programs.push(tokio::spawn(async move {
            actor.run(12).await;
            actor.finish().await;
        }));
    }
    let over = Cell::new(false);
    let all = async {
        for program in programs {
            program.await.unwrap();
        }
        over.set(true);
    };
    tokio::join!(all, stand_by(&bystander, &over));

    meddling.store(false, Ordering::Relaxed);
    for meddler in meddlers {
        meddler.await.unwrap();
    }
    for guest in &guests {
        heal(&guest.network);
    }
    clear(&hub, &guests, bystander).await;
}

async fn play(mut actor: Actor, client: Client) {
    let steps = 8 + actor.chance.below(24);
    actor.run(steps).await;
    if actor.chance.percent(10) {
        record::note(format_args!("a client closes"));
        let closing = tokio::spawn(async move { client.close().await });
        actor.finish().await;
        closing.await.unwrap();
    } else {
        drop(client);
        actor.finish().await;
    }
}

/// One fault after the other.
async fn meddle(network: Network, mut chance: Chance, on: Arc<AtomicBool>) {
    while on.load(Ordering::Relaxed) {
        sleep(chance.pause()).await;
        let millis = Duration::from_millis(u64::from(1 + chance.below(30)));
        match chance.below(16) {
            0..4 => network.delay(millis),
            4..6 => network.hurry(),
            6..8 => {
                record::note(format_args!("cut"));
                network.cut();
            }
            8..11 => {
                let direction = if chance.percent(50) { Direction::ToNode } else { Direction::ToClient };
                let bytes = u64::from(chance.below(2000));
                record::note(format_args!("to be cut after {bytes} {direction:?}"));
                network.cut_after(direction, bytes);
            }
            11 => {
                record::note(format_args!("half open"));
                network.half_open(true);
                sleep(Duration::from_millis(u64::from(chance.below(40_000)))).await;
                network.half_open(false);
                // What was lost of a stream of bytes cannot be made up for.
                network.cut();
            }
            12 => {
                record::note(format_args!("refused"));
                network.refuse(true);
                network.cut();
                sleep(Duration::from_millis(u64::from(chance.below(3000)))).await;
                network.refuse(false);
            }
            13..15 => network.pace(1 + chance.place(200), Duration::from_millis(u64::from(chance.below(8)))),
            _ => sleep(Duration::from_millis(500)).await,
        }
    }
}

fn heal(network: &Network) {
    network.hurry();
    network.cut_after(Direction::ToNode, u64::MAX);
    network.cut_after(Direction::ToClient, u64::MAX);
}

/// Calls something of its own all the time, and notices nothing.
async fn stand_by(bystander: &Client, over: &Cell<bool>) {
    let hold: PartyStub = bystander.get("bystander");
    let line = record::new_line();
    let mut pause = Duration::from_millis(17);
    while !over.get() {
        let tag = record::made("note", line, None);
        let answer = hold.note(tag).await;
        record::ended(tag, &answer);
        if answer.is_err() {
            record::wrong("the bystander was disturbed".into());
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(7));
    }
}

/// Everybody has let go of everything: nothing may be left.
async fn clear(hub: &Node, guests: &[Guest], bystander: Client) {
    const TURN: Duration = Duration::from_secs(60);
    sleep(TURN * 4).await;
    // What targets keep of each other, in a ring maybe, is theirs.
    for common in record::commons() {
        if let Some(common) = common.upgrade() {
            let kept = std::mem::take(&mut *common.kept.lock().unwrap());
            drop(kept);
        }
    }
    sleep(TURN).await;
    let mut all = node_stats(hub);
    all.extend(guests.iter().filter_map(|guest| guest.client.session()).map(|session| stats(&session)));
    all.extend(bystander.session().map(|session| stats(&session)));
    for stats in all {
        if stats != SessionStats::default() {
            record::wrong(format!("a session still has {stats:?}"));
        }
    }
    for (what, count) in record::living() {
        if what != "root" && what != "object" {
            record::wrong(format!("{count} of {what} are left"));
        }
    }
    for guest in guests {
        guest.client.close().await;
    }
    bystander.close().await;
    sleep(TURN).await;
    if hub.sessions() != 0 {
        record::wrong(format!("{} sessions are left", hub.sessions()));
    }
    if record::living().iter().any(|(what, _)| *what != "object" && *what != "root") {
        record::wrong(format!("in the end there are {:?}", record::living()));
    }
}
