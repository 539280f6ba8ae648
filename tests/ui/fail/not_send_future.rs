use opendo::prelude::*;
use std::rc::Rc;

struct Store;

#[rpc_target]
impl Store {
    pub async fn hold(&self) {
        let counter = Rc::new(1);
        std::future::ready(()).await;
        drop(counter);
    }
}

fn main() {}
