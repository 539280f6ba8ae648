use opendo::{Pipelined, prelude::*};
use serde::{Deserialize, Serialize};

struct Counter;

#[rpc_target]
impl Counter {
    pub fn count_up(&self) -> u64 {
        1
    }
}

#[derive(Serialize, Deserialize, Pipelined)]
struct Login {
    counter: CounterStub,
    count: u64,
}

fn count(login: &Call<Login>) {
    drop(login.counter.count_up());
    drop(login.count.count_up());
}

fn main() {
    let _ = count;
}
