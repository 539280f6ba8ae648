use opendo::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
pub enum Result<A, B> {
    One(A),
    Two(B),
}

struct Store;

#[rpc_target]
impl Store {
    pub fn either(&self) -> Result<u8, String> {
        Result::One(1)
    }

    pub async fn later(&self) -> Result<u8, String> {
        Result::Two(String::new())
    }
}

fn main() {}
