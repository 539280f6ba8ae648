use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn pointer(&self, to: *const u8) {
        drop(to);
    }

    pub fn never(&self) -> ! {
        panic!()
    }
}

fn main() {}
