//! What an object keeps.

// Arguments are what callers hand over.
#![allow(clippy::needless_pass_by_value)]

use std::collections::BTreeMap;

use opendo::prelude::*;
use opendo::testing::{Disk, Fault, hibernate, reset};
use opendo::{ErrorKind, StorageError, Stored};

use crate::keeper::{Keeper, KeeperStub, Script, all, keeper, seconds, within};
use crate::world::failure;

/// Checklist 5.1, 5.2.
#[tokio::test]
async fn many_keys_are_read_at_once_in_byte_order() {
    let (_disk, _node, stub) = keeper("many").await;
    let names = ["b", "Z", "é", "\u{ffee}", "😀", "a", ""];
    within(&stub, move |ctx| async move {
        ctx.storage().put_many(names.iter().zip(0_u64..)).unwrap();
        let found: BTreeMap<String, u64> =
            ctx.storage().get_many(["none", "b", "a", "b", "😀"]).await.unwrap();
        assert_eq!(found, BTreeMap::from([("b".into(), 0), ("a".into(), 5), ("😀".into(), 4)]));
        assert_eq!(ctx.storage().get::<u64>("none").await.unwrap(), None);
        assert!(ctx.storage().get_many::<u64>([""; 0]).await.unwrap().is_empty());
    })
    .done()
    .await;
    let keys: Vec<_> = all(&stub).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["", "Z", "a", "b", "é", "\u{ffee}", "😀"]);
}

/// Checklist 5.9.
#[tokio::test]
async fn keys_and_values_have_limits_that_are_told_before_anything_is_written() {
    let (disk, _node, stub) = keeper("limits").await;
    within(&stub, |ctx| async move {
        let storage = ctx.storage();
        let too_large = |error: StorageError, size, limit| match error {
            StorageError::TooLarge { size: told, limit: most, .. } => assert_eq!((told, most), (size, limit)),
            other => panic!("{other}"),
        };
        let longest = "é".repeat(1024);
        storage.put(&longest, &1_u8).unwrap();
        assert_eq!(storage.get::<u8>(&longest).await.unwrap(), Some(1));
        let longer = "k".repeat(2049);
        too_large(storage.put(&longer, &1_u8).unwrap_err(), 2049, 2048);
        too_large(storage.delete(&longer).unwrap_err(), 2049, 2048);
        too_large(storage.get::<u8>(&longer).await.unwrap_err(), 2049, 2048);
        // The length of a string takes three bytes here.
        let largest = "v".repeat((2 << 20) - 3 - 1);
        storage.put("k", &largest).unwrap();
        too_large(storage.put("k", &format!("{largest}v")).unwrap_err(), (2 << 20) + 1, 2 << 20);
        let entries = [("fine", "1".to_owned()), ("too large", "v".repeat(2 << 20))];
        assert!(matches!(storage.put_many(entries), Err(StorageError::TooLarge { .. })));
        assert_eq!(storage.get::<String>("fine").await.unwrap(), None);
        storage.delete_many([&longest[..], "k"]).unwrap();
        // Schedules are kept like all else.
        let name = "n".repeat(2049);
        too_large(ctx.schedule(&name, seconds(1), &()).unwrap_err(), 2049, 2048);
        too_large(ctx.unschedule(&name).unwrap_err(), 2049, 2048);
        let payload = "v".repeat(2 << 20);
        assert!(matches!(ctx.schedule("x", seconds(1), &payload), Err(StorageError::TooLarge { .. })));
        assert!(ctx.schedules().is_empty());
        storage.put("small", &1_u64).unwrap();
    })
    .done()
    .await;
    assert_eq!(disk.commits(), 1);
    assert_eq!(all(&stub).await, [("small".to_owned(), 1)]);
}

/// Checklist 5.6, 5.14.
#[tokio::test]
async fn what_is_not_there_can_be_deleted() {
    let (_disk, _node, stub) = keeper("delete").await;
    within(&stub, |ctx| async move {
        ctx.storage().put_many([("a", 1_u64), ("b", 2), ("c", 3)]).unwrap();
        ctx.storage().delete_many(["a", "none", "c"]).unwrap();
        ctx.storage().delete("none").unwrap();
    })
    .done()
    .await;
    assert_eq!(all(&stub).await, [("b".to_owned(), 2)]);
}

