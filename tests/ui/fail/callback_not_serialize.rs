use opendo::{Callback, prelude::*};

struct Opaque;

struct Store;

#[rpc_target]
impl Store {
    pub fn watch(&self, tell: Callback<Opaque, ()>) {
        drop(tell);
    }
}

fn argument() {
    let _ = Callback::new(async |_: Opaque| 1_u64);
}

fn result() {
    let _ = Callback::new(async |_: u64| Opaque);
}

fn main() {
    let _ = (argument, result);
}
