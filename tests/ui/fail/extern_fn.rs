use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub extern "C" fn poke(&self) {}
}

fn main() {}
