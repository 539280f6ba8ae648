//! One call after the other, whatever they wait for.

use std::time::Duration;

use futures::future::BoxFuture;
use opendo::prelude::*;
use opendo::testing::{Disk, on_disk};
use tokio::time::sleep;

use crate::by_name::Log;
use crate::desk::{Desk, DeskStub};
use crate::keeper::{Doing, Keeper, KeeperStub, Script, all, beside, within};

type Wait = for<'a> fn(&'a Ctx) -> BoxFuture<'a, ()>;

/// What a method may wait for.
const WAITS: [(&str, Wait); 6] = [
    ("a read", |ctx| {
        Box::pin(async {
            let _: Option<u64> = ctx.storage().get("sum").await.unwrap();
        })
    }),
    ("a transaction", |ctx| {
        Box::pin(async {
            let putting = ctx.storage().transaction(async { ctx.storage().put("sum", &0_u64) });
            putting.await.unwrap();
        })
    }),
    ("the disk", |ctx| {
        Box::pin(async {
            ctx.storage().put("sum", &0_u64).unwrap();
            ctx.storage().sync().await.unwrap();
        })
    }),
    ("a timer", |_| Box::pin(sleep(Duration::from_secs(1)))),
    ("another object", |ctx| {
        Box::pin(async {
            let _: u64 = ctx.get::<DeskStub>("other").calls().await.unwrap();
        })
    }),
    ("the runtime", |_| Box::pin(tokio::task::yield_now())),
];

async fn node() -> Node {
    on_disk(Node::builder().object::<Desk>().object::<Keeper>(), &Disk::new()).start().await.unwrap()
}

/// Checklist 4.5, 4.6, 4.19.
#[tokio::test(start_paused = true)]
async fn calls_do_not_interleave_whatever_they_await() {
    let node = node().await;
    for (what, wait) in WAITS {
        let stub: KeeperStub = node.get("interleaves-not");
        let log = Log::new();
        let calls: Vec<Doing<()>> = (0..3)
            .map(|call| {
                let log = log.clone();
                within(&stub, move |ctx| async move {
                    log.push(call);
                    wait(&ctx).await;
                    log.push(call);
                })
            })
            .collect();
        for call in calls {
            call.done().await;
        }
        assert_eq!(log.take(), [0, 0, 1, 1, 2, 2], "{what}");
    }
}

/// Checklist 4.6: those that are marked do, where they wait for something.
#[tokio::test(start_paused = true)]
async fn concurrent_methods_interleave_where_they_await() {
    let node = node().await;
    let stub: KeeperStub = node.get("interleaves");
    let log = Log::new();
    let calls: Vec<Doing<()>> = (0..3)
        .map(|call| {
            let log = log.clone();
            beside(&stub, move |_| async move {
                log.push(call);
                sleep(Duration::from_secs(1)).await;
                log.push(call);
            })
        })
        .collect();
    for call in calls {
        call.done().await;
    }
    assert_eq!(log.take(), [0, 1, 2, 0, 1, 2]);
}

/// Checklist 4.7, 4.8: nor does it matter what lies between reading and writing.
#[tokio::test(start_paused = true)]
async fn nothing_comes_between_reading_and_writing() {
    let node = node().await;
    let stub: KeeperStub = node.get("reads-and-writes");
    let adding: Vec<_> = (0..60)
        .map(|call| {
            within(&stub, move |ctx| async move {
                let sum: u64 = ctx.storage().get("count").await.unwrap().unwrap_or(0);
                WAITS[call % WAITS.len()].1(&ctx).await;
                ctx.storage().put("count", &(sum + 1)).unwrap();
                sum + 1
            })
        })
        .collect();
    for (adding, sum) in adding.into_iter().zip(1..) {
        assert_eq!(adding.done().await, sum);
    }
    assert!(all(&stub).await.contains(&("count".to_owned(), 60)));
}

/// Checklist 4.18, 3.4: what a constructor hands out may be called; calls of the object wait.
#[tokio::test(start_paused = true)]
async fn a_constructor_may_be_called_back_while_calls_wait_for_it() {
    let node = node().await;
    let stub: KeeperStub = node.get("called-back");
    let log = Log::new();
    let heard = log.clone();
    Script::of("called-back").on_new(move |ctx| {
        let heard = heard.clone();
        async move {
            let noted = heard.clone();
            let ask = Callback::new(move |value: u64| {
                noted.push(value);
                async move { value + 1 }
            });
            let other: DeskStub = ctx.get("other");
            heard.push(other.put_and_ask("asked".into(), 1, ask).await?);
            Ok(())
        }
    });
    let marked = log.clone();
    within(&stub, move |_| async move { marked.push(3) }).done().await;
    assert_eq!(log.take(), [1, 2, 3]);
}
