//! Clients whose connections come and go.

use std::sync::Arc;
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Direction, Network, SessionStats, node_stats, stats};
use opendo::transport::{Connection, TransportError, memory};
use opendo::{ErrorKind, Limits};
use tokio::time::Instant;

use super::world::*;

async fn connected() -> (Node, Network, Client, WorkerStub) {
    let node = start_node(Limits::default()).await;
    let network = Network::new(&node);
    let client = network.client().patience(Duration::from_secs(3)).connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    assert_eq!(soon(stub.tag(0)).await, Ok(0));
    (node, network, client, stub)
}

#[tokio::test(start_paused = true)]
async fn calls_made_while_down_wait_in_their_order() {
    let (node, network, client, stub) = connected().await;
    network.refuse(true);
    network.cut();
    let other: WorkerStub = client.get("a");
    let mut calls = Vec::new();
    for tag in 1..=20 {
        calls.push(if tag % 2 == 0 { stub.tag(tag) } else { other.tag(tag) });
        if tag == 5 {
            settle().await; // the first may not have noticed yet that the connection is lost
        }
    }
    // These are withdrawn before they can be sent.
    drop(calls.remove(9));
    drop(stub.tag(99));
    Call::detach(stub.tag(21));
    network.refuse(false);
    for call in calls {
        match soon(call).await {
            Ok(_) => {}
            Err(error) => assert!(runs(0) == 1 && !error.may_have_run(), "{error}"),
        }
    }
    settle().await;
    let ran = all_runs();
    let expected: Vec<u32> = (0..=21).filter(|tag| *tag != 10).collect();
    let missing: Vec<_> = expected.iter().filter(|tag| !ran.contains(tag)).collect();
    assert!(missing.is_empty() || missing.iter().all(|tag| **tag <= 5), "{ran:?}");
    assert!(ran.is_sorted(), "{ran:?}");
    assert_eq!((runs(10), runs(99), runs(21)), (0, 0, 1));
    soon(client.close()).await;
    settle().await;
    assert_eq!(node.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_patience_is_over_calls_fail_and_have_not_run() {
    let (_node, network, client, stub) = connected().await;
    network.refuse(true);
    network.cut();
    tokio::task::yield_now().await;
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = [stub.tag(1), stub.tag(2)];
    for call in calls {
        let error = rpc(soon(call).await);
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, false));
        assert!(error.is_retryable());
        assert!(error.message().contains("no connection"), "{error}");
    }
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(2900) && waited < Duration::from_millis(3100), "{waited:?}");
    // From now on at once.
    let begin = Instant::now();
    assert_eq!(kind(soon(stub.tag(3)).await), ErrorKind::Disconnected);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert!(client.session().is_none());
    network.refuse(false);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(soon(stub.tag(4)).await, Ok(4));
    assert_eq!(all_runs(), [0, 4]);
}

