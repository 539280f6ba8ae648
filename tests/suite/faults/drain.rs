//! Nodes that end: in order, and when order takes too long.

use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Network, node_stats};
use opendo::{ErrorKind, Limits, ListenError};

use super::world::*;

/// Yields often enough for everything that needs no time.
async fn turn() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// A node goes, the next one comes on the same address, and a client notices nothing but a pause.
async fn restart(address: &str) {
    let first = start_node(Limits::default()).await;
    let address = first.listen(address).await.unwrap().to_string();
    let client = opendo::connect(&address).await.unwrap();
    let stub: WorkerStub = client.get("a");
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
    let running = stub.slow(2, 200);
    while runs(2) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ending = first.clone();
    let shutdown = tokio::spawn(async move { ending.shutdown(Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(opendo::connect(&address).await.is_err(), "nobody listens any more");
    assert!(matches!(first.listen("memory:too-late").await, Err(ListenError::Closed)));
    // Made while there is no node, or none that takes it: it waits for the next.
    let next_call = stub.tag(3);
    assert!(!shutdown.is_finished());
    let second = Node::builder().object::<Worker>().start().await.unwrap();
    second.listen(&address).await.unwrap();
    assert_eq!(soon(next_call).await, Ok(3));
    assert_eq!(soon(running).await, Ok(2), "what runs is answered");
    soon(shutdown).await.unwrap();
    assert_eq!((first.live::<WorkerStub>().len(), second.live::<WorkerStub>().len()), (0, 1));
    assert_eq!(all_runs(), [1, 2, 3]);
    let local: WorkerStub = first.get("a");
    assert_eq!(kind(soon(local.tag(4)).await), ErrorKind::Closed);
    soon(client.close()).await;
    while first.sessions() + second.sessions() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_replaced_on_a_memory_address() {
    restart("memory:restart").await;
}

#[tokio::test]
async fn a_node_is_replaced_on_a_unix_address() {
    let folder = tempfile::tempdir().unwrap();
    restart(&format!("unix:{}", folder.path().join("socket").display())).await;
}

#[tokio::test]
async fn a_node_is_replaced_on_a_tcp_address() {
    restart("tcp://127.0.0.1:0").await;
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_grace_is_cut_off() {
    let node = start_node(Limits::default()).await;
    let client = Network::new(&node).client().patience(Duration::ZERO).connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    let held = stub.hold(1);
    settle().await;
    let begin = tokio::time::Instant::now();
    soon(node.shutdown(Duration::from_secs(2))).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    let error = rpc(soon(held).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, true), "{error}");
    settle().await;
    assert_eq!((ends(), node.sessions()), (vec![1], 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_dropped_ends_its_sessions() {
    let node = start_node(Limits::default()).await;
    node.listen("memory:dropped").await.unwrap();
    let client = Client::builder("memory:dropped").patience(Duration::ZERO).connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    let held = stub.hold(1);
    settle().await;
    drop(node);
    let error = rpc(soon(held).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, true), "{error}");
    settle().await;
    assert_eq!(ends(), [1]);
    assert!(opendo::connect("memory:dropped").await.is_err());
}

#[tokio::test]
async fn several_listeners_lead_to_the_same_objects() {
    let node = start_node(Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("socket").display());
    let mut clients = Vec::new();
    for address in ["memory:several", &unix, "tcp://127.0.0.1:0"] {
        let address = node.listen(address).await.unwrap().to_string();
        clients.push(opendo::connect(&address).await.unwrap());
    }
    let stubs: Vec<WorkerStub> = clients.iter().map(|client| client.get("one")).collect();
    for tag in 0..30 {
        assert_eq!(soon(stubs[tag as usize % 3].tag(tag)).await, Ok(tag));
    }
    assert_eq!(all_runs(), (0..30).collect::<Vec<_>>());
    assert_eq!((node.live::<WorkerStub>().len(), node.sessions()), (1, 3));
    soon(node.shutdown(Duration::from_secs(20))).await;
    assert_eq!(node.sessions(), 0);
}

/// Two nodes over one connection, each the other's caller.
async fn couple(address: &str) -> (Node, Node, Client, WorkerStub) {
    let (near, far) = (start_node(Limits::default()).await, start_node(Limits::default()).await);
    far.listen(address).await.unwrap();
    let client = near.client(address).connect().await.unwrap();
    let stub: WorkerStub = client.get("far");
    (near, far, client, stub)
}

#[tokio::test(start_paused = true)]
async fn two_nodes_call_each_other_over_one_connection() {
    let (near, far, client, stub) = couple("memory:couple").await;
    let calls: Vec<_> = (0..20).map(|tag| stub.call_back(tag)).collect();
    for (tag, call) in (0..).zip(calls) {
        assert_eq!(soon(call).await, Ok(tag));
    }
    assert_eq!((near.live::<WorkerStub>().len(), far.live::<WorkerStub>().len()), (1, 1));
    assert_eq!((near.sessions(), far.sessions()), (0, 1));
    drop(stub);
    settle().await;
    assert_eq!(node_stats(&far), [Default::default()]);
    assert_eq!(opendo::testing::stats(&client.session().unwrap()), Default::default());
    soon(client.close()).await;
    settle().await;
    assert_eq!(far.sessions(), 0);
}

/// Each side takes leave while it serves a call of the other.
#[tokio::test(start_paused = true)]
async fn both_sides_may_take_leave_at_once() {
    for first in [true, false] {
        let address = if first { "memory:leave-1" } else { "memory:leave-2" };
        let (_near, far, client, stub) = couple(address).await;
        assert_eq!(soon(stub.tag(0)).await, Ok(0));
        let running = stub.slow(1, 300);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (ending, closing) = (far.clone(), client.clone());
        let shutdown = async move { ending.shutdown(Duration::from_secs(60)).await };
        let close = async move { closing.close().await };
        let begin = tokio::time::Instant::now();
        let both = async {
            if first {
                tokio::join!(shutdown, close)
            } else {
                tokio::join!(close, shutdown)
            };
        };
        soon(both).await;
        assert!(begin.elapsed() < Duration::from_secs(1), "neither waits for the other");
        assert_eq!(soon(running).await, Ok(1));
        settle().await;
        assert_eq!(far.sessions(), 0);
    }
}

/// Calls that cross a farewell on their way have not run, and say so.
#[tokio::test(start_paused = true)]
async fn a_call_that_crosses_a_farewell_has_not_run_and_says_so() {
    for turns in 0..40 {
        let node = start_node(Limits::default()).await;
        let network = Network::new(&node);
        let client = network.client().patience(Duration::ZERO).connect().await.unwrap();
        let stub: WorkerStub = client.get("a");
        assert_eq!(soon(stub.tag(0)).await, Ok(0));
        let ending = node.clone();
        let shutdown = tokio::spawn(async move { ending.shutdown(Duration::from_secs(20)).await });
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        match soon(stub.tag(1)).await {
            Ok(_) => assert_eq!(runs(1), 1),
            Err(error) => {
                assert!(error.is_retryable(), "{turns}: {error}");
                assert_eq!((runs(1), error.may_have_run()), (0, false), "{turns}: {error}");
            }
        }
        soon(shutdown).await.unwrap();
        turn().await;
    }
}
