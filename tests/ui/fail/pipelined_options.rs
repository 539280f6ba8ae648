use opendo::Pipelined;

#[derive(Pipelined)]
#[pipelined(name = "Other")]
struct Unknown;

#[derive(Pipelined)]
#[pipelined]
struct Empty;

#[derive(Pipelined)]
#[pipelined(crate = "opendo")]
struct Text;

#[derive(Pipelined)]
struct Field {
    #[pipelined(skip)]
    count: u64,
}

fn main() {}
