//! The types of the standard library, and ours.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::TypeScript;
use super::types::{Field, Kind, Type, Types};
use crate::object::id::ObjectId;
use crate::rpc::arg::Arg;
use crate::rpc::callback::Callback;
use crate::stream::{RpcSink, RpcStream};

/// What is written as it is.
macro_rules! plain {
    ($($text:literal: $($type:ty),+;)*) => {$($(
        impl TypeScript for $type {
            fn describe(_: &mut Types) -> Type {
                Type::text($text)
            }
        }
    )+)*};
}

plain! {
    "boolean": bool;
    "number": u16, u32, i8, i16, i32, f32, f64;
    "string": char, str, String, PathBuf, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6;
    "Date": SystemTime;
    "Uint8Array": bytes::Bytes, serde_bytes::ByteBuf;
}

#[cfg(feature = "capnweb")]
plain! {
    "any": crate::value::Value, crate::rpc::dynamic::DynStub;
    "bigint": crate::value::BigInt;
    "Blob": crate::value::Blob;
    "Date": crate::value::Date;
    "Error": crate::value::ErrorValue;
    "Headers": crate::value::Headers;
    "Request": crate::value::Request;
    "Response": crate::value::Response;
    "URL": crate::value::Url;
}

impl TypeScript for u8 {
    fn describe(_: &mut Types) -> Type {
        Type(Kind::Byte)
    }
}

/// What is exact as a number up to 2^53 and comes as a bigint beyond.
macro_rules! wide {
    ($($type:ty),*) => {$(
        impl TypeScript for $type {
            fn describe(_: &mut Types) -> Type {
                Type::union(vec![Type::text("number"), Type::text("bigint")])
            }
        }
    )*};
}

wide!(u64, i64, u128, i128, usize, isize);

impl TypeScript for () {
    fn describe(_: &mut Types) -> Type {
        Type::unit()
    }
}

impl TypeScript for std::convert::Infallible {
    fn describe(_: &mut Types) -> Type {
        Type::text("never")
    }
}

impl TypeScript for Duration {
    fn describe(types: &mut Types) -> Type {
        let secs = u64::describe(types);
        Type::object(vec![
            Field::new("secs", &[], false, secs),
            Field::new("nanos", &[], false, Type::text("number")),
        ])
    }
}

impl<S> TypeScript for ObjectId<S> {
    fn describe(_: &mut Types) -> Type {
        Type::text("string")
    }
}

/// An integer that is not zero is one.
macro_rules! non_zero {
    ($($type:ty),*) => {$(
        impl TypeScript for NonZero<$type> {
            fn describe(types: &mut Types) -> Type {
                <$type>::describe(types)
            }
        }
    )*};
}

non_zero!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl<T: TypeScript> TypeScript for Arg<T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }
}

impl<T: TypeScript + ?Sized> TypeScript for Box<T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }
}

impl<T: TypeScript + ?Sized> TypeScript for std::sync::Arc<T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }
}

impl<T: TypeScript + ToOwned + ?Sized> TypeScript for Cow<'_, T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }
}

impl<T: TypeScript> TypeScript for Option<T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types).or_null()
    }
}

impl<T: TypeScript, E: TypeScript> TypeScript for Result<T, E> {
    fn describe(types: &mut Types) -> Type {
        let (ok, err) = (T::describe(types), E::describe(types));
        Type::union(vec![Type::variant("Ok", ok), Type::variant("Err", err)])
    }
}

macro_rules! lists {
    ($($type:ident$(<$($more:ident),+>)?),*) => {$(
        impl<T: TypeScript $($(, $more)+)?> TypeScript for $type<T $($(, $more)+)?> {
            fn describe(types: &mut Types) -> Type {
                Type::list(T::describe(types))
            }
        }
    )*};
}

lists!(Vec, VecDeque, LinkedList, BinaryHeap, BTreeSet, HashSet<S>);

impl<T: TypeScript> TypeScript for [T] {
    fn describe(types: &mut Types) -> Type {
        Type::list(T::describe(types))
    }
}

impl<T: TypeScript, const N: usize> TypeScript for [T; N] {
    fn describe(types: &mut Types) -> Type {
        Type::list(T::describe(types))
    }
}

impl<K: TypeScript, V: TypeScript> TypeScript for BTreeMap<K, V> {
    fn describe(types: &mut Types) -> Type {
        let (key, value) = (K::describe(types), V::describe(types));
        types.map(key, value)
    }
}

impl<K: TypeScript, V: TypeScript, S> TypeScript for HashMap<K, V, S> {
    fn describe(types: &mut Types) -> Type {
        let (key, value) = (K::describe(types), V::describe(types));
        types.map(key, value)
    }
}

macro_rules! tuples {
    ($(($($name:ident),+))*) => {$(
        impl<$($name: TypeScript),+> TypeScript for ($($name,)+) {
            fn describe(types: &mut Types) -> Type {
                Type::tuple(vec![$($name::describe(types)),+])
            }
        }
    )*};
}

tuples! { (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) (A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H) }

impl<T: TypeScript> TypeScript for RpcStream<T> {
    fn describe(types: &mut Types) -> Type {
        let of = T::describe(types);
        Type::generic("ReadableStream", vec![of])
    }
}

impl<T: TypeScript> TypeScript for RpcSink<T> {
    fn describe(types: &mut Types) -> Type {
        let of = T::describe(types);
        Type::generic("WritableStream", vec![of])
    }
}

impl<A: TypeScript, R: TypeScript> TypeScript for Callback<A, R> {
    fn describe(types: &mut Types) -> Type {
        let (arg, returns) = (A::describe(types), R::describe(types));
        Type(Kind::Function(Box::new(arg), Box::new(returns)))
    }
}
