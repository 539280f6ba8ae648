//! Lints of the struct hold for its pipeline.
#![deny(deprecated)]
use opendo::{Pipelined, prelude::*};
use serde::{Deserialize, Serialize};

struct Counter;

#[rpc_target]
impl Counter {
    pub fn increment(&self) -> u64 {
        1
    }
}

#[derive(Serialize, Deserialize, Pipelined)]
struct Login {
    #[deprecated(note = "use `new`")]
    old: CounterStub,
    new: CounterStub,
}

fn count(login: &Call<Login>) {
    drop(login.old.increment());
    drop(login.new.increment());
}

fn main() {
    let _ = count;
}
