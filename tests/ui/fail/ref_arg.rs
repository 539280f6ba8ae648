use opendo::prelude::*;
use std::borrow::Cow;

struct Store;

#[rpc_target]
impl Store {
    pub fn text(&self, key: &str) {
        drop(key);
    }

    pub fn bytes(&self, key: Option<&[u8]>) {
        drop(key);
    }

    pub fn change(&self, value: &mut Vec<String>) {
        drop(value);
    }

    pub fn cow(&self, key: Cow<'_, str>) {
        drop(key);
    }

    pub fn reply(&self) -> &str {
        ""
    }

    pub fn constant(&self) -> Result<&'static str, String> {
        Ok("")
    }

    pub fn info(&self, call: &CallInfo) {
        drop(call);
    }
}

fn main() {}
