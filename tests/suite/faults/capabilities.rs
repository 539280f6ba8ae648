//! Peers that break the rules about what is passed: numbers, releases, kept results, streams.

use opendo::testing::SessionStats;
use opendo::transport::envelope::EnvelopeKind;
use opendo::{ErrorKind, ObjectId};

use super::beside::Beside::*;
use super::beside::*;
use super::broker::*;
use super::raw::*;
use super::world::*;

/// What the node holds of a peer that has named one object and nothing else.
const NAMED: SessionStats = SessionStats {
    pending_calls: 0,
    running_calls: 0,
    unsent_bytes: 0,
    bound_objects: 1,
    kept_results: 0,
    exports: 0,
    imports: 0,
};

enum Step {
    Send(Vec<u8>),
    /// Waits for the answer to that call.
    Answer(u64),
}
use Step::*;

fn keep(id: u64, passes: &[Beside]) -> Step {
    Send(call_of::<BrokerStub>(id, 1, "keep", passes, &[0]))
}

fn kept(id: u64, name: &str, args: &[u8]) -> Step {
    Send(keep_of::<BrokerStub>(id, 1, name, &[], args))
}

fn garbled(block: &[u8]) -> Step {
    Send(call_beside(1, 1, method_of::<BrokerStub>("keep"), false, block, &[0]))
}

fn give(id: u64) -> Step {
    Send(call_of::<BrokerStub>(id, 1, "give", &[], &[]))
}

