use opendo::prelude::*;

trait Tuple {}

#[rpc_target]
impl Tuple for (u8, u8) {}

#[rpc_target]
impl dyn Tuple {
    pub fn get(&self) -> u8 {
        1
    }
}

fn main() {}