/// Checklist 5.12: no matter how many awaits lie between them.
#[tokio::test]
async fn the_writes_of_one_call_are_one_commit() {
    let (disk, _node, stub) = keeper("one").await;
    within(&stub, |ctx| async move {
        for round in 0..10_u64 {
            ctx.storage().put(&format!("{round}"), &round).unwrap();
            ctx.storage().get::<u64>("unknown").await.unwrap();
            tokio::task::yield_now().await;
        }
        ctx.alarm().set_in(seconds(3600)).unwrap();
        ctx.schedule("later", seconds(3600), &()).unwrap();
    })
    .done()
    .await;
    assert_eq!(disk.commits(), 1);
    // A call that writes nothing commits nothing.
    assert_eq!(all(&stub).await.len(), 10);
    assert_eq!(disk.commits(), 1);
}

/// Checklist 5.14: what cannot be encoded takes the others along, and an iterator that panics, too.
#[tokio::test]
async fn several_are_written_all_or_none() {
    let (disk, _node, stub) = keeper("several").await;
    let error = within(&stub, |ctx| async move {
        let unencodable = Callback::new(|_: u64| async {});
        let entries = [("a", None), ("b", Some(unencodable))];
        ctx.storage().put_many(entries).unwrap_err()
    });
    assert!(matches!(error.done().await, StorageError::Encode { key, .. } if key == "b"));
    assert_eq!((disk.commits(), all(&stub).await), (0, vec![]));
}

/// Checklist 5.29, 1.23.
#[tokio::test(start_paused = true)]
async fn delete_all_leaves_nothing_behind_in_one_step() {
    let (disk, node, stub) = keeper("delete-all").await;
    within(&stub, |ctx| async move {
        ctx.storage().put_many((0..2_000).map(|n| (format!("{n}"), n))).unwrap();
        ctx.alarm().set_in(seconds(5)).unwrap();
        ctx.schedule("later", seconds(6), &()).unwrap();
    })
    .done()
    .await;
    assert_eq!(node.objects::<KeeperStub>(None, 10).await.unwrap(), [stub.id().unwrap()]);
    let before = disk.commits();
    within(&stub, |ctx| async move {
        ctx.storage().put("before", &1_u64).unwrap();
        ctx.storage().delete_all().unwrap();
        assert!(ctx.storage().list::<u64>().await.unwrap().is_empty());
        assert_eq!(ctx.storage().get::<u64>("1").await.unwrap(), None);
        assert_eq!((ctx.alarm().get(), ctx.schedules().len()), (None, 0));
        ctx.storage().put("behind", &1_u64).unwrap();
    })
    .done()
    .await;
    assert_eq!(disk.commits(), before + 1);
    assert_eq!(all(&stub).await, [("behind".to_owned(), 1)]);
    within(&stub, |ctx| async move { ctx.storage().delete_all().unwrap() }).done().await;
    hibernate(&node, &stub).await;
    tokio::time::sleep(seconds(60)).await; // neither alarm nor schedule wakes it
    assert!(node.objects::<KeeperStub>(None, 10).await.unwrap().is_empty());
    assert_eq!(Script::of("delete-all").made(), 1);
}

/// Checklist 5.30: also what somebody else still holds of it.
#[tokio::test]
async fn the_storage_of_an_instance_that_is_lost_does_nothing_any_more() {
    let (disk, node, stub) = keeper("lost").await;
    let ctx = within(&stub, |ctx| async move {
        ctx.storage().put("a", &1_u64).unwrap();
        ctx
    });
    let ctx = ctx.done().await;
    let commits = disk.commits();
    reset(&node, &stub, "as the test wants").await;
    let storage = ctx.storage();
    assert_eq!(storage.put("a", &2_u64), Err(StorageError::Closed));
    assert_eq!(storage.delete("a"), Err(StorageError::Closed));
    assert_eq!(storage.delete_all(), Err(StorageError::Closed));
    assert_eq!(storage.get::<u64>("a").await, Err(StorageError::Closed));
    assert_eq!(storage.get_many::<u64>(["a"]).await, Err(StorageError::Closed));
    assert_eq!(storage.list::<u64>().await, Err(StorageError::Closed));
    assert_eq!(storage.transaction(async { Ok::<_, StorageError>(()) }).await, Err(StorageError::Closed));
    assert_eq!(ctx.alarm().set_in(seconds(1)), Err(StorageError::Closed));
    assert_eq!(ctx.schedule("a", seconds(1), &()), Err(StorageError::Closed));
    assert_eq!(disk.commits(), commits);
    assert_eq!(all(&stub.fresh()).await, [("a".to_owned(), 1)]);
}

