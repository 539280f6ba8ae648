use opendo::{Pipelined, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Pipelined)]
struct Login {
    count: u64,
}

fn count(login: &Call<Login>) -> u64 {
    login.count
}

fn main() {
    let _ = count;
}
