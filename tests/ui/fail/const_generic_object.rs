use opendo::prelude::*;

struct Ring<const N: usize>;

#[rpc_target]
impl<const N: usize> Ring<N> {
    pub fn len(&self) -> u64 {
        N as u64
    }
}

fn main() {}
