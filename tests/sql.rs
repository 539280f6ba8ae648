//! Objects with a SQL database each, as users meet them. What SQL may do, and how much, is tested below the crate.

// Arguments are what callers hand over.
#![allow(clippy::needless_pass_by_value)]

use std::path::Path;
use std::time::Duration;

use opendo::prelude::*;
use opendo::sql::SqlError;
use opendo::testing::{self, Disk, hibernate, on_disk, reset, with_tokio_clock};
use opendo::{AlarmInfo, ErrorKind};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    account: String,
    cents: i64,
}

fn entry(account: &str, cents: i64) -> Entry {
    Entry { account: account.into(), cents }
}

type Done<T> = Result<T, String>;

/// Books entries, in rows, and counts them, in a key.
struct Bank {
    ctx: Ctx,
}

#[durable_object(sql)]
impl Bank {
    pub async fn book(&mut self, entry: Entry) -> Done<u64> {
        let booked = self.ctx.storage().get("booked").await?.unwrap_or(0_u64) + 1;
        self.ctx.sql().exec("INSERT INTO entry VALUES (:account, :cents)", &entry)?;
        self.ctx.storage().put("booked", &booked)?;
        Ok(booked)
    }

    pub async fn booked(&self) -> Done<(Vec<Entry>, Option<u64>)> {
        let entries = self.ctx.sql().query("SELECT * FROM entry ORDER BY rowid", ())?;
        Ok((entries, self.ctx.storage().get("booked").await?))
    }

    /// Writes in every way there is, and fails or not; what was written before it stays.
    pub fn transact(&mut self, fail: bool) -> Done<()> {
        let (sql, storage) = (self.ctx.sql(), self.ctx.storage().clone());
        sql.exec("INSERT INTO entry VALUES ('before', 1)", ())?;
        storage.put("before", &1_u64)?;
        sql.transaction(|sql| {
            sql.exec("INSERT INTO entry VALUES ('within', 1)", ())?;
            storage.put("booked", &100_u64)?;
            self.ctx.alarm().set_in(Duration::from_secs(3600))?;
            if fail { Err("as the test wants".to_owned()) } else { Ok(()) }
        })
    }

    pub fn tell_within(&mut self, tell: Callback<i64, ()>, fail: bool) -> Done<()> {
        self.ctx.sql().transaction(|sql| {
            sql.exec("INSERT INTO entry VALUES ('told', 1)", ())?;
            Call::detach(tell.call(1));
            if fail { Err("as the test wants".to_owned()) } else { Ok(()) }
        })
    }

    /// While a statement of its own runs.
    pub fn tell_each(&mut self, tell: Callback<i64, ()>) -> Done<()> {
        let sql = "INSERT INTO entry VALUES ('a', 1), ('b', 2) RETURNING cents";
        self.ctx.sql().cursor(sql, (), |rows| {
            while let Some(cents) = rows.next::<i64>()? {
                Call::detach(tell.call(cents));
            }
            Ok::<_, String>(())
        })
    }

    /// Stands in a transaction of keys and timers until it is let go, which sets an alarm.
    #[method(concurrent)]
    pub async fn stand_in_transaction(&self, inside: Callback<(), ()>) -> Done<()> {
        let body = async {
            self.ctx.alarm().set_in(Duration::from_secs(3600))?;
            inside.call(()).await.map_err(|error| error.to_string())
        };
        self.ctx.storage().transaction(body).await
    }

    /// Beside it: a transaction of rows, which may not touch keys now. What it knows of the alarm, and what it is told.
    #[method(concurrent)]
    pub async fn transact_beside(&self) -> Done<(bool, String)> {
        let (sql, storage) = (self.ctx.sql(), self.ctx.storage());
        sql.transaction(|sql| {
            sql.exec("INSERT INTO entry VALUES ('beside', 1)", ())?;
            let nested = sql.transaction(|_| storage.put("nested", &1).map_err(String::from));
            assert_eq!(nested, storage.put("booked", &1).map_err(String::from));
            let refused = nested.expect_err("a transaction of keys runs beside it");
            Ok((self.ctx.alarm().get().is_some(), refused))
        })
    }

