use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::Ledger;
use crate::engine::committer::Committer;
use crate::engine::memory::Memory;
use crate::node::WeakNode;
use crate::object::clock::Clock;
use crate::object::id::ObjectKey;
use crate::registry::wakes::Wakes;

async fn ledger() -> Arc<Ledger> {
    let wakes = Wakes::new(Clock::System);
    let committer = Committer::new(Arc::new(Memory::default()), Handle::current(), wakes);
    let ledger = Ledger::new(
        committer,
        WeakNode::none(),
        None,
        Arc::new(ObjectKey::kept("Room".into(), [7; 32], None)),
        Weak::new(),
    );
    ledger.open().await.unwrap();
    ledger
}

/// The reply of a method that has returned when its instance is thrown away, and that was not sealed yet.
#[tokio::test]
async fn what_is_said_behind_lost_writes_does_not_leave() {
    let ledger = ledger().await;
    ledger.write(("uk".into(), Some("v".into()))).unwrap();
    ledger.close();
    assert!(ledger.durable().await.unwrap_err().may_have_run());
    assert!(ledger.holds(), "others are told so, too");
    assert_eq!(ledger.get(vec!["uk".into()]).await.unwrap(), [None]);
}

#[tokio::test]
async fn what_is_said_behind_kept_writes_leaves() {
    let ledger = ledger().await;
    ledger.write(("uk".into(), Some("v".into()))).unwrap();
    ledger.end();
    ledger.durable().await.unwrap();
    assert_eq!(ledger.get(vec!["uk".into()]).await.unwrap(), [Some("v".into())]);
}
