use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn other(&self, #[call] info: &String) {
        drop(info);
    }
}

fn main() {}
