//! The bounds on what is passed, kept and streamed: reached by peers that want to get beyond them, and by those who
//! do not know better.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use opendo::testing::{Network, SessionStats};
use opendo::transport::envelope::EnvelopeKind;
use opendo::{ErrorKind, Limits, RpcStream};

use super::beside::Beside::*;
use super::beside::*;
use super::broker::*;
use super::raw::*;
use super::world::*;

async fn capabilities(max: u32) -> World {
    World::with(Limits { max_capabilities: max, ..Limits::default() }).await
}

/// A peer that makes us give and give: it gets so much, and nobody else gets less.
#[tokio::test(start_paused = true)]
async fn a_peer_that_releases_nothing_is_given_no_more() {
    let world = capabilities(3).await;
    let mut raw = Raw::brokered(&world.network).await;
    for id in 1..=3 {
        raw.send(call_of::<BrokerStub>(id, 1, "give", &[], &[])).await;
        assert!(raw.answer(id).await.is_ok());
    }
    for id in 4..=9 {
        raw.send(call_of::<BrokerStub>(id, 1, "give", &[], &[])).await;
        let error = raw.answer(id).await.unwrap_err();
        assert_eq!((error.kind, error.may_have_run), (ErrorKind::Overloaded, true), "{error:?}");
    }
    settle().await;
    assert_eq!((world.other().exports, listeners()), (3, 3), "what was not passed is gone");
    // What passes nothing works, and so does what others are given.
    raw.send(call_of::<BrokerStub>(10, 1, "number", &[], &[4])).await;
    assert_eq!(raw.answer(10).await, Ok(vec![4]));
    let client = world.network.client().connect().await.unwrap();
    let broker: BrokerStub = client.get("another");
    let given = [soon(broker.give()).await.unwrap(), soon(broker.give()).await.unwrap()];
    assert_eq!(soon(given[1].hear(1)).await, Ok(1));
    drop((given, broker));
    soon(client.close()).await;
    // One released makes room for one; several at once do not fit.
    raw.send(release(-2)).await;
    raw.send(call_of::<BrokerStub>(11, 1, "give_many", &[], &[2])).await;
    assert_eq!(raw.answer(11).await.unwrap_err().kind, ErrorKind::Overloaded);
    raw.send(call_of::<BrokerStub>(12, 1, "give", &[], &[])).await;
    assert!(raw.answer(12).await.is_ok());
    settle().await;
    assert_eq!((world.other().exports, listeners()), (3, 3));
    drop(raw);
    world.alone().await;
    assert_eq!(listeners(), 0);
    world.end().await;
}

