//! What arrives, when, and what does not.

use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Disk, Fault, crash, hibernate, reset};
use tokio::time::{Instant, sleep};

use crate::post::{
    Ear, Fate, Moved, MovedOn, MovedOnStub, MovedStub, PostStub, TellerStub, few, has_got, node_on, posts,
};

fn three(node: &Node, names: [&str; 3]) -> [PostStub; 3] {
    names.map(|name| node.get(name))
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_at_each_of_their_receivers() {
    let node = node_on(&Disk::new()).await;
    let [from, one, two] = three(&node, ["from", "one", "two"]);
    assert_eq!(from.send(vec![one.clone(), two.clone()], 20).await.unwrap(), 20);
    let all: Vec<u64> = (1..=20).collect();
    has_got(&one, &all).await;
    has_got(&two, &all).await;
}

/// Nothing leaves before it is durable, and nobody waits for a message.
#[tokio::test(start_paused = true)]
async fn a_message_goes_when_its_commit_is_durable() {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let [from, to, _] = three(&node, ["held/from", "held/to", ""]);
    to.got().await.unwrap();
    from.sent().await.unwrap();
    disk.hold();
    let told = from.send(vec![to], 1);
    disk.reached(1).await;
    sleep(Duration::from_secs(1)).await;
    assert!(Fate::of("held/to").runs.lock().unwrap().is_empty());
    disk.release();
    told.await.unwrap();
    has_got(&node.get("held/to"), &[1]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_committed_is_not_sent() {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let [from, to, _] = three(&node, ["lost/from", "lost/to", ""]);
    assert!(from.send_and_panic(to.clone()).await.is_err());
    disk.inject_next(Fault::Fail);
    assert!(from.fresh().send(vec![to.clone()], 3).await.is_err());
    sleep(Duration::from_secs(60)).await;
    assert!(to.got().await.unwrap().is_empty());
    assert_eq!(from.fresh().send(vec![to.clone()], 1).await.unwrap(), 1);
    has_got(&to, &[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_rolled_back_takes_its_messages_along() {
    let node = node_on(&Disk::new()).await;
    let [from, kept, undone] = three(&node, ["txn/from", "txn/kept", "txn/undone"]);
    from.send_in_transaction(kept.clone(), true).await.unwrap();
    from.send_in_transaction(undone.clone(), false).await.unwrap();
    has_got(&kept, &[1, 3, 4]).await;
    has_got(&undone, &[4]).await;
}

/// Its number is given when the transaction ends: otherwise the receiver would take it for one it has had.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_transaction_is_not_lost_behind_later_ones() {
    let node = node_on(&Disk::new()).await;
    let [from, to, _] = three(&node, ["slow/from", "slow/to", ""]);
    Fate::of("slow/from").shut();
    let slow = from.send_slowly(to.clone(), 1);
    from.send_beside(to.clone(), 2).await.unwrap();
    has_got(&to, &[2]).await;
    Fate::of("slow/from").open();
    slow.await.unwrap();
    has_got(&to, &[2, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_can_send_to_itself() {
    let node = node_on(&Disk::new()).await;
    let post: PostStub = node.get("self");
    post.remind(1).await.unwrap();
    post.remind(2).await.unwrap();
    has_got(&post, &[1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn messages_can_go_in_a_ring() {
    let node = node_on(&Disk::new()).await;
    let ring = three(&node, ["ring/a", "ring/b", "ring/c"]);
    let [a, b, c] = &ring;
    a.pass_on(vec![b.clone(), c.clone(), a.clone()], 10).await.unwrap();
    has_got(a, &[10, 7, 4, 1]).await;
    has_got(b, &[9, 6, 3, 0]).await;
    has_got(c, &[8, 5, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn stubs_of_objects_travel_in_messages() {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let [from, to, _] = three(&node, ["stubs/from", "stubs/to", ""]);
    from.ask(to.clone(), 5).await.unwrap();
    has_got(&from, &[5]).await;
    // Also when they were read from the disk.
    *Fate::of("stubs/to").panics.lock().unwrap() = 0;
    disk.inject(disk.commits() + 2.., Fault::Hold);
    let asked = from.ask(to, 6);
    disk.reached(disk.commits() + 2).await;
    crash(&node).await;
    drop(asked);
    disk.release();
    let node = node_on(&disk).await;
    has_got(&node.get("stubs/from"), &[5, 6]).await;
}

/// An error is an answer.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_method_counts_as_delivered() {
    let node = node_on(&Disk::new()).await;
    let [from, to, _] = three(&node, ["refused/from", "refused/to", ""]);
    from.send_refused(to.clone(), 1).await.unwrap();
    has_got(&to, &[1, 2]).await;
    assert_eq!(from.undelivered_ones().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_panics_gets_the_message_again_and_the_others_behind_it() {
    let node = node_on(&Disk::new()).await;
    let [from, to, other] = three(&node, ["panic/from", "panic/to", "panic/other"]);
    *Fate::of("panic/to").panics.lock().unwrap() = 3;
    let start = Instant::now();
    from.send(vec![to.clone(), other.clone()], 2).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(other.got().await.unwrap(), [1, 2], "receivers do not wait for each other");
    has_got(&to, &[1, 2]).await;
    // After 2, 4 and 8 seconds, each with up to a quarter more.
    assert!(start.elapsed() >= Duration::from_secs(14), "{:?}", start.elapsed());
    assert_eq!(*Fate::of("panic/to").runs.lock().unwrap(), [1, 1, 1, 1, 2]);
}

/// The number of attempts is kept, so that the next one is not made too early.
#[tokio::test(start_paused = true)]
async fn a_sender_that_sleeps_is_woken_for_the_next_attempt() {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let [from, to, _] = three(&node, ["asleep/from", "asleep/to", ""]);
    *Fate::of("asleep/to").panics.lock().unwrap() = 5;
    let start = Instant::now();
    from.send(vec![to.clone()], 1).await.unwrap();
    // It never sleeps in the middle of an attempt: one whose end it did not see would not count.
    sleep(Duration::from_millis(250)).await;
    let mut slept = 0;
    while to.fresh().got().await.unwrap().is_empty() {
        hibernate(&node, &from).await;
        hibernate(&node, &to).await;
        slept += 1;
        assert!(start.elapsed() < Duration::from_secs(3600));
        sleep(Duration::from_millis(500)).await;
    }
    assert!(slept > 50);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(62) && took < Duration::from_secs(100), "{took:?}");
    has_got(&to, &[1]).await;
}

/// Nothing that waits keeps the sender in memory, and nothing that has arrived wakes it.
#[tokio::test(start_paused = true)]
async fn only_messages_that_are_on_their_way_keep_the_sender_in_memory() {
    let node = node_on(&Disk::new()).await;
    let [from, to, _] = three(&node, ["kept/from", "kept/to", ""]);
    Fate::of("kept/to").shut();
    from.send(vec![to.clone()], 1).await.unwrap();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(from.messages_on_their_way().await.unwrap(), 1);
    assert!(node.live::<PostStub>().contains(&from.id().unwrap()));
    Fate::of("kept/to").open();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(from.messages_on_their_way().await.unwrap(), 0);
    sleep(Duration::from_secs(20)).await;
    assert!(node.live::<PostStub>().is_empty());
    sleep(Duration::from_secs(3600)).await;
    assert!(node.live::<PostStub>().is_empty());
    has_got(&to, &[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_reset_delivers_once_what_was_on_its_way() {
    let node = node_on(&Disk::new()).await;
    let [from, to, _] = three(&node, ["reset/from", "reset/to", ""]);
    Fate::of("reset/to").shut();
    from.send(vec![to.clone()], 3).await.unwrap();
    Fate::of("reset/to").runs_one().await;
    assert!(reset(&node, &from, "as the test wants").await);
    from.fresh().sent().await.unwrap(); // the new instance sends it, too
    sleep(Duration::from_millis(10)).await;
    Fate::of("reset/to").open();
    has_got(&to, &[1, 2, 3]).await;
    assert_eq!(*Fate::of("reset/to").runs.lock().unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_reset_or_sleeps_takes_it_afterwards() {
    let node = node_on(&Disk::new()).await;
    let [from, to, _] = three(&node, ["resets/from", "resets/to", ""]);
    Fate::of("resets/to").shut();
    from.send(vec![to.clone()], 2).await.unwrap();
    Fate::of("resets/to").runs_one().await;
    assert!(reset(&node, &to, "as the test wants").await);
    Fate::of("resets/to").open();
    has_got(&to.fresh(), &[1, 2]).await;
    hibernate(&node, &to).await;
    from.send(vec![to.clone()], 1).await.unwrap();
    has_got(&to.fresh(), &[1, 2, 3]).await;
}

/// Whatever overlaps: delivered twice, it is taken once.
#[tokio::test(start_paused = true)]
async fn concurrent_methods_take_messages_alone() {
    let node = node_on(&Disk::new()).await;
    let [one, two, to] = three(&node, ["beside/one", "beside/two", "beside/to"]);
    for number in 0..10 {
        one.send_beside_others(to.clone(), number).await.unwrap();
        two.send_beside_others(to.clone(), 100 + number).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    hibernate(&node, &to).await;
    let mut got = to.got().await.unwrap();
    got.sort_unstable();
    assert_eq!(got, (0..10).chain(100..110).collect::<Vec<_>>());
}

/// What was taken before is known all the same.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_removes_everything_does_not_take_a_message_again() {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let [from, to, _] = three(&node, ["forgets/from", "forgets/to", ""]);
    from.sent().await.unwrap();
    to.got().await.unwrap();
    // The sender does not learn that it has arrived: that would be its second commit.
    disk.inject(3..=3, Fault::Hold);
    from.send(vec![to.clone()], 1).await.unwrap();
    disk.reached(3).await;
    crash(&node).await;
    disk.release();
    let node = node_on(&disk).await;
    let to: PostStub = node.get("forgets/to");
    assert_eq!(to.got().await.unwrap(), [1]);
    to.forget_what_it_got().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(*Fate::of("forgets/to").runs.lock().unwrap(), [1]);
    has_got(&to, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_removes_everything_takes_back_what_was_not_delivered() {
    let node = node_on(&Disk::new()).await;
    let [from, to, gone] = three(&node, ["clears/from", "clears/to", "clears/gone"]);
    from.send_and_clear(to.clone()).await.unwrap();
    has_got(&to, &[2]).await;
    *Fate::of("clears/gone").panics.lock().unwrap() = 1;
    from.send(vec![gone.clone()], 2).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    from.clear().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    has_got(&gone, &[]).await;
    assert_eq!(*Fate::of("clears/gone").runs.lock().unwrap(), [1]);
    from.send(vec![gone.clone()], 1).await.unwrap();
    has_got(&gone, &[1]).await; // its own count is gone, too
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_delivered_is_told_and_what_is_behind_it_goes_on() {
    let disk = Disk::new();
    let node = posts(&disk).object::<Moved>().start().await.unwrap();
    let (from, to): (PostStub, MovedStub) = (node.get("moved/from"), node.get("to"));
    from.sent().await.unwrap();
    disk.inject(2.., Fault::Hold);
    from.send_elsewhere(to).await.unwrap();
    disk.reached(2).await;
    crash(&node).await;
    disk.release();
    // A program in which the method has another signature.
    *Fate::of("moved/from").hook_panics.lock().unwrap() = 1;
    let node = posts(&disk).object::<MovedOn>().start().await.unwrap();
    let (from, to): (PostStub, MovedOnStub) = (node.get("moved/from"), node.class("Moved").get("to"));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(from.undelivered_ones().await.unwrap(), ["Moved/to.old: SignatureMismatch"]);
    assert_eq!(to.all().await.unwrap(), ["kept"]);
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_gone_is_told() {
    let disk = Disk::new();
    let node = posts(&disk).object::<Moved>().start().await.unwrap();
    let (from, to): (PostStub, MovedStub) = (node.get("gone/from"), node.get("to"));
    from.sent().await.unwrap();
    disk.inject(2.., Fault::Hold);
    from.send_elsewhere(to).await.unwrap();
    disk.reached(2).await;
    crash(&node).await;
    disk.release();
    let node = node_on(&disk).await;
    sleep(Duration::from_secs(30)).await;
    let from: PostStub = node.get("gone/from");
    let told = from.undelivered_ones().await.unwrap();
    assert_eq!(told, ["Moved/to.old: NoSuchClass", "Moved/to.kept: NoSuchClass"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_or_sent_is_refused_at_once() {
    let node = node_on(&Disk::new()).await;
    let [from, to, _] = three(&node, ["refuses/from", "refuses/to", ""]);
    let teller = opendo::serve::<TellerStub, _>(Ear);
    let said = from.try_all(to.clone(), teller, Callback::new(|_| async {})).await.unwrap();
    let not_here = "messages go to objects of this node only";
    let by_reference =
        "of what is passed by reference only stubs of this node's own objects and of their lasting targets";
    let expected = [
        not_here,
        not_here,
        by_reference,
        by_reference,
        by_reference,
        "the message takes 3145",
        "a message is one call",
        "a message is one call",
        "recorded",
    ];
    assert_eq!(said.len(), expected.len());
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "{said}");
    }
    sleep(Duration::from_secs(10)).await;
    let taken = Fate::of("refuses/to").runs.lock().unwrap().clone();
    assert_eq!(taken, [9], "calls that are refused are not made either");
    has_got(&to, &[9]).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_may_wait_than_the_limit_says() {
    let node = few(&Disk::new(), 10).await;
    let [from, to, _] = three(&node, ["full/from", "full/to", ""]);
    assert!(from.fill(to.clone(), 10).await.unwrap().starts_with("10 messages wait"));
    sleep(Duration::from_secs(10)).await;
    assert!(from.fill(to.clone(), 10).await.unwrap().starts_with("10 messages wait"));
    let twice: Vec<u64> = (1..=10).chain(1..=10).collect();
    has_got(&to, &twice).await;
}
