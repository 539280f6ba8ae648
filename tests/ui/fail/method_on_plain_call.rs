use opendo::prelude::*;

struct Counter;

#[rpc_target]
impl Counter {
    pub fn count_up(&self, by: u64) -> u64 {
        by
    }
}

fn twice(counter: &CounterStub) {
    drop(counter.count_up(1).count_up(1));
}

fn main() {
    let _ = twice;
}
