//! A counter that another process increments.
//!
//! `cargo run --bin counter` shows it all: it starts a server process, then calls it as a client. Run it again, and the
//! counter goes on where it was: its state is kept in the directory `opendo-counter` (or the one that the environment
//! variable `COUNTER_DATA` names). `… counter serve unix:/tmp/counter.sock` and
//! `… counter increment unix:/tmp/counter.sock room-1 5` are the two halves.

use std::process::Stdio;
use std::time::Duration;

use opendo::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A counter that does not forget.
#[derive(Debug)]
pub struct Counter {
    ctx: Ctx,
    value: u64,
}

/// What can go wrong with a counter.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum CounterError {
    /// The sum is larger than the counter.
    #[error("the counter is full")]
    Overflow,
    /// The value could not be kept.
    #[error("{0}")]
    Storage(String),
}

#[durable_object]
impl Counter {
    /// Adds `by`; returns the new value.
    pub async fn increment(&mut self, by: u64) -> Result<u64, CounterError> {
        let value = self.value.checked_add(by).ok_or(CounterError::Overflow)?;
        self.ctx.storage().put("value", &value).map_err(|error| CounterError::Storage(error.to_string()))?;
        self.value = value;
        Ok(value)
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl DurableObject for Counter {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let value = ctx.storage().get("value").await?.unwrap_or(0);
        Ok(Self { ctx, value })
    }
}

#[tokio::main]
async fn main() -> opendo::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => both().await,
        ["serve", address] => serve(address).await,
        ["increment", address, name, by] => increment(address, name, by.parse()?).await,
        _ => Err(opendo::Error::msg("usage: counter [serve <address> | increment <address> <name> <by>]")),
    }
}

/// Hosts counters until Ctrl-C or until its standard input ends.
async fn serve(address: &str) -> opendo::Result<()> {
    let data = std::env::var_os("COUNTER_DATA").unwrap_or_else(|| "opendo-counter".into());
    let node = Node::builder().object::<Counter>().storage(data).start().await?;
    println!("listening on {}", node.listen(address).await?);
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = input.next_line() => {}
    }
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn increment(address: &str, name: &str, by: u64) -> opendo::Result<()> {
    let client = opendo::connect(address).await?;
    let counter: CounterStub = client.get(name);
    println!("{name} is now {}", counter.increment(by).await?);
    client.close().await;
    Ok(())
}

/// A server in a process of its own, and this one as its client.
async fn both() -> opendo::Result<()> {
    let socket = std::env::temp_dir().join(format!("opendo-counter-{}.sock", std::process::id()));
    let address = format!("unix:{}", socket.display());
    let mut server = Command::new(std::env::current_exe()?)
        .args(["serve", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut output = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let listening =
        output.next_line().await?.ok_or_else(|| opendo::Error::msg("the server did not start"))?;
    println!("server {}: {listening}", server.id().unwrap_or_default());

    println!("client {}: connecting", std::process::id());
    let client = opendo::connect(&address).await?;
    let counter: CounterStub = client.get("room-1");
    println!("increment(1)  = {}", counter.increment(1).await?);
    println!("increment(41) = {}", counter.increment(41).await?);

    // Calls are sent when they are made: these ten are on their way before the first answer comes.
    let calls: Vec<_> = (0..10).map(|_| counter.increment(1)).collect();
    let mut values = Vec::new();
    for call in calls {
        values.push(call.await?);
    }
    println!("ten at once   = {values:?}");

    match counter.increment(u64::MAX).await {
        Err(CallError::App(CounterError::Overflow)) => println!("increment(max): {}", CounterError::Overflow),
        other => println!("increment(max) = {:?}", other?),
    }
    println!("value()       = {}", counter.value().await?);

    client.close().await;
    drop(server.stdin.take()); // the server shuts down in order
    server.wait().await?;
    Ok(())
}
