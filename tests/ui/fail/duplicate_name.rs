use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    #[method(name = "get")]
    pub fn find(&self) -> u8 {
        1
    }

    #[method(name = "get")]
    pub fn load(&self) -> u8 {
        1
    }

    pub fn peek(&self) -> u8 {
        1
    }

    #[cfg(not(test))]
    #[method(name = "peek")]
    pub fn look(&self) -> u8 {
        1
    }
}

fn main() {}
