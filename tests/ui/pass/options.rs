//! Every option of a method, and of an object.
#![deny(warnings)]
use opendo::prelude::*;

pub struct Counter;

#[durable_object(name = "Count", crate = ::opendo, vis = "pub(crate)")]
impl Counter {
    #[method(name = "peek", concurrent, idempotent, cancel)]
    pub async fn look(&self, #[call] _info: &CallInfo, key: String) -> Option<String> {
        Some(key)
    }

    #[method]
    pub async fn plain(&mut self) {}

    #[method(skip)]
    pub fn helper(&self) {}
}

impl DurableObject for Counter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Counter)
    }
}

fn main() {
    assert_eq!(<Counter as opendo::Object>::CLASS, "Count");
    assert_eq!(CounterStub::INTERFACE.name, "Count");
    let [peek, plain] = CounterStub::INTERFACE.methods else { panic!() };
    assert_eq!((peek.name, peek.signature), ("peek", "(String) -> Option<String>"));
    assert!(peek.flags.shared && peek.flags.concurrent && peek.flags.idempotent && peek.flags.cancel);
    assert!(!plain.flags.shared && !plain.flags.concurrent && !plain.flags.idempotent && !plain.flags.cancel);
    Counter.helper();
    let _ = |stub: &CounterStub| stub.look(String::new());
}
