use opendo::prelude::*;
use std::pin::Pin;

struct Store;

#[rpc_target]
impl Store {
    pub fn poll(self: Pin<&mut Self>) {}
}

fn main() {}
