//! The objects and helpers of the fault tests.
//!
//! Every test has a thread of its own and a runtime that stays on it, so what objects note can be thread-local.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Once;
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Network, SessionStats, node_stats};
use opendo::{ErrorKind, Limits};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::broker::Broker;

thread_local! {
    static RUNS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static ENDS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static PAYLOADS: Cell<i64> = const { Cell::new(0) };
    static PANICS: Cell<usize> = const { Cell::new(0) };
    static NEXT: RefCell<Option<WorkerStub>> = const { RefCell::new(None) };
}

/// How often the method that was given this tag has run.
pub(super) fn runs(tag: u32) -> usize {
    RUNS.with_borrow(|runs| runs.iter().filter(|run| **run == tag).count())
}

/// The tags of all methods that ran, in order.
pub(super) fn all_runs() -> Vec<u32> {
    RUNS.with_borrow(Clone::clone)
}

/// The tags of all calls of `hold` that have ended.
pub(super) fn ends() -> Vec<u32> {
    ENDS.with_borrow(Clone::clone)
}

/// How many payloads are in memory.
pub(super) fn payloads() -> i64 {
    PAYLOADS.get()
}

pub(super) fn forget_runs() {
    RUNS.take();
    ENDS.take();
}

/// Where [`Worker::relay`] leads.
pub(super) fn relay_to(stub: WorkerStub) {
    NEXT.set(Some(stub));
}

/// Counts the panics of this thread from now on.
pub(super) fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = PANICS.try_with(|panics| panics.set(panics.get() + 1));
            before(info);
        }));
    });
    PANICS.set(0);
}

pub(super) fn panics() -> usize {
    PANICS.get()
}

/// Bytes that are counted while they are in memory.
pub(super) struct Payload(pub(super) Vec<u8>);

impl Payload {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        PAYLOADS.set(PAYLOADS.get() + 1);
        Self(bytes)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        PAYLOADS.set(PAYLOADS.get() - 1);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload::new(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A value whose decoding panics.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a `Deserialize` that panics")
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("refused {0}")]
pub(super) struct Refusal(pub(super) u32);

pub(super) struct Worker {
    ctx: Ctx,
}

/// Each method notes that it runs by the tag it is given.
#[durable_object]
impl Worker {
    pub fn tag(&mut self, tag: u32) -> u32 {
        RUNS.with_borrow_mut(|runs| runs.push(tag));
        tag
    }

    #[method(idempotent)]
    pub fn read(&mut self, tag: u32) -> u32 {
        self.tag(tag)
    }

    pub fn refuse(&mut self, tag: u32) -> Result<u32, Refusal> {
        self.tag(tag);
        Err(Refusal(tag))
    }

    pub fn echo(&mut self, tag: u32, payload: Payload) -> Payload {
        self.tag(tag);
        payload
    }

    pub fn make(&mut self, tag: u32, size: u32) -> Payload {
        self.tag(tag);
        Payload::new(vec![7; size as usize])
    }

    pub async fn slow(&mut self, tag: u32, millis: u64) -> u32 {
        self.tag(tag);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        tag
    }

    /// Runs until its caller is gone.
    #[method(concurrent)]
    pub async fn hold(&self, tag: u32, #[call] call: &CallInfo) {
        RUNS.with_borrow_mut(|runs| runs.push(tag));
        call.cancelled().await;
        ENDS.with_borrow_mut(|ends| ends.push(tag));
    }

    /// Calls `tag` where [`relay_to`] has said.
    #[method(concurrent)]
    pub async fn relay(&self, tag: u32) -> Result<u32, String> {
        let next = NEXT.with_borrow(Clone::clone).ok_or("nowhere to relay to")?;
        next.tag(tag).await.map_err(|error| error.to_string())
    }

    /// Calls `tag` of an object of the caller.
    #[method(concurrent)]
    pub async fn call_back(&self, tag: u32, #[call] call: &CallInfo) -> Result<u32, String> {
        let session = call.session().ok_or("not called over a session")?;
        let back: WorkerStub = session.get("back");
        back.tag(tag).await.map_err(|error| error.to_string())
    }

    pub fn name(&self) -> Option<String> {
        self.ctx.key().name().map(Into::into)
    }

    pub fn explode(&mut self, tag: u32, bomb: Bomb) -> u32 {
        let Bomb = bomb;
        self.tag(tag)
    }
}

impl DurableObject for Worker {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { ctx })
    }
}

/// In virtual time: longer than everything that may take long, so what is not over then hangs.
pub(super) const HANG: Duration = Duration::from_secs(120);

/// The output of `future`, which does not hang.
pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(HANG, future).await.expect("it hangs")
}

/// Lets everything happen that does so by itself. A second of virtual time: the paused clock goes on only when no
/// task has anything to do.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

pub(super) async fn start_node(limits: Limits) -> Node {
    forget_runs();
    watch_panics();
    Node::builder().object::<Worker>().object::<Broker>().limits(limits).start().await.unwrap()
}

/// A node, and a client that does nothing wrong and must not notice those who do.
pub(super) struct World {
    pub(super) node: Node,
    pub(super) network: Network,
    bystander: Client,
    stub: WorkerStub,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let node = start_node(limits).await;
        let network = Network::new(&node);
        let bystander = Network::new(&node).client().connect().await.unwrap();
        let stub = bystander.get("bystander");
        let world = Self { node, network, bystander, stub };
        world.undisturbed().await;
        world
    }

    /// The bystander's calls still work, over the connection it has had from the beginning.
    pub(super) async fn undisturbed(&self) {
        assert_eq!(soon(self.stub.tag(0)).await.unwrap(), 0);
        assert_eq!(panics(), 0);
    }

    /// What the node holds of its one other peer.
    pub(super) fn other(&self) -> SessionStats {
        let mut stats = node_stats(&self.node);
        let bystander = SessionStats { bound_objects: 1, ..SessionStats::default() };
        let at = stats.iter().position(|it| *it == bystander).expect("the bystander's session");
        stats.swap_remove(at);
        assert_eq!(stats.len(), 1, "{stats:?}");
        stats[0]
    }

    /// Nobody else is connected any more, and nothing is left of them.
    pub(super) async fn alone(&self) {
        self.undisturbed().await;
        settle().await;
        assert_eq!(node_stats(&self.node), [SessionStats { bound_objects: 1, ..SessionStats::default() }]);
        assert_eq!(payloads(), 0);
    }

    pub(super) async fn end(self) {
        self.alone().await;
        soon(self.bystander.close()).await;
        settle().await;
        assert_eq!(self.node.sessions(), 0);
        assert_eq!(panics(), 0);
    }
}

pub(super) fn kind<T: fmt::Debug, E: fmt::Debug>(result: Result<T, CallError<E>>) -> ErrorKind {
    rpc(result).kind()
}

pub(super) fn rpc<T: fmt::Debug, E: fmt::Debug>(result: Result<T, CallError<E>>) -> RpcError {
    match result {
        Err(CallError::Rpc(error)) => error,
        other => panic!("an error of the framework was expected, not {other:?}"),
    }
}
