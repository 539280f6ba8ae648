//! A node that says a proper hello and then anything, to a client that passes callbacks and streams, calls results that
//! have not come, and is called: every call ends, and nothing is left.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz client -- -max_total_time=120`

#![no_main]

mod script;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use libfuzzer_sys::fuzz_target;
use opendo::prelude::*;
use opendo::testing::{Network, SessionStats};
use opendo::transport::{ByteStream, Connection, Limits as TransportLimits, Peer, TransportError};
use opendo::{Arg, RpcStream, StubExt};
use script::{Script, describe, put};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::{sleep, timeout};
use worker::*;

/// Says its piece, a few messages at a time.
async fn node(io: DuplexStream, says: Vec<Vec<u8>>) {
    let (mut read, mut write) = split(io);
    let sink = tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    });
    let mut opening = Vec::new();
    put(&mut opening, b"\0ODO\x01\0\x80\x80\x04\x10\x10\x10\x80\x08\0\0");
    put(&mut opening, &describe::<WorkerStub>(0));
    put(&mut opening, &describe::<ListenerStub>(1));
    // The client's root.
    put(&mut opening, &[5, 2, 1, 1]);
    let _ = write.write_all(&opening).await;
    for (at, message) in says.iter().enumerate() {
        let _ = timeout(Duration::from_secs(1), write.write_all(message)).await;
        if at % 2 == 1 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    sleep(Duration::from_millis(100)).await;
    sink.abort();
}

/// Says something of everything.
async fn talk(client: &Client) {
    let worker: WorkerStub = client.get("a");
    let keep = worker.keep(Listener::stub());
    let told = worker.tell(Listener::stub(), 1);
    let pair = worker.pair(Some(Listener::stub()));
    let (first, second) = (pair.first.hear(2), pair.second.next());
    let third = second.hear(3);
    let echoed = worker.echo(Listener::stub());
    let through = echoed.hear(4);
    let sum = worker.promised().add(Arg::new(1), Arg::new(2));
    let sum = worker.add(Arg::from(sum), Arg::new(3));
    let read = worker.read(RpcStream::from_iter(0..200));
    let sink = worker.sink();
    let held = worker.hold();
    let given = worker.give();
    let written = worker.write(3);
    let _ = (keep.await, told.await, first.await, third.await, through.await, sum.await, read.await);
    drop(held);
    let _ = (second.await, echoed.await);
    if let Ok(mut sink) = sink.await {
        for value in 0..20 {
            if sink.send(value).await.is_err() {
                break;
            }
        }
        let _ = sink.close().await;
    }
    if let Ok(pair) = pair.await {
        let _ = pair.first.hear(5).await;
        let _ = worker.keep_all(vec![pair.first.clone(), pair.first]).await;
    }
    if let Ok(mut stream) = written.await {
        while let Some(Ok(listener)) = stream.next().await {
            let _ = listener.hear(6).await;
        }
    }
    if let Ok(given) = given.await {
        given.broken().await;
        assert!(given.hear(7).await.is_err());
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(methods(), 1);
    let says = script.says(input);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let run = async {
            let good = Node::builder().object::<Worker>().start().await.unwrap();
            let others = Network::new(&good).client().connect().await.unwrap();
            let bystander: WorkerStub = others.get("bystander");
            assert_eq!(bystander.push(0).await.unwrap(), 1);

            let first = AtomicBool::new(true);
            let root = Listener::stub();
            let client = Client::over(move || {
                let connection = if first.swap(false, Ordering::Relaxed) {
                    let (near, far) = duplex(64 * 1024);
                    tokio::spawn(node(far, says.clone()));
                    let (read, write) = split(near);
                    let peer = Peer::local("fuzz", "node");
                    let stream = ByteStream::new(read, write, peer, &TransportLimits::default());
                    Ok(Connection::new(stream))
                } else {
                    Err(TransportError::NotFound { address: "nowhere".into() })
                };
                std::future::ready(connection)
            });
            let client = client.limits(limits()).patience(Duration::from_secs(1)).root(&root).connect().await;
            drop(root);
            let client = client.unwrap();
            let session = client.session();
            let watch = tokio::spawn({
                let session = session.clone();
                async move {
                    loop {
                        let Some(session) = &session else { return };
                        assert!(within(&session.stats()), "{:?}", session.stats());
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            });
            talk(&client).await;
            assert_eq!(bystander.push(0).await.unwrap(), 2);
            sleep(Duration::from_secs(2)).await;
            assert!(!watch.is_finished() || session.is_none());
            watch.abort();
            let _ = watch.await;
            if let Some(session) = session {
                session.closed().await;
                let SessionStats { pending_calls, running_calls, unsent_bytes, exports, imports, .. } =
                    session.stats();
                assert_eq!((pending_calls, running_calls, unsent_bytes, exports, imports), (0, 0, 0, 0, 0));
            }
            client.close().await;
            drop(client);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(listeners(), 0);
            others.close().await;
        };
        timeout(Duration::from_secs(300), run).await.expect("it hangs");
    });
});
