use opendo::RpcStream;

struct Opaque;

fn values() -> impl Sized {
    RpcStream::from_iter([Opaque])
}

fn main() {
    let _ = values;
    let _ = opendo::pipe::<Opaque>();
}
