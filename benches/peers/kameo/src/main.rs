//! kameo: an actor for each object, `ask`, the mailbox that is the default.

use harness::{Args, Command, Subject, bench, objects, version_in};
use kameo::actor::Spawn;
use kameo::prelude::*;

#[derive(Actor, Default)]
struct Counter(u64);

struct Increment(u64);
struct Echo(Vec<u8>);

impl Message<Increment> for Counter {
    type Reply = u64;

    async fn handle(&mut self, Increment(by): Increment, _: &mut Context<Self, u64>) -> u64 {
        self.0 += by;
        self.0
    }
}

impl Message<Echo> for Counter {
    type Reply = Vec<u8>;

    async fn handle(&mut self, Echo(data): Echo, _: &mut Context<Self, Vec<u8>>) -> Vec<u8> {
        data
    }
}

#[derive(Clone)]
struct Caller(ActorRef<Counter>);

impl Caller {
    fn spawn() -> Self {
        Self(Counter::spawn(Counter::default()))
    }
}

impl Subject for Caller {
    async fn increment(&self, by: u64) -> u64 {
        self.0.ask(Increment(by)).await.expect("the actor answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.ask(Echo(data)).await.expect("the actor answers")
    }
}

fn main() {
    let args = Args::parse("kameo", version_in(include_str!("../../Cargo.lock"), "kameo"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    match args.command {
        Command::Bench { address: None, .. } => {
            let caller = Caller::spawn();
            bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
        }
        Command::Objects { .. } => {
            let args = args.clone();
            let make = |_| async { Caller::spawn() };
            let call = |caller: Caller| async move { caller.increment(1).await };
            tokio::spawn(async move { objects(&args, make, call).await }).await.expect("no panics");
        }
        _ => panic!("only in process"),
    }
}