/// Each of these ends the session of a peer that has named broker 1 and described three classes.
fn violations() -> Vec<(&'static str, Vec<Step>, &'static str)> {
    let key = *ObjectId::<BrokerStub>::from_name("x").as_bytes();
    let mut other_key = key;
    other_key[20] ^= 1;
    let deep = ["a"; 65];
    let mut all = vec![
        ("an export's number is 0", vec![keep(1, &[Mine(0, 1)])], "number 0"),
        ("an export's number is positive", vec![keep(1, &[Mine(1, 1)])], "number 1"),
        ("the largest", vec![keep(1, &[Mine(i64::MAX, 1)])], "9223372036854775807"),
        ("an export's number comes twice", vec![keep(1, &[Mine(-1, 1), Mine(-1, 1)])], "number -1"),
        ("in two messages", vec![keep(1, &[Mine(-1, 1)]), keep(2, &[Mine(-1, 1)])], "number -1"),
        (
            "after the smallest there is none",
            vec![keep(1, &[Mine(i64::MIN, 1), Mine(i64::MIN, 1)])],
            "number",
        ),
        ("export numbers go up", vec![keep(1, &[Mine(-2, 1)]), keep(2, &[Mine(-1, 1)])], "number -1"),
        ("an export of no class", vec![keep(1, &[Mine(-1, 3)])], "class 3"),
        ("an export of the last class", vec![keep(1, &[Mine(-1, u32::MAX)])], "class 4294967295"),
        (
            "an object under another class's id",
            vec![keep(1, &[MineNamed(-1, 0, "Broker", other_key, None)])],
            "another class",
        ),
        (
            "an object under another class's name",
            vec![keep(1, &[MineNamed(-1, 0, "Worker", key, None)])],
            "another class",
        ),
        ("what was never passed", vec![keep(1, &[Yours(-1)])], "-1, which names nothing"),
        ("what was never named", vec![keep(1, &[Yours(2)])], "2, which names nothing"),
        ("nothing", vec![keep(1, &[Yours(0)])], "0, which names nothing"),
        ("what was released", vec![Send(release(1)), keep(1, &[Yours(1)])], "1, which names nothing"),
        (
            "an export that was released",
            vec![give(1), Answer(1), Send(release(-1)), keep(2, &[Yours(-1)])],
            "-1, which names nothing",
        ),
        (
            "a stream as a stub",
            vec![Send(call_of::<BrokerStub>(1, 1, "ignore", &[Stream(2)], &[0])), keep(2, &[Yours(2)])],
            "2, which names nothing",
        ),
        ("one good and one bad", vec![keep(1, &[Mine(-1, 1), Yours(-1)])], "-1, which names nothing"),
        ("the release of 0", vec![Send(release(0))], "release of 0"),
        ("the release of no export", vec![Send(release(-1))], "release of -1"),
        ("the smallest release", vec![Send(release(i64::MIN))], "-9223372036854775808"),
        ("their own export released", vec![keep(1, &[Mine(-1, 1)]), Answer(1), Send(release(-1))], "of -1"),
        (
            "an export released twice",
            vec![give(1), Answer(1), Send(release(-1)), Send(release(-1))],
            "release of -1",
        ),
        ("the release of no result", vec![Send(release_result(1))], "result of call 1"),
        ("the release of call 0", vec![Send(release_result(0))], "result of call 0"),
        ("of a result that is not kept", vec![give(1), Answer(1), Send(release_result(1))], "of call 1"),
        (
            "of a result twice",
            vec![kept(1, "give", &[]), Send(release_result(1)), Send(release_result(1))],
            "result of call 1",
        ),
        ("a part of no result", vec![Send(bind_result(2, 1, 1, &[]))], "result of call 1"),
        ("a part of what is not kept", vec![give(1), Send(bind_result(2, 1, 1, &[]))], "result of call 1"),
        (
            "a part of what was released",
            vec![kept(1, "give", &[]), Send(release_result(1)), Send(bind_result(2, 1, 1, &[]))],
            "result of call 1",
        ),
        ("a part too deep", vec![kept(1, "give", &[]), Send(bind_result(2, 1, 1, &deep))], "too deep"),
        (
            "a part with a long name",
            vec![kept(1, "give", &[]), Send(bind_result(2, 1, 1, &[&"x".repeat(100_000)]))],
            "too long",
        ),
        ("a part of no class", vec![kept(1, "give", &[]), Send(bind_result(2, 3, 1, &[]))], "class 3"),
        ("a part in 1's place", vec![kept(1, "give", &[]), Send(bind_result(1, 1, 1, &[]))], "number 1 "),
        ("a root in 1's place", vec![Send(bind_root(1, 1))], "number 1 "),
        ("the value of no call", vec![keep(1, &[Result(9)])], "result of call 9"),
        ("the value of what is not kept", vec![give(1), keep(2, &[Result(1)])], "result of call 1"),
        (
            "the value of itself",
            vec![Send(keep_of::<BrokerStub>(1, 1, "square", &[Result(1)], &[1, 0]))],
            "result of call 1",
        ),
        (
            "a value with a bad stub",
            vec![keep(1, &[Value(vec![], vec![Yours(9)])])],
            "9, which names nothing",
        ),
        ("a stream 0", vec![keep(1, &[Stream(0)])], "number 0 "),
        ("a negative stream", vec![keep(1, &[Stream(-1)])], "number -1 "),
        ("a stream in 1's place", vec![keep(1, &[Stream(1)])], "number 1 "),
        ("a stream twice", vec![keep(1, &[Stream(2), Stream(2)])], "number 2 "),
        ("a stream in a released place", vec![Send(release(1)), keep(1, &[Stream(1)])], "number 1 "),
        ("a name in a stream's place", vec![keep(1, &[Stream(2)]), Send(bind_root(2, 1))], "number 2 "),
        ("a stream released twice", vec![keep(1, &[Stream(2)]), Send(release(2)), Send(release(2))], "of 2"),
        ("an unknown descriptor", vec![garbled(&[3, 0])], "cannot be decoded"),
        ("an unknown capability", vec![garbled(&[0, 3, 0])], "cannot be decoded"),
        ("an endless number", vec![garbled(&[[0, 1].as_slice(), &[0xff; 11]].concat())], "cannot be decoded"),
        (
            "more in a value than there is",
            vec![garbled(&[2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f])],
            "the peer sent capabilities",
        ),
    ];
    // In replies the same, beginning with one to nothing.
    for (passes, reason) in [(vec![Mine(-1, 1)], "never made"), (vec![Yours(-1)], "-1, which names nothing")]
    {
        all.push(("beside a reply to nothing", vec![Send(reply_beside(1, &passes, &[0]))], reason));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_violation_ends_the_session_and_leaves_nothing() {
    let world = World::new().await;
    for (what, steps, reason) in violations() {
        let mut raw = Raw::brokered(&world.network).await;
        for step in steps {
            match step {
                Send(message) => raw.send(message).await,
                Answer(call) => drop(raw.answer(call).await.unwrap()),
            }
        }
        let abort = raw.aborted().await;
        assert_eq!(abort.kind, ErrorKind::Protocol, "{what}: {abort:?}");
        assert!(abort.message.contains(reason), "{what}: {abort:?}");
        drop(raw);
        world.alone().await;
        assert_eq!(listeners(), 0, "{what}");
    }
    world.end().await;
}

/// Descriptors have one encoding; every piece of one is refused, every list of whole ones is read.
#[tokio::test(start_paused = true)]
async fn descriptors_cut_at_every_byte() {
    let world = World::new().await;
    let key = *ObjectId::<BrokerStub>::from_name("x").as_bytes();
    let passes = [
        Mine(-300, 1),
        MineNamed(-301, 0, "Broker", key, Some("x")),
        Yours(1),
        Stream(500),
        Result(1),
        Value(vec![4; 3], vec![Yours(1), Mine(-400, 1)]),
    ];
    let whole: Vec<usize> = (0..=passes.len()).map(|count| beside(&passes[..count]).len()).collect();
    let block = beside(&passes);
    for end in 1..=block.len() {
        let mut raw = Raw::brokered(&world.network).await;
        raw.send(keep_of::<BrokerStub>(1, 1, "number", &[], &[3])).await;
        assert_eq!(raw.answer(1).await, Ok(vec![3]));
        // Nobody asks for what is passed: the call works, and everything is released.
        let number = method_of::<BrokerStub>("number");
        raw.send(call_beside(2, 1, number, false, &block[..end], &[5])).await;
        if whole.contains(&end) {
            assert_eq!(raw.answer(2).await, Ok(vec![5]));
            settle().await;
            let streams = usize::from(end > whole[3]);
            let expected = SessionStats { bound_objects: 1 + streams, kept_results: 1, ..NAMED };
            assert_eq!(world.other(), expected, "{end}");
        } else {
            let abort = raw.aborted().await;
            assert!(abort.message.contains("cannot be decoded"), "{end}: {abort:?}");
        }
        drop(raw);
        world.alone().await;
    }
    world.end().await;
}

/// A number in a body that fits nothing beside it is the fault of that one call, and everything passed is let go.
#[tokio::test(start_paused = true)]
async fn a_forged_place_fails_one_call_and_leaks_nothing() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    let (mut id, mut export, mut stream) = (0, -1, 2);
    let forged: [(&str, &[Beside], &[u8], &str); 19] = [
        ("keep", &[], &[0], "not in the message"),
        ("keep", &[Mine(0, 1)], &[1], "not in the message"),
        ("keep", &[Mine(0, 1)], &[0xff, 0xff, 0xff, 0xff, 0x0f], "not in the message"),
        ("keep", &[Mine(0, 1)], &[0xff; 9], "Listener"),
        ("keep", &[Mine(0, 1)], &[], "Listener"),
        ("keep", &[Mine(0, 1)], &[0, 0], "left over"),
        ("keep", &[Stream(0)], &[0], "where a stub was expected"),
        ("keep", &[Value(vec![1], vec![])], &[0], "where a stub was expected"),
        ("keep", &[Yours(1)], &[0], "a `Broker` where a `Listener` was expected"),
        ("keep_all", &[Mine(0, 1), Mine(0, 1)], &[3, 0, 1, 2], "not in the message"),
        ("keep_all", &[Mine(0, 1), Yours(1)], &[2, 0, 1], "a `Broker`"),
        ("ignore", &[Mine(0, 1)], &[0], "a value"),
        ("ignore", &[Yours(1)], &[0], "a value"),
        ("ignore", &[Stream(0)], &[1], "a value"),
        ("fill", &[Stream(0)], &[0], "a value"),
        ("fill", &[Yours(1)], &[0], "a value"),
        ("square", &[Mine(0, 1)], &[1, 0], "a capability where the value of a call was expected"),
        ("square", &[Value(vec![3, 4], vec![Mine(0, 1)])], &[1, 0], "left over"),
        ("square", &[Value(vec![3], vec![])], &[2, 0], "neither a value nor a promise"),
    ];
    for (name, passes, args, words) in forged {
        id += 1;
        let mut streams = Vec::new();
        let mut number = |it: &Beside| match it {
            Mine(_, class) => {
                export -= 1;
                Mine(export, *class)
            }
            Stream(_) => {
                stream += 1;
                streams.push(stream);
                Stream(stream)
            }
            other => other.clone(),
        };
        let passes: Vec<_> = passes
            .iter()
            .map(|it| match it {
                Value(body, inner) => Value(body.clone(), inner.iter().map(&mut number).collect()),
                cap => number(cap),
            })
            .collect();
        raw.send(call_of::<BrokerStub>(id, 1, name, &passes, args)).await;
        let refusal = raw.answer(id).await.expect_err(name);
        assert_eq!((refusal.kind, refusal.may_have_run), (ErrorKind::Decode, false), "{refusal:?}");
        if words != "a value" {
            assert!(refusal.message.contains(words), "{refusal:?}");
        }
        for stream in streams {
            id += 1;
            raw.send(stream_call(id, stream, "write", &[1])).await;
            assert_eq!(raw.answer(id).await.unwrap_err().kind, ErrorKind::Aborted, "nobody reads it");
            raw.send(release(stream)).await;
        }
        settle().await;
        assert_eq!(world.other(), NAMED, "{name} {passes:?}");
    }
    drop(raw);
    world.end().await;
}

/// One capability may stand in a value twice: it is released once, when both are gone.
#[tokio::test(start_paused = true)]
async fn what_is_passed_once_and_named_twice_is_released_once() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(call_of::<BrokerStub>(1, 1, "keep_all", &[Mine(-1, 1)], &[2, 0, 0])).await;
    assert_eq!(raw.answer(1).await, Ok(vec![2]));
    assert_eq!(world.other(), SessionStats { imports: 1, ..NAMED });
    raw.send(call_of::<BrokerStub>(2, 1, "forget", &[], &[])).await;
    assert_eq!(raw.answer(2).await, Ok(vec![]));
    settle().await;
    assert_eq!(world.other(), NAMED);
    raw.send(control(EnvelopeKind::Ping, &[])).await;
    assert!(raw.after_releases(EnvelopeKind::Pong).await.1 <= 1);
    drop(raw);
    world.end().await;
}

