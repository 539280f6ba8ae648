//! The text of a signature depends on its types alone.
#![allow(unused_parens)]
use opendo::prelude::*;

pub struct A;
pub struct B;

#[rpc_target]
impl A {
    pub fn get(&self, key: String, values: Vec<[u8; 4]>) -> Result<(u64, String), Vec<u8>> {
        drop((key, values));
        Err(Vec::new())
    }
}

#[rpc_target]
#[rustfmt::skip]
impl B {
    #[method(idempotent)]
    pub async fn get(&mut self, #[call] _: &CallInfo, mut other :String,more : Vec :: < [ (u8) ;4 ], >,) -> Result < (u64,String,) ,Vec<u8 > , > {
        other.clear();
        drop(more);
        Err(Vec::new())
    }
}

fn main() {
    let (a, b) = (AStub::INTERFACE.methods[0], BStub::INTERFACE.methods[0]);
    assert_eq!(a.signature, "(String, Vec<[u8; 4]>) -> Result<(u64, String), Vec<u8>>");
    assert_eq!((a.signature, a.fingerprint, a.id), (b.signature, b.fingerprint, b.id));
}
