//! Row `other_attr_macro_above/below`: other attributes stay on the user's impl and its functions, in both orders.
use opendo::prelude::*;

pub struct Above;

#[allow(unused)]
#[rpc_target]
impl Above {
    #[inline]
    #[track_caller]
    pub fn run(&self) -> u8 {
        1
    }
}

pub struct Below;

#[rpc_target]
#[allow(unused)]
impl Below {
    #[method(idempotent)]
    #[cold]
    #[method(name = "go")]
    pub async fn run(&self) -> u8 {
        1
    }
}

fn main() {
    assert_eq!(AboveStub::INTERFACE.methods[0].name, "run");
    assert_eq!(BelowStub::INTERFACE.methods[0].name, "go");
    assert!(BelowStub::INTERFACE.methods[0].flags.idempotent);
}
