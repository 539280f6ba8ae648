//! ractor: an actor for each object, `call` without a timeout, its only mailbox (which has no bound).

use harness::{Args, Command, Subject, bench, objects, version_in};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};

struct Counter;

enum Message {
    Increment(u64, RpcReplyPort<u64>),
    Echo(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

impl Actor for Counter {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        value: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Increment(by, reply) => {
                *value += by;
                reply.send(*value)?;
            }
            Message::Echo(data, reply) => reply.send(data)?,
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Caller(ActorRef<Message>);

impl Caller {
    async fn spawn() -> Self {
        let (actor, _) = Actor::spawn(None, Counter, ()).await.expect("it starts");
        Self(actor)
    }
}

impl Subject for Caller {
    async fn increment(&self, by: u64) -> u64 {
        call!(self.0, Message::Increment, by).expect("the actor answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        call!(self.0, Message::Echo, data).expect("the actor answers")
    }
}

fn main() {
    let args = Args::parse("ractor", version_in(include_str!("../../Cargo.lock"), "ractor"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    match args.command {
        Command::Bench { address: None, .. } => {
            let caller = Caller::spawn().await;
            bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
        }
        Command::Objects { .. } => {
            let args = args.clone();
            let make = |_| Caller::spawn();
            let call = |caller: Caller| async move { caller.increment(1).await };
            tokio::spawn(async move { objects(&args, make, call).await }).await.expect("no panics");
        }
        _ => panic!("only in process"),
    }
}
