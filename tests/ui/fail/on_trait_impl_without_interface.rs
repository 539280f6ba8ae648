use opendo::prelude::*;

trait Greeter {
    fn hello(&self) -> String;
}

struct English;

#[rpc_target]
impl Greeter for English {
    fn hello(&self) -> String {
        "hello".to_owned()
    }
}

struct French;

#[durable_object]
impl Greeter for French {
    fn hello(&self) -> String {
        "bonjour".to_owned()
    }
}

impl DurableObject for French {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(French)
    }
}

fn main() {}
