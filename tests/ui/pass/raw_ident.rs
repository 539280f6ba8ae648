//! Row `raw_ident`: `r#type` has the name `type` on the wire, and the id of it.
#![allow(non_camel_case_types)]
use opendo::prelude::*;

pub struct r#match;

#[rpc_target]
impl r#match {
    pub fn r#type(&self, r#in: u8) -> u8 {
        r#in
    }

    #[method(name = "type2")]
    pub async fn r#async(&mut self) {}
}

#[opendo::interface]
pub trait r#trait {
    async fn r#loop(&self, r#in: u8) -> u8;
}

impl r#match {
    fn stubs(stub: &matchStub, iface: &traitStub) {
        let _: Call<u8> = stub.r#type(1);
        let _: Call<u8> = iface.r#loop(1);
    }
}

fn main() {
    let _ = r#match::stubs;
    let [first, second] = matchStub::INTERFACE.methods else { panic!() };
    assert_eq!((first.name, first.id), ("type", 0x5127_f14d));
    assert_eq!(second.name, "type2");
    assert_eq!(matchStub::INTERFACE.name, "match");
}
