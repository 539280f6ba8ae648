use opendo::prelude::*;

struct Opaque;

struct Store;

#[rpc_target]
impl Store {
    pub async fn put(&self, key: u64, value: Opaque) {
        drop((key, value));
    }

    pub async fn put_all(&self, values: Vec<Opaque>) {
        drop(values);
    }
}

fn main() {}
