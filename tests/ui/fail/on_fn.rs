use opendo::prelude::*;

#[durable_object]
fn value() -> u64 {
    1
}

#[rpc_target]
pub mod inner {}

fn main() {
    value();
}
