use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn close(self: Box<Self>) {}
}

fn main() {}
