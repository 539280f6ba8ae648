//! Row `typed_self`, `no_self`: both spellings of a borrowed receiver; a function without one is not remote.
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    pub fn shared(self: &Self) -> u8 {
        1
    }

    pub async fn exclusive(self: &mut Self) -> u8 {
        2
    }

    pub fn short(&mut self) {}

    pub fn new() -> Self {
        Store
    }

    pub fn generic<T>(_: T, _: impl Send) {}
}

fn main() {
    let methods = StoreStub::INTERFACE.methods;
    assert_eq!(methods.iter().map(|method| method.name).collect::<Vec<_>>(), ["shared", "exclusive", "short"]);
    assert_eq!(methods.iter().map(|method| method.flags.shared).collect::<Vec<_>>(), [true, false, false]);
    Store::generic(1, 2);
    Store::new();
}
