//! Whole programs against a model of what may happen: one seed, one run, the same each time.
//!
//! A node and its clients call each other over networks that are slow, cut, half open or refuse, and hand each other
//! stubs, promises and streams. What runs and what callers learn is [recorded](record) and compared with what is
//! promised: see `Record::judge`, and `world::clear` for what must be left in the end, which is nothing.
//!
//! `OPENDO_SEED=7` runs that one and prints what happened; `OPENDO_SEEDS=10000` runs as many more of each test.

// Remote methods are `pub`, their types with them, and they take their arguments by value: that is what makes them so.
#![allow(unreachable_pub, clippy::needless_pass_by_value)]

#[path = "simulation/actor.rs"]
mod actor;
#[path = "simulation/calls.rs"]
mod calls;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/flows.rs"]
mod flows;
#[path = "simulation/party.rs"]
mod party;
#[path = "simulation/record.rs"]
mod record;
#[path = "simulation/world.rs"]
mod world;

/// Of each test.
const SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a seed is a number"))
}

fn seeds(part: u64) {
    if let Some(seed) = number("OPENDO_SEED") {
        if part == 0 {
            let story = world::run(seed);
            println!("{}", story.trace.join("\n"));
            assert!(story.wrong.is_empty(), "{:#?}", story.wrong);
        }
        return;
    }
    let more = number("OPENDO_SEEDS").unwrap_or(0);
    let (mut calls, mut ran, mut failed) = (0, 0, Vec::new());
    for seed in (0..SEEDS + more).map(|seed| seed * 4 + part) {
        let story = world::run(seed);
        calls += story.calls;
        ran += story.ran;
        if let Some(first) = story.wrong.first() {
            if failed.is_empty() {
                println!("{}", story.trace.join("\n"));
            }
            failed.push(format!("seed {seed}: {first}"));
        }
    }
    println!("{calls} calls, of which {ran} ran");
    assert!(failed.is_empty(), "{} seeds failed: {failed:#?}", failed.len());
}

#[test]
fn nothing_is_lost_doubled_or_left_0() {
    seeds(0);
}

#[test]
fn nothing_is_lost_doubled_or_left_1() {
    seeds(1);
}

#[test]
fn nothing_is_lost_doubled_or_left_2() {
    seeds(2);
}

/// With so small bounds that they are often reached.
#[test]
fn nothing_is_lost_doubled_or_left_within_small_bounds() {
    seeds(3);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let more = number("OPENDO_SEEDS").unwrap_or(0);
    for seed in number("OPENDO_SEED").map_or(0..40 + more, |seed| seed..seed + 1) {
        let (one, other) = (world::run(seed), world::run(seed));
        let same = one.trace.iter().zip(&other.trace).take_while(|(one, other)| one == other).count();
        let differ = (one.trace.get(same), other.trace.get(same));
        if differ != (None, None) {
            println!("{}", one.trace[..same].join("\n"));
        }
        assert_eq!(differ, (None, None), "seed {seed} differs in line {same}");
    }
}
