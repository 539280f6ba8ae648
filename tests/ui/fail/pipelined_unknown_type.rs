use opendo::Pipelined;

#[derive(Pipelined)]
struct Login {
    name: String,
    profile: Missing,
}

fn main() {}
