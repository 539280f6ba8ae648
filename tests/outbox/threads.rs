//! Many threads at once.

use std::time::{Duration, Instant};

use opendo::prelude::*;
use opendo::testing::{Disk, hibernate, on_disk, reset};
use tokio::time::sleep;

use crate::post::{Post, PostStub};

/// Sends to its three receivers while it sleeps and is reset in between. Returns how many messages count.
async fn sends(node: Node, name: String) -> u64 {
    let from: PostStub = node.get(&name);
    let to: Vec<PostStub> = (0..3).map(|n| node.get(format!("{name}/{n}"))).collect();
    for round in 0..60_usize {
        let sent = from.fresh().send(to.clone(), 5);
        match round % 4 {
            0 => hibernate(&node, &from).await,
            1 => drop(reset(&node, &from, "as the test wants").await),
            2 => hibernate(&node, &to[round % 3]).await,
            _ => {}
        }
        let _ = sent.await;
    }
    from.fresh().sent().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_senders_are_reset_and_everybody_sleeps() {
    let node = on_disk(Node::builder().object::<Post>(), &Disk::new()).start().await.unwrap();
    let names: Vec<_> = (0..6).map(|n| format!("threads/{n}")).collect();
    let senders: Vec<_> = names.iter().map(|name| tokio::spawn(sends(node.clone(), name.clone()))).collect();
    let since = Instant::now();
    for (sender, name) in senders.into_iter().zip(&names) {
        let sent = sender.await.unwrap();
        assert!(sent >= 100, "{sent}");
        for n in 0..3 {
            let to: PostStub = node.get(format!("{name}/{n}"));
            let all: Vec<u64> = (1..=sent).collect();
            loop {
                let got = to.got().await.unwrap();
                if got.len() >= all.len() {
                    assert_eq!(got, all);
                    break;
                }
                assert!(since.elapsed() < Duration::from_secs(60), "{name}/{n}: {} of {sent}", got.len());
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
