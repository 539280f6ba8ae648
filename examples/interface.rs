//! An interface that server and client share, so that the client needs none of the server's code; and a mock.
//!
//! Here `api` is a module; in a larger program it is a crate of its own.

use opendo::prelude::*;

/// What server and client agree on.
pub mod api {
    /// A weather station.
    #[opendo::interface]
    pub trait Station {
        /// Notes a measurement, in degrees.
        async fn report(&mut self, degrees: i32);
        /// The last measurement, if there is one.
        async fn last(&self) -> Option<i32>;
    }
}

/// What only the server knows.
mod server {
    use super::api::Station;
    use opendo::prelude::*;

    #[derive(Debug)]
    pub(crate) struct StationObject {
        last: Option<i32>,
    }

    #[durable_object]
    impl Station for StationObject {
        async fn report(&mut self, degrees: i32) {
            self.last = Some(degrees);
        }

        async fn last(&self) -> Option<i32> {
            self.last
        }
    }

    impl DurableObject for StationObject {
        async fn new(_: Ctx) -> opendo::Result<Self> {
            Ok(Self { last: None })
        }
    }
}

/// What only the client knows: it cannot tell the real one from a mock.
async fn forecast(station: &api::StationStub) -> opendo::Result<String> {
    Ok(match station.last().await? {
        Some(degrees) => format!("{degrees} degrees in Oslo"),
        None => "no idea".to_owned(),
    })
}

/// A station for tests of `forecast`.
struct Frozen;

#[rpc_target]
impl api::Station for Frozen {
    async fn report(&mut self, _: i32) {}

    async fn last(&self) -> Option<i32> {
        Some(-40)
    }
}

#[tokio::main]
async fn main() -> opendo::Result<()> {
    let node = Node::builder().object::<server::StationObject>().start().await?;
    node.listen("memory:weather").await?;

    let client = opendo::connect("memory:weather").await?;
    let oslo: api::StationStub = client.get("Oslo");
    oslo.report(20).await?;
    println!("from the node: {}", forecast(&oslo).await?);

    let mock: api::StationStub = opendo::serve(Frozen);
    println!("from a mock: {}", forecast(&mock).await?);
    Ok(())
}
