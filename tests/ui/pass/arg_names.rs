//! Row `args_named_self_method_args_ctx`: arguments may have any name.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    pub async fn many(
        &mut self,
        args: u8,
        __args: u8,
        method: u8,
        m: u8,
        ctx: u8,
        call: u8,
        __call: u8,
        #[call] info: &CallInfo,
        object: u8,
        __object: u8,
        options: u8,
        __options: u8,
        __a0: u8,
        __a1: u8,
        this: u8,
        out: u8,
        __out: u8,
        __value: u8,
        value: u8,
        stub: u8,
        core: u8,
        r: u8,
    ) -> Result<u8, String> {
        let _ = info;
        Ok(args + __args + method + m + ctx + call + __call + object + __object + options + __options + __a0 + __a1
            + this + out + __out + __value + value + stub + core + r)
    }

    pub fn without_a_name(&self, #[call] _: &CallInfo, args: u8) -> u8 {
        args
    }
}

#[opendo::interface]
pub trait Api {
    async fn many(&self, call: u8, __call: u8, __object: u8) -> u8;
}

fn main() {}
