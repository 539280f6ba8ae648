use opendo::prelude::*;

#[opendo::interface]
pub trait Counter {
    async fn increment(&mut self, by: u64) -> u64;

    fn value(&self) -> u64;
}

struct Wrong;

#[rpc_target]
impl Counter for Wrong {
    async fn increment(&mut self, by: u32) -> u64 {
        u64::from(by)
    }
}

fn main() {}
