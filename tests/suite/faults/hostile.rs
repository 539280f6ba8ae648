//! Peers that break the protocol: each harms nobody but itself.

use std::time::Duration;

use opendo::transport::envelope::{CallHeader, ChainLink, EnvelopeKind, MAX_CHAIN, ReplyStatus};
use opendo::{ErrorKind, Limits, Stub};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::raw::*;
use super::world::*;

/// What comes before a hello is answered with a reason, where a reason can be given, and the end.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_begin_with_a_hello_is_told_so() {
    let world = World::new().await;
    let mut newer = hello();
    newer[4] = 9;
    let mut longer = hello();
    longer.push(0);
    for (first, reason) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "another protocol"),
        (Vec::new(), "another protocol"),
        (call(1, 1, "tag", &[1]), "another protocol"),
        (control(EnvelopeKind::Ping, &[]), "another protocol"),
        (control(EnvelopeKind::Hello, b""), "another protocol"),
        (control(EnvelopeKind::Hello, b"ODO\x01"), "ends before its version"),
        (newer, "speaks version 9 of the protocol and this side version 1"),
        (hello()[..6].to_vec(), "cannot be decoded"),
        (longer, "do not belong to it"),
    ] {
        let mut raw = Raw::new(&world.network);
        raw.send(&first).await;
        let abort = raw.aborted().await;
        assert_eq!(abort.kind, ErrorKind::Protocol, "{first:?}");
        assert!(abort.message.contains(reason), "{first:?}: {}", abort.message);
        world.undisturbed().await;
    }
    world.end().await;
}

/// Neither a peer that says nothing nor one that says too much gets an answer, only an end.
#[tokio::test(start_paused = true)]
async fn a_hello_that_does_not_come_ends_the_connection() {
    let limits = Limits { hello_timeout: Duration::from_secs(3), ..Limits::default() };
    let world = World::with(limits).await;
    for first in [&b""[..], b"\x20", b"\x20\0\0\0", &frame(hello())[..9]] {
        let mut raw = Raw::new(&world.network);
        raw.send_bytes(first).await;
        let begin = Instant::now();
        raw.ended().await;
        assert!(begin.elapsed() >= Duration::from_secs(3) && begin.elapsed() < Duration::from_secs(4));
        world.undisturbed().await;
    }
    let mut oversize = Raw::new(&world.network);
    oversize.send_bytes(&u32::MAX.to_le_bytes()).await;
    oversize.ended().await;
    let mut refusing = Raw::new(&world.network);
    refusing.send(control(EnvelopeKind::Abort, &wire_error(ErrorKind::Unauthorized, "no"))).await;
    refusing.ended().await;
    let mut hung_up = Raw::new(&world.network);
    hung_up.io.shutdown().await.unwrap();
    hung_up.ended().await;
    world.end().await;
}

