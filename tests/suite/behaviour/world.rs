//! One node and one way to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{self, SessionStats};
use opendo::{ClientBuilder, ErrorKind, Namespace, NodeBuilder, ToObjectId};
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::timeout;

/// How calls get from a case to its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    InProcess,
    Memory,
    Unix,
    Tcp,
    /// Our own protocol over WebSockets.
    WebSocket,
    /// Cap'n Web over WebSockets.
    Text,
    /// Cap'n Web in HTTP requests: each is a session, with the calls that were made before one of them was awaited.
    ///
    /// Only some cases can go this way: a stub that came in a result is of no use in the next batch, the server calls
    /// nobody back, and what a call waits for must not come from a later one, which goes with another request.
    Batch,
}

/// A node that hosts what the case needs, and the way to it.
pub(crate) struct World {
    pub(crate) node: Node,
    way: Way,
    address: String,
    client: Option<Client>,
    dir: Option<TempDir>,
}

/// A case that takes longer hangs: none of them waits for time to pass.
const HANGS: Duration = Duration::from_secs(60);

/// Turns of the scheduler in which a session must have settled.
const TURNS: usize = 100_000;

impl World {
    /// Runs `case` in a world of its own, and sees to it that it leaves nothing behind.
    pub(crate) async fn run<C>(way: Way, hosted: NodeBuilder, case: C)
    where
        C: AsyncFnOnce(&World) -> opendo::Result<()>,
    {
        let world = Self::new(way, hosted).await;
        timeout(HANGS, case(&world)).await.expect("the case hangs").unwrap();
        world.settled().await;
        if let Some(client) = &world.client {
            timeout(HANGS, client.close()).await.expect("the client does not close");
        }
    }

    async fn new(way: Way, hosted: NodeBuilder) -> Self {
        let node = hosted.start().await.unwrap();
        let dir = (way == Way::Unix).then(|| tempfile::tempdir().unwrap());
        let mut world = Self { node, way, address: String::new(), client: None, dir };
        world.address = world.node.listen(&world.another_address()).await.unwrap().to_string();
        if way != Way::InProcess {
            world.client = Some(world.dial().connect().await.unwrap());
        }
        world
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.client.is_some()
    }

    /// Whether this world's way is Cap'n Web, which cannot say all that our own protocol says.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.way, Way::Text | Way::Batch)
    }

    /// What a call fails with that needs a result which is an error of its method, where the other side knows both.
    pub(crate) fn failed_dependency(&self) -> (ErrorKind, bool) {
        // Cap'n Web hands on that error itself, and does not say that the call was not made.
        if self.is_text() { (ErrorKind::Thrown, true) } else { (ErrorKind::Failed, false) }
    }

    /// A stub, by this world's way.
    pub(crate) fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        match &self.client {
            Some(client) => client.get(id),
            None => self.node.get(id),
        }
    }

    /// The objects of the interface of `S`, by this world's way.
    pub(crate) fn namespace<S: Stub>(&self) -> Namespace<S> {
        self.class(S::INTERFACE.name)
    }

    /// The objects of the class of that name, by this world's way.
    pub(crate) fn class<S: Stub>(&self, class: &str) -> Namespace<S> {
        match &self.client {
            Some(client) => client.class(class),
            None => self.node.class(class),
        }
    }

    /// Another client of the node, over this world's transport; over memory when there is none.
    pub(crate) fn dial(&self) -> ClientBuilder {
        self.dial_at(&self.address)
    }

    /// A client of another node, by this world's way; over memory when there is none.
    pub(crate) fn dial_at(&self, address: &str) -> ClientBuilder {
        match self.way {
            Way::Text => Client::builder(address).text(),
            // The same server.
            Way::Batch => Client::builder(&address.replacen("ws:", "http:", 1)),
            _ => Client::builder(address),
        }
    }

    /// Where another node can listen: on this world's transport, or on memory when there is none.
    pub(crate) fn another_address(&self) -> String {
        match (&self.dir, self.way) {
            (Some(dir), _) => format!("unix:{}", dir.path().join(unique("node")).display()),
            (None, Way::Tcp) => "tcp://127.0.0.1:0".to_owned(),
            (None, Way::WebSocket | Way::Text | Way::Batch) => "ws://127.0.0.1:0".to_owned(),
            (None, _) => format!("memory:{}", unique("world")),
        }
    }

    /// Where the node listens: on this world's transport, or on memory when there is none.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What the sessions of both sides hold at the moment.
    pub(crate) fn stats(&self) -> Vec<SessionStats> {
        let mut sessions = testing::node_stats(&self.node);
        sessions.extend(self.client.as_ref().and_then(Client::session).map(|it| testing::stats(&it)));
        sessions
    }

    /// Waits until every call of every session was answered and written, and nothing is left of what they passed.
    pub(crate) async fn settled(&self) {
        for _ in 0..TURNS {
            if self.stats().iter().all(|stats| *stats == SessionStats::default()) {
                return;
            }
            yield_now().await;
        }
        panic!("something is left: {:?}", self.stats());
    }
}

/// Waits, without letting time pass, until that is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..TURNS {
        if is_so() {
            return;
        }
        yield_now().await;
    }
    panic!("not so, however long one waits: {what}");
}

/// A name that nothing else in this process has.
pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Lets everything else run until nothing more can happen without us, near enough: for what must *not* happen.
pub(crate) async fn let_others_run() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// Runs each case on every way, against a node that hosts what `hosted()` beside the cases says.
///
/// `#[test(…)]` above a case goes to `#[tokio::test(…)]`; `#[batch]` says that it can also go [by batches](Way::Batch).
macro_rules! every_way {
    ($($(#[doc = $doc:literal])* $(#[test($($how:tt)*)])? $(#[batch] $batch:vis)? async fn $case:ident($world:ident: &World) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $case {
            #[allow(unused_imports)]
            use super::*;
            use crate::behaviour::world::Way;

            async fn case($world: &World) -> opendo::Result<()> {
                $body
                #[allow(unreachable_code)]
                Ok(())
            }

            #[tokio::test$(($($how)*))?]
            async fn in_process() {
                World::run(Way::InProcess, hosted(), case).await;
            }

            #[tokio::test$(($($how)*))?]
            async fn memory() {
                World::run(Way::Memory, hosted(), case).await;
            }

            #[tokio::test$(($($how)*))?]
            async fn unix() {
                World::run(Way::Unix, hosted(), case).await;
            }

            #[tokio::test$(($($how)*))?]
            async fn tcp() {
                World::run(Way::Tcp, hosted(), case).await;
            }

            #[tokio::test$(($($how)*))?]
            async fn websocket() {
                World::run(Way::WebSocket, hosted(), case).await;
            }

            #[tokio::test$(($($how)*))?]
            async fn capnweb() {
                World::run(Way::Text, hosted(), case).await;
            }

            $(
                #[tokio::test]
                $batch async fn batch() {
                    World::run(Way::Batch, hosted(), case).await;
                }
            )?
        }
    )*};
}
