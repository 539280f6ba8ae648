//! What is written together or not at all, although the object goes on meanwhile.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::join;
use opendo::prelude::*;
use opendo::testing::{crash, reset};
use opendo::{Storage, StorageError};

use crate::by_name::{Gate, Log};
use crate::keeper::{Script, all, beside, keeper, node_on, seconds, within};

/// Undone, as the test wants.
#[derive(Debug, PartialEq)]
enum Undone {
    Wanted,
    Storage(StorageError),
}

impl From<StorageError> for Undone {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

async fn number(storage: &Storage, key: &str) -> Option<u64> {
    storage.get(key).await.unwrap()
}

/// Writes as a transaction, and stands at the gate before it ends.
async fn put_at(
    ctx: &Ctx,
    key: &str,
    value: u64,
    gate: &Gate,
    end: Result<(), Undone>,
) -> Result<(), Undone> {
    ctx.storage()
        .transaction(async {
            ctx.storage().put(key, &value)?;
            gate.pass().await;
            end
        })
        .await
}

fn entries<const N: usize>(entries: [(&str, u64); N]) -> Vec<(String, u64)> {
    entries.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

/// Checklist 5.16, 5.19: there is only one storage, inside as outside.
#[tokio::test]
async fn what_a_transaction_wrote_counts_when_it_returns_and_its_value_is_given_back() {
    let (disk, _node, stub) = keeper("transaction").await;
    let value = within(&stub, |ctx| async move {
        let storage = ctx.storage();
        storage.put_many([("before", 1_u64), ("deleted", 2)]).unwrap();
        let value = storage
            .transaction(async {
                storage.put("in", &3_u64)?;
                storage.delete("deleted")?;
                tokio::task::yield_now().await;
                assert_eq!(number(storage, "before").await, Some(1));
                assert_eq!(number(storage, "in").await, Some(3));
                assert_eq!(number(storage, "deleted").await, None);
                let many = storage.get_many::<u64>(["before", "in", "deleted"]).await?;
                assert_eq!(many.into_iter().collect::<Vec<_>>(), entries([("before", 1), ("in", 3)]));
                assert_eq!(storage.list::<u64>().await?, entries([("before", 1), ("in", 3)]));
                Ok::<_, StorageError>("value")
            })
            .await;
        assert_eq!(storage.list::<u64>().await.unwrap(), entries([("before", 1), ("in", 3)]));
        value.unwrap()
    });
    assert_eq!(value.done().await, "value");
    assert_eq!(disk.commits(), 1);
    assert_eq!(all(&stub).await, entries([("before", 1), ("in", 3)]));
}

/// Checklist 5.16, 5.17: the error goes to whoever began it, and nothing is reset.
#[tokio::test]
async fn an_error_undoes_the_transaction_and_nothing_else() {
    let (disk, _node, stub) = keeper("undone").await;
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        storage.put_many([("before", 1_u64), ("kept", 2)]).unwrap();
        let undone = storage.transaction(async {
            storage.put_many([("before", 7_u64), ("in", 7)])?;
            storage.delete("kept")?;
            Err::<(), _>(Undone::Wanted)
        });
        assert_eq!(undone.await, Err(Undone::Wanted));
        assert_eq!(number(storage, "before").await, Some(1));
        storage.put("behind", &3_u64).unwrap();
    })
    .done()
    .await;
    assert_eq!(disk.commits(), 1);
    assert_eq!(all(&stub).await, entries([("before", 1), ("behind", 3), ("kept", 2)]));
    assert_eq!(Script::of("undone").made(), 1);
}

/// One that only reads, or is undone, commits nothing.
#[tokio::test]
async fn a_transaction_without_effect_is_no_commit() {
    let (disk, _node, stub) = keeper("no-effect").await;
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let read = storage.transaction(async { storage.get::<u64>("a").await });
        assert_eq!(read.await, Ok(None));
        let undone = storage.transaction(async {
            storage.put("a", &1_u64)?;
            ctx.alarm().set_in(seconds(1))?;
            Err::<(), _>(Undone::Wanted)
        });
        assert_eq!(undone.await, Err(Undone::Wanted));
    })
    .done()
    .await;
    assert_eq!(disk.commits(), 0);
}

/// A panic that the method catches is the method's affair.
#[tokio::test]
async fn a_panic_undoes_it() {
    let (_disk, _node, stub) = keeper("panics").await;
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let panics = storage.transaction(async {
            storage.put("in", &1_u64)?;
            if storage.get::<u64>("in").await? == Some(1) {
                std::panic::resume_unwind(Box::new("as the test wants"));
            }
            Ok::<_, StorageError>(())
        });
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(number(storage, "in").await, None);
        let next = storage.transaction(async { storage.put("next", &2_u64) });
        next.await.unwrap();
    })
    .done()
    .await;
    assert_eq!(all(&stub).await, entries([("next", 2)]));
}

