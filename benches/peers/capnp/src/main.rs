//! capnp-rpc: a capability over a network of two vats. Its types stay on their thread, so that the runtime has one.

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::FromClientHook as _;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, VatNetwork, new_client, twoparty};
use futures::io::{BufReader, BufWriter};
use harness::stream::{Listener, Stream, connect};
use harness::{Args, Command, Subject, bench, ready, version_in};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::counter_capnp::counter;

mod counter_capnp {
    #![allow(unreachable_pub, elided_lifetimes_in_paths, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/schema/counter_capnp.rs"));
}

#[derive(Default)]
struct Counter(Cell<u64>);

impl counter::Server for Counter {
    async fn increment(
        self: Rc<Self>,
        params: counter::IncrementParams,
        mut results: counter::IncrementResults,
    ) -> Result<(), capnp::Error> {
        self.0.set(self.0.get() + params.get()?.get_by());
        results.get().set_value(self.0.get());
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        params: counter::EchoParams,
        mut results: counter::EchoResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }
}

#[derive(Clone)]
struct Caller(counter::Client);

impl Subject for Caller {
    async fn increment(&self, by: u64) -> u64 {
        let mut request = self.0.increment_request();
        request.get().set_by(by);
        let response = request.send().promise.await.expect("the server answers");
        response.get().expect("a result").get_value()
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        let mut request = self.0.echo_request();
        request.get().set_data(&data);
        let response = request.send().promise.await.expect("the server answers");
        response.get().expect("a result").get_data().expect("bytes").to_vec()
    }
}

fn main() {
    let mut args = Args::parse("capnp-rpc", version_in(include_str!("../../Cargo.lock"), "capnp-rpc"));
    args.on_one_thread();
    args.runtime().block_on(LocalSet::new().run_until(run(&args)));
}

async fn run(args: &Args) {
    let client = match args.command.clone() {
        Command::Serve { transport, address } => {
            let listener = Listener::bind(&transport, &address).await.expect("a free address");
            ready();
            let client: counter::Client = new_client(Counter::default());
            loop {
                let network = network(listener.accept().await.expect("a connection"), Side::Server);
                spawn_local(RpcSystem::new(network, Some(client.clone().client)));
            }
        }
        Command::Bench { address: None, .. } => new_client(Counter::default()),
        Command::Bench { transport, address: Some(address) } => {
            let stream = connect(&transport, &address).await.expect("it listens");
            let mut rpc = RpcSystem::new(network(stream, Side::Client), None);
            let client: counter::Client = rpc.bootstrap(Side::Server);
            spawn_local(rpc);
            counter::Client::new(client.into_client_hook())
        }
        Command::Objects { .. } => panic!("it has no objects"),
    };
    let caller = Caller(client);
    bench(args, &caller, |load| spawn_local(load.run(caller.clone()))).await;
}

/// Through buffers, as its own examples do it.
fn network(stream: Box<dyn Stream>, side: Side) -> Box<dyn VatNetwork<Side>> {
    let (read, write) = tokio::io::split(stream);
    let (read, write) = (BufReader::new(read.compat()), BufWriter::new(write.compat_write()));
    Box::new(twoparty::VatNetwork::new(read, write, side, Default::default()))
}
