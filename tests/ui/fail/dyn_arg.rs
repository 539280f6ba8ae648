use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn put(&self, value: Box<dyn ToString + Send>) {
        drop(value);
    }

    pub fn get(&self) -> Box<dyn ToString> {
        Box::new(1)
    }
}

fn main() {}