    pub fn alarm_at(&mut self, seconds: u64) -> Done<bool> {
        self.ctx.alarm().set_in(Duration::from_secs(seconds))?;
        Ok(self.ctx.alarm().get().is_some())
    }

    pub fn write_and_abort(&mut self) {
        self.ctx.sql().exec("INSERT INTO entry VALUES ('lost', 1)", ()).unwrap();
        self.ctx.storage().put("booked", &100_u64).unwrap();
        self.ctx.abort("as the test wants");
    }

    /// Leaves a constraint violated at the end of the call.
    pub fn violate(&mut self) -> Done<()> {
        self.ctx.sql().exec("PRAGMA defer_foreign_keys = ON; INSERT INTO child VALUES (99)", ())?;
        Ok(())
    }

    pub fn forget(&mut self) -> Done<()> {
        Ok(self.ctx.storage().delete_all()?)
    }

    pub fn prepare(&mut self) -> Done<()> {
        Ok(migrate(&self.ctx)?)
    }

    /// Beside the calls.
    pub fn book_later(&mut self, entry: Entry) {
        let sql = self.ctx.sql();
        tokio::spawn(async move { sql.exec("INSERT INTO entry VALUES (:account, :cents)", &entry).unwrap() });
    }

    pub fn is_kept_alive(&self) -> bool {
        !self.ctx.keepalive_reasons().is_empty()
    }
}

fn migrate(ctx: &Ctx) -> Result<(), SqlError> {
    ctx.sql().migrate(&[
        "CREATE TABLE entry(account TEXT NOT NULL, cents INTEGER NOT NULL)",
        "CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(parent REFERENCES parent(id))",
    ])
}

impl DurableObject for Bank {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        migrate(&ctx)?;
        Ok(Self { ctx })
    }

    async fn alarm(&mut self, _: AlarmInfo) -> opendo::Result<()> {
        self.ctx.sql().exec("INSERT INTO entry VALUES ('alarm', 0)", ())?;
        Ok(())
    }
}

/// A class without.
struct Plain {
    ctx: Ctx,
}

#[durable_object]
impl Plain {
    pub fn query(&self) -> Done<u64> {
        Ok(self.ctx.sql().query_one("SELECT 1", ())?)
    }
}

impl DurableObject for Plain {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { ctx })
    }
}

async fn node_in(data: &Path) -> Node {
    let hosted = Node::builder().object::<Bank>().object::<Plain>().storage(data);
    with_tokio_clock(hosted).start().await.unwrap()
}

