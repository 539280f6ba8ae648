use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn close(self) {}

    pub fn close_mut(mut self) {
        self = Store;
        drop(self);
    }

    pub fn close_typed(self: Self) {}
}

fn main() {}
