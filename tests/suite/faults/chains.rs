//! Results of results of results, as many as a peer likes: none may cost a stack as deep as they are long, and none may
//! go round in circles.

use opendo::ErrorKind;
use opendo::transport::envelope::{EnvelopeKind, EnvelopeView};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::beside::Beside::*;
use super::beside::*;
use super::broker::*;
use super::raw::*;
use super::world::*;

/// What a test's thread can take, if each step took as little as a function call.
const LONG: u64 = 30_000;

/// Says all of it, and hears nothing of what is answered.
async fn say(raw: Raw, messages: Vec<Vec<u8>>) -> Raw {
    let script: Vec<u8> = messages.iter().flat_map(frame).collect();
    let (mut read, mut write) = tokio::io::split(raw.io);
    let reader = tokio::spawn(async move {
        let mut buffer = [0; 64 * 1024];
        while let Ok(Ok(1..)) =
            tokio::time::timeout(std::time::Duration::from_millis(500), read.read(&mut buffer)).await
        {
        }
        read
    });
    soon(write.write_all(&script)).await.unwrap();
    let read = soon(reader).await.unwrap();
    Raw { io: read.unsplit(write) }
}

/// The first call fails, and with it all that wait for it, one for another.
#[tokio::test(start_paused = true)]
async fn a_long_chain_of_calls_fails_as_a_whole() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    let mut chain = vec![keep_of::<BrokerStub>(1, 1, "give_later", &[], &[])];
    for id in 2..LONG {
        let import = id as i64;
        chain.push(bind_result(import, 1, id - 1, &[]));
        chain.push(keep_of::<ListenerStub>(id, import, "next", &[], &[]));
        chain.push(release_result(id - 1));
    }
    raw = say(raw, chain).await;
    assert_eq!(world.other().running_calls as u64, LONG - 1);
    world.undisturbed().await;
    raw = say(raw, vec![cancel(1)]).await;
    settle().await;
    assert_eq!(world.other().running_calls, 0);
    drop(raw);
    world.end().await;
}

/// The same when the peer goes away instead.
#[tokio::test(start_paused = true)]
async fn a_long_chain_of_calls_goes_with_its_peer() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    let mut chain = vec![keep_of::<BrokerStub>(1, 1, "give_later", &[], &[])];
    for id in 2..LONG {
        // By value instead of by a stub.
        chain.push(keep_of::<BrokerStub>(id, 1, "square", &[Result(id - 1)], &[1, 0]));
    }
    raw = say(raw, chain).await;
    drop(raw);
    world.end().await;
}

/// The peer's own targets, called through us: each call hangs on the result of the one before.
#[tokio::test(start_paused = true)]
async fn a_long_chain_that_was_passed_on_is_let_go() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(keep_of::<BrokerStub>(1, 1, "echo", &[Mine(-1, 1)], &[0])).await;
    raw.answer(1).await.unwrap();
    let mut chain = Vec::new();
    for id in 2..LONG {
        let import = id as i64;
        chain.push(bind_result(import, 1, id - 1, &[]));
        chain.push(keep_of::<ListenerStub>(id, import, "next", &[], &[]));
        chain.push(release_result(id - 1));
        chain.push(release(import));
        // The node has called us by the same number less one; our answer to that is a stub once more.
        chain.push(reply_beside(id - 1, &[Mine(-(id as i64), 1)], &[0]));
    }
    // The node passes calls on as it reads them, so what is answered here has been called.
    raw = say(raw, chain).await;
    world.undisturbed().await;
    drop(raw);
    world.end().await;
}

/// One result, put into one call as often as a message has room.
#[tokio::test(start_paused = true)]
async fn a_call_that_needs_one_result_very_often() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(keep_of::<BrokerStub>(1, 1, "number", &[], &[3])).await;
    raw.answer(1).await.unwrap();
    raw.send(call_of::<BrokerStub>(2, 1, "square", &vec![Result(1); 60_000], &[1, 0])).await;
    settle().await;
    world.undisturbed().await;
    // Whether it is taken or refused is not the point.
    let message = raw.receive().await.unwrap();
    assert!([EnvelopeKind::Reply as u8, EnvelopeKind::Abort as u8].contains(&message[0]));
    drop(raw);
    world.end().await;
}

/// What the first waits for is the second, and the other way round: their calls fail instead of running for ever.
#[tokio::test(start_paused = true)]
async fn results_that_become_each_other_are_broken() {
    let world = World::new().await;
    for count in [1, 2, 5] {
        let mut raw = Raw::brokered(&world.network).await;
        for at in 0..count {
            raw.send(keep_of::<BrokerStub>(at + 1, 1, "want", &[], &[])).await;
            raw.send(bind_result(at as i64 + 2, 1, at + 1, &[])).await;
        }
        // Those that wait already, and those that come later.
        raw.send(call_of::<BrokerStub>(100, 1, "watch", &[Yours(2)], &[0])).await;
        raw.send(call_of::<ListenerStub>(101, 2, "hear", &[], &[1])).await;
        for at in 0..count {
            let next = (at + 1) % count;
            raw.send(call_of::<BrokerStub>(102 + at, 1, "offer", &[Yours(next as i64 + 2)], &[0])).await;
        }
        raw.send(call_of::<ListenerStub>(200, 2, "hear", &[], &[1])).await;
        raw.send(call_of::<BrokerStub>(201, 1, "square", &[Result(1)], &[1, 0])).await;
        raw.send(call_of::<BrokerStub>(202, 1, "tell", &[Yours(2)], &[0, 1])).await;
        let mut failed = Vec::new();
        for _ in 0..count + 1 + count + 4 - 1 {
            let (message, _) = raw.after_releases(EnvelopeKind::Reply).await;
            let view = EnvelopeView::parse(&message).unwrap();
            if matches!(view.call(), 101 | 200) {
                failed.push(view.call());
                let text = String::from_utf8_lossy(view.body()).into_owned();
                assert!(text.contains("becomes itself"), "{text}");
            }
        }
        failed.sort_unstable();
        assert_eq!(failed, [101, 200]);
        settle().await;
        drop(raw);
        world.alone().await;
    }
    assert_eq!(broken(), 3, "who watches one is told");
    assert!(heard().is_empty());
    world.end().await;
}

/// In one process the same mistake is made with a promise that is given to itself.
#[tokio::test(start_paused = true)]
async fn a_promise_that_becomes_itself_is_broken() {
    let (give, given) = tokio::sync::oneshot::channel::<ListenerStub>();
    let promise: ListenerStub = opendo::promise(async { Ok(given.await.unwrap()) });
    let early = promise.hear(1);
    give.send(promise.clone()).unwrap();
    assert_eq!(kind(soon(early).await), ErrorKind::Broken);
    assert_eq!(kind(soon(promise.hear(2)).await), ErrorKind::Broken);
    assert_eq!(soon(opendo::StubExt::broken(&promise)).await.kind(), ErrorKind::Broken);
}