#[tokio::test]
async fn dropping_it_undoes_it_and_those_within_it() {
    let (_disk, _node, stub) = keeper("dropped").await;
    within(&stub, |ctx| async move {
        let (storage, gate) = (ctx.storage(), Gate::new());
        {
            let dropped = storage.transaction(async {
                storage.put("outer", &1_u64)?;
                put_at(&ctx, "inner", 2, &gate, Ok(())).await
            });
            tokio::select! {
                biased;
                _ = dropped => panic!("nobody opens the gate"),
                () = gate.reached() => {}
            }
        }
        assert!(storage.list::<u64>().await.unwrap().is_empty());
        storage.transaction(async { storage.put("next", &3_u64) }).await.unwrap();
    })
    .done()
    .await;
    assert_eq!(all(&stub).await, entries([("next", 3)]));
}

/// Checklist 5.20.
#[tokio::test]
async fn one_within_another_is_a_savepoint() {
    let (disk, _node, stub) = keeper("nested").await;
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let outer = storage.transaction(async {
            storage.put_many([("outer", 1_u64), ("both", 1)])?;
            let undone = storage.transaction(async {
                storage.put_many([("both", 2_u64), ("undone", 2)])?;
                storage.delete("outer")?;
                assert_eq!(number(storage, "outer").await, None);
                Err::<(), _>(Undone::Wanted)
            });
            assert_eq!(undone.await, Err(Undone::Wanted));
            assert_eq!(storage.list::<u64>().await?, entries([("both", 1), ("outer", 1)]));
            let kept = storage.transaction(async {
                storage.put("kept", &3_u64)?;
                let deepest = storage.transaction(async { storage.put("deepest", &4_u64) });
                deepest.await
            });
            kept.await?;
            storage.put("last", &5_u64)
        });
        outer.await.unwrap();
    })
    .done()
    .await;
    let kept = entries([("both", 1), ("deepest", 4), ("kept", 3), ("last", 5), ("outer", 1)]);
    assert_eq!((disk.commits(), all(&stub).await), (1, kept));
}

/// Checklist 5.20: what the inner one has done counts only as far as the outer one does.
#[tokio::test]
async fn an_error_of_the_outer_one_undoes_the_inner_ones() {
    let (disk, _node, stub) = keeper("outer-undone").await;
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let outer = storage.transaction(async {
            storage.transaction(async { storage.put("inner", &1_u64) }).await?;
            assert_eq!(number(storage, "inner").await, Some(1));
            Err::<(), _>(Undone::Wanted)
        });
        assert_eq!(outer.await, Err(Undone::Wanted));
        assert_eq!(number(storage, "inner").await, None);
    })
    .done()
    .await;
    assert_eq!((disk.commits(), all(&stub).await), (0, vec![]));
}

/// Checklist 5.21: there is no order in which both could be undone.
#[tokio::test]
async fn two_at_once_within_the_same_one_are_refused() {
    let (_disk, _node, stub) = keeper("siblings").await;
    within(&stub, |ctx| async move {
        let (storage, gate) = (ctx.storage(), Gate::new());
        let outer = storage.transaction(async {
            let second = async {
                gate.reached().await;
                let refused = storage.transaction(async { Ok::<_, StorageError>(()) }).await;
                storage.put("outer", &2_u64)?;
                gate.open();
                refused
            };
            let (first, second) = join(put_at(&ctx, "first", 1, &gate, Ok(())), second).await;
            assert_eq!((first, second), (Ok(()), Err(StorageError::Transaction)));
            Ok::<_, StorageError>(())
        });
        outer.await.unwrap();
    })
    .done()
    .await;
    assert_eq!(all(&stub).await, entries([("first", 1), ("outer", 2)]));
}

