//! A crash at every commit: a small bank is used by a few clients, and its node dies (or its disk fails) at the first
//! commit, at the second one, and so on to the last. Whenever it was, nothing that was answered is lost, nothing is there
//! by half or twice, and everything that was to happen later has happened in the end.
//!
//! `OPENDO_SEED=7` runs that seed alone, `OPENDO_SEEDS=100` as many.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Disk, Fault, crash, on_disk, with_tokio_clock};
use opendo::{ErrorKind, Limits};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

#[path = "../suite/simulation/chance.rs"]
mod chance;
#[path = "simulation/purse.rs"]
mod purse;

use chance::Chance;
use purse::{Contents, Purse, PurseStub};

const PURSES: [&str; 3] = ["ann", "ben", "cleo"];

/// What happens at the commit in question.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    commit: u64,
    fault: Fault,
    /// The node dies, too.
    crash: bool,
}

const TROUBLES: [(Fault, bool); 6] = [
    (Fault::Hold, true),
    (Fault::HoldAnswer, true),
    (Fault::Fail, true),
    (Fault::LoseAnswer, true),
    (Fault::Fail, false),
    (Fault::LoseAnswer, false),
];

/// What clients have asked for.
#[derive(Default)]
struct Asked {
    /// Each with its purse and what it asked for.
    all: BTreeMap<u64, (&'static str, Order)>,
    answered: BTreeSet<u64>,
    /// The largest count that each purse has told.
    counts: BTreeMap<&'static str, u64>,
    wrong: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Add(i64),
    Transfer(&'static str, i64),
    Remind(Duration),
    /// To begin with something, and to lose the instance.
    Stumble,
}

struct World {
    disk: Disk,
    node: RefCell<Node>,
    asked: RefCell<Asked>,
}

async fn node_on(disk: &Disk) -> Node {
    // So short that purses leave memory in between.
    let limits = Limits { idle_timeout: Duration::from_secs(1), ..Limits::default() };
    let node = Node::builder().object::<Purse>().limits(limits);
    with_tokio_clock(on_disk(node, disk)).start().await.unwrap()
}

impl World {
    fn purse(&self, name: &str) -> PurseStub {
        self.node.borrow().get(name)
    }

    fn wrong(&self, what: String) {
        self.asked.borrow_mut().wrong.push(what);
    }

    /// Gives orders, one after the other.
    async fn client(&self, number: u64, mut chance: Chance) {
        for order in 0..5 {
            sleep(chance.pause()).await;
            let id = number * 1_000 + order;
            let purse = PURSES[chance.place(PURSES.len())];
            let order = match chance.below(8) {
                0 | 1 => Order::Add(i64::from(chance.below(100))),
                2..5 => Order::Transfer(PURSES[chance.place(PURSES.len())], i64::from(chance.below(100))),
                5 | 6 => Order::Remind(chance.pause()),
                _ => Order::Stumble,
            };
            self.asked.borrow_mut().all.insert(id, (purse, order));
            let insists = chance.percent(50);
            while !self.ask(id, purse, order).await && insists && !matches!(order, Order::Stumble) {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Whether it was answered.
    async fn ask(&self, id: u64, name: &'static str, order: Order) -> bool {
        let before = self.asked.borrow().counts.get(name).copied().unwrap_or(0);
        let purse = self.purse(name);
        let answer = match order {
            Order::Add(amount) => purse.add(id, amount).await,
            Order::Transfer(to, amount) => purse.transfer(id, to.to_owned(), amount).await,
            Order::Remind(time) => purse.remind(id, time).await,
            Order::Stumble => purse.stumble(id).await,
        };
        match answer {
            Ok(count) => {
                if count < before {
                    self.wrong(format!("{name} has gone back from {before} to {count}"));
                }
                let mut asked = self.asked.borrow_mut();
                asked.answered.insert(id);
                let known = asked.counts.entry(name).or_default();
                *known = count.max(*known);
                true
            }
            Err(CallError::Rpc(error)) if matches!(error.kind(), ErrorKind::Reset | ErrorKind::Closed) => {
                false
            }
            Err(error) => {
                self.wrong(format!("{name} has answered order {id} with {error}"));
                false
            }
        }
    }

    /// Another node takes the place of this one.
    async fn replace(&self) {
        let node = self.node.borrow().clone();
        crash(&node).await;
        self.disk.release();
        let next = node_on(&self.disk).await;
        *self.node.borrow_mut() = next;
    }

    async fn contents(&self) -> BTreeMap<&'static str, Contents> {
        let mut all = BTreeMap::new();
        for name in PURSES {
            all.insert(name, self.purse(name).contents().await.unwrap());
        }
        all
    }

    fn judge(&self, all: &BTreeMap<&'static str, Contents>) {
        for (name, contents) in all {
            for wrong in contents.judge() {
                self.wrong(format!("{name}: {wrong}"));
            }
            for id in contents.orders() {
                if !self.asked.borrow().all.contains_key(&id) {
                    self.wrong(format!("{name} knows of order {id}, which nobody has given"));
                }
            }
        }
        let orders = self.asked.borrow().all.clone();
        for (id, (name, order)) in orders {
            let purse = &all[name];
            let (done, expected) = match order {
                Order::Add(amount) => (purse.moved.get(&(id, false)).copied(), amount),
                Order::Transfer(to, amount) => {
                    let given = purse.moved.get(&(id, true)).copied();
                    let taken = all[to].moved.get(&(id, false)).copied();
                    if given.map(|given| -given) != taken {
                        self.wrong(format!("of order {id}, {name} gave {given:?} and {to} took {taken:?}"));
                    }
                    (given, -amount)
                }
                Order::Stumble => (purse.moved.get(&(id, false)).copied(), 0),
                Order::Remind(_) => (purse.reminded.get(&id).map(|times| i64::try_from(*times).unwrap()), 1),
            };
            match done {
                Some(done) if done != expected => {
                    self.wrong(format!("order {id} did {done} instead of {expected}"));
                }
                None if self.asked.borrow().answered.contains(&id) => {
                    self.wrong(format!("order {id} of {name} was answered, and is lost"));
                }
                _ => {}
            }
        }
    }

    async fn run(self: Rc<Self>, seed: u64, trouble: Option<Trouble>) {
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let (world, chance) = (self.clone(), Chance::new(seed, number));
                tokio::task::spawn_local(async move { world.client(number, chance).await })
            })
            .collect();
        let troubled = async {
            if let Some(Trouble { commit, crash: true, .. }) = trouble {
                self.disk.reached(commit).await;
                self.replace().await;
            }
            for client in clients {
                client.await.unwrap();
            }
        };
        troubled.await;
        // All that was to happen later has happened.
        sleep(Duration::from_secs(60)).await;
        let all = self.contents().await;
        self.judge(&all);
        self.replace().await;
        if self.contents().await != all {
            self.wrong("what was seen was not durable".to_owned());
        }
    }
}

/// How many commits there were, and what was wrong.
fn run(seed: u64, trouble: Option<Trouble>) -> (u64, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let running = async {
        let disk = Disk::new();
        if let Some(Trouble { commit, fault, .. }) = trouble {
            disk.inject(commit..=commit, fault);
        }
        let node = RefCell::new(node_on(&disk).await);
        let world = Rc::new(World { disk, node, asked: RefCell::default() });
        if timeout(Duration::from_secs(86_400), world.clone().run(seed, trouble)).await.is_err() {
            world.wrong("it hangs".to_owned());
        }
        (world.disk.commits(), std::mem::take(&mut world.asked.borrow_mut().wrong))
    };
    LocalSet::new().block_on(&runtime, running)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a seed is a number"))
}

/// Checklist 2.7, 3.20, 4.12, 4.13, 5.12, 5.16, 5.31, 7.6, 7.7, 7.19.
#[test]
fn nothing_is_lost_halved_or_doubled_wherever_the_node_dies() {
    let seeds = match number("OPENDO_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OPENDO_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        let (commits, wrong) = run(seed, None);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        assert!(commits > 20, "seed {seed} has only {commits} commits");
        for commit in 1..=commits {
            for (fault, crash) in TROUBLES {
                let trouble = Trouble { commit, fault, crash };
                let (_, wrong) = run(seed, Some(trouble));
                assert!(wrong.is_empty(), "seed {seed}, {trouble:?}: {wrong:#?}");
            }
        }
    }
}