/// Each of these, from a peer that has said hello and bound object 1, ends its session with the reason.
fn violations() -> Vec<(&'static str, Vec<Vec<u8>>, &'static str)> {
    let header = CallHeader { call: 1, target: 1, method: method("tag"), ..CallHeader::default() };
    let good = call(1, 1, "tag", &[1]);
    let mut unknown_flags = good.clone();
    unknown_flags[1] = 0x80;
    let mut unknown_status = reply(1, ReplyStatus::Ok, &[]);
    *unknown_status.last_mut().unwrap() = 7;
    let links = vec![ChainLink { activation: 1, sequence: 1 }; MAX_CHAIN + 1];
    let long_chain = call_with(&CallHeader { chain: &links, ..header }, &[1]);
    let mut no_chain = call_with(&header, &[]);
    no_chain[1] = 4;
    no_chain.push(0);
    let mut cancel_and_more = cancel(1);
    cancel_and_more.push(0);
    let kinds = [EnvelopeKind::Interface, EnvelopeKind::Bind, EnvelopeKind::Release, EnvelopeKind::Abort];
    let mut all = vec![
        ("nothing", vec![vec![]], "kind"),
        ("an unknown kind", vec![vec![99, 1, 2, 3]], "99"),
        ("unknown flags", vec![unknown_flags], "flags"),
        ("flags of a reply", vec![vec![EnvelopeKind::Reply as u8, 2, 1, 0]], "flags"),
        ("half a header", vec![good[..7].to_vec()], "method"),
        ("a number with a tail of zeros", vec![vec![EnvelopeKind::Cancel as u8, 0x81, 0x80, 0]], "call id"),
        ("an endless number", vec![[&[EnvelopeKind::Cancel as u8][..], &[0xff; 12]].concat()], "call id"),
        ("a cancellation with a body", vec![cancel_and_more], "cancellation"),
        ("a chain too long", vec![long_chain], "chain"),
        ("an empty chain", vec![no_chain], "chain"),
        ("a second hello", vec![hello()], "second hello"),
        ("a call numbered 0", vec![call(0, 1, "tag", &[1])], "call 0"),
        (
            "a reused call number",
            vec![cancel(1), call(5, 1, "hold", &[5]), call(5, 1, "tag", &[1])],
            "call 5",
        ),
        ("a smaller call number", vec![call(5, 1, "hold", &[5]), call(4, 1, "tag", &[1])], "call 4"),
        ("a reused object number", vec![bind_worker(1, "x")], "number 1 "),
        ("a reused object number, released", vec![release(1), bind_worker(1, "x")], "number 1 "),
        ("object number 0", vec![bind_worker(0, "x")], "number 0 "),
        ("a negative object number", vec![bind_worker(-1, "x")], "number -1 "),
        ("the smallest object number", vec![bind_worker(i64::MIN, "x")], "-9223372036854775808"),
        ("a class nobody described", vec![bind(2, 1, &id_of("x"), None)], "class 1"),
        ("a class without end", vec![bind(2, u32::MAX, &id_of("x"), None)], "class 4294967295"),
        ("a class again", vec![describe_worker(0)], "number 0"),
        ("a class out of turn", vec![describe_worker(2)], "number 2"),
        ("the release of nothing", vec![release(2)], "release of 2"),
        ("the release of something twice", vec![release(1), release(1)], "release of 1"),
        ("a reply to nothing", vec![reply(1, ReplyStatus::Ok, &[])], "call 1"),
        ("an error for nothing", vec![reply(u64::MAX, ReplyStatus::Rpc, &[])], "never made"),
        ("an unknown status", vec![unknown_status], "status"),
    ];
    for kind in kinds {
        all.push(("garbage", vec![control(kind, &[0xff; 40])], "the peer"));
        all.push(("an empty body", vec![control(kind, &[])], "cannot be decoded"));
    }
    let too_much = [&bind_worker(2, "x")[..], &[0]].concat();
    all.push(("a name and more", vec![too_much], "do not belong"));
    all
}

#[tokio::test(start_paused = true)]
async fn a_violation_ends_the_session_with_its_reason() {
    let world = World::new().await;
    for (what, messages, reason) in violations() {
        let mut raw = Raw::bound(&world.network, 1).await;
        for message in messages {
            raw.send(message).await;
        }
        let abort = raw.aborted().await;
        assert_eq!(abort.kind, ErrorKind::Protocol, "{what}: {abort:?}");
        assert!(abort.message.contains(reason), "{what}: {abort:?}");
        drop(raw);
        world.alone().await;
    }
    let held = all_runs().iter().filter(|tag| **tag == 5).count();
    assert_eq!(ends().len(), held, "what ran has learned that its caller is gone");
    world.end().await;
}

