//! A disk, a node on it, and one way to the node.

use std::time::Duration;

use futures::poll;
use opendo::prelude::*;
use opendo::testing::{self, Disk};
use opendo::{ErrorKind, NodeBuilder, ToObjectId};
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::timeout;

/// How calls get from a case to its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    InProcess,
    Memory,
    Unix,
}

pub(crate) struct World {
    pub(crate) disk: Disk,
    pub(crate) node: Node,
    client: Option<Client>,
    _dir: TempDir,
}

/// A case that takes longer hangs.
const HANGS: Duration = Duration::from_secs(60);

impl World {
    pub(crate) async fn run<C>(way: Way, hosted: NodeBuilder, case: C)
    where
        C: AsyncFnOnce(&World) -> opendo::Result<()>,
    {
        let world = Self::new(way, hosted).await;
        timeout(HANGS, case(&world)).await.expect("the case hangs").unwrap();
    }

    async fn new(way: Way, hosted: NodeBuilder) -> Self {
        let disk = Disk::new();
        let node = testing::on_disk(hosted, &disk).start().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let address = match way {
            Way::InProcess => None,
            Way::Memory => Some(format!("memory:{}", dir.path().display())),
            Way::Unix => Some(format!("unix:{}", dir.path().join("node").display())),
        };
        let client = match address {
            None => None,
            Some(address) => {
                let address = node.listen(&address).await.unwrap();
                Some(opendo::connect(&address.to_string()).await.unwrap())
            }
        };
        Self { disk, node, client, _dir: dir }
    }

    /// A stub, by this world's way.
    pub(crate) fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        match &self.client {
            Some(client) => client.get(id),
            None => self.node.get(id),
        }
    }
}

/// Lets everything else run until nothing more can happen without us, near enough: for what must *not* happen.
pub(crate) async fn let_others_run() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// Sees that it has not come, although it had time to.
pub(crate) async fn is_pending<F: Future + Unpin>(what: &mut F) -> bool {
    let_others_run().await;
    poll!(what).is_pending()
}

/// What a failed call says: its kind, and whether it may have run.
pub(crate) fn failure<T, E>(result: Result<T, CallError<E>>) -> (ErrorKind, bool) {
    match result {
        Err(CallError::Rpc(error)) => (error.kind(), error.may_have_run()),
        Err(CallError::App(_)) => panic!("the method failed"),
        Ok(_) => panic!("it did not fail"),
    }
}

/// Runs each case on every way, against a node that hosts what `hosted()` beside the cases says.
macro_rules! every_way {
    ($($(#[doc = $doc:literal])* async fn $case:ident($world:ident: &World) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $case {
            use super::*;
            use crate::world::Way;

            async fn case($world: &World) -> opendo::Result<()> {
                $body
                #[allow(unreachable_code)]
                Ok(())
            }

            #[tokio::test]
            async fn in_process() {
                World::run(Way::InProcess, hosted(), case).await;
            }

            #[tokio::test]
            async fn memory() {
                World::run(Way::Memory, hosted(), case).await;
            }

            #[tokio::test]
            async fn unix() {
                World::run(Way::Unix, hosted(), case).await;
            }
        }
    )*};
}
