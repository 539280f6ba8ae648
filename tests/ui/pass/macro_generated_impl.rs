//! Rows `macro_generated_impl`, `type_in_paren`: invisible groups and parentheses are looked through.
#![deny(warnings)]
#![allow(unused_parens)]
use opendo::prelude::*;

macro_rules! object {
    ($object:ident, $path:ty, $method:ident, $arg:ident: $ty:ty, $reply:ty, $name:literal, $vis:vis) => {
        pub struct $object;

        #[rpc_target(name = $name)]
        impl $path {
            $vis fn $method(&self, $arg: $ty) -> $reply {
                drop($arg);
                Ok(1)
            }

            $vis async fn fixed(&mut self, arg: $ty, #[call] _call: &CallInfo) -> Option<$ty> {
                Some(arg)
            }
        }
    };
}

object!(Made, Made, get, key: String, Result<u8, String>, "Wire", pub);

macro_rules! interface {
    ($($item:item)*) => { $(#[opendo::interface] $item)* };
}

interface! {
    pub trait Api {
        async fn get(&self, key: String) -> Result<u8, String>;
    }
}

pub struct Paren;

#[rpc_target]
impl (Paren) {
    pub fn get(&self, key: (u8)) -> (Result<u8, String>) {
        Ok(key)
    }

    pub fn receiver(self: (&Self)) {}
}

fn types(made: &MadeStub, paren: &ParenStub) {
    let _: Call<u8, String> = made.get(String::new());
    let _: Call<Option<String>> = made.fixed(String::new());
    let _: Call<u8, String> = paren.get(1);
}

fn main() {
    let _ = types;
    assert_eq!(MadeStub::INTERFACE.name, "Wire");
    assert_eq!(MadeStub::INTERFACE.methods[0].signature, "(String) -> Result<u8, String>");
    assert_eq!(ParenStub::INTERFACE.methods[0].signature, "(u8) -> Result<u8, String>");
    let _: ApiStub;
}
