//! Rows `no_result`, `unit`, `result_alias`, paths of `Result`, one-argument aliases, and the user's own type called `Result`.
use opendo::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Oops;

pub type R<T> = std::result::Result<T, Oops>;
pub type Fixed = R<u8>;
pub type Name = String;

pub mod api {
    pub type Result<T> = std::result::Result<T, super::Oops>;
    pub type Swapped<E, T> = std::result::Result<T, E>;
}

pub mod own {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Result(pub u8);
}

/// A type called `Result` with two arguments needs another name in the signature.
pub mod two {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Result<A, B>(pub A, pub B);
    pub type Both = Result<u8, u16>;
}

pub struct Store;

#[rpc_target]
impl Store {
    pub fn nothing(&self) {}

    pub fn unit(&self) -> () {}

    pub async fn plain(&self) -> u8 {
        1
    }

    pub fn named(&self) -> Name {
        String::new()
    }

    pub fn tuple(&self) -> (u8, String) {
        (1, String::new())
    }

    pub fn array(&self) -> [u8; 4] {
        [0; 4]
    }

    pub fn result(&self) -> Result<u8, Oops> {
        Ok(1)
    }

    pub async fn path(&self) -> ::std::result::Result<u8, Oops> {
        Ok(1)
    }

    pub async fn alias(&self) -> R<u8> {
        Err(Oops)
    }

    pub fn fixed(&self) -> Fixed {
        Ok(1)
    }

    pub fn one_argument(&self) -> api::Result<u8> {
        Ok(1)
    }

    pub fn swapped(&self) -> api::Swapped<Oops, u8> {
        Ok(1)
    }

    pub fn own(&self) -> own::Result {
        own::Result(1)
    }

    pub async fn both(&self) -> two::Both {
        two::Result(1, 2)
    }

    pub fn nested(&self) -> Option<Result<u8, Oops>> {
        None
    }
}

fn types(stub: &StoreStub) {
    let _: Call<()> = stub.nothing();
    let _: Call<()> = stub.unit();
    let _: Call<u8> = stub.plain();
    let _: Call<String> = stub.named();
    let _: Call<(u8, String)> = stub.tuple();
    let _: Call<[u8; 4]> = stub.array();
    let _: Call<u8, Oops> = stub.result();
    let _: Call<u8, Oops> = stub.path();
    let _: Call<u8, Oops> = stub.alias();
    let _: Call<u8, Oops> = stub.fixed();
    let _: Call<u8, Oops> = stub.one_argument();
    let _: Call<u8, Oops> = stub.swapped();
    let _: Call<own::Result> = stub.own();
    let _: Call<two::Result<u8, u16>> = stub.both();
    let _: Call<Option<Result<u8, Oops>>> = stub.nested();
}

fn main() {
    let _ = types;
    let unit = |name| StoreStub::INTERFACE.methods.iter().find(|method| method.name == name).unwrap().signature;
    assert_eq!(unit("nothing"), "() -> ()");
    assert_eq!(unit("unit"), "() -> ()");
    assert_eq!(unit("result"), "() -> Result<u8, Oops>");
}
