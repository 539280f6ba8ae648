//! TypeScript declarations of Rust interfaces, for clients that use Cloudflare's npm package `capnweb`.
//!
//! With them `newWebSocketRpcSession<Counter>(url)` has the methods, types and docs of the Rust code. Keep the file in the
//! client's sources and compare it in a test of the crate that has the interfaces; the feature is then one of its
//! `[dev-dependencies]`, and what it ships is built without.
//!
//! ```
//! use opendo::{TypeScript, prelude::*};
//!
//! /// Who somebody is.
//! #[derive(serde::Serialize, serde::Deserialize, TypeScript)]
//! #[serde(rename_all = "camelCase")]
//! pub struct Profile {
//!     full_name: String,
//!     /// Unknown to most.
//!     age: Option<u8>,
//! }
//!
//! pub struct Api;
//!
//! /// What strangers can reach.
//! #[rpc_target(rename_all = "camelCase")]
//! impl Api {
//!     /// Finds somebody.
//!     pub fn find_one(&self, name: String) -> Option<Profile> { None }
//!     #[method(property)]
//!     pub fn visits(&self) -> u64 { 7 }
//! }
//!
//! let declared = opendo::typescript::declarations().interface::<ApiStub>().to_string();
//! assert!(declared.ends_with(r#"
//! /** What strangers can reach. */
//! export interface Api extends RpcTarget {
//!   /** Finds somebody. */
//!   findOne(name: string): MaybePromise<Profile | null>;
//!   readonly visits: number | bigint;
//! }
//!
//! /** Who somebody is. */
//! export interface Profile {
//!   fullName: string;
//!   /** Unknown to most. */
//!   age?: number | null;
//! }
//! "#), "{declared}");
//! ```
//!
//! In a test: `declarations().interface::<ApiStub>().assert_current("web/src/api.ts")`.
//!
//! # What becomes of a type
//!
//! | Rust | TypeScript |
//! | --- | --- |
//! | `bool`, `String`, `char`, numbers of up to 32 bits, `f32`, `f64` | `boolean`, `string`, `number` |
//! | integers of 64 and 128 bits | `number \| bigint`: a number as long as it is exact |
//! | `()` | `void` as a result, `undefined` elsewhere |
//! | `Option<T>` | `T \| null`; an argument or a field of that type may be left out |
//! | `Vec<u8>`, `Bytes`, `ByteBuf` and other lists of bytes | `Uint8Array` |
//! | lists, sets, arrays | `T[]` |
//! | tuples | `[A, B]` |
//! | maps | `Record<string, T>`, or `[K, V][]` if the keys have no text |
//! | `SystemTime`, `Duration` | `Date`, `{ secs; nanos }` |
//! | stubs, [`Callback<A, R>`](crate::Callback) | `RpcStub<Counter>`, `(arg: A) => MaybePromise<R>` |
//! | [`RpcStream<T>`](crate::RpcStream), [`RpcSink<T>`](crate::RpcSink) | `ReadableStream<T>`, `WritableStream<T>` |
//! | a `Result` that a method returns | its value; in other places `{ Ok: T } \| { Err: E }` |
//! | what derives [`TypeScript`](derive@crate::TypeScript) | as serde writes it, with its docs |
//! | what does not | `unknown` |
//!
//! One declaration serves both directions, so a field that either side may leave out (`Option`, `#[serde(default)]`,
//! `skip_serializing_if`) is optional. A struct of one unnamed field is that field.

mod known;
mod types;
mod write;

use std::fmt;
use std::io;
use std::path::Path;

use crate::rpc::method::Probe;
use crate::rpc::stub::Stub;

pub use types::{Field, Methods, Type, Types};

/// A type that has a form in TypeScript. Derive it: [`TypeScript`](derive@crate::TypeScript).
///
/// Written by hand where a `Serialize` is, for types of a form of their own:
///
/// ```
/// use opendo::typescript::{Type, TypeScript, Types};
///
/// /// Serialized as `#rrggbb`.
/// pub struct Colour(u32);
///
/// impl TypeScript for Colour {
///     fn describe(_: &mut Types) -> Type { Type::text("`#${string}`") }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no form in TypeScript",
    note = "derive `opendo::TypeScript` for it"
)]
pub trait TypeScript {
    /// The type as it is written. What it is made of is declared in `types`.
    fn describe(types: &mut Types) -> Type;
}

/// Describes a type.
#[doc(hidden)]
pub type Describe = fn(&mut Types) -> Type;

impl<T: TypeScript> Probe<T> {
    /// How to describe it.
    pub const TYPESCRIPT: Describe = T::describe;
}

/// The answer of [`Probe`] for every other type: an inherent constant wins over a trait's.
#[doc(hidden)]
pub trait Undescribed {
    /// It is not known.
    const TYPESCRIPT: Describe = |_| Type::unknown();
}

impl<T> Undescribed for Probe<T> {}

/// No declarations yet; add interfaces to them.
pub fn declarations() -> Declarations {
    Declarations::default()
}

/// A module of TypeScript: interfaces, and the types they need. Its text is what it displays.
#[derive(Clone, Debug, Default)]
pub struct Declarations(Types);

impl Declarations {
    /// Adds the interface of a stub, and whatever it leads to. Of two types of one name, the second gets a number.
    #[must_use]
    pub fn interface<S: Stub + TypeScript>(mut self) -> Self {
        S::describe(&mut self.0);
        self
    }

    /// Writes the module to a file, unless that is what the file holds.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let text = self.to_string();
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        std::fs::write(path, text)
    }

    /// For a test: the file holds this module. With `UPDATE_TYPESCRIPT=1` in the environment it is written instead.
    ///
    /// # Panics
    /// It does not, or cannot be read; the message names the first line that differs.
    #[track_caller]
    pub fn assert_current(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        if std::env::var_os("UPDATE_TYPESCRIPT").is_some_and(|value| value == "1") {
            if let Err(error) = self.write(path) {
                panic!("{} cannot be written: {error}", path.display());
            }
            return;
        }
        let wanted = self.to_string();
        let found = match std::fs::read_to_string(path) {
            Ok(found) => found.replace("\r\n", "\n"),
            Err(error) => panic!("{} cannot be read: {error}; {UPDATE}", path.display()),
        };
        if let Some((line, wanted, found)) = first_difference(&wanted, &found) {
            let path = path.display();
            panic!("{path}:{line} is not current; {UPDATE}\n  found: {found}\n  wanted: {wanted}");
        }
    }
}

const UPDATE: &str = "run the test with UPDATE_TYPESCRIPT=1 to write it";

fn first_difference<'a>(wanted: &'a str, found: &'a str) -> Option<(usize, &'a str, &'a str)> {
    if wanted == found {
        return None;
    }
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    for line in 1.. {
        match (wanted.next(), found.next()) {
            (None, None) => return Some((line, "(the end)", "(the end)")),
            (one, other) if one != other => {
                return Some((line, one.unwrap_or("(the end)"), other.unwrap_or("(the end)")));
            }
            _ => {}
        }
    }
    None
}

impl fmt::Display for Declarations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write::module(&self.0))
    }
}

#[cfg(test)]
mod tests;
