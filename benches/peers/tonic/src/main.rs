//! tonic: unary gRPC over one HTTP/2 connection, with its defaults; bytes are protobuf's `bytes`.

use std::sync::Mutex;

use harness::{Args, Command, Subject, bench, ready, version_in};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::generated::counter_client::CounterClient;
use crate::generated::counter_server::{Counter, CounterServer};

mod generated {
    #![allow(unreachable_pub)]
    include!(concat!(env!("OUT_DIR"), "/counter.Counter.rs"));
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Number {
    #[prost(uint64, tag = "1")]
    number: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Data {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

#[derive(Default)]
struct Service(Mutex<u64>);

#[tonic::async_trait]
impl Counter for Service {
    async fn increment(&self, request: Request<Number>) -> Result<Response<Number>, Status> {
        let mut value = self.0.lock().expect("no panics");
        *value += request.into_inner().number;
        Ok(Response::new(Number { number: *value }))
    }

    async fn echo(&self, request: Request<Data>) -> Result<Response<Data>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

#[derive(Clone)]
struct Caller(CounterClient<Channel>);

impl Subject for Caller {
    async fn increment(&self, by: u64) -> u64 {
        let number = Number { number: by };
        self.0.clone().increment(number).await.expect("the server answers").into_inner().number
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.clone().echo(Data { data }).await.expect("the server answers").into_inner().data
    }
}

fn main() {
    let args = Args::parse("tonic", version_in(include_str!("../../Cargo.lock"), "tonic"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    match args.command.clone() {
        Command::Serve { transport, address } => {
            let server = Server::builder().add_service(CounterServer::new(Service::default()));
            let served = if transport == "uds" {
                let listener = UnixListener::bind(address).expect("a free path");
                ready();
                server.serve_with_incoming(UnixListenerStream::new(listener)).await
            } else {
                let address = address.parse().expect("an address");
                let incoming = TcpIncoming::bind(address).expect("a free address").with_nodelay(Some(true));
                ready();
                server.serve_with_incoming(incoming).await
            };
            served.expect("it serves");
        }
        Command::Bench { transport, address: Some(address) } => {
            let scheme = if transport == "uds" { "unix:" } else { "http://" };
            let endpoint = Endpoint::from_shared(format!("{scheme}{address}")).expect("an address");
            let caller = Caller(CounterClient::new(endpoint.connect().await.expect("it listens")));
            bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
        }
        _ => panic!("only between processes"),
    }
}
