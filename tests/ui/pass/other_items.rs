//! Row `assoc_const_type_items`: what is no method stays as it is. An empty impl has a stub without methods.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Store;

#[rpc_target]
impl Store {
    /// Kept.
    pub const MAX: u8 = 4;

    #[doc(hidden)]
    pub const fn size() -> usize {
        1
    }

    #[method(skip)]
    pub fn local<T: Into<u8>>(&self, value: T, _: &str) -> impl Sized + use<T> {
        value.into()
    }

    fn private(&self, (a, b): (&u8, &mut u8)) -> u8 {
        *a + *b
    }
}

pub struct Empty;

#[rpc_target]
impl Empty {}

#[opendo::interface]
pub trait Api {
    const MAX: u8;

    type Key;

    #[method(skip)]
    async fn local(&self, key: Self::Key) -> u8;

    fn associated() -> u8 {
        Self::MAX
    }
}

pub struct Impl;

#[rpc_target]
impl Api for Impl {
    const MAX: u8 = 1;

    type Key = String;

    async fn local(&self, _: String) -> u8 {
        1
    }
}

fn main() {
    assert_eq!(usize::from(Store::MAX), Store::size() + 3);
    let _ = Store.local(1, "");
    Store.private((&1, &mut 2));
    assert!(EmptyStub::INTERFACE.methods.is_empty());
    assert!(StoreStub::INTERFACE.methods.is_empty());
    assert!(ApiStub::INTERFACE.methods.is_empty());
    assert_eq!(Impl::associated(), 1);
}