/// What is wrong with one call is answered to that call.
#[tokio::test(start_paused = true)]
async fn a_wrong_call_is_answered_and_the_session_goes_on() {
    let world = World::new().await;
    let mut raw = Raw::bound(&world.network, 1).await;
    let mut other_class = id_of("x");
    other_class[20] ^= 1;
    raw.send(bind(2, 0, &other_class, Some("x"))).await;
    raw.send(describe(1, "Nobody", &[(1, 2)])).await;
    raw.send(bind(3, 1, &id_of("x"), Some("x"))).await;
    raw.send(describe(2, "Worker", &[(method("tag"), 1)])).await;
    raw.send(bind(4, 2, &id_of("x"), None)).await;
    let unknown = call_with(&CallHeader { call: 3, target: 1, method: 12, ..CallHeader::default() }, &[]);
    let expired =
        CallHeader { call: 10, target: 1, method: method("tag"), deadline: Some(0), ..CallHeader::default() };
    for (message, kind, words) in [
        (call(1, 17, "tag", &[1]), ErrorKind::Protocol, "17"),
        (call(2, -1, "tag", &[1]), ErrorKind::Protocol, "-1"),
        (unknown, ErrorKind::NoSuchMethod, "0x0000000c"),
        (call(4, 2, "tag", &[1]), ErrorKind::NoSuchClass, "another"),
        (call(5, 3, "tag", &[1]), ErrorKind::NoSuchClass, "`Nobody`"),
        (call(6, 4, "tag", &[1]), ErrorKind::SignatureMismatch, "`tag`"),
        (call(7, 1, "tag", &[]), ErrorKind::Decode, "u32"),
        (call(8, 1, "tag", &[1, 2]), ErrorKind::Decode, "left over"),
        (call(9, 1, "tag", &[0xff; 9]), ErrorKind::Decode, "u32"),
        (call_with(&expired, &[1]), ErrorKind::Deadline, "over"),
        (call(11, 1, "echo", &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]), ErrorKind::Decode, "Payload"),
        (call(12, 0, "tag", &[1]), ErrorKind::Protocol, "0"),
    ] {
        raw.send(&message).await;
        let refusal = raw.refused().await;
        assert_eq!((refusal.kind, refusal.may_have_run), (kind, false), "{message:?}: {refusal:?}");
        assert!(refusal.message.contains(words), "{refusal:?}");
    }
    assert_eq!(runs(1), 0);
    // All of this did no harm to the objects that were named properly.
    raw.works(20, 1).await;
    raw.send(call(21, 4, "name", &[])).await;
    assert_eq!(raw.reply().await, (21, Ok(vec![0])));
    for (import, id) in [(2, 22), (3, 23), (4, 24)] {
        raw.send(release(import)).await;
        raw.send(call(id, import, "tag", &[1])).await;
        assert_eq!(raw.refused().await.kind, ErrorKind::Protocol);
    }
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_a_lie_is_not_believed() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world.network).await;
    raw.send(bind(1, 0, &id_of("truth"), Some("lie"))).await;
    raw.send(call(1, 1, "name", &[])).await;
    assert_eq!(raw.reply().await, (1, Ok(vec![0])));
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn bodies_of_signs_of_life_and_cancellations_of_nothing_do_not_matter() {
    let world = World::new().await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.send(control(EnvelopeKind::Ping, b"hello?")).await;
    assert_eq!(raw.receive().await.unwrap(), [EnvelopeKind::Pong as u8]);
    raw.send(control(EnvelopeKind::Pong, b"unasked")).await;
    raw.send(cancel(0)).await;
    raw.send(cancel(u64::MAX)).await;
    raw.works(1, 1).await;
    drop(raw);
    world.end().await;
}

/// A goodbye is answered with one, whatever stands in it; what was called before it is answered, and nothing after.
#[tokio::test(start_paused = true)]
async fn a_goodbye_is_answered_and_final() {
    let world = World::new().await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.send(call(1, 1, "slow", &[1, 100])).await;
    raw.send(control(EnvelopeKind::Drain, b"?")).await;
    raw.send(control(EnvelopeKind::Drain, b"")).await;
    raw.send(call(2, 1, "tag", &[2])).await;
    assert_eq!(raw.receive().await.unwrap(), [EnvelopeKind::Drain as u8]);
    let (id, refused) = raw.reply().await;
    let refused = refused.unwrap_err();
    assert_eq!((id, refused.kind, refused.may_have_run), (2, ErrorKind::Closed, false));
    assert_eq!(raw.reply().await, (1, Ok(vec![1])));
    assert!(raw.receive().await.is_none());
    assert_eq!((runs(1), runs(2)), (1, 0));
    drop(raw);
    world.end().await;
}

