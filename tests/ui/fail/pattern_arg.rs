use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn pair(&self, (a, b): (u8, u8)) -> u8 {
        a + b
    }

    pub fn nothing(&self, _: u8) {}

    pub fn whole(&self, all @ _: u8) -> u8 {
        all
    }
}

fn main() {}
