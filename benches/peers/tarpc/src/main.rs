//! tarpc: bincode over its own TCP and Unix transports, or its channel in process. Each request runs in a task of its
//! own, as its documentation shows it, so that the counter has a lock.

use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use harness::{Args, Command, Subject, bench, ready, version_in};
use serde_bytes::ByteBuf;
use tarpc::serde_transport::{tcp, unix};
use tarpc::server::{BaseChannel, Channel};
use tarpc::{ClientMessage, Response, Transport, client, context};
use tokio_serde::formats::Bincode;

#[tarpc::service]
trait Counter {
    async fn increment(by: u64) -> u64;
    async fn echo(data: Vec<u8>) -> Vec<u8>;
    async fn echo_bytes(data: ByteBuf) -> ByteBuf;
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<u64>>);

impl Counter for Server {
    async fn increment(self, _: context::Context, by: u64) -> u64 {
        let mut value = self.0.lock().expect("no panics");
        *value += by;
        *value
    }

    async fn echo(self, _: context::Context, data: Vec<u8>) -> Vec<u8> {
        data
    }

    async fn echo_bytes(self, _: context::Context, data: ByteBuf) -> ByteBuf {
        data
    }
}

#[derive(Clone)]
struct Caller(CounterClient);

impl Subject for Caller {
    const HAS_BYTES: bool = true;

    async fn increment(&self, by: u64) -> u64 {
        self.0.increment(context::current(), by).await.expect("the server answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.echo(context::current(), data).await.expect("the server answers")
    }

    async fn echo_bytes(&self, data: Vec<u8>) -> Vec<u8> {
        let data = ByteBuf::from(data);
        self.0.echo_bytes(context::current(), data).await.expect("the server answers").into_vec()
    }
}

fn main() {
    let args = Args::parse("tarpc", version_in(include_str!("../../Cargo.lock"), "tarpc"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    let client = match args.command.clone() {
        Command::Serve { transport, address } if transport == "uds" => {
            let incoming = unix::listen(address, Bincode::default).await.expect("a free path");
            return serve(incoming).await;
        }
        Command::Serve { address, .. } => {
            let incoming = tcp::listen(address, Bincode::default).await.expect("a free address");
            return serve(incoming).await;
        }
        Command::Bench { address: None, .. } => {
            let (near, far) = tarpc::transport::channel::unbounded();
            tokio::spawn(serve_one(far));
            CounterClient::new(config(), near).spawn()
        }
        Command::Bench { transport, address: Some(address) } if transport == "uds" => {
            let stream = unix::connect(address, Bincode::default).await.expect("it listens");
            CounterClient::new(config(), stream).spawn()
        }
        Command::Bench { address: Some(address), .. } => {
            let stream = tcp::connect(address, Bincode::default).await.expect("it listens");
            CounterClient::new(config(), stream).spawn()
        }
        Command::Objects { .. } => panic!("it has no objects"),
    };
    let caller = Caller(client);
    bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
}

fn config() -> client::Config {
    let mut config = client::Config::default();
    config.max_in_flight_requests = 2048; // the default is less than what the load has in flight
    config
}

async fn serve<T>(mut incoming: impl Stream<Item = std::io::Result<T>> + Unpin)
where
    T: Transport<Response<CounterResponse>, ClientMessage<CounterRequest>> + Send + 'static,
{
    ready();
    while let Some(stream) = incoming.next().await {
        tokio::spawn(serve_one(stream.expect("a connection")));
    }
}

async fn serve_one<T>(stream: T)
where
    T: Transport<Response<CounterResponse>, ClientMessage<CounterRequest>> + Send + 'static,
{
    let requests = BaseChannel::with_defaults(stream).execute(Server::default().serve());
    requests
        .for_each(|request| async {
            tokio::spawn(request);
        })
        .await;
}
