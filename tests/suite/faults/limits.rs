//! Every bound, reached by a peer that wants to get beyond it.

use std::time::Duration;

use opendo::testing::{Network, node_stats};
use opendo::transport::envelope::EnvelopeKind;
use opendo::{ErrorKind, Limits, Node};
use tokio::io::AsyncWriteExt;

use super::raw::*;
use super::world::*;

#[tokio::test(start_paused = true)]
async fn more_calls_than_allowed_are_refused_and_those_allowed_run() {
    let world = World::with(Limits { max_calls: 3, ..Limits::default() }).await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.send(bind_worker(2, "other")).await;
    for id in 1..=8 {
        raw.send(call(id, 1, "hold", &[id as u8])).await;
    }
    for id in 4..=8 {
        let (refused, error) = raw.reply().await;
        let error = error.unwrap_err();
        assert_eq!((refused, error.kind, error.may_have_run), (id, ErrorKind::Overloaded, false));
    }
    settle().await;
    assert_eq!(all_runs(), [0, 1, 2, 3]);
    world.undisturbed().await;
    // One that ends makes room for one more.
    raw.send(cancel(2)).await;
    assert_eq!(raw.reply().await.0, 2);
    raw.works(9, 2).await;
    drop(raw);
    world.end().await;
}

/// A withdrawn call that still waits counts as long as it takes room.
#[tokio::test(start_paused = true)]
async fn withdrawing_calls_at_once_does_not_get_around_the_bound() {
    let world = World::with(Limits { max_calls: 3, ..Limits::default() }).await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.send(call(1, 1, "slow", &[1, 100])).await;
    for id in 2..=9 {
        raw.send(call(id, 1, "tag", &[9])).await;
        raw.send(cancel(id)).await;
    }
    let mut kinds = Vec::new();
    for _ in 1..=9 {
        kinds.push(raw.reply().await);
    }
    kinds.sort_by_key(|(id, _)| *id);
    assert_eq!(kinds[0], (1, Ok(vec![1])));
    for (id, result) in &kinds[1..] {
        let expected = if *id <= 3 { ErrorKind::Cancelled } else { ErrorKind::Overloaded };
        let error = result.as_ref().unwrap_err();
        assert_eq!((error.kind, error.may_have_run), (expected, false), "{id}");
    }
    assert_eq!(runs(9), 0);
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_object_named_too_many_ends_the_session() {
    let world = World::with(Limits { max_bindings: 3, ..Limits::default() }).await;
    let mut raw = Raw::greeted(&world.network).await;
    for import in 1..=100 {
        raw.send(bind_worker(import, "x")).await;
        raw.send(release(import)).await;
    }
    for import in 101..=103 {
        raw.send(bind_worker(import, "x")).await;
    }
    raw.works(1, 103).await;
    raw.send(bind_worker(104, "x")).await;
    let abort = raw.aborted().await;
    assert_eq!(abort.kind, ErrorKind::Protocol);
    assert!(abort.message.contains("more than 3 names"), "{}", abort.message);
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_may_be_as_large_as_allowed_and_no_larger() {
    let world = World::new().await;
    let raw_limit = 32 * 1024 * 1024_u32;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.works(1, 1).await;
    raw.send_bytes(&(raw_limit + 1).to_le_bytes()).await;
    raw.ended().await;
    drop(raw);
    world.end().await;
}

/// The peer has said how much it takes: what is more is an error at the sender, and the session goes on.
#[tokio::test(start_paused = true)]
async fn what_the_peer_does_not_take_is_not_sent() {
    let world = World::new().await;
    for max_message in [0, 1, 100, 1000] {
        let mut raw = Raw::new(&world.network);
        raw.send(hello_with(max_message, 0, b"")).await;
        raw.receive().await.unwrap();
        raw.send(describe_worker(0)).await;
        raw.send(bind_worker(1, "x")).await;
        raw.send(call(1, 1, "make", &[1, 0xd0, 0x0f])).await; // 2000 bytes
        let refusal = raw.refused().await;
        assert_eq!((refusal.kind, refusal.may_have_run), (ErrorKind::TooLarge, true));
        // It takes no calls either.
        raw.send(call(2, 1, "call_back", &[2])).await;
        let message = raw.receive().await.unwrap();
        assert_eq!(message[0], EnvelopeKind::Reply as u8, "no call, but the answer to ours");
        drop(raw);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_refuses_and_empties() {
    let world = World::with(Limits { max_mailbox: 2, ..Limits::default() }).await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.works(1, 1).await;
    raw.send(call(2, 1, "slow", &[2, 100])).await;
    settle_briefly().await;
    for id in 3..=6 {
        raw.send(call(id, 1, "tag", &[id as u8])).await;
    }
    for id in [5, 6] {
        let (refused, error) = raw.reply().await;
        assert_eq!((refused, error.unwrap_err().kind), (id, ErrorKind::Overloaded));
    }
    for id in 2..=4 {
        assert_eq!(raw.reply().await, (id, Ok(vec![id as u8])));
    }
    assert_eq!(all_runs(), [0, 9, 2, 3, 4]);
    drop(raw);
    world.end().await;
}

async fn settle_briefly() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn most_unsent(node: &Node) -> usize {
    node_stats(node).iter().map(|stats| stats.unsent_bytes).max().unwrap_or(0)
}

/// A peer that asks for much and takes nothing of it is cut off, and what waited for it is gone.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_its_replies_is_disconnected() {
    let world = World::with(Limits { max_unsent: 100_000, ..Limits::default() }).await;
    let mut raw = Raw::bound(&world.network, 1).await;
    let mut most = 0;
    for id in 1..=50 {
        // 16 KiB each.
        if raw.io.write_all(&frame(call(id, 1, "make", &[id as u8, 0x80, 0x80, 1]))).await.is_err() {
            break;
        }
        settle_briefly().await;
        most = most.max(most_unsent(&world.node));
    }
    assert!(most > 50_000 && most < 120_000, "{most}");
    world.undisturbed().await;
    settle().await;
    assert_eq!(most_unsent(&world.node), 0);
    drop(raw);
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.end().await;
}

/// The same with what needs no call at all: signs of life.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_its_signs_of_life_is_disconnected() {
    let world = World::with(Limits { max_unsent: 100_000, ..Limits::default() }).await;
    let mut raw = Raw::bound(&world.network, 1).await;
    let pings: Vec<u8> = (0..1000).flat_map(|_| frame(control(EnvelopeKind::Ping, &[]))).collect();
    let mut most = 0;
    for _ in 0..100 {
        let written = tokio::time::timeout(Duration::from_millis(10), raw.io.write_all(&pings)).await;
        most = most.max(most_unsent(&world.node));
        if !matches!(written, Ok(Ok(()))) {
            break; // nobody listens any more
        }
    }
    assert!(most > 90_000 && most < 120_000, "{most} bytes wait for a peer that reads nothing");
    world.undisturbed().await;
    drop(raw);
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.end().await;
}

/// A call that is read after its session was ended must not wait for a caller that is gone already.
#[tokio::test(start_paused = true)]
async fn a_call_that_arrives_as_its_session_is_cut_off_learns_it() {
    let world = World::with(Limits { max_unsent: 10_000, ..Limits::default() }).await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.works(1, 1).await;
    let mut script = Vec::new();
    for id in 2..=400 {
        // The replies of the first are too many; the driver has read only some of the calls by then.
        let message = if id < 100 { call(id, 1, "make", &[1, 0x80, 8]) } else { call(id, 1, "hold", &[5]) };
        script.extend(frame(message));
    }
    let _ = raw.io.write_all(&script).await;
    drop(raw);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(ends().len(), runs(5), "each `hold` that has begun has ended");
    world.end().await;
}

/// What a peer calls a class that is not there must not be kept once for each of its objects.
#[tokio::test(start_paused = true)]
async fn a_long_class_name_is_not_kept() {
    let world = World::new().await;
    let mut raw = Raw::new(&world.network);
    raw.greet().await;
    raw.send(describe(0, &"N".repeat(100_000), &[])).await;
    let abort = raw.aborted().await;
    assert_eq!(abort.kind, ErrorKind::Protocol);
    assert!(abort.message.len() < 1000);
    drop(raw);
    world.end().await;
}

/// Connections beyond the bound wait, whichever listener they come to, and a listener that waits holds no place.
#[tokio::test]
async fn sessions_beyond_the_bound_wait_for_one_to_end() {
    let node = start_node(Limits { max_sessions: 1, ..Limits::default() }).await;
    let addresses = ["memory:bound-1", "memory:bound-2", "memory:bound-3"];
    for address in addresses {
        node.listen(address).await.unwrap();
    }
    for address in addresses {
        let first = soon(opendo::connect(address)).await.unwrap();
        let stub: WorkerStub = first.get("x");
        assert_eq!(soon(stub.tag(1)).await, Ok(1));
        let (second, third) = (
            tokio::spawn(opendo::connect("memory:bound-1")),
            tokio::spawn(opendo::connect("memory:bound-3")),
        );
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!second.is_finished() && !third.is_finished());
        assert_eq!(node.sessions(), 1);
        drop(stub);
        soon(first.close()).await;
        let (second, third) = (soon(second), soon(third));
        // Whichever comes first must go before the other.
        tokio::pin!(second, third);
        let (client, other) = tokio::select! {
            client = &mut second => (client, third),
            client = &mut third => (client, second),
        };
        soon(client.unwrap().unwrap().close()).await;
        soon(other.await.unwrap().unwrap().close()).await;
    }
}

/// As many connections as there are places, none of which says hello: they do not keep others out for ever.
#[tokio::test(start_paused = true)]
async fn silent_connections_give_their_places_back() {
    let limits = Limits { max_sessions: 2, hello_timeout: Duration::from_secs(2), ..Limits::default() };
    let node = start_node(limits).await;
    node.listen("memory:silent").await.unwrap();
    let address: opendo::transport::Address = "memory:silent".parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(address.connect(&opendo::transport::Limits::default()).await.unwrap());
    }
    let client = soon(opendo::connect("memory:silent")).await.unwrap();
    let stub: WorkerStub = client.get("x");
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
    soon(client.close()).await;
}

/// On the client's side: the node says how many calls it takes, and the client keeps to it.
#[tokio::test(start_paused = true)]
async fn a_client_refuses_by_itself_what_its_node_would_refuse() {
    let node =
        start_node(Limits { max_calls: 2, max_message: 20_000, max_unsent: 50_000, ..Limits::default() })
            .await;
    let client = Network::new(&node).client().connect().await.unwrap();
    let stub: WorkerStub = client.get("x");
    let (one, two) = (stub.slow(1, 10), stub.slow(2, 10));
    let error = rpc(soon(stub.tag(3)).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Overloaded, false));
    assert_eq!((soon(one).await, soon(two).await), (Ok(1), Ok(2)));
    let error = rpc(soon(stub.echo(4, Payload::new(vec![0; 20_000]))).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::TooLarge, false));
    assert_eq!(soon(stub.tag(5)).await, Ok(5));
    assert_eq!(all_runs(), [1, 2, 5]);
    soon(client.close()).await;
}
