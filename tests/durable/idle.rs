//! What is idle leaves memory, and nothing else does.

use std::time::Duration;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::testing::{Disk, on_disk, reset};
use opendo::{KeepaliveReason, Limits};
use tokio::time::{Instant, sleep};

use crate::desk::{Desk, DeskStub};
use crate::keeper::{Keeper, KeeperStub, Script, all, keeper, seconds, within};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long it stays from now on, if nobody calls it.
async fn stays(node: &Node) -> Duration {
    let start = Instant::now();
    while !node.live::<KeeperStub>().is_empty() {
        sleep(millis(10)).await;
        assert!(start.elapsed() < seconds(3600), "it stays for ever");
    }
    start.elapsed()
}

/// Not before its time, and an eighth of it later at most.
#[track_caller]
fn assert_idle_time(stayed: Duration, idle: Duration) {
    let latest = idle + idle / 8 + millis(20);
    assert!(stayed >= idle && stayed <= latest, "it stayed for {stayed:?}");
}

async fn reasons(stub: &KeeperStub) -> Vec<KeepaliveReason> {
    within(stub, |ctx| async move { ctx.keepalive_reasons() }).done().await
}

/// Checklist 3.10, 3.15.
#[tokio::test(start_paused = true)]
async fn an_object_leaves_memory_when_it_was_idle_for_ten_seconds() {
    for pause in [0, 1, 600, 1_249, 1_250, 1_251, 5_000, 9_990] {
        let (disk, node, stub) = keeper(&format!("idle-{pause}")).await;
        within(&stub, |ctx| async move { ctx.storage().put("a", &1_u64).unwrap() }).done().await;
        sleep(millis(pause)).await;
        within(&stub, |_| async {}).done().await;
        assert_idle_time(stays(&node).await, seconds(10));
        assert_eq!((all(&stub).await, disk.commits()), (vec![("a".to_owned(), 1)], 1));
        assert_eq!(Script::of(&format!("idle-{pause}")).made(), 2);
    }
}

/// Checklist 3.10, 3.11: the time begins when a call ends.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_is_not_idle() {
    for length in [700, 2_400, 3_749, 12_000, 60_000] {
        let (_disk, node, stub) = keeper(&format!("long-call-{length}")).await;
        within(&stub, move |_| async move { sleep(millis(length)).await }).done().await;
        assert_idle_time(stays(&node).await, seconds(10));
        assert_eq!(Script::of(&format!("long-call-{length}")).made(), 1);
    }
}

/// Checklist 3.10: a setting of the node, or of the class.
#[tokio::test(start_paused = true)]
async fn the_idle_time_can_be_set() {
    struct Patient;
    #[durable_object]
    impl Patient {
        pub fn touch(&self) {}
    }
    impl DurableObject for Patient {
        const IDLE: Option<Duration> = Some(seconds(100));
        async fn new(_: Ctx) -> opendo::Result<Self> {
            Ok(Self)
        }
    }
    let limits = Limits { idle_timeout: seconds(2), ..Limits::default() };
    let node = Node::builder().object::<Keeper>().object::<Patient>().limits(limits).start().await.unwrap();
    node.get::<PatientStub>("a").touch().await.unwrap();
    within(&node.get("short-idle"), |_| async {}).done().await;
    assert_idle_time(stays(&node).await, seconds(2));
    sleep(seconds(95)).await;
    assert_eq!(node.live::<PatientStub>().len(), 1);
    sleep(seconds(20)).await;
    assert!(node.live::<PatientStub>().is_empty());

    let limits = Limits { idle_timeout: Duration::MAX, ..Limits::default() };
    let node = Node::builder().object::<Keeper>().limits(limits).start().await.unwrap();
    within(&node.get("never-idle"), |_| async {}).done().await;
    sleep(seconds(1_000_000)).await;
    assert_eq!(node.live::<KeeperStub>().len(), 1);
}

/// Checklist 3.11, 3.14, 3.22.
#[tokio::test(start_paused = true)]
async fn work_beside_the_calls_keeps_it() {
    let (_disk, node, stub) = keeper("wait-until").await;
    within(&stub, |ctx| async move {
        ctx.wait_until(async { sleep(seconds(33)).await });
        ctx.wait_until(async { std::panic::resume_unwind(Box::new("as the test wants")) });
        ctx.wait_until(async { sleep(seconds(5)).await });
    })
    .done()
    .await;
    sleep(seconds(1)).await;
    assert_eq!(reasons(&stub).await, [KeepaliveReason::WaitUntil(2)]);
    sleep(seconds(20)).await;
    assert_eq!(reasons(&stub).await, [KeepaliveReason::WaitUntil(1)]);
    sleep(seconds(12)).await;
    assert_idle_time(stays(&node).await, seconds(10));
    assert_eq!(Script::of("wait-until").made(), 1);
}

