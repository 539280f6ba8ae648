//! Row `names_new_cap_send_detach_clone_await_like`: the user's names win over ours.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    pub fn new(&self) {}
    pub fn clone(&self) -> u8 {
        1
    }
    pub fn fmt(&self) {}
    pub fn send(&self) {}
    pub fn detach(&self) {}
    pub fn id(&self) {}
    pub fn key(&self) {}
    pub fn fresh(&self) {}
    pub fn call(&self) {}
    pub fn calls(&self) {}
    pub fn options(&self) {}
    pub fn core(&self) {}
    pub fn from_core(&self) {}
    pub fn remote(&self) {}
    pub fn local(&self) {}
    pub fn dispatch(&self) {}
    pub fn accept(&self) {}
    pub fn method(&self) {}
    pub fn run(&self) {}
    pub fn serve(&self) {}
    pub fn register(&self) {}
    pub fn split(&self) {}
    pub fn push(&self) {}
    pub fn next(&self) {}
    pub fn deref(&self) {}
    pub fn into_future(&self) {}
    pub fn with_timeout(&self) {}
    pub fn serialize(&self) {}
    pub fn drop(&self) {}
    pub fn into(&self) {}
    pub fn pipeline(&self) {}
    pub fn set_timeout(&mut self) {}
    pub fn encode_args(&self) {}
    pub fn no_such_method(&self) {}
}

fn names(stub: StoreStub) {
    let _: Call<u8> = stub.clone();
    let _: Call<()> = stub.fresh();
    let _: Call<()> = stub.core();
    let _: StoreStub = Clone::clone(&stub);
    let _: String = format!("{stub:?}");
}

fn main() {
    let _ = names;
    assert_eq!(StoreStub::INTERFACE.methods.len(), 34);
}
