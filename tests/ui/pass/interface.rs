//! An interface of another module, under another name, with defaults; one type with two of them.
#![deny(warnings, missing_docs)]
use opendo::prelude::*;

mod api {
    use opendo::prelude::*;

    pub type R<T> = Result<T, String>;

    /// Counts.
    #[opendo::interface(name = "Wire")]
    pub trait Counter: std::fmt::Debug {
        /// Adds.
        async fn increment(&mut self, by: u64, #[call] info: &CallInfo) -> R<u64>;

        /// Reads.
        #[method(name = "get", idempotent, concurrent)]
        fn value(&self) -> u64;

        /// Has a default.
        async fn twice(&self, mut n: u64) -> R<u64> {
            if n == 3 {
                return Err("three".to_owned());
            }
            n *= 2;
            Ok(n)
        }

        /// Local.
        #[method(skip)]
        fn local(&self, text: &str) -> usize {
            text.len()
        }
    }

    /// Says a name.
    #[opendo::interface]
    pub trait Named {
        /// Says it.
        fn name(&self) -> String;
    }
}

use api::Counter as Renamed;

#[derive(Debug)]
struct Object;

#[durable_object]
impl Renamed for Object {
    async fn increment(&mut self, by: u64, #[call] _: &CallInfo) -> Result<u64, String> {
        Ok(by)
    }

    fn value(&self) -> u64 {
        1
    }
}

impl DurableObject for Object {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Object)
    }
}

#[derive(Debug)]
struct Fake;

#[rpc_target]
impl api::Counter for Fake {
    async fn increment(&mut self, by: u64, _: &CallInfo) -> Result<u64, String> {
        Ok(by)
    }

    fn value(&self) -> u64 {
        1
    }
}

#[derive(Debug)]
struct Custom;

#[durable_object(name = "Custom")]
impl api::Named for Custom {
    fn name(&self) -> String {
        String::new()
    }
}

impl DurableObject for Custom {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Custom)
    }
}

fn types(stub: &api::CounterStub) {
    let _: Call<u64, String> = stub.increment(1);
    let _: Call<u64> = stub.value();
    let _: Call<u64, String> = stub.twice(1);
}

fn is_served<T: Send + Sync + 'static>(_: &T)
where
    api::CounterStub: opendo::ServedBy<T>,
{
}

fn main() {
    let _ = (types, Renamed::local(&Fake, ""), Custom);
    is_served(&Fake);
    assert_eq!(api::CounterStub::INTERFACE.name, "Wire");
    assert_eq!(<Object as opendo::Object>::CLASS, "Wire");
    assert_eq!(<Custom as opendo::Object>::CLASS, "Custom");
    let methods = api::CounterStub::INTERFACE.methods;
    assert_eq!(methods.iter().map(|method| method.name).collect::<Vec<_>>(), ["increment", "get", "twice"]);
    assert!(methods[1].flags.concurrent && methods[1].flags.idempotent && methods[1].flags.shared);
    assert_eq!(methods[0].signature, "(u64) -> R<u64>");
}
