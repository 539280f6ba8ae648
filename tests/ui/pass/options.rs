//! Every option of a method, and of an object.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Counter;

#[durable_object(name = "Count", crate = ::opendo, vis = "pub(crate)", rename_all = "camelCase")]
impl Counter {
    #[method(name = "peek", concurrent, idempotent, cancel)]
    pub async fn look(&self, #[call] _info: &CallInfo, key: String) -> Option<String> {
        Some(key)
    }

    #[method]
    pub async fn plain_one(&mut self) {}

    #[method(property)]
    pub async fn r#how_many(&self, #[call] _info: &CallInfo) -> Result<u64, String> {
        Ok(1)
    }

    #[method(skip)]
    pub fn helper(&self) {}
}

#[opendo::interface(rename_all = "PascalCase")]
pub trait Each {
    fn next_value(&self) -> u64;
}

pub struct All;

#[rpc_target(rename_all = "snake_case")]
impl All {
    pub fn next_value(&self) -> u64 {
        1
    }
}

impl DurableObject for Counter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Counter)
    }
}

fn main() {
    assert_eq!(<Counter as opendo::Object>::CLASS, "Count");
    assert_eq!(CounterStub::INTERFACE.name, "Count");
    let [peek, plain, how_many] = CounterStub::INTERFACE.methods else { panic!() };
    assert_eq!((peek.name, peek.signature), ("peek", "(String) -> Option<String>"));
    assert!(peek.flags.shared && peek.flags.concurrent && peek.flags.idempotent && peek.flags.cancel);
    assert!(!plain.flags.shared && !plain.flags.concurrent && !plain.flags.idempotent && !plain.flags.cancel);
    assert!(!plain.flags.property && how_many.flags.property && how_many.flags.shared);
    assert_eq!((plain.name, how_many.name), ("plainOne", "howMany"));
    assert_eq!(EachStub::INTERFACE.methods[0].name, "NextValue");
    assert_eq!(AllStub::INTERFACE.methods[0].name, "next_value");
    Counter.helper();
    let _ = |stub: &CounterStub| stub.look(String::new());
}
