//! An object that writes, and says things to others.

// Arguments are what callers hand over.
#![allow(clippy::needless_pass_by_value)]

use futures::StreamExt;
use opendo::prelude::*;
use opendo::{Arg, Group, RpcSink};

use crate::by_name::{Gate, Log};

/// An error of storage, as a method returns it.
pub(crate) type Kept<T> = Result<T, String>;

/// Remembers how often it was called, and keeps numbers.
pub(crate) struct Desk {
    ctx: Ctx,
    calls: u64,
    group: Group<Callback<u64, ()>>,
}

#[durable_object]
impl Desk {
    /// How many calls this instance has had, without writing anything.
    pub fn calls(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// Notes that it ran.
    pub fn mark(&mut self, log: Log, entry: u64) {
        log.push(entry);
    }

    pub fn put(&mut self, key: String, value: u64) -> Kept<u64> {
        self.calls += 1;
        self.ctx.storage().put(&key, &value)?;
        Ok(value)
    }

    pub async fn get(&self, key: String) -> Kept<Option<u64>> {
        Ok(self.ctx.storage().get(&key).await?)
    }

    pub async fn all(&self) -> Kept<Vec<(String, u64)>> {
        Ok(self.ctx.storage().list().await?)
    }

    /// Adds one to what is kept.
    pub async fn increment(&mut self) -> Kept<u64> {
        let next = self.ctx.storage().get("count").await?.unwrap_or(0_u64) + 1;
        self.ctx.storage().put("count", &next)?;
        Ok(next)
    }

    /// Writes, and refuses.
    pub fn refuse(&mut self, key: String, value: u64) -> Kept<()> {
        self.ctx.storage().put(&key, &value)?;
        Err("as the test wants".into())
    }

    /// Writes, stands at the gate, and panics.
    pub async fn panic(&mut self, key: String, value: u64, gate: Gate) {
        self.ctx.storage().put(&key, &value).unwrap();
        gate.pass().await;
        panic!("as the test wants");
    }

    /// Writes, tells, writes again, and aborts: only what was said had to wait for something.
    pub fn put_tell_put_abort(&mut self, tell: Callback<u64, ()>) {
        self.ctx.storage().put("first", &1_u64).unwrap();
        Call::detach(tell.call(1));
        self.ctx.storage().put("second", &2_u64).unwrap();
        self.ctx.abort("as the test wants");
    }

    /// Writes, and tells without waiting.
    pub fn put_and_tell(&mut self, key: String, value: u64, tell: Callback<u64, ()>) -> Kept<()> {
        self.ctx.storage().put(&key, &value)?;
        Call::detach(tell.call(value));
        Ok(())
    }

    /// Tells without having written.
    pub fn tell(&mut self, value: u64, tell: Callback<u64, ()>) {
        Call::detach(tell.call(value));
    }

    /// Writes, and waits for the answer to a call.
    pub async fn put_and_ask(&mut self, key: String, value: u64, ask: Callback<u64, u64>) -> Kept<u64> {
        self.ctx.storage().put(&key, &value)?;
        ask.call(value).await.map_err(|error| error.to_string())
    }

    /// Writes, calls another object, and drops the call once the gate is passed.
    pub async fn put_and_drop(&mut self, other: String, log: Log, gate: Gate) -> Kept<()> {
        self.ctx.storage().put("dropped", &1_u64)?;
        let call = self.ctx.get::<DeskStub>(other).mark(log, 1);
        gate.pass().await;
        drop(call);
        Ok(())
    }

    /// Writes, and calls another object and the result of that call.
    pub async fn put_and_chain(&mut self, other: String, log: Log) -> Kept<u64> {
        self.ctx.storage().put("chained", &1_u64)?;
        let other: DeskStub = self.ctx.get(other);
        let one = other.with_itself(log.clone(), 1).mark(log.clone(), 2);
        let count = other.add(other.calls().into(), 10);
        one.await.map_err(|error| error.to_string())?;
        count.await.map_err(|error| error.to_string())
    }

    pub fn with_itself(&mut self, log: Log, entry: u64) -> DeskStub {
        log.push(entry);
        self.ctx.this()
    }

    pub async fn add(&mut self, one: Arg<u64>, two: u64) -> u64 {
        *one + two
    }

    pub fn join(&mut self, member: Callback<u64, ()>) {
        self.group.join(member);
    }

    /// Writes, and tells the group.
    pub fn put_and_tell_all(&mut self, value: u64) -> Kept<()> {
        self.ctx.storage().put("told", &value)?;
        Call::detach(self.group.call(value));
        Ok(())
    }

    /// Writes, and tells the group, and then one of it.
    pub fn put_and_tell_all_and_one(&mut self, value: u64, one: Callback<u64, ()>) -> Kept<()> {
        self.ctx.storage().put("told", &value)?;
        Call::detach(self.group.call(value));
        Call::detach(one.call(value + 1));
        Ok(())
    }

    /// A part of the desk that is called by itself.
    pub fn drawer(&self) -> DrawerStub {
        opendo::serve(Drawer { ctx: self.ctx.clone() })
    }

    /// Writes, and waits until it is durable. Others may run meanwhile.
    #[method(concurrent)]
    pub async fn put_and_sync(&self, key: String, value: u64, synced: Log) -> Kept<()> {
        self.ctx.storage().put(&key, &value)?;
        self.ctx.storage().sync().await?;
        synced.push(value);
        Ok(())
    }

    /// Writes each value before the stream gives it.
    pub fn values(&mut self, last: u64) -> RpcStream<u64> {
        let ctx = self.ctx.clone();
        RpcStream::from_stream(futures::stream::iter(1..=last).map(move |value| {
            ctx.storage().put("value", &value).unwrap();
            value
        }))
    }

    /// Writes each value before it goes into the sink.
    pub async fn pour(&mut self, last: u64, mut sink: RpcSink<u64>) -> Kept<()> {
        for value in 1..=last {
            self.ctx.storage().put("value", &value)?;
            sink.send(value).await.map_err(|error| error.to_string())?;
        }
        sink.close().await.map_err(|error| error.to_string())
    }

    /// Beside the calls, once the gate is passed: writes, and tells.
    pub fn put_and_tell_later(&mut self, value: u64, tell: Callback<u64, ()>, gate: Gate) {
        let ctx = self.ctx.clone();
        self.ctx.wait_until(async move {
            gate.pass().await;
            ctx.storage().put("later", &value).unwrap();
            Call::detach(tell.call(value));
            ctx.storage().put("last", &value).unwrap();
        });
    }
}

/// Writes to the storage of its desk.
pub(crate) struct Drawer {
    ctx: Ctx,
}

#[rpc_target]
impl Drawer {
    pub fn put(&mut self, key: String, value: u64) -> Kept<u64> {
        self.ctx.storage().put(&key, &value)?;
        Ok(value)
    }

    pub fn panic(&mut self) {
        panic!("as the test wants");
    }
}

impl DurableObject for Desk {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        if ctx.key().name().is_some_and(|name| name.starts_with("counts-its-instances")) {
            let made = ctx.storage().get("made").await?.unwrap_or(0_u64);
            ctx.storage().put("made", &(made + 1))?;
        }
        Ok(Self { ctx, calls: 0, group: Group::new() })
    }
}
