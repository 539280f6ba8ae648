//! A process with durable objects is killed with SIGKILL at random moments under load, and started again on what it left.
//!
//! `CRASHES=1000 cargo test -p opendo-tests --test crash` kills it more often, `CRASH_SEED=…` at the same moments as a run
//! that failed.

#![cfg(unix)]

#[path = "fixtures/crash/pair.rs"]
mod pair;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use opendo::prelude::*;
use pair::PairStub;

const OBJECTS: usize = 16;
/// How many calls each client has on their way.
const WINDOW: usize = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Server(Child);

impl Server {
    fn start(data: &str, address: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crash_server"));
        let mut child = command.args([data, address]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "the server did not start on what was left: {line:?}");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Calls the object until its server is gone. The largest number that was acknowledged, and how many calls were made.
async fn load(pair: PairStub) -> (u64, u64) {
    let (mut acknowledged, mut made, mut calls) = (0, 0, VecDeque::new());
    loop {
        while calls.len() < WINDOW {
            calls.push_back(pair.increment());
            made += 1;
        }
        match calls.pop_front().expect("the window is full").await {
            Ok(value) => acknowledged = acknowledged.max(value),
            Err(CallError::App(error)) => panic!("{error}"),
            Err(CallError::Rpc(_)) => {
                for call in calls {
                    if let Ok(value) = call.await {
                        acknowledged = acknowledged.max(value);
                    }
                }
                return (acknowledged, made);
            }
        }
    }
}

/// Checklist 4.13, 5.12, 5.31.
#[tokio::test]
async fn acknowledged_calls_survive_kill_9_and_no_batch_is_half_there() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let crashes = number("CRASHES").unwrap_or(300);
    let seed = number("CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) | 1);
    println!("CRASH_SEED={seed}");
    let mut random = Random(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (data, address) = (path("data"), format!("unix:{}", path("socket")));
    let mut before = [0; OBJECTS];
    let mut acknowledged_in_all = 0;
    for crash in 0..crashes {
        let server = Server::start(&data, &address);
        let client =
            Client::builder(&address).patience(Duration::ZERO).connect().await.expect("the server listens");
        for (object, before) in before.iter_mut().enumerate() {
            let pair: PairStub = client.get(format!("pair-{object}"));
            let (left, right, log) = pair.stored().await.expect("what it left can be read");
            assert_eq!((left, left), (right, log), "half a batch is there (crash {crash}, seed {seed})");
            assert!(
                left >= *before,
                "pair-{object} went back from {before} to {left} (crash {crash}, seed {seed})"
            );
            *before = left;
        }
        let running: Vec<_> =
            (0..OBJECTS).map(|object| tokio::spawn(load(client.get(format!("pair-{object}"))))).collect();
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        server.kill();
        for (before, running) in before.iter_mut().zip(running) {
            let (acknowledged, made) = running.await.unwrap();
            assert!(acknowledged <= *before + made, "more was acknowledged than was asked for (seed {seed})");
            acknowledged_in_all += acknowledged.saturating_sub(*before);
            *before = acknowledged.max(*before);
        }
    }
    assert!(
        acknowledged_in_all > crashes,
        "too little was done to show anything: {acknowledged_in_all} calls"
    );
}
