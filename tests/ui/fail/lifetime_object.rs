use opendo::prelude::*;

struct View<'a>(&'a str);

#[rpc_target]
impl<'a> View<'a> {
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Other<'a>(&'a str);

#[rpc_target]
impl Other<'_> {
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

fn main() {}
