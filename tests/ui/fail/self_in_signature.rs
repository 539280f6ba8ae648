use opendo::prelude::*;

struct Store;

impl Iterator for Store {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        None
    }
}

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

    pub fn associated(&self) -> Option<<Self as Iterator>::Item> {
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