/// Frames that end early or announce too much end the session; nothing is kept of them.
#[tokio::test(start_paused = true)]
async fn broken_frames_end_the_session() {
    let world = World::with(Limits { max_message: 4096, ..Limits::default() }).await;
    for tail in [&[5, 0, 0][..], &[5, 0, 0, 0], &[5, 0, 0, 0, 1, 2, 3]] {
        let mut raw = Raw::bound(&world.network, 1).await;
        raw.send(call(1, 1, "hold", &[3])).await;
        settle().await;
        raw.send_bytes(tail).await;
        raw.io.shutdown().await.unwrap();
        raw.ended().await;
        drop(raw);
        world.alone().await;
    }
    assert_eq!(ends(), [3, 3, 3]);
    // One more than the node accepts, announced only.
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.works(1, 1).await;
    raw.send_bytes(&u32::MAX.to_le_bytes()).await;
    raw.ended().await;
    drop(raw);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time_is_as_good_as_any() {
    let world = World::new().await;
    let mut raw = Raw::new(&world.network);
    let mut script = frame(hello());
    script.extend(frame(describe_worker(0)));
    script.extend(frame(bind_worker(7, "slow")));
    script.extend(frame(call(1, 7, "tag", &[1])));
    for byte in script {
        raw.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.receive().await.unwrap()[0], EnvelopeKind::Hello as u8);
    assert_eq!(raw.reply().await, (1, Ok(vec![1])));
    drop(raw);
    world.end().await;
}

/// Also while the answer to something before it is half written: what arrives is whole messages to the last.
#[tokio::test(start_paused = true)]
async fn a_violation_does_not_garble_the_reply_that_is_on_its_way() {
    let world = World::new().await;
    let mut raw = Raw::bound(&world.network, 1).await;
    raw.send(call(1, 1, "make", &[1, 0x80, 0x80, 4])).await; // 64 KiB, far more than the network holds
    settle().await;
    raw.send(vec![99]).await;
    settle().await;
    let (id, body) = raw.reply().await;
    let body = body.unwrap();
    assert_eq!((id, body.len()), (1, 65_536 + 3));
    assert!(body[3..].iter().all(|byte| *byte == 7));
    assert_eq!(raw.aborted().await.kind, ErrorKind::Protocol);
    drop(raw);
    world.end().await;
}

/// A node forwards what callers ask for; a caller must not be able to ask for what others then pay for.
#[tokio::test(start_paused = true)]
async fn a_chain_of_full_length_does_not_end_the_session_it_is_passed_on_through() {
    let world = World::new().await;
    let onward = world.network.client().connect().await.unwrap();
    relay_to(onward.get("end"));
    let mut raw = Raw::bound(&world.network, 1).await;
    let links = vec![ChainLink { activation: 1, sequence: 1 }; MAX_CHAIN];
    for id in 1..4 {
        let header = CallHeader {
            call: id,
            target: 1,
            method: method("relay"),
            chain: &links,
            ..CallHeader::default()
        };
        raw.send(call_with(&header, &[77])).await;
        let message = raw.receive().await.unwrap();
        assert_eq!(message[0], EnvelopeKind::Reply as u8);
    }
    assert_eq!(world.network.connections(), 2, "the node's own connection has stayed");
    relay_to(onward.get("end"));
    soon(onward.close()).await;
    drop(raw);
    world.end().await;
}

/// A value that panics when it is decoded is the fault of that one call.
#[tokio::test(start_paused = true)]
async fn a_decoder_that_panics_costs_one_call() {
    let node = start_node(Limits::default()).await;
    let network = opendo::testing::Network::new(&node);
    let client = network.client().connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
    let error = rpc(soon(stub.explode(2, Bomb)).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Decode, false), "{error}");
    assert_eq!(soon(stub.tag(3)).await, Ok(3), "the object is not reset, and the stub not broken");
    assert_eq!(all_runs(), [1, 3]);
    assert_eq!(WorkerStub::INTERFACE.name, "Worker");
}
