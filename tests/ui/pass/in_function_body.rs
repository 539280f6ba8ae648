//! Objects and interfaces declared in a function.
#![deny(warnings)]
use opendo::prelude::*;

fn main() {
    type R<T> = Result<T, String>;

    struct Counter;

    #[durable_object]
    impl Counter {
        pub async fn get(&self) -> u64 {
            1
        }

        pub async fn alias(&mut self, to: String) -> R<String> {
            Ok(to)
        }
    }

    impl DurableObject for Counter {
        async fn new(_: Ctx) -> opendo::Result<Self> {
            Ok(Counter)
        }
    }

    #[opendo::interface]
    trait Other {
        async fn get(&self) -> R<u64>;
    }

    struct Impl;

    #[rpc_target]
    impl Other for Impl {
        async fn get(&self) -> R<u64> {
            Ok(1)
        }
    }

    let _ = |counter: CounterStub, other: OtherStub| {
        let _: Call<String, String> = counter.alias(String::new());
        let _: Call<u64, String> = other.get();
    };
    let _ = (Counter, Impl);
}
