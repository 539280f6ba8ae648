//! On a real disk, by a real clock.

#![allow(clippy::needless_pass_by_value)] // remote methods own their arguments

use std::time::{Duration, Instant};

use opendo::prelude::*;
use opendo::sql::SqlError;
use opendo::testing::crash;
use tokio::time::sleep;

use crate::post::{Fate, Post, PostStub};

async fn arrives(post: &PostStub, many: usize) -> Vec<u64> {
    let since = Instant::now();
    loop {
        let got = post.got().await.unwrap();
        if got.len() >= many {
            return got;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{got:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn messages_outlive_the_process() {
    let data = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for life in 1..=3 {
        let node = Node::builder().object::<Post>().storage(data.path()).start().await.unwrap();
        let (from, to): (PostStub, PostStub) = (node.get("kept/from"), node.get("kept/to"));
        let sent = from.send(vec![to.clone()], 20).await.unwrap();
        assert_eq!(sent, 20 * life);
        expected.extend(sent - 19..=sent);
        if life == 3 {
            assert_eq!(arrives(&to, expected.len()).await, expected);
        }
        crash(&node).await;
    }
}

/// An object whose state is in a database of its own.
pub(crate) struct Till {
    ctx: Ctx,
}

#[durable_object(sql)]
impl Till {
    /// Books, and tells another till and a post of it.
    pub fn book(&mut self, cents: i64, to: TillStub, post: PostStub) -> Result<(), String> {
        let sql = self.ctx.sql();
        let undone: Result<(), SqlError> = sql.transaction(|sql| {
            sql.exec("INSERT INTO entry(cents) VALUES (?)", (1000,))?;
            self.ctx.send(&to, |to| to.booked(1000)).expect("it is recorded");
            sql.exec("INSERT INTO nowhere VALUES (1)", ())?;
            Ok(())
        });
        assert!(undone.is_err());
        sql.exec("INSERT INTO entry(cents) VALUES (?)", (cents,))?;
        self.ctx.send(&post, |post| post.take(cents.unsigned_abs()))?;
        Ok(self.ctx.send(&to, |to| to.booked(cents))?)
    }

    pub fn booked(&mut self, cents: i64) -> Result<(), String> {
        self.ctx.sql().exec("INSERT INTO entry(cents) VALUES (?)", (-cents,))?;
        Ok(())
    }

    pub fn entries(&self) -> Result<Vec<i64>, String> {
        Ok(self.ctx.sql().query("SELECT cents FROM entry ORDER BY rowid", ())?)
    }
}

impl DurableObject for Till {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        ctx.sql().migrate(&["CREATE TABLE entry(cents INTEGER NOT NULL)"])?;
        Ok(Self { ctx })
    }
}

/// Rows and messages are one commit.
#[tokio::test]
async fn objects_with_sql_send_and_take_messages() {
    let data = tempfile::tempdir().unwrap();
    let start = async || {
        let node = Node::builder().object::<Post>().object::<Till>().storage(data.path());
        node.start().await.unwrap()
    };
    let node = start().await;
    Fate::of("sql/post").shut();
    let (one, two, post): (TillStub, TillStub, PostStub) =
        (node.get("one"), node.get("two"), node.get("sql/post"));
    for cents in 1..=10 {
        one.book(cents, two.clone(), post.clone()).await.unwrap();
    }
    crash(&node).await;
    Fate::of("sql/post").open();
    let node = start().await;
    let (one, two): (TillStub, TillStub) = (node.get("one"), node.get("two"));
    assert_eq!(one.entries().await.unwrap(), (1..=10).collect::<Vec<_>>());
    assert_eq!(arrives(&node.get("sql/post"), 10).await, (1..=10).collect::<Vec<_>>());
    let since = Instant::now();
    while two.entries().await.unwrap().len() < 10 {
        assert!(since.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(two.entries().await.unwrap(), (1..=10).map(|cents: i64| -cents).collect::<Vec<_>>());
    crash(&node).await;
}
