use opendo::Pipelined;

#[derive(Pipelined)]
struct Borrowed {
    name: &str,
    count: u64,
}

fn main() {}
