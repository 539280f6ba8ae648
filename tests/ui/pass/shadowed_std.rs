//! Row `shadowed_std`: no prelude, and hostile names in scope.
#![no_implicit_prelude]
#![deny(missing_docs, warnings)]
#![allow(dead_code, non_camel_case_types)]

mod core {}
mod std {}
mod alloc {}
mod serde {}
mod opendo_macros {}
struct Result;
struct Option;
struct Ok;
struct Err;
struct Some;
struct Box;
struct Send;
struct Future;
struct str;
struct bool;
struct Clone;
struct Debug;
struct Sized;
#[allow(unused_macros)]
macro_rules! compile_error {
    () => {};
}

/// Doc.
pub struct Counter;

/// Doc.
pub type Alias = ::core::result::Result<::core::primitive::u64, ::core::primitive::u8>;

#[::opendo::durable_object]
impl Counter {
    /// Doc.
    pub async fn increment(&mut self, by: u64, __args: u64) -> u64 {
        by + __args
    }

    /// Doc.
    #[method(idempotent, concurrent)]
    pub fn get(&self) -> ::core::result::Result<u64, u8> {
        ::core::result::Result::Ok(1)
    }

    /// Doc.
    pub async fn alias(&self) -> Alias {
        ::core::result::Result::Ok(1)
    }

    /// Doc.
    pub async fn info(&self, #[call] _info: &::opendo::CallInfo) {}
}

impl ::opendo::DurableObject for Counter {
    async fn new(_: ::opendo::Ctx) -> ::opendo::Result<Self> {
        ::core::result::Result::Ok(Counter)
    }
}

/// Doc.
#[::opendo::interface]
pub trait Api {
    /// Doc.
    async fn get(&mut self, by: u64) -> ::core::result::Result<u64, u8>;
    /// Doc.
    fn alias(&self) -> Alias;
    /// Doc.
    async fn default(&self) {}
}

#[::opendo::rpc_target]
impl Api for Counter {
    async fn get(&mut self, by: u64) -> ::core::result::Result<u64, u8> {
        ::core::result::Result::Ok(by)
    }
    fn alias(&self) -> Alias {
        ::core::result::Result::Ok(1)
    }
}

fn main() {}