/// Checklist 3.11.
#[tokio::test(start_paused = true)]
async fn a_guard_keeps_it_until_it_is_dropped() {
    let (_disk, node, stub) = keeper("guard").await;
    let guards = within(&stub, |ctx| async move { [ctx.keep_alive(), ctx.keep_alive()] }).done().await;
    assert_eq!(reasons(&stub).await, [KeepaliveReason::Guards(2)]);
    let [one, other] = guards;
    drop(one);
    assert_eq!(reasons(&stub).await, [KeepaliveReason::Guards(1)]);
    sleep(seconds(601)).await;
    assert_eq!(node.live::<KeeperStub>().len(), 1);
    drop(other);
    assert_idle_time(stays(&node).await, seconds(10));
    assert!(reasons(&stub).await.is_empty());
}

/// One that outlives its instance is nothing to the next one.
#[tokio::test(start_paused = true)]
async fn a_guard_of_an_instance_that_is_gone_keeps_nothing() {
    let (_disk, node, stub) = keeper("old-guard").await;
    let guard = within(&stub, |ctx| async move { ctx.keep_alive() }).done().await;
    reset(&node, &stub, "as the test wants").await;
    assert!(reasons(&stub.fresh()).await.is_empty());
    assert_idle_time(stays(&node).await, seconds(10));
    drop(guard);
}

/// Checklist 3.11: what is not durable, as it would be lost.
#[tokio::test(start_paused = true)]
async fn writes_that_are_not_durable_keep_it() {
    let (disk, node, stub) = keeper("unconfirmed").await;
    within(&stub, |_| async {}).done().await;
    disk.hold();
    let ctx = within(&stub, |ctx| async move { ctx }).done().await;
    ctx.storage().put("a", &1_u64).unwrap();
    disk.reached(1).await;
    sleep(seconds(60)).await;
    assert_eq!(node.live::<KeeperStub>().len(), 1);
    assert_eq!(ctx.keepalive_reasons(), [KeepaliveReason::Unconfirmed]);
    disk.release();
    assert_idle_time(stays(&node).await, seconds(10));
    assert_eq!(all(&stub).await, [("a".to_owned(), 1)]);
}

/// Streams that come from it are its own work.
#[tokio::test(start_paused = true)]
async fn a_stream_keeps_it_until_it_ends() {
    let disk = Disk::new();
    let node = on_disk(Node::builder().object::<Desk>(), &disk).start().await.unwrap();
    let desk: DeskStub = node.get("a");
    let mut values = desk.values(2).await.unwrap();
    assert_eq!(values.next().await.unwrap().unwrap(), 1);
    sleep(seconds(60)).await;
    assert_eq!(node.live::<DeskStub>().len(), 1);
    assert_eq!(values.next().await.unwrap().unwrap(), 2);
    assert!(values.next().await.is_none());
    drop(values);
    sleep(seconds(12)).await;
    assert!(node.live::<DeskStub>().is_empty());
    assert_eq!(desk.all().await.unwrap(), [("value".to_owned(), 2)]);
}

/// Checklist 2.9, 3.10: at whatever moment the call comes.
#[tokio::test(start_paused = true)]
async fn a_call_that_meets_the_end_of_the_idle_time_is_answered() {
    let (_disk, _node, stub) = keeper("meets").await;
    let mut expected = 0;
    for pause in (9_980..11_400).step_by(3) {
        sleep(millis(pause)).await;
        let adding = within(&stub, |ctx| async move {
            let sum: u64 = ctx.storage().get("sum").await.unwrap().unwrap_or(0);
            ctx.storage().put("sum", &(sum + 1)).unwrap();
            sum + 1
        });
        expected += 1;
        assert_eq!(adding.done().await, expected);
    }
    let made = Script::of("meets").made();
    assert!(made > 100 && made < 474, "{made} instances");
}

/// Nothing is left of what nobody calls any more.
#[tokio::test(start_paused = true)]
async fn ten_thousand_objects_that_were_called_once_all_leave() {
    let disk = Disk::new();
    let node = on_disk(Node::builder().object::<Desk>(), &disk).start().await.unwrap();
    for n in 0..10_000 {
        node.get::<DeskStub>(format!("{n}").as_str()).calls().await.unwrap();
    }
    assert_eq!(node.live::<DeskStub>().len(), 10_000);
    sleep(seconds(12)).await;
    assert!(node.live::<DeskStub>().is_empty());
    assert!(node.objects::<DeskStub>(None, 1).await.unwrap().is_empty(), "they held nothing");
}
