use opendo::prelude::*;

struct Counter {
    value: u64,
}

#[durable_object]
impl Counter {
    pub async fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }
}

fn main() {}
