use opendo::prelude::*;

#[derive(serde::Serialize)]
struct OneWay;

struct Store;

#[rpc_target]
impl Store {
    pub fn put(&self, value: OneWay) {
        drop(value);
    }
}

fn main() {}
