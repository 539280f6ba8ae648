//! What arrives, when, and what does not.

use std::sync::Arc;
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Disk, Fault, crash, hibernate, reset};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::post::{
    Ear, Fate, Moved, MovedOn, MovedOnStub, MovedStub, Post, PostStub, TellerStub, few, has_got, node_on,
    posts,
};

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_at_each_of_their_receivers() {
    let node = node_on(&Disk::new()).await;
    let (from, one, two): (PostStub, PostStub, PostStub) =
        (node.get("from"), node.get("one"), node.get("two"));
    assert_eq!(from.send(vec![one.clone(), two.clone()], 20).await.unwrap(), 20);
    let all: Vec<u64> = (1..=20).collect();
    has_got(&one, &all).await;
    has_got(&two, &all).await;
}
