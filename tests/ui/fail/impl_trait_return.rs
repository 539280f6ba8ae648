use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn get(&self) -> impl Future<Output = u64> {
        async { 1 }
    }

    pub fn all(&self) -> Result<impl Iterator<Item = u64>, String> {
        Ok([1].into_iter())
    }
}

fn main() {}
