//! jsonrpsee: JSON-RPC over one WebSocket. A `Vec<u8>` is a list of numbers there, as its users write it first.

use std::sync::{Arc, Mutex};

use harness::{Args, Command, Subject, bench, ready, version_in};
use jsonrpsee::core::{RpcResult, async_trait};
use jsonrpsee::proc_macros::rpc;
use jsonrpsee::server::Server;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};

#[rpc(server, client)]
trait Counter {
    #[method(name = "increment")]
    async fn increment(&self, by: u64) -> RpcResult<u64>;
    #[method(name = "echo")]
    async fn echo(&self, data: Vec<u8>) -> RpcResult<Vec<u8>>;
}

#[derive(Default)]
struct Service(Mutex<u64>);

#[async_trait]
impl CounterServer for Service {
    async fn increment(&self, by: u64) -> RpcResult<u64> {
        let mut value = self.0.lock().expect("no panics");
        *value += by;
        Ok(*value)
    }

    async fn echo(&self, data: Vec<u8>) -> RpcResult<Vec<u8>> {
        Ok(data)
    }
}

#[derive(Clone)]
struct Caller(Arc<WsClient>);

impl Subject for Caller {
    async fn increment(&self, by: u64) -> u64 {
        self.0.increment(by).await.expect("the server answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        CounterClient::echo(&*self.0, data).await.expect("the server answers")
    }
}

fn main() {
    let args = Args::parse("jsonrpsee", version_in(include_str!("../../Cargo.lock"), "jsonrpsee"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    match args.command.clone() {
        Command::Serve { address, .. } => {
            let server = Server::builder().build(address).await.expect("a free address");
            let handle = server.start(Service::default().into_rpc());
            ready();
            handle.stopped().await;
        }
        Command::Bench { address: Some(address), .. } => {
            // The default is less than what the load has in flight.
            let client = WsClientBuilder::default().max_concurrent_requests(4096);
            let client = client.build(format!("ws://{address}")).await.expect("it listens");
            let caller = Caller(Arc::new(client));
            bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
        }
        _ => panic!("only between processes"),
    }
}