/// Checklist 5.22, 5.29: that is possible here.
#[tokio::test(start_paused = true)]
async fn delete_all_is_undone_like_all_else() {
    let (_disk, node, stub) = keeper("delete-all-within").await;
    let rang = Log::new();
    let rings = rang.clone();
    Script::of("delete-all-within").on_alarm(move |_, _| {
        rings.push(1);
        async { Ok(()) }
    });
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        storage.put_many([("a", 1_u64), ("b", 2)]).unwrap();
        ctx.alarm().set_in(seconds(60)).unwrap();
        ctx.schedule("later", seconds(3600), &()).unwrap();
        let undone = storage.transaction(async {
            storage.put("c", &3_u64)?;
            storage.delete_all()?;
            assert!(storage.list::<u64>().await?.is_empty());
            assert_eq!((ctx.alarm().get(), ctx.schedules().len()), (None, 0));
            storage.put("d", &4_u64)?;
            assert_eq!(storage.list::<u64>().await?, entries([("d", 4)]));
            Err::<(), _>(Undone::Wanted)
        });
        assert_eq!(undone.await, Err(Undone::Wanted));
        assert!(ctx.alarm().get().is_some());
        assert_eq!(ctx.schedules().len(), 1);
    })
    .done()
    .await;
    assert_eq!(all(&stub).await, entries([("a", 1), ("b", 2)]));
    tokio::time::sleep(seconds(61)).await;
    assert_eq!(rang.take(), [1]);
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let done = storage.transaction(async {
            storage.delete_all()?;
            storage.put("e", &5_u64)
        });
        done.await.unwrap();
        assert_eq!(ctx.schedules().len(), 0);
    })
    .done()
    .await;
    assert_eq!(all(&stub).await, entries([("e", 5)]));
    assert_eq!(node.objects::<crate::keeper::KeeperStub>(None, 10).await.unwrap().len(), 1);
}

/// Checklist 5.29, 7.7: wherever it was set.
#[tokio::test(start_paused = true)]
async fn delete_all_takes_what_an_outer_one_has_set() {
    let (_disk, _node, stub) = keeper("set-outside").await;
    Script::of("set-outside").on_alarm(|_, _| async { panic!("it was deleted") });
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let outer = storage.transaction(async {
            ctx.alarm().set_in(seconds(1))?;
            ctx.schedule("later", seconds(1), &())?;
            storage.transaction(async { storage.delete_all() }).await?;
            assert_eq!(ctx.alarm().get(), None);
            Ok::<_, StorageError>(())
        });
        outer.await.unwrap();
        assert_eq!((ctx.alarm().get(), ctx.schedules().len()), (None, 0));
    })
    .done()
    .await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(Script::of("set-outside").made(), 1);
}

/// The same for what another method sets meanwhile: it was there before the transaction counts.
#[tokio::test(start_paused = true)]
async fn delete_all_takes_what_was_set_meanwhile() {
    let (disk, node, stub) = keeper("set-meanwhile").await;
    Script::of("set-meanwhile").on_alarm(|_, _| async { panic!("it was deleted") });
    let gate = Gate::new();
    let deleting = beside(&stub, {
        let gate = gate.clone();
        move |ctx| async move {
            let deleting = ctx.storage().transaction(async {
                ctx.storage().delete_all()?;
                gate.pass().await;
                Ok::<_, StorageError>(())
            });
            deleting.await.unwrap();
        }
    });
    gate.reached().await;
    beside(&stub, |ctx| async move {
        ctx.storage().put("meanwhile", &1_u64).unwrap();
        ctx.alarm().set_in(seconds(1)).unwrap();
    })
    .done()
    .await;
    gate.open();
    deleting.done().await;
    let left = within(&stub, |ctx| async move { (ctx.alarm().get(), ctx.storage().list::<u64>().await) });
    assert_eq!(left.done().await, (None, Ok(vec![])));
    crash(&node).await;
    let node = node_on(&disk).await;
    tokio::time::sleep(seconds(60)).await;
    assert!(node.live::<crate::keeper::KeeperStub>().is_empty());
}

/// Checklist 7.7.
#[tokio::test(start_paused = true)]
async fn alarms_and_schedules_are_part_of_it() {
    let (_disk, _node, stub) = keeper("alarms-within").await;
    let rang = Log::new();
    let rings = rang.clone();
    Script::of("alarms-within").on_alarm(move |_, _| {
        rings.push(1);
        async { Ok(()) }
    });
    let times = within(&stub, |ctx| async move {
        let (storage, now) = (ctx.storage(), ctx.now());
        let undone = storage.transaction(async {
            ctx.alarm().set_in(seconds(5))?;
            ctx.schedule("a", seconds(5), &())?;
            assert!(ctx.alarm().get().is_some());
            assert_eq!(ctx.schedules().len(), 1);
            Err::<(), _>(Undone::Wanted)
        });
        assert_eq!(undone.await, Err(Undone::Wanted));
        assert_eq!((ctx.alarm().get(), ctx.schedules().len()), (None, 0));
        let set = storage.transaction(async { ctx.alarm().set_at(now + seconds(10)) });
        set.await.unwrap();
        let first = ctx.alarm().get();
        let undone = storage.transaction(async {
            ctx.alarm().delete()?;
            assert_eq!(ctx.alarm().get(), None);
            ctx.alarm().set_in(seconds(3600))?;
            ctx.alarm().delete()?;
            Err::<(), _>(Undone::Wanted)
        });
        assert_eq!(undone.await, Err(Undone::Wanted));
        (first, ctx.alarm().get())
    });
    let (before, behind) = times.done().await;
    assert!(before.is_some());
    assert_eq!(before, behind);
    tokio::time::sleep(seconds(9)).await;
    assert!(rang.take().is_empty());
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(rang.take(), [1]);
}

