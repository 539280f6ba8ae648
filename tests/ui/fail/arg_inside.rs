use opendo::{Arg, prelude::*};

struct Math;

#[rpc_target]
impl Math {
    pub fn sum(&self, values: Vec<Arg<u64>>) -> u64 {
        drop(values);
        0
    }

    pub fn perhaps(&self, value: Option<Arg<u64>>) {
        drop(value);
    }

    pub fn returned(&self) -> Arg<u64> {
        Arg::new(1)
    }
}

fn main() {}
