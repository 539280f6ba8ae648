use opendo::prelude::*;

struct Counter;

impl Counter {
    pub fn value(&self) -> u64 {
        1
    }
}

impl DurableObject for Counter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Counter)
    }
}

fn main() {
    let _ = Node::builder().object::<Counter>();
}
