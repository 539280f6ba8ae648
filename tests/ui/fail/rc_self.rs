use opendo::prelude::*;
use std::{rc::Rc, sync::Arc};

struct Store;

#[rpc_target]
impl Store {
    pub fn shared(self: Rc<Self>) {}

    pub fn atomic(self: &Arc<Self>) {}
}

fn main() {}
