use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub const fn len(&self) -> u64 {
        1
    }
}

fn main() {}
