use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub unsafe fn poke(&self) {}
}

fn main() {}
