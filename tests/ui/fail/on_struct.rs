use opendo::prelude::*;

#[durable_object]
struct Counter {
    value: u64,
}

#[rpc_target]
pub enum Choice {
    One,
}

#[opendo::interface]
struct Api;

fn main() {
    let _ = (Counter { value: 1 }.value, Choice::One, Api);
}
