//! One conversation, cut at every byte.

use std::ops::Range;

use opendo::prelude::*;
use opendo::testing::{Direction, Network, SessionStats, node_stats, stats};
use opendo::{ErrorKind, Limits};

use super::world::*;

/// Of the long argument and the long reply, bytes near the ends are all tried, and of those inside every so many.
const STRIDE: u64 = 11;
const MARGIN: u64 = 160;

/// What a call came to, which the promises of the client judge: see [`Client`].
fn judge<T, E>(tag: u32, result: &Result<T, CallError<E>>) {
    let ran = runs(tag);
    match result {
        Ok(_) | Err(CallError::App(_)) => assert_eq!(ran, 1, "call {tag} was answered"),
        Err(CallError::Rpc(error)) => {
            assert_eq!(error.kind(), ErrorKind::Disconnected, "call {tag}: {error}");
            assert!(error.is_retryable());
            assert!(error.target().is_some_and(|target| target.starts_with("Worker/")), "{error}");
            assert!(ran <= 1, "call {tag} ran {ran} times");
            assert!(ran == 0 || error.may_have_run(), "call {tag} ran: {error}");
        }
    }
}

/// Says something of everything, and returns between which bytes the long argument and reply went.
async fn talk(network: &Network, client: &Client) -> [Range<u64>; 2] {
    let [a, b, c]: [WorkerStub; 3] = ["a", "b", "c"].map(|name| client.get(name));
    let (first, second, third) = (a.tag(1), b.tag(2), a.refuse(3));
    judge(2, &soon(second).await);
    judge(1, &soon(first).await);
    judge(3, &soon(third).await);
    // Made again by itself when the connection is lost.
    assert_eq!(soon(b.read(11)).await, Ok(11));
    assert!((1..=2).contains(&runs(11)));

    let echoed = soon(b.echo(4, Payload::new(vec![4; 300]))).await;
    judge(4, &echoed);
    assert!(echoed.is_err() || echoed.unwrap().0 == [4; 300]);

    // One that runs while others come and go, and then is withdrawn.
    let held = c.hold(5);
    let (slow, behind) = (a.slow(6, 10), a.tag(7));
    judge(6, &soon(slow).await);
    judge(7, &soon(behind).await);
    drop(held);
    drop(c);

    let before = [Direction::ToNode, Direction::ToClient].map(|way| network.bytes(way));
    let large: Vec<u8> = (0..20 * 1024_u32).map(|at| at as u8).collect();
    let echoed = soon(a.echo(8, Payload::new(large.clone()))).await;
    judge(8, &echoed);
    assert!(echoed.is_err() || echoed.unwrap().0 == large);
    let after = [Direction::ToNode, Direction::ToClient].map(|way| network.bytes(way));
    drop(b);

    // Whatever has happened: at the latest the second time, since there was one cut.
    let again = soon(a.tag(9)).await;
    judge(9, &again);
    if again.is_err() {
        assert_eq!(soon(a.tag(10)).await, Ok(10));
    }
    [before[0]..after[0], before[1]..after[1]]
}

/// Returns how many bytes went each way, and where the long ones were.
async fn conversation(cut: Option<(Direction, u64)>) -> ([u64; 2], [Range<u64>; 2]) {
    let node = start_node(Limits::default()).await;
    let network = Network::new(&node);
    if let Some((direction, bytes)) = cut {
        network.cut_after(direction, bytes);
    }
    let client = match soon(network.client().connect()).await {
        Ok(client) => client,
        Err(error) => {
            assert!(network.has_cut(), "{error}");
            let error = RpcError::from(error);
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, false), "{error}");
            soon(network.client().connect()).await.unwrap()
        }
    };
    let long = talk(&network, &client).await;

    settle().await;
    let held: Vec<_> = all_runs().into_iter().filter(|tag| *tag == 5).collect();
    assert_eq!(ends(), held, "the method whose caller is gone has learned it");
    // All stubs are gone.
    let session = client.session().expect("the client has healed");
    assert_eq!(stats(&session), SessionStats::default());
    assert_eq!(node_stats(&node), [SessionStats::default()]);
    let session_was_over = cut.is_some() && !network.has_cut();
    soon(client.close()).await;
    settle().await;
    assert_eq!(node.sessions(), 0);
    let live: Vec<_> = node.live::<WorkerStub>().iter().map(|id| id.name().map(str::to_owned)).collect();
    assert!(live.len() <= 3, "{live:?}");
    assert_eq!(payloads(), 0);
    assert_eq!(panics(), 0);
    let bytes = [Direction::ToNode, Direction::ToClient].map(|way| network.bytes(way));
    if cut.is_some() {
        assert!(network.has_cut());
        // Only the very last message, with which the client says good-bye, is not worth another connection.
        assert!(network.connections() == 2 || session_was_over, "{}", network.connections());
    }
    (bytes, long)
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// Cuts at every byte that is in `part` of the conversation.
fn cut_everywhere(direction: Direction, part: impl Fn(u64, &Range<u64>) -> bool) {
    let (bytes, long) = run(conversation(None));
    let way = usize::from(direction == Direction::ToClient);
    let (total, long) = (bytes[way], &long[way]);
    assert!(long.end - long.start > 20 * 1024, "{long:?}");
    let mut cuts = 0;
    for at in (0..total).filter(|at| part(*at, long)) {
        let cut = std::panic::catch_unwind(|| run(conversation(Some((direction, at)))));
        assert!(cut.is_ok(), "cut {direction:?} after {at} of {total} bytes; the long ones are {long:?}");
        cuts += 1;
    }
    println!("{direction:?}: {cuts} cuts in {total} bytes");
}

fn short(at: u64, long: &Range<u64>) -> bool {
    !long.contains(&at) || at < long.start + MARGIN || at + MARGIN >= long.end
}

fn inside(at: u64, long: &Range<u64>) -> bool {
    !short(at, long) && at.is_multiple_of(STRIDE)
}

#[test]
fn calls_survive_a_cut_at_every_byte_to_the_node() {
    cut_everywhere(Direction::ToNode, short);
}

#[test]
fn calls_survive_a_cut_at_every_byte_to_the_client() {
    cut_everywhere(Direction::ToClient, short);
}

#[test]
fn calls_survive_cuts_inside_a_long_argument() {
    cut_everywhere(Direction::ToNode, inside);
}

#[test]
fn calls_survive_cuts_inside_a_long_reply() {
    cut_everywhere(Direction::ToClient, inside);
}

#[test]
fn the_conversation_is_the_same_every_time() {
    assert_eq!(run(conversation(None)), run(conversation(None)));
}