/// What a class was described as decides which calls can be made on it; a promise shows only when it is called.
#[tokio::test(start_paused = true)]
async fn a_stub_of_another_interface_is_refused_and_not_misread() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    // Passed as what it is not: the other one's `hear` takes a text.
    raw.send(call_of::<BrokerStub>(1, 1, "tell", &[Mine(-1, 2)], &[0, 7])).await;
    let (message, _) = raw.after_releases(EnvelopeKind::Reply).await;
    assert!(String::from_utf8_lossy(&message).contains("another signature"), "{message:?}");
    // The same by a promise, which is called a listener and becomes the other one.
    raw.send(keep_of::<BrokerStub>(2, 1, "give_other", &[], &[])).await;
    raw.send(bind_result(2, 1, 2, &[])).await;
    assert!(raw.answer(2).await.is_ok());
    raw.send(call_of::<BrokerStub>(3, 1, "tell", &[Yours(2)], &[0, 7])).await;
    let (message, _) = raw.after_releases(EnvelopeKind::Reply).await;
    assert!(String::from_utf8_lossy(&message).contains("signature"), "{message:?}");
    // And called directly.
    raw.send(call_of::<ListenerStub>(4, 2, "hear", &[], &[1])).await;
    assert_eq!(raw.answer(4).await.unwrap_err().kind, ErrorKind::SignatureMismatch);
    raw.send(call_of::<ListenerStub>(5, 2, "next", &[], &[])).await;
    assert_eq!(raw.answer(5).await.unwrap_err().kind, ErrorKind::NoSuchMethod);
    for message in [release(2), release_result(2), release(-1)] {
        raw.send(message).await;
    }
    settle().await;
    assert_eq!(world.other(), NAMED);
    drop(raw);
    world.end().await;
}

