//! Nodes that break the protocol: their clients get errors, never wait for ever, and do not run hot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opendo::prelude::*;
use opendo::transport::envelope::{EnvelopeKind, EnvelopeView, ReplyStatus};
use opendo::transport::{ByteStream, Connection, Limits as TransportLimits, Peer};
use opendo::{ClientBuilder, ConnectError, ErrorKind, Limits};
use tokio::io::{duplex, split};

use super::raw::*;
use super::world::*;

/// A client of a node that follows `script`, once for each connection.
fn client_of<F>(script: impl Fn(Raw) -> F + Send + Sync + 'static) -> (ClientBuilder, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    forget_runs();
    watch_panics();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let client = Client::over(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(script(Raw { io: far }));
        let (read, write) = split(near);
        let peer = Peer::local("test", "fake node");
        let stream = ByteStream::new(read, write, peer, &TransportLimits::default());
        std::future::ready(Ok(Connection::new(stream)))
    });
    (client, connections)
}

/// Says hello and waits for the first call, whose number it returns.
async fn first_call(raw: &mut Raw) -> Option<u64> {
    raw.receive().await?;
    raw.send(hello()).await;
    next_call(raw).await
}

async fn next_call(raw: &mut Raw) -> Option<u64> {
    loop {
        let message = raw.receive().await?;
        let view = EnvelopeView::parse(&message).unwrap();
        if view.kind() == EnvelopeKind::Call {
            return Some(view.call());
        }
    }
}

