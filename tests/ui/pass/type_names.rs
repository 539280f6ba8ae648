//! Arguments and objects named like the generated parts, and like variables of generated code.
#![allow(non_camel_case_types, dead_code, non_upper_case_globals)]
use opendo::prelude::*;

pub struct call;
pub struct args;
pub struct object;
pub const value: u8 = 1;
pub static out: u8 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
pub struct O;
#[derive(serde::Serialize, serde::Deserialize)]
pub struct T;
#[derive(serde::Serialize, serde::Deserialize)]
pub struct increment;

pub struct Method;

#[rpc_target]
impl Method {
    pub fn increment(&self, by: increment) -> increment {
        by
    }
}

#[opendo::interface]
pub trait Run {
    async fn o(&self, o: O, t: T) -> (O, T);
}

pub struct Stub;

#[rpc_target]
impl Run for Stub {
    async fn o(&self, o: O, t: T) -> (O, T) {
        (o, t)
    }
}

fn main() {
    let _: MethodStub;
    let _: RunStub;
}
