//! Rows `derive_*`: structs of every form, and each kind of field.
#![deny(
    missing_docs,
    warnings,
    unused,
    unreachable_pub,
    missing_debug_implementations,
    missing_copy_implementations,
    unused_qualifications,
    rust_2018_idioms,
    single_use_lifetimes,
    unused_results
)]
use opendo::{Callback, Pipelined, RpcStream, prelude::*};
use serde::{Deserialize, Serialize};

/// A target.
#[derive(Debug)]
pub struct Item {
    /// So that it is not `Copy`.
    pub name: String,
}

#[rpc_target]
impl Item {
    /// Reads.
    pub fn get(&self) -> u64 {
        1
    }
}

/// A name for a stub.
pub type Alias = ItemStub;

/// Fields.
#[derive(Debug, Serialize, Deserialize, Pipelined)]
pub struct Inner {
    /// A stub.
    pub stub: ItemStub,
    /// A field of which nothing can be called.
    pub count: u64,
}

/// All kinds of fields.
#[derive(Debug, Serialize, Deserialize, Pipelined)]
pub struct All {
    /// A stub.
    pub stub: ItemStub,
    /// By another name.
    pub alias: Alias,
    /// Perhaps.
    pub maybe: Option<ItemStub>,
    /// Perhaps, twice.
    pub twice: Option<Option<ItemStub>>,
    /// Another pipelined struct.
    pub inner: Inner,
    /// Perhaps another.
    pub maybe_inner: Option<Inner>,
    /// A function.
    pub callback: Callback<u64, u64>,
    /// A list is not pipelined.
    pub list: Vec<ItemStub>,
    /// More of the same.
    pub more: Vec<Self>,
    /// One more.
    pub boxed: Option<Box<Self>>,
    /// A stream.
    pub stream: RpcStream<u64>,
    /// Borrows for ever.
    pub text: std::marker::PhantomData<&'static str>,
    /// As long as `Self` says.
    pub bytes: [u8; Self::LEN],
    /// A lifetime that need not be written.
    #[serde(skip)]
    pub function: Option<fn(&u8) -> &u8>,
    /// A keyword.
    pub r#type: ItemStub,
    /// Crate only.
    pub(crate) narrow: ItemStub,
    private: ItemStub,
    hidden: Hidden,
    /// No longer.
    #[deprecated]
    pub old: ItemStub,
}

impl All {
    const LEN: usize = 3;
}

#[derive(Debug, Serialize, Deserialize)]
struct Hidden;

/// Fields by number.
#[derive(Debug, Serialize, Deserialize, Pipelined)]
pub struct Tuple(pub ItemStub, u64, pub Option<Inner>);

/// One field.
#[derive(Debug, Serialize, Deserialize, Pipelined)]
pub struct Newtype(pub ItemStub);

/// No field.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Pipelined)]
pub struct Unit;

/// No field.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Pipelined)]
pub struct Braces {}

/// No field.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Pipelined)]
pub struct Parentheses();

/// Conditional fields, of which the first is not there.
#[derive(Debug, Serialize, Deserialize, Pipelined)]
pub struct Conditional {
    /// Not there.
    #[cfg(any())]
    pub absent: Absent,
    /// There.
    #[cfg(all())]
    pub present: ItemStub,
    /// There.
    #[cfg_attr(all(), cfg(all()))]
    pub too: ItemStub,
}

/// The numbers of the fields behind one that is not there.
#[derive(Debug, Serialize, Deserialize, Pipelined)]
pub struct ConditionalTuple(#[cfg(any())] pub u64, pub ItemStub, #[cfg(all())] pub ItemStub);

#[allow(non_camel_case_types, non_snake_case)]
mod strange {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, Pipelined)]
    pub(crate) struct lower {
        pub(super) camelCase: ItemStub,
        _unused: ItemStub,
    }

    #[derive(Debug, Serialize, Deserialize, Pipelined)]
    pub(crate) struct r#union {
        pub(in crate::strange) r#fn: ItemStub,
    }

    #[derive(Serialize, Deserialize, Pipelined)]
    struct NeverUsed {
        never: Hidden,
    }

    pub(crate) fn calls(lower: &Call<lower>, keyword: &Call<r#union>) {
        let _ = (lower.camelCase.get(), keyword.r#fn.get());
        let _: Option<&unionPipeline> = None;
    }
}

macro_rules! by_macro {
    ($name:ident, $field:ident: $ty:ty) => {
        /// Made by a macro.
        #[derive(Debug, Serialize, Deserialize, Pipelined)]
        pub struct $name {
            /// Whatever.
            pub $field: $ty,
            /// Stubs.
            pub fixed: ItemStub,
        }
    };
}
by_macro!(Made, given: Option<ItemStub>);

/// What can be called.
pub fn calls(all: &Call<All, String>, tuple: &Call<Tuple>, made: &Call<Made>, newtype: &Call<Newtype>) {
    let _: [Call<u64>; 7] = [
        all.stub.get(),
        all.alias.get(),
        all.maybe.get(),
        all.twice.get(),
        all.inner.stub.get(),
        all.maybe_inner.stub.get(),
        all.callback.call(1),
    ];
    let _ = (all.r#type.get(), all.narrow.get(), all.private.get());
    #[allow(deprecated)]
    let _ = all.old.get();
    let _ = (tuple.0.get(), tuple.2.stub.get(), made.given.get(), made.fixed.get(), newtype.0.get());
    // Kept and passed on, like any stub.
    let _: ItemStub = all.inner.stub.clone();
    let _: &AllPipeline = all;
    let _ = format!("{:?}", Call::pipeline(all));
}

/// What can be called on a call that may have nothing.
pub fn perhaps(
    call: &Call<Option<ItemStub>>,
    conditional: &Call<Conditional>,
    tuple: &Call<ConditionalTuple>,
) {
    let _ = (call.get(), conditional.present.get(), conditional.too.get(), tuple.0.get(), tuple.1.get());
}

fn main() {
    #[derive(Serialize, Deserialize, Pipelined)]
    struct Local {
        stub: ItemStub,
    }
    let _ = (|call: &Call<Local>| call.stub.get(), strange::calls);
}
