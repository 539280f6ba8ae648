use opendo::prelude::*;

#[opendo::interface]
pub trait Counter {
    fn value(&self) -> u64;
}

struct Object;

#[rpc_target(name = "X")]
impl Counter for Object {
    #[method(idempotent)]
    fn value(&self) -> u64 {
        1
    }
}

fn main() {}