/// A call on a part that the result does not have is an error of that call.
#[tokio::test(start_paused = true)]
async fn a_part_that_a_result_does_not_have_fails_its_calls() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(keep_of::<BrokerStub>(1, 1, "pair", &[], &[])).await;
    assert!(raw.answer(1).await.is_ok());
    let paths: [&[&str]; 8] =
        [&[], &["second"], &["count"], &["third"], &["first", "x"], &[""], &["FIRST"], &["a"; 64]];
    for (at, path) in paths.into_iter().enumerate() {
        let (import, id) = (at as i64 + 2, at as u64 + 2);
        raw.send(bind_result(import, 1, 1, path)).await;
        raw.send(call_of::<ListenerStub>(id, import, "hear", &[], &[1])).await;
        let error = raw.answer(id).await.unwrap_err();
        assert_eq!((error.kind, error.may_have_run), (ErrorKind::Broken, false), "{path:?}: {error:?}");
        raw.send(release(import)).await;
    }
    raw.send(bind_result(20, 1, 1, &["first"])).await;
    raw.send(call_of::<ListenerStub>(20, 20, "hear", &[], &[5])).await;
    assert_eq!(raw.answer(20).await, Ok(vec![5]));
    // The result of a method that failed holds nothing either.
    raw.send(keep_of::<BrokerStub>(21, 1, "refuse", &[], &[])).await;
    raw.receive().await.unwrap();
    raw.send(bind_result(21, 1, 21, &[])).await;
    raw.send(call_of::<ListenerStub>(22, 21, "hear", &[], &[6])).await;
    assert_eq!(raw.answer(22).await.unwrap_err().kind, ErrorKind::Failed);
    assert_eq!(heard(), [5]);
    for message in [release(20), release(21), release_result(1), release_result(21)] {
        raw.send(message).await;
    }
    // The peer was also given what `pair` returned.
    raw.send(release(-1)).await;
    settle().await;
    assert_eq!((world.other(), listeners()), (NAMED, 0));
    drop(raw);
    world.end().await;
}

