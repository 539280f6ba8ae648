//! remoc: a remote trait over one multiplexed connection, default codec, default configuration.

use std::sync::Arc;

use harness::stream::{Listener, connect};
use harness::{Args, Command, Subject, bench, ready, version_in};
use remoc::prelude::*;
use remoc::rtc::CallError;
use serde_bytes::ByteBuf;
use tokio::sync::RwLock;

#[rtc::remote(clone)]
pub trait Counter {
    async fn increment(&mut self, by: u64) -> Result<u64, CallError>;
    async fn echo(&self, data: Vec<u8>) -> Result<Vec<u8>, CallError>;
    async fn echo_bytes(&self, data: ByteBuf) -> Result<ByteBuf, CallError>;
}

#[derive(Default)]
struct Object(u64);

impl Counter for Object {
    async fn increment(&mut self, by: u64) -> Result<u64, CallError> {
        self.0 += by;
        Ok(self.0)
    }

    async fn echo(&self, data: Vec<u8>) -> Result<Vec<u8>, CallError> {
        Ok(data)
    }

    async fn echo_bytes(&self, data: ByteBuf) -> Result<ByteBuf, CallError> {
        Ok(data)
    }
}

#[derive(Clone)]
struct Caller(CounterClient);

impl Subject for Caller {
    const HAS_BYTES: bool = true;

    async fn increment(&self, by: u64) -> u64 {
        self.0.clone().increment(by).await.expect("the server answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.echo(data).await.expect("the server answers")
    }

    async fn echo_bytes(&self, data: Vec<u8>) -> Vec<u8> {
        self.0.echo_bytes(ByteBuf::from(data)).await.expect("the server answers").into_vec()
    }
}

type Server = CounterServerSharedMut<Object, remoc::codec::Default>;

fn serve_object() -> (Server, CounterClient) {
    Server::new(Arc::new(RwLock::new(Object::default())))
}

fn main() {
    let args = Args::parse("remoc", version_in(include_str!("../../Cargo.lock"), "remoc"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    let client = match args.command.clone() {
        Command::Serve { transport, address } => {
            let listener = Listener::bind(&transport, &address).await.expect("a free address");
            ready();
            loop {
                let (read, write) = tokio::io::split(listener.accept().await.expect("a connection"));
                tokio::spawn(async move {
                    let (server, client) = serve_object();
                    let connect = remoc::Connect::io(remoc::Cfg::default(), read, write);
                    connect.provide(client).await.expect("a client");
                    let _ = server.serve().await; // until it has gone
                });
            }
        }
        Command::Bench { address: None, .. } => {
            let (server, client) = serve_object();
            tokio::spawn(server.serve());
            client
        }
        Command::Bench { transport, address: Some(address) } => {
            let stream = connect(&transport, &address).await.expect("it listens");
            let (read, write) = tokio::io::split(stream);
            remoc::Connect::io(remoc::Cfg::default(), read, write).consume().await.expect("a server")
        }
        Command::Objects { .. } => panic!("it has no objects"),
    };
    let caller = Caller(client);
    bench(args, &caller, |load| tokio::spawn(load.run(caller.clone()))).await;
}
