use opendo::{RpcSink, RpcStream, prelude::*};

struct Opaque;

struct Store;

#[rpc_target]
impl Store {
    pub fn put(&self, values: RpcStream<Opaque>) {
        drop(values);
    }

    pub fn get(&self) -> RpcStream<Opaque> {
        unimplemented!()
    }

    pub fn fill(&self, sink: RpcSink<Opaque>) {
        drop(sink);
    }
}

fn main() {}