/// Calls on what is not there, was let go, or never was.
#[tokio::test(start_paused = true)]
async fn calls_on_what_is_gone_fail_one_by_one() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    raw.send(call_of::<BrokerStub>(1, 1, "give", &[], &[])).await;
    assert!(raw.answer(1).await.is_ok());
    raw.send(call_of::<ListenerStub>(2, -1, "hear", &[], &[1])).await;
    assert_eq!(raw.answer(2).await, Ok(vec![1]));
    raw.send(release(-1)).await;
    settle().await;
    assert_eq!((world.other(), listeners()), (NAMED, 0));
    for (id, target) in [(3, -1), (4, -2), (5, 0), (6, i64::MIN), (7, i64::MAX)] {
        // What is passed with it is let go as well.
        let export = -(id as i64);
        raw.send(call_of::<ListenerStub>(id, target, "hear", &[Mine(export, 1)], &[1])).await;
        let error = raw.answer(id).await.unwrap_err();
        assert_eq!((error.kind, error.may_have_run), (ErrorKind::Protocol, false), "{target}: {error:?}");
    }
    settle().await;
    assert_eq!(world.other(), NAMED);
    // There is no root: that shows when it is called.
    raw.send(bind_root(2, 1)).await;
    raw.send(call_of::<ListenerStub>(8, 2, "hear", &[], &[1])).await;
    assert_eq!(raw.answer(8).await.unwrap_err().kind, ErrorKind::NoSuchClass);
    drop(raw);
    world.end().await;
}

/// Also when it answers what nobody waits for any more.
#[tokio::test(start_paused = true)]
async fn what_comes_with_an_unwanted_answer_is_released() {
    let world = World::new().await;
    let mut raw = Raw::brokered(&world.network).await;
    // The node calls the peer's `next`, for a caller who goes away.
    raw.send(keep_of::<BrokerStub>(1, 1, "echo", &[Mine(-1, 1)], &[0])).await;
    assert!(raw.answer(1).await.is_ok());
    raw.send(bind_result(2, 1, 1, &[])).await;
    raw.send(call_of::<ListenerStub>(2, 2, "next", &[], &[])).await;
    let (message, _) = raw.after_releases(EnvelopeKind::Call).await;
    let called = opendo::transport::envelope::EnvelopeView::parse(&message).unwrap().call();
    raw.send(cancel(2)).await;
    assert_eq!(raw.answer(2).await.unwrap_err().kind, ErrorKind::Cancelled);
    raw.after_releases(EnvelopeKind::Cancel).await;
    let before = world.other().imports;
    raw.send(describe_stub::<ListenerStub>(3)).await;
    raw.send(reply_beside(called, &[Mine(-2, 3), Mine(-3, 3), Stream(7)], &[0])).await;
    settle().await;
    assert_eq!(world.other().imports, before);
    raw.send(stream_call(3, 7, "write", &[1])).await;
    drop(raw);
    world.end().await;
}
