//! The macros of opendo.
//!
//! Use them through the `opendo` crate, which re-exports them; the code they generate names only that
//! crate.
//!
//! A macro runs in four steps, one file each: `parse` reads the user's item into the `model`, `check` looks
//! at the methods together, and `expand` writes the generated code, which can no longer fail. Mistakes are
//! collected on the way and reported at once; the user's own item is always emitted again, and only the
//! methods with a mistake are missing from the generated code, so that one mistake is one error.

use proc_macro::TokenStream;

mod args;
mod check;
mod errors;
mod expand;
mod model;
mod parse;
mod rename;
mod serde_attrs;
mod types;

/// Makes a type a durable object: its `pub` methods can be called through a stub, `CounterStub` for
/// `Counter`.
///
/// On an inherent impl block, every `pub` method with a `&self` or `&mut self` receiver becomes remote. On
/// the implementation of an [interface](macro@interface), the methods are those of the trait, and so is the
/// stub.
///
/// # Options
///
/// * `name = "…"`: the name of the class, on the wire and in storage; the type's name if it is left out.
/// * `rename_all = "camelCase"`: how the wire names of methods without a `name` are made of their names in Rust:
///   `camelCase`, `PascalCase` or `snake_case`, as serde renames fields; as they are if it is left out.
/// * `vis = "pub(crate)"`: the visibility of the stub; `pub` if it is left out.
/// * `sql`: each object has a SQL database of its own.
/// * `inline = false`: calls of this process never start on the thread that makes them: for methods that take a lock
///   that their callers hold.
/// * `crate = path`: where to find `opendo`, when it is a dependency of a dependency.
///
/// # Options of a method
///
/// `#[method(…)]` above a method takes these, separated by commas:
///
/// * `name = "…"`: the name on the wire.
/// * `skip`: stays public in Rust, and is not remote.
/// * `idempotent`: may run twice, so a call may be repeated when its outcome is unknown.
/// * `concurrent`: may overlap other concurrent methods; only with `&self`.
/// * `cancel`: may be dropped at an `.await` when its caller is gone.
/// * `property`: text clients read it as a property (`counter.value`), stubs in Rust call it as a method; only with
///   `&self` and without arguments.
///
/// An argument marked `#[call]`, of type `&CallInfo`, tells who calls and is not part of the stub's method.
#[proc_macro_attribute]
pub fn durable_object(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::object(model::Kind::DurableObject, args.into(), item.into()).into()
}

/// Makes a type a target: callable through a stub in process and through a session, but not durable.
///
/// The options are those of [`durable_object`](macro@durable_object), for the block (but `sql`) and for its methods.
#[proc_macro_attribute]
pub fn rpc_target(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::object(model::Kind::RpcTarget, args.into(), item.into()).into()
}

/// Makes a trait an interface: methods that a client can call without knowing the type that implements them.
///
/// Every method is remote unless it is marked `#[method(skip)]`; the options of methods are those of
/// [`durable_object`](macro@durable_object). The stub of `trait Counter` is `CounterStub`, as visible as the
/// trait. A type implements the interface with `#[durable_object] impl Counter for CounterObject { … }`, or
/// with `#[rpc_target]`.
///
/// # Options
///
/// * `name = "…"`: the name on the wire and in storage; the trait's name if it is left out.
/// * `rename_all = "camelCase"`: how the wire names of methods are made, as for
///   [`durable_object`](macro@durable_object).
/// * `inline = false`: as for [`durable_object`](macro@durable_object), whatever implements it.
/// * `crate = path`: where to find `opendo`, when it is a dependency of a dependency.
#[proc_macro_attribute]
pub fn interface(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::interface(args.into(), item.into()).into()
}

/// Gives a type its form in TypeScript, with its docs, for the declarations of the interfaces that use it. Without the
/// feature `typescript` of `opendo` it makes nothing.
///
/// The form is what serde writes: `rename`, `rename_all`, `rename_all_fields`, `skip`, `default`, `skip_serializing_if`
/// and `transparent` are honoured. Enums are tagged externally, as they are if serde is not told otherwise. Refused, with an
/// error: `tag`, `content`, `untagged`, `flatten`, `from`, `into`, `try_from`, `remote`, `other`, a `rename` that differs
/// between the directions, and types with parameters; for these, implement `opendo::typescript::TypeScript` by hand.
///
/// # Options
///
/// * `#[typescript(type = "…")]` above a field: its type as it is written in TypeScript. A field with serde's `with` needs it.
/// * `#[typescript(crate = path)]` above the type: where to find `opendo`, when it is a dependency of a dependency.
#[proc_macro_derive(TypeScript, attributes(typescript, serde))]
pub fn typescript(item: TokenStream) -> TokenStream {
    expand::typescript(item.into()).into()
}

/// Lets calls be made on the stubs in a struct that has not arrived: `Call<Login>` then has the fields of `Login`, each
/// as far as it can be called before it is there.
///
/// For structs whose fields are visible where they are used; what is generated is a struct `LoginPipeline` with the same
/// fields. A field that holds no stub has no use there.
///
/// # Options
///
/// `#[pipelined(crate = path)]` above the struct tells where to find `opendo`, when it is a dependency of a dependency.
#[proc_macro_derive(Pipelined, attributes(pipelined))]
pub fn pipelined(item: TokenStream) -> TokenStream {
    expand::pipelined(item.into()).into()
}
