//! Row `self_in_signature`: `Self` in a constant means the object, also in the stub.
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    pub const LEN: usize = 4;

    pub fn sum(&self, values: [u8; Self::LEN]) -> [u16; Self::LEN * 2] {
        [u16::from(values[0]); 8]
    }
}

fn types(stub: &StoreStub) {
    let _: Call<[u16; 8]> = stub.sum([1, 2, 3, 4]);
}

fn main() {
    let _ = types;
}
