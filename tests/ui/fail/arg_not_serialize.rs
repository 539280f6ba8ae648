use opendo::{Arg, prelude::*};

struct Opaque;

struct Store;

#[rpc_target]
impl Store {
    pub fn put(&self, value: Arg<Opaque>) {
        drop(value);
    }
}

fn main() {}
