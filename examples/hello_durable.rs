//! Cloudflare's getting-started object, in Rust: it says hello, counts its visits, and has an alarm. It remembers, also
//! across `kill -9`.
//!
//! `cargo run --bin hello_durable` calls it in process. `… hello_durable serve unix:/tmp/hello.sock` keeps it in a process
//! of its own, `… hello_durable visit unix:/tmp/hello.sock Ann` visits it there. `--data <directory>` says where its
//! state is kept; `hello-durable` in the temporary directory otherwise.

use std::path::PathBuf;
use std::time::Duration;

use opendo::prelude::*;
use opendo::{AlarmInfo, Stored};

/// Greets whoever visits.
#[derive(Debug)]
pub struct Greeter {
    ctx: Ctx,
    visits: Stored<u64>,
    alarms: Stored<u64>,
}

#[durable_object]
impl Greeter {
    /// Counts the visit, and greets. A moment after the first visit, the alarm goes off.
    pub fn say_hello(&mut self, name: String) -> Result<String, String> {
        *self.visits.edit() += 1;
        if *self.visits == 1 {
            self.ctx.alarm().set_in(Duration::from_millis(100))?;
        }
        Ok(format!("Hello, {name}! You are visitor {}.", *self.visits))
    }

    /// How often the alarm has gone off.
    pub fn alarms(&self) -> u64 {
        *self.alarms
    }
}

impl DurableObject for Greeter {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let (visits, alarms) = (ctx.stored("visits").await?, ctx.stored("alarms").await?);
        Ok(Self { ctx, visits, alarms })
    }

    async fn alarm(&mut self, _: AlarmInfo) -> opendo::Result<()> {
        *self.alarms.edit() += 1;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> opendo::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let data = match args.iter().position(|arg| arg == "--data") {
        Some(at) if at + 1 < args.len() => args.drain(at..at + 2).nth(1).map(PathBuf::from),
        _ => None,
    };
    let data = data.unwrap_or_else(|| std::env::temp_dir().join("hello-durable"));
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let node = Node::builder().object::<Greeter>().storage(data).start().await?;
            let greeter: GreeterStub = node.get("foo");
            println!("{}", greeter.say_hello("World".into()).await?);
            node.shutdown(Duration::from_secs(5)).await;
            Ok(())
        }
        ["serve", address] => {
            let node = Node::builder().object::<Greeter>().storage(data).start().await?;
            println!("listening on {}", node.listen(address).await?);
            tokio::signal::ctrl_c().await?;
            node.shutdown(Duration::from_secs(5)).await;
            Ok(())
        }
        ["visit", address, name] => {
            let client = opendo::connect(address).await?;
            let greeter: GreeterStub = client.get("foo");
            println!("{}", greeter.say_hello(name.into()).await?);
            println!("alarms: {}", greeter.alarms().await?);
            client.close().await;
            Ok(())
        }
        _ => Err(opendo::Error::msg(
            "usage: hello_durable [--data <directory>] [serve <address> | visit <address> <name>]",
        )),
    }
}
