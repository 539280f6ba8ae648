//! Row `pattern_arg`: `mut` belongs to the body, not to the stub.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    pub fn next(&self, mut n: u64, _unused: u8) -> u64 {
        n += 1;
        n
    }
}

fn main() {}