/// The bound is the smaller one of the two sides.
#[tokio::test(start_paused = true)]
async fn a_peer_is_given_no_more_than_it_takes() {
    let world = World::new().await;
    for max in [0, 1] {
        let mut raw = Raw::brokered_after(&world.network, hello_all(1 << 20, 1000, max, 1 << 20, b"")).await;
        for id in 1..=2 {
            raw.send(call_of::<BrokerStub>(id, 1, "give", &[], &[])).await;
            let given = raw.answer(id).await;
            assert_eq!(given.is_ok(), id <= u64::from(max), "{given:?}");
        }
        drop(raw);
        world.alone().await;
        assert_eq!(listeners(), 0);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_passes_too_much_ends_its_session() {
    let world = capabilities(3).await;
    let mut raw = Raw::brokered(&world.network).await;
    // As much as it likes, as long as it is let go.
    for id in 1..=20 {
        let export = -3 * id as i64;
        let passes = [Mine(export, 1), Mine(export - 1, 1), Mine(export - 2, 1)];
        raw.send(call_of::<BrokerStub>(id, 1, "number", &passes, &[1])).await;
        assert!(raw.answer(id).await.is_ok());
    }
    for id in 21..=23 {
        raw.send(call_of::<BrokerStub>(id, 1, "keep", &[Mine(-100 - id as i64, 1)], &[0])).await;
        assert!(raw.answer(id).await.is_ok());
    }
    raw.send(call_of::<BrokerStub>(24, 1, "number", &[Mine(-200, 1)], &[1])).await;
    let abort = raw.aborted().await;
    assert_eq!(abort.kind, ErrorKind::Protocol);
    assert!(abort.message.contains("more than 3 capabilities"), "{abort:?}");
    drop(raw);
    world.end().await;
}

/// Whatever it is that there is too much of, and wherever in the message it hides.
#[tokio::test(start_paused = true)]
async fn a_message_with_too_many_descriptors_ends_its_session() {
    let world = capabilities(3).await;
    let four = |it: Beside| vec![it; 4];
    for passes in [
        four(Yours(1)),
        four(Result(1)),
        four(Value(vec![], vec![])),
        (2..6).map(Stream).collect(),
        (2..6).map(|id| Mine(-id, 1)).collect(),
        vec![Value(vec![], four(Yours(1)))],
        vec![Value(vec![], (2..6).map(Stream).collect())],
        vec![Value(vec![], vec![Yours(1); 100_000])],
    ] {
        let mut raw = Raw::brokered(&world.network).await;
        raw.send(keep_of::<BrokerStub>(1, 1, "number", &[], &[1])).await;
        raw.answer(1).await.unwrap();
        raw.send(call_of::<BrokerStub>(2, 1, "number", &passes, &[1])).await;
        let abort = raw.aborted().await;
        assert_eq!(abort.kind, ErrorKind::Protocol);
        assert!(abort.message.contains("too many capabilities") || abort.message.contains("more than 3"));
        drop(raw);
        world.alone().await;
    }
    world.end().await;
}

/// A client does not pass what its node would not take: one call fails, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_client_passes_no_more_than_its_node_takes() {
    let world = capabilities(3).await;
    let client = world.network.client().connect().await.unwrap();
    let broker: BrokerStub = client.get("broker");
    for count in 1..=3 {
        assert_eq!(soon(broker.keep(Listener::stub())).await, Ok(count));
    }
    for _ in 0..3 {
        let error = rpc(soon(broker.keep(Listener::stub())).await);
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Overloaded, false), "{error}");
    }
    let error = rpc(soon(broker.keep_all((0..2).map(|_| Listener::stub()).collect())).await);
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    settle().await;
    assert_eq!(listeners(), 3, "what was not passed is gone");
    assert_eq!(soon(broker.number(1)).await, Ok(1));
    soon(broker.forget()).await.unwrap();
    settle().await;
    assert_eq!(listeners(), 0);
    assert_eq!(soon(broker.keep(Listener::stub())).await, Ok(1));
    soon(broker.forget()).await.unwrap();
    drop(broker);
    soon(client.close()).await;
    world.end().await;
}

