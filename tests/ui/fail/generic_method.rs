use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn put<T: Send>(&self, value: T) {
        drop(value);
    }

    pub fn borrow<'a>(&'a self) -> u64 {
        1
    }

    pub fn good(&self) -> u64 {
        1
    }
}

fn main() {
    // The good method is there: a mistake takes only its own method away.
    let _ = StoreStub::good;
    // The user's impl is there, too.
    Store.put(1);
}
