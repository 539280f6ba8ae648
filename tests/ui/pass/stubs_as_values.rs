//! Stubs, calls, functions and streams in signatures, without a word about serde.
#![deny(missing_docs, warnings)]
use std::collections::{BTreeMap, HashMap};

use opendo::{Arg, Callback, RpcSink, RpcStream, prelude::*};

/// A result by another name.
pub type R<T> = Result<T, String>;
/// A stub by another name.
pub type Alias = OtherStub;
/// A stub in a result by another name.
pub type Found = Result<OtherStub, String>;

/// What is passed.
#[derive(Debug)]
pub struct Other;

#[rpc_target]
impl Other {
    /// Reads.
    pub fn get(&self) -> u64 {
        1
    }
}

/// Takes and gives.
#[derive(Debug)]
pub struct Room;

#[rpc_target]
impl Room {
    /// A stub.
    pub fn one(&self, other: OtherStub) -> OtherStub {
        other
    }

    /// Perhaps one.
    pub async fn maybe(&self, other: Option<OtherStub>) -> Option<OtherStub> {
        other
    }

    /// In containers.
    pub async fn many(
        &self,
        list: Vec<Alias>,
        map: HashMap<String, (u8, [OtherStub; 2])>,
    ) -> BTreeMap<u8, Vec<OtherStub>> {
        drop(map);
        BTreeMap::from([(1, list)])
    }

    /// In a result.
    pub fn result(&self, other: Result<OtherStub, String>) -> Result<OtherStub, String> {
        other
    }

    /// In a result by another name.
    pub fn alias(&self, other: Alias) -> R<Alias> {
        Ok(other)
    }

    /// A result with nothing to be seen of it.
    pub fn found(&self, other: Arg<OtherStub>) -> Found {
        Ok(other.into_inner())
    }

    /// Perhaps, by another name.
    pub fn maybe_alias(&mut self, other: Option<Alias>) -> R<Option<Alias>> {
        Ok(other)
    }

    /// Itself.
    pub fn same(&self, room: RoomStub) -> RoomStub {
        room
    }

    /// The value of a call.
    pub fn value(&self, number: Arg<u64>, text: Arg<String>) -> u64 {
        *number + text.len() as u64
    }

    /// Streams.
    pub fn stream(&self, values: RpcStream<OtherStub>, sink: RpcSink<Vec<u8>>) -> RpcStream<OtherStub> {
        drop(sink);
        values
    }

    /// Functions.
    pub async fn function(
        &self,
        plain: Callback<u64, String>,
        two: Callback<(u64, OtherStub), Option<OtherStub>>,
        optional: Option<Callback<(), ()>>,
    ) -> R<Callback<u64, String>> {
        drop((two, optional));
        Ok(plain)
    }
}

/// An interface whose methods give its stub.
#[opendo::interface]
pub trait Counter {
    /// Another one.
    fn child(&self) -> CounterStub;
    /// Perhaps.
    async fn find(&self, like: Option<CounterStub>) -> R<Option<CounterStub>>;
    /// Both.
    async fn add(&mut self, by: Arg<u64>, tell: Callback<u64, ()>) -> Result<CounterStub, String>;
}

/// An implementation.
#[derive(Debug)]
pub struct CounterObject;

#[rpc_target]
impl Counter for CounterObject {
    fn child(&self) -> CounterStub {
        opendo::serve(CounterObject)
    }

    async fn find(&self, like: Option<CounterStub>) -> R<Option<CounterStub>> {
        Ok(like)
    }

    async fn add(&mut self, by: Arg<u64>, tell: Callback<u64, ()>) -> Result<CounterStub, String> {
        drop(tell.call(*by));
        Ok(self.child())
    }
}

/// Every result that is a stub can be called.
pub fn calls(room: &RoomStub, counter: &CounterStub, other: &OtherStub) -> [Call<u64>; 8] {
    let tell = Callback::new(async |_: u64| {});
    [
        room.one(other.clone()).get(),
        room.maybe(None).get(),
        room.result(Ok(other.clone())).get(),
        room.alias(other.clone()).get(),
        room.found(room.one(other.clone()).into()).get(),
        room.maybe_alias(None).get(),
        room.same(room.clone()).same(room.clone()).one(other.clone()).get(),
        room.value(
            room.value(1.into(), String::new().into()).into(),
            counter.child().find(None).add(2.into(), tell).child().name_of().into(),
        ),
    ]
}

/// An extension of a stub, as a user would write one.
trait NameOf {
    fn name_of(&self) -> String;
}

impl NameOf for CounterStub {
    fn name_of(&self) -> String {
        format!("{self:?}")
    }
}

fn main() {}
