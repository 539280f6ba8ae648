use opendo::prelude::*;

struct Opaque;

struct Store;

#[rpc_target]
impl Store {
    pub fn get(&self) -> Opaque {
        Opaque
    }

    pub async fn find(&self) -> Result<Opaque, String> {
        Ok(Opaque)
    }

    pub async fn all(&self) -> Vec<Opaque> {
        Vec::new()
    }
}

fn main() {}
