//! What is called: the same object, served by opendo or by hand.

use opendo::prelude::*;
use serde_bytes::ByteBuf;

/// Something that counts and echoes, as its callers see it.
pub(crate) trait Subject: Clone + Send + Sync + 'static {
    fn increment(&self, by: u64) -> impl Future<Output = u64> + Send;
    /// The bytes are what a user writes first: `Vec<u8>`.
    fn echo(&self, data: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send;
    /// The bytes are marked as such for serde.
    fn echo_bytes(&self, data: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send {
        self.echo(data)
    }
}

/// The object of the benches.
pub(crate) struct Counter {
    value: u64,
}

/// Its remote methods.
#[durable_object(vis = "pub(crate)")]
impl Counter {
    /// Adds `by`; returns the new value.
    pub async fn increment(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }

    /// Gives it back.
    pub async fn echo(&mut self, data: Vec<u8>) -> Vec<u8> {
        data
    }

    /// Gives it back.
    pub async fn echo_bytes(&mut self, data: ByteBuf) -> ByteBuf {
        data
    }
}

impl DurableObject for Counter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { value: 0 })
    }
}

impl Subject for CounterStub {
    async fn increment(&self, by: u64) -> u64 {
        self.increment(by).await.expect("the object answers")
    }

    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        self.echo(data).await.expect("the object answers")
    }

    async fn echo_bytes(&self, data: Vec<u8>) -> Vec<u8> {
        self.echo_bytes(ByteBuf::from(data)).await.expect("the object answers").into_vec()
    }
}

pub(crate) async fn node() -> Node {
    Node::builder().object::<Counter>().start().await.expect("one class")
}
