//! Peers that say anything at all.
//!
//! The cases are the same in every run; one that fails is shrunk and printed.

use std::time::Duration;

use opendo::ObjectId;
use opendo::transport::envelope::{EnvelopeKind, EnvelopeView, ReplyStatus};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::beside::Beside::*;
use super::beside::*;
use super::broker::*;
use super::raw::*;
use super::world::*;

fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let result = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(TestError::Fail(why, value)) = result {
        panic!("{why}: {value:?}");
    }
}

/// A node to which a peer says these bytes survives it, and so does everybody else on it.
fn survives(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let world = World::new().await;
        let (mut read, mut write) = tokio::io::split(Raw::new(&world.network).io);
        let sink = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        let _ = timeout(Duration::from_secs(1), write.write_all(bytes)).await;
        world.undisturbed().await;
        settle().await;
        world.undisturbed().await;
        sink.abort();
        let _ = sink.await;
        drop(write);
        world.end().await;
    });
}

fn after_hello(bytes: &[u8]) -> Vec<u8> {
    let mut all = frame(hello());
    all.extend(frame(describe_worker(0)));
    all.extend(frame(bind_worker(1, "random")));
    all.extend_from_slice(bytes);
    all
}

#[test]
fn any_bytes_instead_of_a_hello() {
    check(300, &vec(any::<u8>(), 0..200), |bytes| survives(&bytes));
}

#[test]
fn any_first_message() {
    check(200, &vec(any::<u8>(), 0..100), |bytes| survives(&frame(bytes)));
}

#[test]
fn any_bytes_after_a_hello() {
    check(300, &vec(any::<u8>(), 0..200), |bytes| survives(&after_hello(&bytes)));
}

/// Messages whose kind is known and the rest anything.
#[test]
fn any_messages_after_a_hello() {
    let message = (0..12_u8, vec(any::<u8>(), 0..40)).prop_map(|(kind, mut rest)| {
        rest.insert(0, kind);
        frame(rest)
    });
    check(300, &vec(message, 1..12), |messages| survives(&after_hello(&messages.concat())));
}

/// A conversation in order, message by message.
fn valid() -> Vec<Vec<u8>> {
    let mut echo = vec![3, 0xc8, 1];
    echo.extend([5; 200]);
    let mut messages = vec![
        hello(),
        describe_worker(0),
        bind_worker(1, "a"),
        call(1, 1, "tag", &[1]),
        bind_worker(2, "b"),
        call(2, 2, "hold", &[2]),
        call(3, 1, "echo", &echo),
        control(EnvelopeKind::Ping, &[]),
        call(4, 2, "call_back", &[4]),
        reply(1, ReplyStatus::Ok, &[4]),
        call(5, 1, "slow", &[5, 100]),
        cancel(2),
        call(6, 1, "refuse", &[6]),
        release(2),
        cancel(5),
        bind_worker(3, "c"),
        call(7, 3, "make", &[7, 0x80, 0x20]),
        release(3),
        release(1),
    ];
    messages.extend(valid_capabilities());
    messages.push(control(EnvelopeKind::Drain, &[]));
    messages
}

/// Callbacks, kept results, parts of them, values of them, streams, and all of it released.
fn valid_capabilities() -> Vec<Vec<u8>> {
    let broker = *ObjectId::<BrokerStub>::from_name("random").as_bytes();
    vec![
        describe_stub::<BrokerStub>(1),
        describe_stub::<ListenerStub>(2),
        bind(4, 1, &broker, Some("random")),
        call_of::<BrokerStub>(8, 4, "tell", &[Mine(-1, 2)], &[0, 1]),
        reply(2, ReplyStatus::Ok, &[1]),
        keep_of::<BrokerStub>(9, 4, "pair", &[], &[]),
        bind_result(5, 2, 9, &["first"]),
        keep_of::<ListenerStub>(10, 5, "next", &[], &[]),
        bind_result(6, 2, 10, &[]),
        call_of::<ListenerStub>(11, 6, "hear", &[], &[2]),
        keep_of::<BrokerStub>(12, 4, "want", &[], &[]),
        bind_result(7, 2, 12, &[]),
        call_of::<ListenerStub>(13, 7, "hear", &[], &[3]),
        call_of::<BrokerStub>(15, 4, "offer", &[Yours(5)], &[0]),
        keep_of::<BrokerStub>(16, 4, "echo", &[Mine(-2, 2)], &[0]),
        bind_result(8, 2, 16, &[]),
        call_of::<BrokerStub>(17, 4, "watch", &[Yours(8)], &[0]),
        keep_of::<ListenerStub>(18, 8, "next", &[], &[]),
        reply_beside(3, &[Mine(-3, 2)], &[0]),
        keep_of::<BrokerStub>(19, 4, "number", &[], &[9]),
        call_of::<BrokerStub>(20, 4, "square", &[Result(19)], &[1, 0]),
        call_of::<BrokerStub>(21, 4, "square", &[Value(vec![5], vec![])], &[1, 0]),
        call_of::<BrokerStub>(22, 4, "keep_all", &[Mine(-4, 2), Mine(-5, 2), Yours(6)], &[3, 0, 1, 2]),
        call_of::<BrokerStub>(23, 4, "read", &[Stream(9)], &[0]),
        stream_call(24, 9, "write", &[3, 1, 2, 3]),
        stream_call(25, 9, "close", &[]),
        release(9),
        call_of::<BrokerStub>(26, 4, "ignore", &[Stream(10)], &[0]),
        stream_call(27, 10, "write", &[0]),
        stream_call(28, 10, "abort", &[1, b'x']),
        release(10),
        call_of::<BrokerStub>(29, 4, "write", &[], &[3, 4]),
        call_of::<BrokerStub>(30, 4, "sink", &[], &[]),
        release(5),
        release_result(9),
        release_result(10),
        release(6),
        release(7),
        release_result(12),
        release(8),
        release_result(16),
        release_result(18),
        release_result(19),
        call_of::<BrokerStub>(31, 4, "forget", &[], &[]),
        release(4),
    ]
}

