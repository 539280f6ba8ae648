//! Interfaces and types that have every row of the table of types.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use opendo::{Arg, Callback, ObjectId, RpcSink, RpcStream, TypeScript, rpc_target};
use serde::{Deserialize, Serialize};

/// Who somebody is.
///
/// Docs of more than one line, which end */ nothing.
#[derive(Debug, Serialize, Deserialize, TypeScript)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    /// As it is in the passport.
    pub(crate) full_name: String,
    pub(crate) age: Option<u8>,
    #[serde(rename = "e-mail")]
    pub(crate) mail: String,
    #[serde(skip)]
    pub(crate) _secret: u64,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub(crate) scores: HashMap<String, f64>,
    pub(crate) friends: Vec<Profile>,
    #[serde(with = "as_text")]
    #[typescript(type = "`${number}`")]
    pub(crate) number: u64,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Everything an enum can hold.
#[derive(Debug, Serialize, Deserialize, TypeScript)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Shape {
    Nothing,
    #[serde(rename = "DOT")]
    Dot(f64),
    LineTo(f64, f64),
    Rgb(u8, u8, u8),
    Circle {
        mid_point: (f64, f64),
        /// In metres.
        radius: Option<f64>,
    },
}

#[derive(Debug, Serialize, Deserialize, TypeScript, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Colour {
    Red,
    Green,
}

/// Is what it holds.
#[derive(Debug, Serialize, Deserialize, TypeScript)]
pub(crate) struct Metres(pub(crate) f64);

#[derive(Debug, Serialize, Deserialize, TypeScript)]
pub(crate) struct Pair(pub(crate) u8, pub(crate) String);

#[derive(Debug, Serialize, Deserialize, TypeScript)]
pub(crate) struct Marker;

/// A type that says nothing of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opaque;

pub(crate) mod other {
    /// Another type of the same name.
    #[derive(Debug, serde::Serialize, serde::Deserialize, opendo::TypeScript)]
    pub(crate) struct Profile {
        pub(crate) id: u32,
    }

    /// A name that means something in TypeScript.
    #[derive(Debug, serde::Serialize, serde::Deserialize, opendo::TypeScript)]
    pub(crate) struct Date {
        pub(crate) day: u32,
    }
}

#[derive(Debug, Serialize, Deserialize, opendo::Pipelined, TypeScript)]
pub(crate) struct Login {
    pub(crate) profile: PassportStub,
    pub(crate) since: SystemTime,
}

/// What a client implements.
#[opendo::interface(rename_all = "camelCase")]
pub(crate) trait Watcher {
    /// The value is another one now.
    async fn has_changed(&self, value: u64);
    async fn wants_more(&self) -> bool;
}

#[derive(Debug)]
pub(crate) struct Passport;

#[rpc_target(vis = "pub(crate)")]
impl Passport {
    pub fn name(&self) -> String {
        String::new()
    }

    pub fn api(&self) -> Option<ApiStub> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct Api;

/// One method for each row of the table of types.
#[rpc_target(rename_all = "camelCase", vis = "pub(crate)")]
#[allow(unused_variables, clippy::needless_pass_by_value, clippy::unused_self)]
impl Api {
    /// Adds.
    ///
    /// In two parts.
    pub async fn add(&mut self, a: u64, b: i128) -> Result<u64, String> {
        Ok(a)
    }

    #[method(property)]
    pub fn current_value(&self) -> Option<u32> {
        None
    }

    #[deprecated(note = "use `add`")]
    pub fn increment(&self) {}

    pub fn numbers(&self, byte: u8, small: i32, float: f32, letter: char, yes: bool) -> f64 {
        0.0
    }

    pub fn optional(&self, first: Option<String>, second: u32, third: Option<u32>, fourth: Option<Profile>) {}

    pub fn bytes(&self, plain: Vec<u8>, bytes: serde_bytes::ByteBuf, array: [u8; 4]) -> Vec<u8> {
        plain
    }

    pub fn lists(
        &self,
        list: Vec<Option<u32>>,
        set: HashSet<String>,
        pair: (String, u32),
        nested: Vec<Vec<u64>>,
    ) {
    }

    pub fn maps(
        &self,
        by_name: BTreeMap<String, u32>,
        by_number: HashMap<u64, Profile>,
        by_colour: BTreeMap<Colour, u32>,
        by_pair: BTreeMap<(u32, u32), String>,
    ) -> HashMap<String, Vec<u8>> {
        HashMap::new()
    }

    pub fn times(&self, at: SystemTime, wait: Duration) -> SystemTime {
        at
    }

    pub fn shapes(
        &self,
        shape: Shape,
        colour: Colour,
        length: Metres,
        pair: Pair,
        marker: Marker,
    ) -> Vec<Shape> {
        vec![shape]
    }

    pub fn nested_result(&self) -> Vec<Result<u32, String>> {
        Vec::new()
    }

    pub fn profile(&self, id: u32) -> Option<Profile> {
        None
    }

    pub fn same_names(&self, profile: other::Profile, date: other::Date) {}

    pub fn promised(&self, profile: Arg<Profile>, n: Arg<u32>) {}

    pub fn opaque(&self, opaque: Opaque, default: Vec<Opaque>) -> Opaque {
        opaque
    }

    pub fn identity(&self, id: ObjectId<ApiStub>) -> ObjectId<ApiStub> {
        id
    }

    pub fn login(&self, token: String) -> Result<Login, String> {
        Err(token)
    }

    pub fn passport(&self) -> Result<PassportStub, String> {
        Err(String::new())
    }

    pub fn watch(&self, watcher: WatcherStub, others: Vec<WatcherStub>) {}

    pub fn call_back(
        &self,
        done: Callback<(), ()>,
        map: Callback<u32, String>,
        pairs: Option<Callback<(String, u32), bool>>,
    ) {
    }

    pub fn stream(&self, from: RpcStream<u64>, to: RpcSink<String>) -> RpcStream<Profile> {
        RpcStream::from_stream(futures::stream::empty())
    }
}
