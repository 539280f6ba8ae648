//! For tests of programs that use opendo: forced ends of objects and nodes, a disk and a network that fail on demand.
//!
//! Time is Tokio's: under `#[tokio::test(start_paused = true)]` deadlines, keepalives and backoffs pass in no time
//! and in order.
//!
//! ```
//! use opendo::prelude::*;
//! use opendo::testing::{self, Network};
//!
//! pub struct Counter { value: u64 }
//!
//! #[durable_object]
//! impl Counter {
//!     pub fn increment(&mut self) -> u64 { self.value += 1; self.value }
//! }
//!
//! impl DurableObject for Counter {
//!     async fn new(_: Ctx) -> opendo::Result<Self> { Ok(Counter { value: 0 }) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
//! let node = Node::builder().object::<Counter>().start().await?;
//! let network = Network::new(&node);
//! let client = network.client().connect().await?;
//!
//! let counter: CounterStub = client.get("a");
//! assert_eq!(counter.increment().await?, 1);
//!
//! testing::hibernate(&node, &counter).await; // its memory is gone; the stub does not notice
//! assert_eq!(counter.increment().await?, 1);
//!
//! network.cut(); // calls in flight fail, the client reconnects, and the stub heals
//! while let Err(error) = counter.increment().await {
//!     assert!(error.is_retryable());
//! }
//! # Ok(()) }
//! ```

mod disk;
mod network;

pub use self::disk::{Disk, Fault, on_disk};
pub use self::network::{Direction, Network};

use crate::node::{Node, NodeBuilder};
use crate::object::clock::Clock;
use crate::rpc::session::Session;
pub use crate::rpc::session::SessionStats;
use crate::rpc::stub::{Stub, StubExt};

/// Sends the object to sleep, as if it had been idle: after the calls that are queued now, its memory is gone. (Durable
/// Objects call this *eviction*.) Resolves when it is; at once when the object is not in memory.
///
/// `stub` may be a stub of the node's own or of a client: it only names the object.
pub async fn hibernate<S: Stub>(node: &Node, stub: &S) {
    if let Some((class, key)) = node.class_of(stub.key()) {
        class.hibernate(key.bytes()).await;
    }
}

/// Throws the object's instance away, as `ctx.abort(reason)` does: calls that run or wait fail with
/// [`Reset`](crate::ErrorKind::Reset). Resolves when it is gone; false when there was none.
pub async fn reset<S: Stub>(node: &Node, stub: &S, reason: &str) -> bool {
    match node.class_of(stub.key()) {
        Some((class, key)) => class.reset(key.bytes(), reason).await,
        None => false,
    }
}

/// Ends the node as the death of its process would: what was not durable is lost, no object is asked to
/// [`hibernate`](crate::DurableObject::hibernate), no peer is told, and calls in flight fail as if their connection was
/// lost. Resolves when everything that was in memory is gone.
///
/// Started [on a disk](on_disk) (or in a directory), the node can be followed by another one, which begins with what is
/// durable. See [`Disk`] for an example.
pub async fn crash(node: &Node) {
    node.crash().await;
}

/// Has the node's alarms go by Tokio's clock, which tests can pause: hours pass in no time then.
///
/// ```
/// # use std::time::Duration;
/// # use opendo::{AlarmInfo, prelude::*};
/// # pub struct Egg { ctx: Ctx, boiled: bool }
/// # #[durable_object]
/// # impl Egg {
/// #     pub fn boil(&self) -> Result<(), String> { Ok(self.ctx.alarm().set_in(Duration::from_secs(600))?) }
/// #     pub fn is_boiled(&self) -> bool { self.boiled }
/// # }
/// # impl DurableObject for Egg {
/// #     const IDLE: Option<Duration> = Some(Duration::MAX);
/// #     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Egg { ctx, boiled: false }) }
/// #     async fn alarm(&mut self, _: AlarmInfo) -> opendo::Result<()> { self.boiled = true; Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> opendo::Result<()> {
/// let node = opendo::testing::with_tokio_clock(Node::builder().object::<Egg>()).start().await?;
/// let egg: EggStub = node.get("breakfast");
/// egg.boil().await?;
/// tokio::time::sleep(Duration::from_secs(601)).await; // under a paused clock
/// assert!(egg.is_boiled().await?);
/// # Ok(()) }
/// ```
pub fn with_tokio_clock(mut node: NodeBuilder) -> NodeBuilder {
    node.clock = Clock::Tokio;
    node
}

/// Runs the handler of the object's alarm now, whenever it is due. False when no alarm is set. Resolves when what the
/// handler wrote is durable.
pub async fn run_alarm<S: Stub>(node: &Node, stub: &S) -> bool {
    match node.class_of(stub.key()) {
        Some((class, key)) => class.run_alarm(key).await,
        None => false,
    }
}

/// A connection to the node's web server, in memory: what is served there is what a
/// [listener](crate::Node::listen) of scheme `ws` or `http` would serve to a client on this machine.
#[cfg(any(feature = "websocket", feature = "http"))]
pub fn web(node: &Node) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    node.serve_web(theirs, opendo_transport::Peer::local("http", "memory"));
    ours
}

/// Looks into a session.
pub fn stats(session: &Session) -> SessionStats {
    session.stats()
}

/// Looks into all sessions that the node serves.
pub fn node_stats(node: &Node) -> Vec<SessionStats> {
    node.session_list().iter().map(Session::stats).collect()
}