/// Or most changes would end the conversation where they are, and others would try nothing at all.
#[tokio::test(start_paused = true)]
async fn the_conversation_without_changes_breaks_no_rule() {
    let world = World::new().await;
    let mut raw = Raw::new(&world.network);
    let mut calls = 0;
    for message in valid() {
        if message[0] == EnvelopeKind::Reply as u8 {
            // Not before the node has called.
            calls += 1;
            while raw.receive().await.unwrap()[0] != EnvelopeKind::Call as u8 {}
        }
        raw.send(message).await;
    }
    assert_eq!(calls, 3);
    let mut refused = Vec::new();
    while let Some(message) = raw.receive().await {
        assert_ne!(message[0], EnvelopeKind::Abort as u8);
        if message[0] == EnvelopeKind::Reply as u8 {
            let view = EnvelopeView::parse(&message).unwrap();
            if view.status() == ReplyStatus::Rpc {
                refused.push(view.call());
            }
        }
        if message[0] == EnvelopeKind::Drain as u8 {
            break; // the streams that the node writes are left unread
        }
    }
    assert!(refused.is_empty(), "calls of the conversation were refused");
    drop(raw);
    world.end().await;
    assert_eq!(listeners(), 0);
}

#[derive(Clone, Debug)]
enum Change {
    Flip(usize, usize, u8),
    Insert(usize, usize, u8),
    Delete(usize, usize),
    Cut(usize, usize),
    Drop(usize),
    Repeat(usize),
    Swap(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let (at, byte) = (any::<usize>(), any::<usize>());
    prop_oneof![
        (at, byte, 1..=255_u8).prop_map(|(at, byte, mask)| Change::Flip(at, byte, mask)),
        (at, byte, any::<u8>()).prop_map(|(at, byte, value)| Change::Insert(at, byte, value)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, byte)| Change::Delete(at, byte)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, byte)| Change::Cut(at, byte)),
        any::<usize>().prop_map(Change::Drop),
        any::<usize>().prop_map(Change::Repeat),
        (any::<usize>(), any::<usize>()).prop_map(|(at, other)| Change::Swap(at, other)),
    ]
}

fn apply(messages: &mut Vec<Vec<u8>>, change: &Change) {
    if messages.is_empty() {
        return;
    }
    let count = messages.len();
    match *change {
        Change::Flip(at, byte, mask) => {
            let message = &mut messages[at % count];
            let size = message.len().max(1);
            if let Some(byte) = message.get_mut(byte % size) {
                *byte ^= mask;
            }
        }
        Change::Insert(at, byte, value) => {
            let message = &mut messages[at % count];
            let place = byte % (message.len() + 1);
            message.insert(place, value);
        }
        Change::Delete(at, byte) => {
            let message = &mut messages[at % count];
            if !message.is_empty() {
                message.remove(byte % message.len());
            }
        }
        Change::Cut(at, byte) => {
            let message = &mut messages[at % count];
            let size = byte % (message.len() + 1);
            message.truncate(size);
        }
        Change::Drop(at) => drop(messages.remove(at % count)),
        Change::Repeat(at) => messages.insert(at % count, messages[at % count].clone()),
        Change::Swap(at, other) => messages.swap(at % count, other % count),
    }
}

#[test]
fn a_conversation_with_a_few_changes() {
    check(600, &vec(change(), 0..4), |changes| {
        let mut messages = valid();
        changes.iter().for_each(|change| apply(&mut messages, change));
        survives(&messages.iter().flat_map(frame).collect::<Vec<_>>());
    });
}

/// Also in what frames the messages.
#[test]
fn a_conversation_with_changed_bytes() {
    let wire: Vec<u8> = valid().iter().flat_map(frame).collect();
    let flips = vec((0..wire.len(), any::<u8>()), 1..4);
    check(300, &flips, |flips| {
        let mut wire = wire.clone();
        for (at, value) in flips {
            wire[at] = value;
        }
        survives(&wire);
    });
}