/// Streams that nobody takes are capabilities as well: each is a task and a window of bytes.
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_writes_is_given_few_streams() {
    let world = capabilities(3).await;
    let mut raw =
        Raw::brokered_after(&world.network, hello_all(1 << 20, u32::MAX, u32::MAX, u64::MAX, b"")).await;
    let mut given = 0;
    let mut writes = 0;
    for id in 1..=20 {
        raw.send(call_of::<BrokerStub>(id, 1, "write", &[], &[5, 3])).await;
        loop {
            let message = raw.receive().await.unwrap();
            match message[0] {
                kind if kind == EnvelopeKind::Call as u8 => writes += 1,
                kind if kind == EnvelopeKind::Reply as u8 => {
                    given += usize::from(message[message.len() - 2..] != [0, 0]);
                    break;
                }
                _ => {}
            }
        }
    }
    settle().await;
    let held = world.other();
    assert!(held.pending_calls <= 3 * 6, "{given} streams, {writes} writes, {held:?}");
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_wait_for_a_result_as_may_and_no_more() {
    let world = World::with(Limits { max_pipelined: 3, ..Limits::default() }).await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(keep_of::<BrokerStub>(1, 1, "want", &[], &[])).await;
    raw.send(bind_result(2, 1, 1, &[])).await;
    raw.send(bind_result(3, 1, 1, &["first"])).await;
    for id in 2..=4 {
        raw.send(call_of::<ListenerStub>(id, 2, "hear", &[], &[id as u8])).await;
    }
    // Whichever way they wait.
    raw.send(call_of::<ListenerStub>(5, 3, "hear", &[], &[5])).await;
    raw.send(call_of::<BrokerStub>(6, 1, "square", &[Result(1)], &[1, 0])).await;
    raw.send(call_of::<BrokerStub>(7, 1, "tell", &[Yours(2)], &[0, 7])).await;
    for id in 5..=6 {
        let error = raw.answer(id).await.unwrap_err();
        assert_eq!((error.kind, error.may_have_run), (ErrorKind::Overloaded, false), "{error:?}");
    }
    let (message, _) = raw.after_releases(EnvelopeKind::Reply).await;
    assert!(String::from_utf8_lossy(&message).contains("3 calls wait for a result"));
    raw.send(call_of::<BrokerStub>(8, 1, "give", &[], &[])).await;
    raw.answer(8).await.unwrap();
    raw.send(call_of::<BrokerStub>(9, 1, "offer", &[Yours(-1)], &[0])).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(raw.receive().await.unwrap()[2]);
    }
    answers.sort_unstable();
    assert_eq!(answers, [1, 2, 3, 4, 9]);
    assert_eq!(heard(), [2, 3, 4]);
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_calls_wait_in_numbers_gets_errors_for_those_beyond() {
    let world = World::with(Limits { max_pipelined: 3, ..Limits::default() }).await;
    let client = world.network.client().connect().await.unwrap();
    let broker: BrokerStub = client.get("broker");
    let wanted = broker.want();
    let calls: Vec<_> = (1..=5).map(|what| wanted.hear(what)).collect();
    settle().await;
    assert_eq!(soon(broker.offer(Listener::stub())).await, Ok(true));
    for (at, call) in calls.into_iter().enumerate() {
        match soon(call).await {
            Ok(_) => assert!(at < 3),
            Err(error) => {
                assert!(at >= 3);
                assert_eq!(rpc::<(), _>(Err(error)).kind(), ErrorKind::Overloaded);
            }
        }
    }
    assert_eq!(heard(), [1, 2, 3]);
    drop((soon(wanted).await.unwrap(), broker));
    soon(client.close()).await;
    world.end().await;
}

/// Kept results, names and streams share one bound.
#[tokio::test(start_paused = true)]
async fn kept_results_count_among_the_names() {
    let world = World::with(Limits { max_bindings: 3, ..Limits::default() }).await;
    for last in 0..3 {
        let mut raw = Raw::brokered(&world.network).await;
        for id in 1..=50 {
            raw.send(keep_of::<BrokerStub>(id, 1, "give", &[], &[])).await;
            raw.send(bind_result(id as i64 + 1, 1, id, &[])).await;
            raw.send(release_result(id)).await;
            raw.send(release(id as i64 + 1)).await;
        }
        for id in 51..=52 {
            raw.send(keep_of::<BrokerStub>(id, 1, "number", &[], &[1])).await;
        }
        settle().await;
        assert_eq!(
            world.other(),
            SessionStats { bound_objects: 1, kept_results: 2, exports: 50, ..world.other() }
        );
        raw.send(match last {
            0 => keep_of::<BrokerStub>(53, 1, "number", &[], &[1]),
            1 => bind_result(60, 1, 51, &[]),
            _ => call_of::<BrokerStub>(53, 1, "number", &[Stream(60)], &[1]),
        })
        .await;
        let mut abort = None;
        while let Some(message) = raw.receive().await {
            abort = Some(message);
        }
        let abort = abort.unwrap();
        assert_eq!(abort[0], EnvelopeKind::Abort as u8);
        assert!(String::from_utf8_lossy(&abort).contains("more than 3 names"));
        drop(raw);
        world.alone().await;
        assert_eq!(listeners(), 0);
    }
    world.end().await;
}

/// A writer that does not wait for its reader loses the stream, after about as much as it was told.
#[tokio::test(start_paused = true)]
async fn a_writer_that_does_not_wait_loses_its_stream() {
    let world = World::with(Limits { max_stream_buffer: 1000, ..Limits::default() }).await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(call_of::<BrokerStub>(1, 1, "ignore", &[Stream(2)], &[0])).await;
    raw.answer(1).await.unwrap();
    let mut chunk = vec![100];
    chunk.extend([1; 100]);
    for id in 2..100 {
        raw.send(stream_call(id, 2, "write", &chunk)).await;
    }
    settle().await;
    let waiting = world.other().running_calls;
    assert!((5..=9).contains(&waiting), "{waiting}");
    for id in waiting as u64 + 2..100 {
        let error = raw.answer(id).await.unwrap_err();
        assert_eq!((error.kind, error.may_have_run), (ErrorKind::Overloaded, false));
    }
    raw.send(call_of::<BrokerStub>(100, 1, "forget", &[], &[])).await;
    for id in 2..waiting as u64 + 2 {
        assert_eq!(raw.answer(id).await.unwrap_err().kind, ErrorKind::Aborted, "its reader is gone");
    }
    assert_eq!(raw.answer(100).await, Ok(vec![]));
    // Only that stream is lost.
    raw.send(call_of::<BrokerStub>(101, 1, "read", &[Stream(3)], &[0])).await;
    for id in 102..200 {
        raw.send(stream_call(id, 3, "write", &chunk)).await;
        assert_eq!(raw.answer(id).await, Ok(vec![]));
    }
    raw.send(stream_call(200, 3, "close", &[])).await;
    assert_eq!(raw.answer(200).await, Ok(vec![]));
    assert!(raw.answer(101).await.is_ok());
    drop(raw);
    world.end().await;
}

/// The honest one does wait: what it has not written yet it has not even made.
#[tokio::test(start_paused = true)]
async fn a_source_is_not_asked_for_what_there_is_no_room_for() {
    let world = World::with(Limits { max_stream_buffer: 1000, ..Limits::default() }).await;
    let client = Network::new(&world.node).client().connect().await.unwrap();
    let broker: BrokerStub = client.get("broker");
    let made = Arc::new(AtomicU32::new(0));
    let count = made.clone();
    let stream = RpcStream::from_iter((0..10_000).map(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Payload::new(vec![1; 100])
    }));
    soon(broker.ignore(stream)).await.unwrap();
    settle().await;
    let made = made.load(Ordering::Relaxed);
    assert!((5..=10).contains(&made), "{made}");
    assert_eq!(payloads(), 0, "encoded at once");
    soon(broker.forget()).await.unwrap();
    drop(broker);
    soon(client.close()).await;
    world.end().await;
}

/// A value that nests without end is refused, however it comes.
#[tokio::test(start_paused = true)]
async fn deep_values_are_refused() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    let deep = vec![1; 200_000];
    raw.send(call_of::<BrokerStub>(1, 1, "nest", &[], &deep)).await;
    let error = raw.answer(1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Decode);
    assert!(error.message.contains("too deep"), "{error:?}");
    raw.send(call_of::<BrokerStub>(2, 1, "ignore", &[Stream(2)], &[0])).await;
    raw.answer(2).await.unwrap();
    raw.send(stream_call(3, 2, "write", &deep)).await;
    raw.send(call_of::<BrokerStub>(4, 1, "square", &[Value(deep, vec![])], &[1, 0])).await;
    assert_eq!(raw.answer(4).await.unwrap_err().kind, ErrorKind::Decode);
    drop(raw);
    world.end().await;
}
