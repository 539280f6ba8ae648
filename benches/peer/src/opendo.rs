//! opendo, called like every other program that it is compared with: see the harness.

use std::time::Duration;

use harness::{Args, Command, Subject, bench, objects, ready};
use opendo::prelude::*;

struct Counter {
    value: u64,
}

#[durable_object(vis = "")]
impl Counter {
    pub fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }

    pub fn echo(&mut self, data: Vec<u8>) -> Vec<u8> {
        data
    }
}

impl DurableObject for Counter {
    // Those that are counted stay where they are.
    const IDLE: Option<Duration> = Some(Duration::MAX);

    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: 0 })
    }
}

#[derive(Clone)]
struct Caller(CounterStub);

impl Subject for Caller {
    async fn increment(&self, by: u64) -> u64 {
        self.0.increment(by).await.expect("the object answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.echo(data).await.expect("the object answers")
    }
}

fn main() {
    let args = Args::parse("opendo", env!("CARGO_PKG_VERSION"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    let node = Node::builder().object::<Counter>().start().await.expect("one class");
    match args.command.clone() {
        Command::Serve { transport, address } => {
            node.listen(&url(&transport, &address)).await.expect("a free address");
            ready();
            std::future::pending::<()>().await;
        }
        Command::Bench { address: None, .. } => measure(args, Caller(node.get("counter"))).await,
        Command::Bench { transport, address: Some(address) } => {
            let client = Client::builder(&url(&transport, &address));
            let client = if transport == "ws-text" { client.text() } else { client };
            let client = client.connect().await.expect("it listens");
            measure(args, Caller(client.get("counter"))).await;
        }
        Command::Objects { .. } => {
            let args = args.clone();
            let make = move |number: usize| std::future::ready(Caller(node.get(number.to_string())));
            let call = |object: Caller| async move { object.increment(1).await };
            tokio::spawn(async move { objects(&args, make, call).await }).await.expect("no panics");
        }
    }
}

async fn measure(args: &Args, caller: Caller) {
    bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
}

fn url(transport: &str, address: &str) -> String {
    match transport {
        "uds" => format!("unix:{address}"),
        "ws" | "ws-text" => format!("ws://{address}"),
        other => format!("{other}://{address}"),
    }
}
