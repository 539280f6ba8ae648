use opendo::prelude::*;

struct Key<'a>(&'a str);

struct Store;

#[rpc_target]
impl Store {
    pub fn text(&self, key: Key) {
        drop(key.0);
    }
}

fn main() {}
