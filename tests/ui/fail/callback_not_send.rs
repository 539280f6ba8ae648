use std::cell::Cell;
use std::rc::Rc;

use opendo::Callback;

fn holds_across_await() {
    let _: Callback<u64, u64> = Callback::new(async |value: u64| {
        let counter = Rc::new(value);
        std::future::ready(()).await;
        *counter
    });
}

fn captures() {
    let count = Rc::new(Cell::new(0));
    let _: Callback<u64, ()> = Callback::new(move |value: u64| {
        count.set(value);
        async {}
    });
}

fn main() {
    let _ = (holds_across_await, captures);
}
