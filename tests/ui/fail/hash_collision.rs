use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn load_folder_topic(&self) -> u8 {
        1
    }

    pub fn join_page_topics(&self) -> u8 {
        1
    }
}

fn main() {}
