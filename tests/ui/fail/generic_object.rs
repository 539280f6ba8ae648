use opendo::prelude::*;

struct Cell<T>(T);

#[rpc_target]
impl<T: Send> Cell<T> {
    pub fn len(&self) -> u64 {
        1
    }
}

fn main() {}
