//! Rows `cfg_method`, `cfg_arg`, `cfg_attr`: the attribute sees them unevaluated, and every generated place repeats them.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    #[cfg(all())]
    pub fn present(&self) -> u8 {
        1
    }

    #[cfg(any())]
    pub fn absent(&self, missing: Missing) -> AlsoMissing {
        1
    }

    #[cfg(all())]
    #[cfg(any())]
    pub async fn absent_too(&self) -> Missing {}

    #[cfg_attr(all(), cfg(any()))]
    pub async fn absent_by_cfg_attr(&self) -> Missing {}

    #[cfg_attr(any(), cfg(any()))]
    #[cfg_attr(all(), doc = "Text.", cfg(all()), deprecated)]
    pub fn present_by_cfg_attr(&self) {}

    // Alternatives under one name, on the wire and in Rust.
    #[cfg(all())]
    pub fn either(&self, wide: u64) -> u64 {
        wide
    }

    #[cfg(not(all()))]
    pub fn either(&self, narrow: u8) -> u8 {
        narrow
    }

    // Alternatives with one name on the wire.
    #[cfg(all())]
    #[method(name = "one")]
    pub fn first(&self) {}

    #[cfg(any())]
    #[method(name = "one")]
    pub fn second(&self) {}

    pub fn args(
        &self,
        #[cfg(all())] here: u8,
        #[cfg(any())] gone: Missing,
        always: u16,
        #[cfg_attr(all(), cfg(all()), cfg(any()))] gone_too: Missing,
        #[cfg(all())]
        #[call]
        info: &CallInfo,
    ) -> (u8, u16) {
        let _ = info;
        (here, always)
    }
}

#[opendo::interface]
pub trait Api {
    #[cfg(any())]
    async fn absent(&self) -> Missing;

    async fn present(&self, #[cfg(all())] here: u8, #[cfg(any())] gone: Missing) -> u8;
}

pub struct Impl;

#[rpc_target]
impl Api for Impl {
    async fn present(&self, here: u8) -> u8 {
        here
    }
}

#[allow(deprecated)]
fn types(stub: &StoreStub, api: &ApiStub) {
    let _: Call<u8> = stub.present();
    let _: Call<()> = stub.present_by_cfg_attr();
    let _: Call<u64> = stub.either(1_u64);
    let _: Call<(u8, u16)> = stub.args(1, 2);
    let _: Call<u8> = api.present(1);
}

fn main() {
    let _ = types;
    let names: Vec<_> = StoreStub::INTERFACE.methods.iter().map(|method| method.name).collect();
    assert_eq!(names, ["present", "present_by_cfg_attr", "either", "one", "args"]);
    assert_eq!(StoreStub::INTERFACE.methods[4].signature, "(u8, u16) -> (u8, u16)");
}