/// Others see nothing of it before it has ended, and what they write is not undone with it.
#[tokio::test]
async fn methods_that_overlap_with_it_are_not_part_of_it() {
    let (_disk, _node, stub) = keeper("overlap").await;
    let gates = [Gate::new(), Gate::new()];
    let [undone, done] = [(0, Err(Undone::Wanted)), (1, Ok(()))].map(|(n, end): (usize, _)| {
        let gate = gates[n].clone();
        beside(&stub, move |ctx| async move { put_at(&ctx, "both", 7, &gate, end).await })
    });
    let other = |value: u64| {
        beside(&stub, move |ctx| async move {
            let (storage, before) = (ctx.storage(), ctx.storage().list::<u64>().await.unwrap());
            storage.put_many([("both", value), ("other", value)]).unwrap();
            before
        })
    };
    gates[0].reached().await;
    assert!(other(1).done().await.is_empty(), "it sees nothing of the other one");
    gates[0].open();
    assert_eq!(undone.done().await, Err(Undone::Wanted));
    gates[1].reached().await;
    assert_eq!(other(2).done().await, entries([("both", 1), ("other", 1)]));
    gates[1].open();
    assert_eq!(done.done().await, Ok(()));
    // As if written when it returned.
    assert_eq!(all(&stub).await, entries([("both", 7), ("other", 2)]));
}

/// Checklist 5.16: one after the other, so that none has read what another one changes.
#[tokio::test]
async fn transactions_of_methods_that_overlap_follow_each_other() {
    let (_disk, _node, stub) = keeper("serial").await;
    let added: Vec<_> = (0..20)
        .map(|n| {
            beside(&stub, move |ctx| async move {
                let storage = ctx.storage();
                let adding = storage.transaction(async {
                    let sum: u64 = storage.get("sum").await?.unwrap_or(0);
                    tokio::task::yield_now().await;
                    storage.put("sum", &(sum + 1))?;
                    if n % 4 == 0 { Err(Undone::Wanted) } else { Ok(()) }
                });
                adding.await
            })
        })
        .collect();
    for (n, added) in added.into_iter().enumerate() {
        assert_eq!(added.done().await.is_err(), n % 4 == 0);
    }
    assert_eq!(all(&stub).await, entries([("sum", 15)]));
}

/// Checklist 5.12: what leaves the object meanwhile does not take half of it along.
#[tokio::test]
async fn a_commit_meanwhile_has_nothing_of_it() {
    let (disk, node, stub) = keeper("meanwhile").await;
    let gate = Gate::new();
    let running = beside(&stub, {
        let gate = gate.clone();
        move |ctx| async move { put_at(&ctx, "in", 1, &gate, Ok(())).await }
    });
    gate.reached().await;
    beside(&stub, |ctx| async move { ctx.storage().put("other", &2_u64).unwrap() }).done().await;
    assert_eq!(disk.commits(), 1);
    crash(&node).await;
    assert!(running.result().await.is_err());
    let node = node_on(&disk).await;
    assert_eq!(all(&node.get("meanwhile")).await, entries([("other", 2)]));
}

/// Checklist 4.10: what was said behind it waits for it; it does not wait itself.
#[tokio::test]
async fn the_reply_waits_for_what_a_transaction_wrote() {
    let (disk, _node, stub) = keeper("held").await;
    within(&stub, |_| async {}).done().await;
    disk.hold();
    let gate = Gate::new();
    let mut held = within(&stub, {
        let gate = gate.clone();
        move |ctx| async move {
            ctx.storage().transaction(async { ctx.storage().put("in", &1_u64) }).await.unwrap();
            gate.pass().await;
        }
    });
    gate.reached().await;
    gate.open();
    disk.reached(1).await;
    assert!(held.is_held().await);
    disk.release();
    held.done().await;
}

/// Checklist 5.30.
#[tokio::test]
async fn one_of_an_instance_that_is_lost_fails_and_writes_nothing() {
    let (disk, node, stub) = keeper("lost-within").await;
    let ctx = within(&stub, |ctx| async move { ctx }).done().await;
    let gate = Gate::new();
    let running = put_at(&ctx, "in", 1, &gate, Ok(()));
    let losing = async {
        gate.reached().await;
        assert!(reset(&node, &stub, "as the test wants").await);
        gate.open();
    };
    let (lost, ()) = join(running, losing).await;
    assert_eq!(lost, Err(Undone::Storage(StorageError::Closed)));
    assert_eq!((disk.commits(), all(&stub.fresh()).await), (0, vec![]));
}
