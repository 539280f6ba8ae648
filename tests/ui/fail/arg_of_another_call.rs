use opendo::{Arg, prelude::*};

struct Math;

#[rpc_target]
impl Math {
    pub fn name(&self) -> String {
        String::new()
    }

    pub fn square(&self, n: Arg<u64>) -> u64 {
        *n * *n
    }
}

fn calls(math: &MathStub) {
    drop(math.square(math.name().into()));
}

fn main() {
    let _ = calls;
}
