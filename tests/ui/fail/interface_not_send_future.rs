use opendo::prelude::*;
use std::rc::Rc;

#[opendo::interface]
pub trait Counter {
    async fn value(&self) -> u64;
}

struct Object;

#[rpc_target]
impl Counter for Object {
    async fn value(&self) -> u64 {
        let counter = Rc::new(1);
        std::future::ready(()).await;
        *counter
    }
}

fn main() {}
