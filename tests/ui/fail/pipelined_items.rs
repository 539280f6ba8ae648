use opendo::Pipelined;

#[derive(Pipelined)]
enum Enum {
    One(u64),
}

#[derive(Pipelined)]
union Union {
    one: u64,
}

#[derive(Pipelined)]
struct Generic<T> {
    value: T,
}

#[derive(Pipelined)]
struct Sized<const N: usize> {
    value: [u8; N],
}

#[derive(Pipelined)]
struct Borrowed<'a> {
    name: &'a str,
}

#[derive(Pipelined)]
struct Twice<'a, T> {
    name: &'a T,
}

fn main() {}
