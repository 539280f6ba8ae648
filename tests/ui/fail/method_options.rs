use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    #[method(nme = "x")]
    pub fn unknown(&self) {}

    #[method(cancel, cancel)]
    pub fn twice(&self) {}

    #[method(cancel)]
    #[method(cancel)]
    pub fn twice_apart(&self) {}

    #[method(idempotent = true)]
    pub fn value(&self) {}

    #[method(name)]
    pub fn no_value(&self) {}

    #[method(name = "")]
    pub fn empty(&self) {}

    #[method(name = other)]
    pub fn no_string(&self) {}

    #[method(7)]
    pub fn number(&self) {}

    #[method = "x"]
    pub fn assigned(&self) {}

    #[method(skip, cancel)]
    pub fn skip_and_more(&self) {}

    #[method(concurrent)]
    pub fn concurrent_and_exclusive(&mut self) {}

    #[method(property)]
    pub fn property_that_changes(&mut self) {}

    #[method(property)]
    pub fn property_with_arguments(&self, #[call] _: &CallInfo, index: u64) {
        drop(index);
    }

    #[cfg_attr(all(), method(skip))]
    pub fn conditional(&self) {}
}

fn main() {}
