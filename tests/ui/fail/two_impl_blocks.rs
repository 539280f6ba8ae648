use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn get(&self) -> u8 {
        1
    }
}

#[rpc_target]
impl Store {
    pub fn put(&self, value: u8) {
        drop(value);
    }
}

fn main() {}
