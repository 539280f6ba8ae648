//! Exactly once in effect, whatever happens at which commit.

use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Disk, Fault, crash, hibernate};
use tokio::time::sleep;

use crate::post::{PostStub, has_got, node_on};

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mishap {
    /// The process dies before it is written.
    DiesBefore,
    /// The process dies when it was written, before anybody hears of it.
    DiesAfter,
    Fails,
    AnswerIsLost,
}

impl Mishap {
    fn into_fault(self) -> Fault {
        match self {
            Self::DiesBefore => Fault::Hold,
            Self::DiesAfter => Fault::HoldAnswer,
            Self::Fails => Fault::Fail,
            Self::AnswerIsLost => Fault::LoseAnswer,
        }
    }
}

/// Two senders send five numbers each to two receivers, and everything sleeps now and then. At commit `n` that happens.
/// Returns how many commits there were.
async fn run(n: u64, mishap: Mishap) -> u64 {
    let disk = Disk::new();
    disk.inject(n..=n, mishap.into_fault());
    let first = node_on(&disk).await;
    let work = async {
        send_all(&first).await;
        // The last ones arrive, unless it dies by that.
        sleep(Duration::from_secs(100)).await;
    };
    let dies = matches!(mishap, Mishap::DiesBefore | Mishap::DiesAfter);
    let node = tokio::select! {
        () = work => first,
        () = disk.reached(n), if dies => {
            crash(&first).await;
            disk.release();
            let second = node_on(&disk).await;
            send_all(&second).await;
            second
        }
    };
    let senders: [PostStub; 2] = ["one", "two"].map(|name| node.get(name));
    let receivers: [PostStub; 2] = ["a", "b"].map(|name| node.get(name));
    for (sender, receiver) in senders.iter().zip(&receivers) {
        let sent = sender.fresh().sent().await.unwrap();
        assert!(sent >= 5, "{mishap:?} at {n}");
        has_got(receiver, &(1..=sent).collect::<Vec<_>>()).await;
        assert_eq!(sender.undelivered_ones().await.unwrap(), Vec::<String>::new());
    }
    sleep(Duration::from_secs(100)).await;
    assert!(node.live::<PostStub>().is_empty(), "{mishap:?} at {n}: nothing is to be done any more");
    disk.commits()
}

/// Sends until each sender has sent five.
async fn send_all(node: &Node) {
    let pairs = [("one", "a"), ("two", "b")];
    for round in 0.. {
        let mut done = true;
        for (sender, receiver) in pairs {
            let (sender, receiver): (PostStub, PostStub) = (node.get(sender), node.get(receiver));
            let Ok(sent) = sender.sent().await else {
                done = false;
                continue;
            };
            if sent < 5 {
                done = false;
                let _ = sender.send(vec![receiver.clone()], 1).await;
                // Some messages are on their way then, others have arrived.
                if round % 2 == 0 {
                    hibernate(node, &receiver).await;
                } else {
                    hibernate(node, &sender).await;
                }
            }
        }
        if done {
            return;
        }
    }
}

async fn at_every_commit(mishap: Mishap) {
    let mut n = 1;
    loop {
        let commits = run(n, mishap).await;
        if commits < n {
            break;
        }
        n += 1;
    }
    assert!(n > 20, "{n} commits are too few to be a test");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_before_a_commit_loses_nothing_and_doubles_nothing() {
    at_every_commit(Mishap::DiesBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_after_a_commit_loses_nothing_and_doubles_nothing() {
    at_every_commit(Mishap::DiesAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_loses_nothing_and_doubles_nothing() {
    at_every_commit(Mishap::Fails).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_loses_nothing_and_doubles_nothing() {
    at_every_commit(Mishap::AnswerIsLost).await;
}

/// A ring of messages that cause each other, through a crash at each commit.
#[tokio::test(start_paused = true)]
async fn a_ring_goes_on_after_a_crash_at_every_commit() {
    for n in 1.. {
        let disk = Disk::new();
        disk.inject(n..=n, if n % 2 == 0 { Fault::Hold } else { Fault::HoldAnswer });
        let node = node_on(&disk).await;
        let ring = |node: &Node| ["x", "y", "z"].map(|name| node.get::<PostStub>(name));
        let [x, y, z] = ring(&node);
        let begun = async {
            x.pass_on(vec![y.clone(), z.clone(), x.clone()], 8).await.unwrap();
            sleep(Duration::from_secs(60)).await;
        };
        let crashed = tokio::select! {
            () = begun => false,
            () = disk.reached(n) => true,
        };
        if !crashed {
            assert!(n > 9, "{n} commits are too few to be a test");
            return;
        }
        crash(&node).await;
        disk.release();
        let node = node_on(&disk).await;
        let [x, y, z] = ring(&node);
        if x.got().await.unwrap().is_empty() {
            continue; // the call itself was lost
        }
        has_got(&x, &[8, 5, 2]).await;
        has_got(&y, &[7, 4, 1]).await;
        has_got(&z, &[6, 3, 0]).await;
    }
}
