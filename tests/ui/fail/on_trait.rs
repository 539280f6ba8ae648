use opendo::prelude::*;

#[durable_object]
pub trait Counter {
    fn value(&self) -> u64;
}

struct Store;

#[opendo::interface]
impl Store {
    pub fn value(&self) -> u64 {
        1
    }
}

fn main() {
    Store.value();
}
