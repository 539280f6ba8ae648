//! Row `path_self_ty`: the whole path is used, and the stub is named after its last segment, where the impl is.
use opendo::prelude::*;

mod a {
    pub struct Counter;
    pub struct Other;
    pub struct Of<T>(pub T);
}

#[rpc_target]
impl crate::a::Counter {
    pub fn get(&self) -> u8 {
        1
    }
}

mod b {
    use opendo::prelude::*;

    #[rpc_target]
    impl super::a::Other {
        pub fn get(&self) -> u8 {
            1
        }
    }

    pub fn stub(_: OtherStub) {}
}

/// An instance of a generic type has a name of its own.
#[rpc_target(name = "OfBytes")]
impl a::Of<u8> {
    pub fn get(&self) -> u8 {
        self.0
    }
}

fn main() {
    let _ = |_: CounterStub, _: OfStub| ();
    let _ = b::stub;
    let _ = a::Of(1);
}
