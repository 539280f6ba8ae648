use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn copy(&self) -> Self {
        Store
    }

    pub fn all(&self) -> Result<Vec<Self>, String> {
        Ok(Vec::new())
    }

    pub fn merge(&self, other: Option<Self>) {
        drop(other);
    }

    pub fn associated(&self) -> Option<Self::Item> {
        None
    }
}

#[opendo::interface]
trait Iface {
    const LEN: usize;

    fn sum(&self, values: [u8; Self::LEN]) -> u8;

    fn copy(&self) -> Box<Self>;
}

fn main() {}
