use opendo::prelude::*;

struct Opaque;

type Alias = Result<u8, Opaque>;

struct Store;

#[rpc_target]
impl Store {
    pub fn get(&self) -> Result<u64, Opaque> {
        Err(Opaque)
    }

    pub fn alias(&self) -> Alias {
        Err(Opaque)
    }
}

fn main() {}