async fn node() -> Node {
    with_tokio_clock(Node::builder().object::<Bank>().object::<Plain>()).start().await.unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, CallError<String>>) -> ErrorKind {
    match result {
        Err(CallError::Rpc(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

fn names(data: &Path) -> Vec<String> {
    fn below(path: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(path).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else {
                found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    below(&data.join("objects"), &mut found);
    found
}

/// Checklist 6.19.
#[tokio::test]
async fn rows_and_keys_are_there_after_a_sleep_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let node = node_in(data.path()).await;
    let bank: BankStub = node.get("a");
    assert_eq!(bank.book(entry("rent", 7)).await.unwrap(), 1);
    hibernate(&node, &bank).await;
    assert_eq!(bank.book(entry("food", -3)).await.unwrap(), 2);
    let booked = (vec![entry("rent", 7), entry("food", -3)], Some(2));
    assert_eq!(bank.booked().await.unwrap(), booked);
    assert_eq!(node.objects::<BankStub>(None, 10).await.unwrap(), [bank.id().unwrap()]);
    node.shutdown(Duration::from_secs(10)).await;
    assert_eq!(names(data.path()).len(), 1, "one file, and nothing beside it");
    let node = node_in(data.path()).await;
    let bank: BankStub = node.get("a");
    assert_eq!(node.objects::<BankStub>(None, 10).await.unwrap(), [bank.id().unwrap()]);
    assert_eq!(bank.booked().await.unwrap(), booked);
}

/// Nothing of the kind is written in order: what was answered is there.
#[tokio::test]
async fn rows_and_keys_are_there_after_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let node = node_in(data.path()).await;
    let bank: BankStub = node.get("a");
    bank.book(entry("rent", 7)).await.unwrap();
    testing::crash(&node).await;
    let node = node_in(data.path()).await;
    assert_eq!(node.get::<BankStub>("a").booked().await.unwrap(), (vec![entry("rent", 7)], Some(1)));
}

/// Checklist 5.12, 6.2: rows and keys of one call, all or none.
#[tokio::test]
async fn what_a_lost_instance_had_not_said_is_lost() {
    let node = node().await;
    let bank: BankStub = node.get("a");
    bank.book(entry("rent", 7)).await.unwrap();
    assert!(bank.write_and_abort().await.is_err());
    let bank = bank.fresh();
    assert_eq!(bank.booked().await.unwrap(), (vec![entry("rent", 7)], Some(1)));
}

/// Checklist 5.23.
#[tokio::test]
async fn a_transaction_undoes_rows_keys_and_the_alarm() {
    let node = node().await;
    let bank: BankStub = node.get("a");
    assert!(bank.transact(true).await.is_err());
    assert_eq!(bank.booked().await.unwrap(), (vec![entry("before", 1)], None));
    hibernate(&node, &bank).await;
    assert_eq!(bank.booked().await.unwrap(), (vec![entry("before", 1)], None));
    bank.transact(false).await.unwrap();
    let booked = (vec![entry("before", 1), entry("before", 1), entry("within", 1)], Some(100));
    assert_eq!(bank.booked().await.unwrap(), booked);
    hibernate(&node, &bank).await;
    assert_eq!(bank.booked().await.unwrap(), booked);
}

/// Its keys could not be undone alone, so it has none; and of the other one it sees nothing.
#[tokio::test]
async fn a_transaction_beside_one_of_keys_writes_rows_only() {
    let node = node().await;
    let bank: BankStub = node.get("a");
    let beside = bank.clone();
    let (told, hear) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let inside = Callback::new(move |()| {
        let (beside, told) = (beside.clone(), told.lock().unwrap().take().expect("it is called once"));
        async move { told.send(beside.transact_beside().await).unwrap() }
    });
    bank.stand_in_transaction(inside).await.unwrap();
    let (alarm, refused) = hear.await.unwrap().unwrap();
    assert!(!alarm && refused.contains("another transaction"), "{alarm} {refused}");
    assert_eq!(bank.booked().await.unwrap(), (vec![entry("beside", 1)], None));
}

/// What is said in the middle of a transaction leaves when it has ended, however it does.
#[tokio::test]
async fn what_is_said_within_a_transaction_or_a_statement_leaves_behind_it() {
    let node = node().await;
    let bank: BankStub = node.get("a");
    let (told, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let tell = Callback::new(move |cents: i64| {
        let told = told.clone();
        async move { told.send(cents).unwrap() }
    });
    bank.tell_within(tell.clone(), false).await.unwrap();
    assert_eq!(hear.recv().await, Some(1));
    assert!(bank.tell_within(tell.clone(), true).await.is_err());
    assert_eq!(hear.recv().await, Some(1));
    bank.tell_each(tell).await.unwrap();
    assert_eq!((hear.recv().await, hear.recv().await), (Some(1), Some(2)));
    let booked = [entry("told", 1), entry("a", 1), entry("b", 2)];
    assert_eq!(bank.booked().await.unwrap().0, booked);
    hibernate(&node, &bank).await;
    assert_eq!(bank.booked().await.unwrap().0, booked);
}

/// Checklist 6.16: a violated constraint costs the instance what it had not said, and nothing else.
#[tokio::test]
async fn a_constraint_that_is_violated_at_the_end_resets_the_object() {
    let node = node().await;
    let bank: BankStub = node.get("a");
    bank.book(entry("rent", 7)).await.unwrap();
    let error = bank.violate().await.unwrap_err();
    assert!(error.to_string().contains("constraints were violated"), "{error}");
    assert_eq!(kind::<()>(Err(error)), ErrorKind::Reset);
    assert_eq!(bank.fresh().booked().await.unwrap(), (vec![entry("rent", 7)], Some(1)));
}

/// Checklist 7.8: an alarm in a database of the object's own is no worse than others.
#[tokio::test(start_paused = true)]
async fn an_alarm_wakes_the_object_after_a_sleep_a_restart_and_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let rang = async |node: &Node| node.get::<BankStub>("a").booked().await.unwrap().0.len();
    let node = node_in(data.path()).await;
    let bank: BankStub = node.get("a");
    assert!(bank.alarm_at(1).await.unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rang(&node).await, 1, "while it is in memory");
    bank.alarm_at(60).await.unwrap();
    hibernate(&node, &bank).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(rang(&node).await, 2, "asleep");
    bank.alarm_at(60).await.unwrap();
    node.shutdown(Duration::from_secs(10)).await;
    let node = node_in(data.path()).await;
    assert!(node.live::<BankStub>().is_empty());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(rang(&node).await, 3, "after a restart");
    node.get::<BankStub>("a").alarm_at(60).await.unwrap();
    testing::crash(&node).await;
    let node = node_in(data.path()).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(rang(&node).await, 4, "after a crash");
    // It sleeps when nothing is to be done, also behind a crash.
    testing::crash(&node).await;
    let node = node_in(data.path()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(node.live::<BankStub>().is_empty());
    assert_eq!(names(data.path()).len(), 1);
}

/// Checklist 5.29, 6.20.
#[tokio::test]
async fn delete_all_leaves_nothing_of_the_object() {
    let data = tempfile::tempdir().unwrap();
    let node = node_in(data.path()).await;
    let bank: BankStub = node.get("a");
    bank.book(entry("rent", 7)).await.unwrap();
    bank.alarm_at(60).await.unwrap();
    bank.forget().await.unwrap();
    assert!(bank.booked().await.is_err(), "the table is gone");
    bank.prepare().await.unwrap();
    assert_eq!(bank.booked().await.unwrap(), (vec![], None));
    bank.forget().await.unwrap();
    hibernate(&node, &bank).await;
    assert!(node.objects::<BankStub>(None, 10).await.unwrap().is_empty());
    assert!(names(data.path()).is_empty());
    assert_eq!(bank.book(entry("rent", 7)).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_written_beside_the_calls_is_kept() {
    let node = node().await;
    let bank: BankStub = node.get("a");
    bank.book_later(entry("later", 1)).await.unwrap();
    while bank.booked().await.unwrap().0.is_empty() {}
    while bank.is_kept_alive().await.unwrap() {}
    reset(&node, &bank, "as the test wants").await;
    assert_eq!(bank.fresh().booked().await.unwrap().0, [entry("later", 1)]);
}

#[tokio::test]
async fn a_class_without_sql_says_so() {
    let node = node().await;
    let error = node.get::<PlainStub>("a").query().await.unwrap_err();
    assert!(error.to_string().contains("#[durable_object(sql)]"), "{error}");
}

/// The engine's half: without a claim there is no instance, and no file is touched.
#[tokio::test]
async fn an_object_that_cannot_be_claimed_is_not_made() {
    let disk = Disk::new();
    let node = on_disk(Node::builder().object::<Bank>(), &disk).start().await.unwrap();
    let bank: BankStub = node.get("a");
    disk.fail_reads(true);
    assert_eq!(kind(bank.booked().await), ErrorKind::Reset);
    disk.fail_reads(false);
    assert_eq!(bank.fresh().book(entry("rent", 7)).await.unwrap(), 1);
    testing::crash(&node).await;
    let node = on_disk(Node::builder().object::<Bank>(), &disk).start().await.unwrap();
    assert_eq!(node.get::<BankStub>("a").booked().await.unwrap().1, Some(1));
}
