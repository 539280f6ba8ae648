use opendo::prelude::*;
use std::marker::PhantomData;

#[derive(serde::Serialize, serde::Deserialize)]
struct Local(PhantomData<*const u8>);

struct Store;

#[rpc_target]
impl Store {
    pub fn put(&self, value: Local) {
        drop(value);
    }
}

fn main() {}
