use opendo::TypeScript;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, TypeScript)]
#[serde(tag = "kind")]
enum Tagged {
    A { a: u8 },
}

#[derive(Serialize, Deserialize, TypeScript)]
struct Fields {
    #[serde(flatten)]
    inner: Inner,
    #[serde(rename(serialize = "a", deserialize = "b"))]
    two_names: u8,
    #[serde(with = "as_text")]
    with: u8,
    #[typescript(name = "x")]
    option: u8,
}

#[derive(Serialize, Deserialize)]
struct Inner {
    a: u8,
}

mod as_text {
    pub fn serialize<S: serde::Serializer>(_: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(_: D) -> Result<u8, D::Error> {
        Ok(1)
    }
}

#[derive(Serialize, Deserialize, TypeScript)]
struct Generic<T> {
    value: T,
}

#[derive(Serialize, Deserialize, TypeScript)]
#[typescript(name = "Other")]
struct Container;

#[derive(TypeScript)]
union Union {
    a: u8,
}

fn main() {}
