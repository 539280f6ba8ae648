//! Stubs as values, and the derive, with no prelude and hostile names in scope.
#![no_implicit_prelude]
#![deny(missing_docs, warnings)]
#![allow(dead_code, non_camel_case_types)]

mod core {}
mod std {}
mod alloc {}
mod serde {}
struct Result;
struct Option;
struct Ok;
struct Some;
struct Box;
struct Vec;
struct String;
struct Send;
struct bool;
struct Capabilities;
struct NoPipeline;
struct PipelineOf;
struct Call;
/// Ours has this name too.
pub trait Probe {
    /// And this one.
    const IS_PIPELINED: ::core::primitive::u8 = 1;
    /// And this one.
    const PIPELINE: ::core::primitive::u8 = 1;
}
impl Probe for Item {}
/// Not serde's.
pub trait Serialize {}
/// Not serde's.
pub trait Deserialize {}
/// Not ours.
pub trait Pipelined {
    /// As ours.
    fn pipeline(&self) {}
    /// As ours.
    fn capabilities(&self) {}
}
impl<T> Pipelined for T {}
/// Not ours.
pub trait FieldOf {
    /// As ours.
    fn pipeline(&self) {}
    /// As ours.
    fn field(&self) {}
}
impl<T> FieldOf for T {}
/// Not the prelude's.
pub trait From {
    /// As in the prelude.
    fn from() {}
}
impl<T> From for T {}
#[allow(unused_macros)]
macro_rules! vec {
    () => {};
}

/// Doc.
#[derive(::core::fmt::Debug)]
pub struct Item;

#[::opendo::rpc_target]
impl Item {
    /// Doc.
    pub fn get(&self) -> u64 {
        1
    }

    /// Doc.
    pub fn child(&self) -> ItemStub {
        ::opendo::serve(Item)
    }

    /// Doc.
    pub fn login(
        &self,
        item: ItemStub,
        maybe: ::core::option::Option<ItemStub>,
        number: ::opendo::Arg<u64>,
    ) -> Login {
        let _ = number;
        Login { item, maybe, count: 1 }
    }
}

/// Doc.
#[derive(::opendo::Pipelined, ::serde::Serialize, ::serde::Deserialize)]
pub struct Login {
    /// Doc.
    pub item: ItemStub,
    /// Doc.
    pub maybe: ::core::option::Option<ItemStub>,
    /// Doc.
    pub count: u64,
}

/// Doc.
#[derive(::opendo::Pipelined)]
pub struct Unit;

/// Doc.
#[derive(::opendo::Pipelined)]
pub struct Tuple(ItemStub);

fn main() {
    let _ = |item: ItemStub| {
        let login: ::opendo::Call<Login> =
            item.child().login(item.child().child_now(), ::core::option::Option::None, item.get().into_arg());
        (login.item.get(), login.maybe.child().get())
    };
}

trait ChildNow {
    fn child_now(&self) -> Self;
}

impl ChildNow for ItemStub {
    fn child_now(&self) -> Self {
        ::core::clone::Clone::clone(self)
    }
}

trait IntoArg {
    fn into_arg(self) -> ::opendo::Arg<u64>;
}

impl IntoArg for ::opendo::Call<u64> {
    fn into_arg(self) -> ::opendo::Arg<u64> {
        ::core::convert::From::from(self)
    }
}
