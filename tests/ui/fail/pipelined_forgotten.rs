use opendo::prelude::*;
use serde::{Deserialize, Serialize};

struct Counter;

#[rpc_target]
impl Counter {
    pub fn count_up(&self) -> u64 {
        1
    }
}

#[derive(Serialize, Deserialize)]
struct Login {
    counter: CounterStub,
}

fn count(login: &Call<Login>) {
    drop(login.counter.count_up());
}

fn main() {
    let _ = count;
}
