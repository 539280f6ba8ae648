use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn put(&self, value: impl ToString) {
        drop(value);
    }
}

fn main() {}
