use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    #[method(cancel)]
    fn private(&self) {}

    #[method(name = "x")]
    pub(crate) fn in_crate(&self, #[call] info: &CallInfo) {
        drop(info);
    }

    #[method(idempotent)]
    pub fn new() -> Self {
        Store
    }

    #[method(skip)]
    fn fine(&self) {}
}

fn main() {}