/// The same for one that has gone to sleep.
#[tokio::test]
async fn the_storage_of_an_instance_that_sleeps_does_nothing_any_more() {
    let (disk, node, stub) = keeper("asleep").await;
    let ctx = within(&stub, |ctx| async move { ctx }).done().await;
    hibernate(&node, &stub).await;
    assert_eq!(ctx.storage().put("a", &2_u64), Err(StorageError::Closed));
    assert_eq!(ctx.storage().get::<u64>("a").await, Err(StorageError::Closed));
    assert!(all(&stub).await.is_empty());
    assert_eq!(disk.commits(), 0);
}

/// What is written outside of every call is not forgotten, and does not keep the object in memory.
#[tokio::test(start_paused = true)]
async fn what_is_written_outside_of_calls_is_kept() {
    let (disk, node, stub) = keeper("outside").await;
    let ctx = within(&stub, |ctx| async move { ctx }).done().await;
    ctx.storage().put("a", &1_u64).unwrap();
    disk.reached(1).await;
    tokio::time::sleep(seconds(12)).await;
    assert!(node.live::<KeeperStub>().is_empty());
    assert_eq!(all(&stub).await, [("a".to_owned(), 1)]);
}

/// Checklist 1.23.
#[tokio::test]
async fn objects_are_listed_page_by_page_in_the_order_of_their_ids() {
    let (_disk, node, _) = keeper("listing").await;
    let mut ids = Vec::new();
    for n in 0..25_u64 {
        let stub: KeeperStub = node.get(format!("listed-{n}").as_str());
        within(&stub, move |ctx| async move { ctx.storage().put("n", &n).unwrap() }).done().await;
        ids.push(stub.id().unwrap());
        if n % 2 == 0 {
            hibernate(&node, &stub).await;
        }
    }
    ids.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = node.objects::<KeeperStub>(after.as_ref(), 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page);
    }
    assert_eq!(found, ids);
    assert!(found.iter().all(|id| id.name().is_some()));
}

/// A value that is kept in memory and in storage.
struct Tally {
    ctx: Ctx,
    tally: Stored<Vec<u64>>,
}

#[durable_object]
impl Tally {
    pub fn add(&mut self, one: u64) -> usize {
        self.tally.edit().push(one);
        self.tally.len()
    }

    pub fn replace(&mut self, tally: Vec<u64>) -> Result<Vec<u64>, String> {
        Ok(self.tally.set(tally)?)
    }

    pub fn tally(&self) -> Vec<u64> {
        self.tally.clone()
    }

    /// More than can be stored.
    pub fn set_too_large(&mut self) -> bool {
        self.tally.set(vec![u64::MAX; 1 << 18]).is_err()
    }

    /// More than can be stored, without being asked.
    pub fn edit_too_large(&mut self) {
        self.tally.edit().extend(vec![u64::MAX; 1 << 18]);
        self.ctx.storage().put("beside", &1).unwrap();
    }

    pub fn panic_while_editing(&mut self) {
        let mut editing = self.tally.edit();
        editing.push(1);
        panic!("as the test wants");
    }
}

impl DurableObject for Tally {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { tally: ctx.stored("tally").await?, ctx })
    }
}

#[tokio::test]
async fn a_stored_value_is_written_with_the_call_that_changes_it() {
    let disk = Disk::new();
    let hosted = || Node::builder().object::<Tally>().object::<Keeper>();
    let node = opendo::testing::on_disk(hosted(), &disk).start().await.unwrap();
    let tally: TallyStub = node.get("a");
    assert!(tally.tally().await.unwrap().is_empty());
    assert_eq!((tally.add(1).await.unwrap(), tally.add(2).await.unwrap()), (1, 2));
    assert_eq!(disk.commits(), 2);
    hibernate(&node, &tally).await;
    assert_eq!(tally.tally().await.unwrap(), [1, 2]);
    assert_eq!(tally.replace(vec![7]).await.unwrap(), [1, 2]);
    // What could not be stored changes nothing …
    assert!(tally.set_too_large().await.unwrap());
    assert_eq!(tally.tally().await.unwrap(), [7]);
    // … and costs the instance where nobody is told.
    assert_eq!(failure(tally.edit_too_large().await), (ErrorKind::Reset, true));
    let tally = tally.fresh();
    assert_eq!(tally.tally().await.unwrap(), [7]);
    assert_eq!(failure(tally.panic_while_editing().await), (ErrorKind::Reset, true));
    let tally = tally.fresh();
    disk.inject_next(Fault::Fail);
    assert_eq!(failure(tally.add(8).await), (ErrorKind::Reset, true));
    opendo::testing::crash(&node).await;
    let node = opendo::testing::on_disk(hosted(), &disk).start().await.unwrap();
    assert_eq!(node.get::<TallyStub>("a").tally().await.unwrap(), [7]);
}