/// Keeps the connection until the client ends it.
async fn linger(mut raw: Raw) {
    raw.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_reaches_the_client_in_words() {
    for (kind, words) in [
        (ErrorKind::Protocol, "the peer speaks version 1 of the protocol and this side version 2"),
        (ErrorKind::Unauthorized, "wrong password"),
        (ErrorKind::Closed, "come back tomorrow"),
    ] {
        let (client, _) = client_of(move |mut raw| async move {
            raw.receive().await;
            raw.send(control(EnvelopeKind::Abort, &wire_error(kind, words))).await;
        });
        let error = soon(client.connect()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let ConnectError::Rpc(error) = error else { panic!("{error}") };
        assert_eq!((error.kind(), error.may_have_run()), (kind, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_begin_with_a_hello_is_not_connected_to() {
    let mut newer = hello();
    newer[4] = 2;
    for (first, kind) in [
        (newer, ErrorKind::Protocol),
        (b"HTTP/1.1 400 Bad Request".to_vec(), ErrorKind::Protocol),
        (control(EnvelopeKind::Abort, b""), ErrorKind::Protocol),
        (reply(1, ReplyStatus::Ok, &[]), ErrorKind::Protocol),
    ] {
        let (client, _) = client_of(move |mut raw| {
            let first = first.clone();
            async move {
                raw.receive().await;
                raw.send(first).await;
                linger(raw).await;
            }
        });
        assert_eq!(RpcError::from(soon(client.connect()).await.unwrap_err()).kind(), kind);
    }
    let (silent, _) = client_of(linger);
    let error = RpcError::from(soon(silent.connect()).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.message().contains("no hello"), "{error}");
    let (gone, _) = client_of(|_| async {});
    assert_eq!(RpcError::from(soon(gone.connect()).await.unwrap_err()).kind(), ErrorKind::Disconnected);
    let (too_large, _) = client_of(|mut raw| async move {
        raw.send_bytes(&[0xff; 4]).await;
        linger(raw).await;
    });
    assert_eq!(RpcError::from(soon(too_large.connect()).await.unwrap_err()).kind(), ErrorKind::TooLarge);
}

/// Whatever the answer is, the call ends.
#[tokio::test(start_paused = true)]
async fn every_wrong_answer_ends_the_call() {
    let mut unknown_status = reply(1, ReplyStatus::Ok, &[]);
    *unknown_status.last_mut().unwrap() = 7;
    for (what, answer, kind) in [
        ("no body", reply(1, ReplyStatus::Ok, &[]), ErrorKind::Decode),
        ("too much", reply(1, ReplyStatus::Ok, &[1, 2]), ErrorKind::Decode),
        ("garbage", reply(1, ReplyStatus::Ok, &[0xff; 9]), ErrorKind::Decode),
        ("an error of a method without one", reply(1, ReplyStatus::Application, &[0]), ErrorKind::Decode),
        ("a garbled error", reply(1, ReplyStatus::Rpc, &[0xff; 9]), ErrorKind::Protocol),
        ("an empty error", reply(1, ReplyStatus::Rpc, &[]), ErrorKind::Protocol),
        ("an unknown status", unknown_status, ErrorKind::Protocol),
        ("a reply to another call", reply(2, ReplyStatus::Ok, &[1]), ErrorKind::Protocol),
        ("an unknown kind", vec![99], ErrorKind::Protocol),
        ("a second hello", hello(), ErrorKind::Protocol),
        ("nothing at all", vec![], ErrorKind::Protocol),
        ("a garbled abort", control(EnvelopeKind::Abort, &[0xff; 9]), ErrorKind::Protocol),
        (
            "an abort",
            control(EnvelopeKind::Abort, &wire_error(ErrorKind::Overloaded, "")),
            ErrorKind::Overloaded,
        ),
    ] {
        let (client, _) = client_of(move |mut raw| {
            let answer = answer.clone();
            async move {
                if first_call(&mut raw).await.is_some() {
                    raw.send(answer).await;
                }
                linger(raw).await;
            }
        });
        let client = soon(client.connect()).await.unwrap();
        let stub: WorkerStub = client.get("x");
        let answer = tokio::time::timeout(HANG, stub.tag(1)).await;
        let error = rpc(answer.unwrap_or_else(|_| panic!("{what}: the call hangs")));
        assert_eq!((error.kind(), error.may_have_run()), (kind, true), "{what}: {error}");
        assert_eq!(panics(), 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_reply_to_the_same_call_is_ignored() {
    let (client, connections) = client_of(|mut raw| async move {
        let mut next = first_call(&mut raw).await;
        while let Some(id) = next {
            for answer in [7, 8, 9] {
                raw.send(reply(id, ReplyStatus::Ok, &[answer])).await;
            }
            next = next_call(&mut raw).await;
        }
    });
    let client = soon(client.connect()).await.unwrap();
    let stub: WorkerStub = client.get("x");
    for _ in 0..3 {
        assert_eq!(soon(stub.tag(1)).await, Ok(7));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// A node that never answers, but is there: the caller's deadline is what ends the call.
#[tokio::test(start_paused = true)]
async fn a_node_that_never_answers_is_left_by_deadline() {
    let (client, connections) = client_of(|mut raw| async move {
        first_call(&mut raw).await;
        while let Some(message) = raw.receive().await {
            if message[0] == EnvelopeKind::Ping as u8 {
                raw.send(control(EnvelopeKind::Pong, &[])).await;
            }
        }
    });
    let client = soon(client.connect()).await.unwrap();
    let stub: WorkerStub = client.get("x");
    let patient = stub.with_timeout(Duration::from_secs(3600));
    let error = rpc(patient.tag(1).await);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Deadline, true));
    assert_eq!(connections.load(Ordering::Relaxed), 1, "a silent peer that gives signs of life is kept");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gives_no_sign_of_life_is_left() {
    let (client, _) = client_of(|mut raw| async move {
        first_call(&mut raw).await;
        linger(raw).await;
    });
    let limits = Limits::default();
    let bound = limits.keepalive_interval + limits.keepalive_timeout + Duration::from_secs(1);
    let client = soon(client.limits(limits).connect()).await.unwrap();
    let stub: WorkerStub = client.get("x");
    let answer = tokio::time::timeout(bound, stub.tag(1)).await.expect("the keepalive ends the call");
    let error = rpc(answer);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, true));
}

/// A node that accepts and hangs up is asked again at a growing distance, not as fast as it can hang up.
#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_up_after_its_hello_is_not_hammered() {
    let (client, connections) = client_of(|mut raw| async move {
        raw.receive().await;
        if let Ok(()) = tokio::time::timeout(HANG, raw.send(hello())).await {
            // A little life, so that the paused clock goes on in any case.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let _client = soon(client.connect()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let connections = connections.load(Ordering::Relaxed);
    assert!((5..100).contains(&connections), "{connections} connections in a minute");
}

/// The node asks its client to call nothing: there is nothing there to be called.
#[tokio::test(start_paused = true)]
async fn a_client_serves_nothing() {
    let (client, _) = client_of(|mut raw| async move {
        raw.receive().await;
        raw.send(hello()).await;
        raw.send(describe_worker(0)).await;
        raw.send(bind_worker(1, "x")).await;
        raw.send(call(1, 1, "tag", &[1])).await;
        raw.receive().await; // the client's class
        raw.receive().await; // its object
        raw.receive().await; // its call
        let refusal = raw.refused().await;
        assert_eq!((refusal.kind, refusal.may_have_run), (ErrorKind::NoSuchClass, false));
        raw.send(reply(1, ReplyStatus::Ok, &[4])).await;
        linger(raw).await;
    });
    let client = soon(client.connect()).await.unwrap();
    let stub: WorkerStub = client.get("x");
    assert_eq!(soon(stub.tag(1)).await, Ok(4));
    assert_eq!(panics(), 0);
}
