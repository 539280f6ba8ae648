//! irpc: an actor behind its derived channels in process, or behind QUIC, which includes TLS.

use std::path::PathBuf;

use harness::{Args, Command, Subject, bench, ready, version_in};
use irpc::channel::oneshot;
use irpc::rpc::RemoteService;
use irpc::util::{make_client_endpoint, make_server_endpoint};
use irpc::{Client, WithChannels, rpc_requests};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;

#[derive(Debug, Serialize, Deserialize)]
struct Increment(u64);
#[derive(Debug, Serialize, Deserialize)]
struct Echo(Vec<u8>);
#[derive(Debug, Serialize, Deserialize)]
struct EchoBytes(ByteBuf);

#[rpc_requests(message = Message)]
#[derive(Debug, Serialize, Deserialize)]
enum Protocol {
    #[rpc(tx = oneshot::Sender<u64>)]
    Increment(Increment),
    #[rpc(tx = oneshot::Sender<Vec<u8>>)]
    Echo(Echo),
    #[rpc(tx = oneshot::Sender<ByteBuf>)]
    EchoBytes(EchoBytes),
}

fn spawn() -> Client<Protocol> {
    let (mailbox, mut messages) = mpsc::channel(1024);
    tokio::spawn(async move {
        let mut value = 0;
        while let Some(message) = messages.recv().await {
            // Nobody waits: nobody minds.
            let _ = match message {
                Message::Increment(WithChannels { tx, inner: Increment(by), .. }) => {
                    value += by;
                    tx.send(value).await
                }
                Message::Echo(WithChannels { tx, inner: Echo(data), .. }) => tx.send(data).await,
                Message::EchoBytes(WithChannels { tx, inner: EchoBytes(data), .. }) => tx.send(data).await,
            };
        }
    });
    Client::local(mailbox)
}

#[derive(Clone)]
struct Caller(Client<Protocol>);

impl Subject for Caller {
    const HAS_BYTES: bool = true;

    async fn increment(&self, by: u64) -> u64 {
        self.0.rpc(Increment(by)).await.expect("the actor answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.rpc(Echo(data)).await.expect("the actor answers")
    }

    async fn echo_bytes(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.rpc(EchoBytes(ByteBuf::from(data))).await.expect("the actor answers").into_vec()
    }
}

fn main() {
    let args = Args::parse("irpc", version_in(include_str!("../../Cargo.lock"), "irpc"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    let client = match args.command.clone() {
        Command::Serve { address, .. } => {
            let to = address.parse().expect("an address");
            let (endpoint, certificate) = make_server_endpoint(to).expect("a free address");
            std::fs::write(certificate_of(&address), certificate).expect("a place for it");
            let client = spawn();
            ready();
            let actor = client.as_local().expect("it is");
            return irpc::rpc::listen(endpoint, Protocol::remote_handler(actor)).await;
        }
        Command::Bench { address: None, .. } => spawn(),
        Command::Bench { address: Some(address), .. } => {
            let certificate = std::fs::read(certificate_of(&address)).expect("the server wrote it");
            let from = "127.0.0.1:0".parse().expect("an address");
            let endpoint = make_client_endpoint(from, &[&certificate]).expect("a socket");
            Client::noq(endpoint, address.parse().expect("an address"))
        }
        Command::Objects { .. } => panic!("it has no objects"),
    };
    let caller = Caller(client);
    bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
}

/// Where the client finds what the server can be known by.
fn certificate_of(address: &str) -> PathBuf {
    std::env::temp_dir().join(format!("irpc-{}.certificate", address.replace(':', "-")))
}
