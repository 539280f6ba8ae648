//! An object with money in it: whatever it does, its parts fit together.

// Remote methods take their arguments by value, and their types are as visible as they.
#![allow(unreachable_pub, clippy::needless_pass_by_value)]

use std::collections::BTreeMap;
use std::time::Duration;

use opendo::prelude::*;
use opendo::{AlarmInfo, Scheduled};
use serde::{Deserialize, Serialize};

type Kept<T> = Result<T, String>;

/// An order, and whether it took money out of the purse. (One may transfer to itself.)
type Move = (u64, bool);

pub struct Purse {
    ctx: Ctx,
}

/// All that a purse holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    count: u64,
    balance: i64,
    pub(super) moved: BTreeMap<Move, i64>,
    owed: BTreeMap<u64, (String, i64)>,
    pub(super) reminded: BTreeMap<u64, u64>,
    /// The count when it was looked at last, some time after the last change.
    settled: u64,
}

impl Contents {
    /// In the end, when nothing is to happen any more.
    pub(super) fn judge(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (moves, sum): (u64, i64) = (self.moved.len() as u64, self.moved.values().sum());
        let reminders: u64 = self.reminded.values().sum();
        if (self.count, self.balance) != (moves + reminders, sum) {
            wrong.push(format!("the parts do not fit together: {self:?}"));
        }
        if !self.owed.is_empty() {
            wrong.push(format!("it still owes {:?}", self.owed));
        }
        if self.settled != self.count {
            wrong.push(format!("its alarm did not ring after the last change: {self:?}"));
        }
        wrong
    }

    pub(super) fn orders(&self) -> impl Iterator<Item = u64> {
        self.moved.keys().map(|(id, _)| *id).chain(self.reminded.keys().copied())
    }
}

#[durable_object]
impl Purse {
    /// All give back how many things have happened to it.
    pub async fn add(&mut self, id: u64, amount: i64) -> Kept<u64> {
        self.moves((id, false), amount).await
    }

    pub async fn transfer(&mut self, id: u64, to: String, amount: i64) -> Kept<u64> {
        let storage = self.ctx.storage();
        let giving = storage.transaction(async {
            let count = self.moves((id, true), -amount).await?;
            storage.put(&format!("owed/{id}"), &(to, amount))?;
            self.ctx.schedule(&format!("owed/{id}"), Duration::ZERO, &id)?;
            Ok(count)
        });
        giving.await
    }

    /// What was transferred has arrived.
    pub fn arrived(&mut self, id: u64) -> Kept<()> {
        self.ctx.storage().delete(&format!("owed/{id}"))?;
        Ok(self.ctx.unschedule(&format!("owed/{id}"))?)
    }

    pub async fn remind(&mut self, id: u64, time: Duration) -> Kept<u64> {
        if self.ctx.storage().get::<u64>(&format!("reminded/{id}")).await?.is_none() {
            self.ctx.schedule(&format!("remind/{id}"), time, &id)?;
        }
        self.count().await
    }

    /// Does half of something, and is lost.
    pub async fn stumble(&mut self, id: u64) -> Kept<u64> {
        self.ctx.storage().put(&format!("moved/{id}/false"), &((id, false), 1_i64))?;
        self.ctx.alarm().delete()?;
        self.ctx.schedule(&format!("remind/{id}"), Duration::ZERO, &id)?;
        self.count().await?;
        self.ctx.abort("it stumbles")
    }

    pub async fn contents(&self) -> Kept<Contents> {
        let storage = self.ctx.storage();
        let mut contents = Contents {
            count: self.count().await?,
            balance: storage.get("balance").await?.unwrap_or(0),
            settled: storage.get("settled").await?.unwrap_or(0),
            ..Contents::default()
        };
        for (_, (what, amount)) in storage.list().prefix("moved/").await? {
            contents.moved.insert(what, amount);
        }
        let id = |key: &str| key.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
        for (key, owed) in storage.list().prefix("owed/").await? {
            contents.owed.insert(id(&key), owed);
        }
        for (key, times) in storage.list().prefix("reminded/").await? {
            contents.reminded.insert(id(&key), times);
        }
        Ok(contents)
    }
}

impl Purse {
    async fn count(&self) -> Kept<u64> {
        Ok(self.ctx.storage().get("count").await?.unwrap_or(0))
    }

    /// Something happens to it; its alarm rings some time later.
    async fn happens(&self) -> Kept<u64> {
        let count = self.count().await? + 1;
        self.ctx.storage().put("count", &count)?;
        self.ctx.alarm().set_in(Duration::from_millis(700))?;
        Ok(count)
    }

    /// Moves money, once.
    async fn moves(&self, what: Move, amount: i64) -> Kept<u64> {
        let storage = self.ctx.storage();
        let key = format!("moved/{}/{}", what.0, what.1);
        if storage.get::<(Move, i64)>(&key).await?.is_some() {
            return self.count().await;
        }
        storage.put(&key, &(what, amount))?;
        let count = self.happens().await?;
        let balance: i64 = storage.get("balance").await?.unwrap_or(0);
        storage.put("balance", &(balance + amount))?;
        Ok(count)
    }
}

impl DurableObject for Purse {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { ctx })
    }

    async fn alarm(&mut self, _: AlarmInfo) -> opendo::Result<()> {
        let count = self.count().await.map_err(opendo::Error::msg)?;
        Ok(self.ctx.storage().put("settled", &count)?)
    }

    async fn scheduled(&mut self, event: Scheduled) -> opendo::Result<()> {
        let (storage, id) = (self.ctx.storage(), event.payload::<u64>()?);
        if event.name().starts_with("remind/") {
            let times: u64 = storage.get(&format!("reminded/{id}")).await?.unwrap_or(0);
            storage.put(&format!("reminded/{id}"), &(times + 1))?;
            self.happens().await.map_err(opendo::Error::msg)?;
            return Ok(());
        }
        let Some((to, amount)) = storage.get::<(String, i64)>(&format!("owed/{id}")).await? else {
            return Ok(());
        };
        // Until it is known that it has arrived.
        self.ctx.schedule(event.name(), Duration::from_secs(1), &id)?;
        let giving = self.ctx.get::<PurseStub>(to).add(id, amount);
        let this: PurseStub = self.ctx.this();
        self.ctx.wait_until(async move {
            if giving.await.is_ok() {
                let _ = this.arrived(id).await;
            }
        });
        Ok(())
    }
}