#[tokio::test(start_paused = true)]
async fn without_patience_calls_fail_at_once() {
    let node = start_node(Limits::default()).await;
    let network = Network::new(&node);
    let client = network.client().patience(Duration::ZERO).connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    network.refuse(true);
    network.cut();
    settle().await;
    let begin = Instant::now();
    assert_eq!(kind(soon(stub.tag(1)).await), ErrorKind::Disconnected);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    network.refuse(false);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(soon(stub.tag(2)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn attempts_come_at_growing_distances() {
    let node = start_node(Limits::default()).await;
    let network = Network::new(&node);
    let attempts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, through) = (attempts.clone(), network.clone());
    let client = Client::over(move || {
        log.lock().unwrap().push(Instant::now());
        std::future::ready(through.connect())
    });
    let client = client.patience(Duration::from_secs(1)).connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    tokio::time::sleep(Duration::from_secs(20)).await;
    attempts.lock().unwrap().clear();
    network.refuse(true);
    let lost = Instant::now();
    network.cut();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let attempts = attempts.lock().unwrap().clone();
    assert!(attempts[0] - lost < Duration::from_millis(5), "the first is made at once");
    let gaps: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((10..25).contains(&gaps.len()), "{gaps:?}");
    assert!(gaps[0] >= Duration::from_millis(20) && gaps[0] < Duration::from_millis(100), "{gaps:?}");
    // Jitter adds, and never so much that the next but one is not longer.
    assert!(gaps.windows(3).take(6).all(|gaps| gaps[2] > gaps[0]), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(10)), "{gaps:?}");
    network.refuse(false);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_loses_everything_is_noticed() {
    let (node, network, client, stub) = connected().await;
    let limits = Limits::default();
    let call = stub.tag(1);
    network.half_open(true);
    let begin = Instant::now();
    let error = rpc(soon(call).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, true), "{error}");
    assert!(begin.elapsed() <= limits.keepalive_interval + limits.keepalive_timeout);
    // The hello of the next connection is lost as well.
    tokio::time::sleep(limits.hello_timeout + Duration::from_secs(1)).await;
    assert!(client.session().is_none());
    network.half_open(false);
    tokio::time::sleep(limits.hello_timeout * 2).await;
    assert_eq!(soon(stub.tag(2)).await, Ok(2));
    tokio::time::sleep(limits.keepalive_interval + limits.keepalive_timeout).await;
    assert_eq!(node.sessions(), 1, "the node has noticed too");
    assert_eq!(node_stats(&node), [SessionStats { bound_objects: 1, ..Default::default() }]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept() {
    let (_node, network, _client, stub) = connected().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
    assert_eq!(network.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_while_down_fails_what_waits() {
    let (_node, network, client, stub) = connected().await;
    network.refuse(true);
    network.cut();
    settle().await;
    let waiting = stub.tag(1);
    let begin = Instant::now();
    soon(client.close()).await;
    soon(client.close()).await;
    for call in [waiting, stub.tag(2)] {
        let error = rpc(soon(call).await);
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Closed, false));
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    network.refuse(false);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((network.connections(), all_runs()), (1, vec![0]));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_calls_in_flight() {
    let (node, _network, client, stub) = connected().await;
    let running = stub.slow(1, 500);
    let begin = Instant::now();
    soon(client.close()).await;
    assert!(begin.elapsed() >= Duration::from_millis(500));
    assert_eq!(soon(running).await, Ok(1));
    assert_eq!(kind(soon(stub.tag(2)).await), ErrorKind::Closed);
    settle().await;
    assert_eq!(node.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_is_delivered_though_client_and_stubs_are_dropped_at_once() {
    for large in [false, true] {
        let (node, _network, client, stub) = connected().await;
        if large {
            Call::detach(stub.echo(1, Payload::new(vec![1; 100_000])));
        } else {
            Call::detach(stub.slow(1, 300));
        }
        drop((client, stub));
        settle().await;
        assert_eq!(runs(1), 1);
        assert_eq!(node.sessions(), 0);
        assert_eq!(payloads(), 0);
    }
}

/// A call that waits for a connection may be the last that holds its object. (A regression here is a deadlock.)
#[tokio::test(start_paused = true)]
async fn a_withdrawn_call_of_a_dropped_stub_does_not_stop_the_client() {
    let (_node, network, client, stub) = connected().await;
    network.refuse(true);
    network.cut();
    settle().await;
    let forgotten: WorkerStub = client.get("b");
    drop(forgotten.tag(1));
    Call::detach(forgotten.tag(2));
    drop(forgotten);
    network.refuse(false);
    settle().await;
    assert_eq!(soon(stub.tag(3)).await, Ok(3));
    assert_eq!((runs(1), runs(2)), (0, 1));
    settle().await;
    assert_eq!(stats(&client.session().unwrap()), SessionStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_again_and_again_heals_each_time() {
    let (node, network, client, stub) = connected().await;
    for round in 0..50_u32 {
        let way = if round % 2 == 0 { Direction::ToNode } else { Direction::ToClient };
        network.cut_after(way, 100 + u64::from(round) * 7);
        let mut tag = 1 + round * 100;
        while !network.has_cut() {
            let result = soon(stub.tag(tag)).await;
            assert!(result.is_ok() || kind(result) == ErrorKind::Disconnected);
            assert!(runs(tag) <= 1);
            tag += 1;
        }
        assert!(tag % 100 < 60, "each cut comes");
        // A connection that lives shorter counts as none, and the next one is not made at once.
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    soon(client.close()).await;
    settle().await;
    assert_eq!(node.sessions(), 0);
}

/// The node takes leave of one client: what runs is answered, and the next calls come over another connection.
#[tokio::test(start_paused = true)]
async fn a_session_that_the_node_closes_is_replaced() {
    let node = start_node(Limits::default()).await;
    let sessions = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (server, log) = (node.clone(), sessions.clone());
    let client = Client::over(move || {
        let (server, log) = (server.clone(), log.clone());
        async move {
            let (ours, theirs) = memory::pair::<opendo::transport::kind::Bytes>(8);
            tokio::spawn(async move {
                let session = server.serve_connection(Connection::new(theirs)).await.unwrap();
                log.lock().unwrap().push(session);
            });
            Ok::<_, TransportError>(Connection::new(ours))
        }
    });
    let client = client.connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    let running = stub.slow(1, 500);
    settle_briefly().await;
    let first = sessions.lock().unwrap()[0].clone();
    let closing = tokio::spawn(async move { first.close().await });
    settle_briefly().await;
    let other: WorkerStub = client.get("b");
    assert_eq!(soon(other.tag(2)).await, Ok(2));
    assert!(!closing.is_finished(), "a call still runs there");
    assert_eq!((sessions.lock().unwrap().len(), node.sessions()), (2, 2));
    assert_eq!(soon(running).await, Ok(1));
    soon(closing).await.unwrap();
    settle().await;
    assert_eq!(node.sessions(), 1);
    assert_eq!(soon(stub.tag(3)).await, Ok(3));
    assert_eq!(sessions.lock().unwrap().len(), 2);
}

async fn settle_briefly() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
