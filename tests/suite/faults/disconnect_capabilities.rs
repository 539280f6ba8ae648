//! A conversation with callbacks, results that are used before they have come, and streams, cut at every byte.

use futures::StreamExt;
use opendo::prelude::*;
use opendo::testing::{Direction, Network, SessionStats, node_stats, stats};
use opendo::{Arg, ErrorKind, Limits, RpcStream, StubExt};

use super::broker::*;
use super::world::*;

/// Whatever was passed is gone with its connection; what goes by name is there again.
fn judge<T, E: std::fmt::Display>(what: &str, result: &Result<T, CallError<E>>) -> bool {
    if let Err(CallError::Rpc(error)) = result {
        let expected = [ErrorKind::Disconnected, ErrorKind::Broken, ErrorKind::Aborted];
        assert!(expected.contains(&error.kind()), "{what}: {error}");
    }
    result.is_ok()
}

/// Returns how much of it worked.
async fn talk(client: &Client) -> usize {
    let mut worked = 0;
    let mut note = |ok: bool| worked += usize::from(ok);
    let (broker, other): (BrokerStub, BrokerStub) = (client.get("one"), client.get("two"));

    // It belongs to the session, and breaks with it.
    let given = soon(broker.give()).await;
    note(judge("give", &given));
    let end = given.as_ref().ok().map(|given| {
        let given = given.clone();
        tokio::spawn(async move { given.broken().await })
    });

    // Called back while the call runs, and after it.
    note(judge("tell", &soon(broker.tell(Listener::stub(), 1)).await));
    note(judge("keep", &soon(broker.keep(Listener::stub())).await));
    // What is passed comes home as what it was.
    let echoed = soon(broker.echo(Listener::stub())).await;
    note(judge("echo", &echoed));
    if let Ok(home) = echoed {
        assert_eq!(soon(home.hear(2)).await, Ok(2), "it has never left");
    }

    // All of it at once, on what has not come.
    let pair = broker.pair();
    let (first, none) = (pair.first.hear(3), pair.second.hear(4));
    let deep = pair.first.next();
    let deeper = deep.next();
    let deepest = deeper.hear(5);
    let number = other.promised().number(6);
    let square = other.square(Arg::from(number));
    note(judge("first", &soon(first).await));
    assert!(!judge("none", &soon(none).await), "there is no second");
    note(judge("deepest", &soon(deepest).await));
    note(judge("square", &soon(square).await));
    note(judge("pair", &soon(pair).await));
    drop((deep, deeper));

    // A result that waits until somebody brings it.
    let wanted = broker.want();
    let early = wanted.hear(7);
    let late = soon(broker.offer(Listener::stub())).await;
    note(judge("offer", &late));
    if late.is_err() {
        // It was perhaps never asked for: nothing may wait for ever.
        drop(wanted);
        let _ = soon(broker.offer(Listener::stub())).await;
    } else {
        note(judge("want", &soon(wanted).await));
    }
    if late.is_ok() {
        note(judge("early", &soon(early).await));
    } else {
        drop(early);
    }

    // Streams, both ways.
    let stream = RpcStream::from_iter((0..4).map(|_| Payload::new(vec![1; 30])));
    let read = soon(broker.read(stream)).await;
    if let Ok((bytes, error)) = &read {
        assert!(*bytes == 120 || error.is_some(), "{bytes} {error:?}");
    }
    note(judge("read", &read));
    let written = soon(broker.write(4, 30)).await;
    note(judge("write", &written));
    if let Ok(mut stream) = written {
        let mut whole = 0;
        while let Some(payload) = soon(stream.next()).await {
            match payload {
                Ok(payload) => whole += payload.0.len(),
                Err(error) => assert_ne!(error.kind(), ErrorKind::Decode, "{error}"),
            }
        }
        note(whole == 120);
    }
    note(judge("ignore", &soon(broker.ignore(RpcStream::from_iter([Payload::new(vec![2; 9])]))).await));
    let sink = soon(broker.sink()).await;
    note(judge("sink", &sink));
    if let Ok(mut sink) = sink {
        let sent = soon(sink.send(8)).await;
        note(sent.is_ok() && soon(sink.close()).await.is_ok());
    }

    let forgotten = soon(broker.forget()).await;
    note(judge("forget", &forgotten));
    if forgotten.is_err() {
        assert_eq!(soon(broker.forget()).await, Ok(()), "there is only one cut");
    }
    if let Ok(given) = given {
        note(judge("given", &soon(given.hear(9)).await));
        // At the latest now; or it was cut before.
        client.session().expect("a session").close().await;
        assert_eq!(soon(end.unwrap()).await.unwrap().kind(), ErrorKind::Broken);
        assert_eq!(kind(soon(given.hear(10)).await), ErrorKind::Broken);
    }
    worked
}

/// Returns how many bytes went each way, how much worked, and whether the connection was cut where it should.
async fn conversation(cut: Option<(Direction, u64)>) -> ([u64; 2], usize, bool) {
    let node = start_node(Limits::default()).await;
    let network = Network::new(&node);
    if let Some((direction, bytes)) = cut {
        network.cut_after(direction, bytes);
    }
    let client = match soon(network.client().connect()).await {
        Ok(client) => client,
        Err(_) => soon(network.client().connect()).await.unwrap(),
    };
    let worked = talk(&client).await;
    settle().await;
    assert_eq!(listeners(), 0, "every target was let go");
    if let Some(session) = client.session() {
        assert_eq!(stats(&session), SessionStats::default());
    }
    for stats in node_stats(&node) {
        assert_eq!(stats, SessionStats::default());
    }
    soon(client.close()).await;
    settle().await;
    assert_eq!((node.sessions(), payloads(), panics()), (0, 0, 0));
    ([Direction::ToNode, Direction::ToClient].map(|way| network.bytes(way)), worked, network.has_cut())
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

fn cut_everywhere(direction: Direction) {
    let (bytes, all, _) = run(conversation(None));
    assert_eq!(all, 19, "without a cut everything works");
    let total = bytes[usize::from(direction == Direction::ToClient)];
    for at in 0..total {
        let cut = std::panic::catch_unwind(|| run(conversation(Some((direction, at)))));
        match cut {
            Ok((_, _, true)) => {}
            // Of the next connection, made when the session was closed, there is only a hello.
            Ok((_, _, false)) => assert!(at + 40 > total, "{at} of {total} bytes were not reached"),
            Err(_) => panic!("cut {direction:?} after {at} of {total} bytes"),
        }
    }
}

#[test]
fn capabilities_survive_a_cut_at_every_byte_to_the_node() {
    cut_everywhere(Direction::ToNode);
}

#[test]
fn capabilities_survive_a_cut_at_every_byte_to_the_client() {
    cut_everywhere(Direction::ToClient);
}
