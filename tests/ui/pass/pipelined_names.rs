//! Fields and methods that have the name of something of ours are still reached through a call.
#![deny(warnings)]
use opendo::{Pipelined, prelude::*};
use serde::{Deserialize, Serialize};

pub struct Item;

#[rpc_target]
impl Item {
    pub fn detach(&self) -> u8 {
        1
    }
    pub fn pipeline(&self) -> u8 {
        1
    }
    pub fn broken(&self) -> u8 {
        1
    }
    pub fn promised(&self) -> u8 {
        1
    }
    pub fn clone(&self) -> u8 {
        1
    }
    pub fn fresh(&self) -> u8 {
        1
    }
    pub fn send(&self) -> u8 {
        1
    }
    pub fn deliver(&self) -> u8 {
        1
    }
    // Private functions of `Call`.
    pub fn source(&self) -> u8 {
        1
    }
    pub fn named(&self) -> u8 {
        1
    }
    pub fn into_value(&self) -> u8 {
        1
    }
    // Traits that are not in scope here.
    pub fn poll(&self) -> u8 {
        1
    }
    pub fn deref(&self) -> u8 {
        1
    }
    pub fn capabilities(&self) -> u8 {
        1
    }
    pub fn field(&self) -> u8 {
        1
    }
    pub fn serialize(&self) -> u8 {
        1
    }
    pub fn id(&self) -> u8 {
        1
    }
    pub fn key(&self) -> u8 {
        1
    }
    pub fn with_timeout(&self) -> u8 {
        1
    }
}

// Private fields of `Call`, and names in the generated code.
#[derive(Serialize, Deserialize, Pipelined)]
pub struct Named {
    pub answer: ItemStub,
    pub link: ItemStub,
    pub deadline: ItemStub,
    pub target: ItemStub,
    pub pipeline: ItemStub,
    pub capabilities: ItemStub,
    pub __of: ItemStub,
    pub fmt: ItemStub,
}

fn methods(call: Call<ItemStub, String>) -> [Call<u8>; 19] {
    [
        call.detach(),
        call.pipeline(),
        call.broken(),
        call.promised(),
        call.clone(),
        call.fresh(),
        call.send(),
        call.deliver(),
        call.source(),
        call.named(),
        call.into_value(),
        call.poll(),
        call.deref(),
        call.capabilities(),
        call.field(),
        call.serialize(),
        call.id(),
        call.key(),
        call.with_timeout(),
    ]
}

fn fields(call: &Call<Named>) -> [Call<u8>; 8] {
    [
        call.answer.send(),
        call.link.send(),
        call.deadline.send(),
        call.target.send(),
        call.pipeline.send(),
        call.capabilities.send(),
        call.__of.send(),
        call.fmt.send(),
    ]
}

fn main() {
    let _ = (methods, fields);
}
