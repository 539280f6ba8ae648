use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub unsafe extern "C" fn print(&self, format: u8, ...) {
        drop(format);
    }
}

fn main() {}
