//! A peer that says a proper hello and then anything: no panic, no hang, no more in the tables than may be and nothing
//! at the end, and a client beside it notices nothing.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz session -- -max_total_time=120`

#![no_main]

mod script;
mod worker;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use opendo::prelude::*;
use opendo::testing::{Network, SessionStats, node_stats};
use script::{Script, describe, put};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use worker::*;

/// Hello, the classes, and objects 1 and 2.
fn opening() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b"\0ODO\x01\0\x80\x80\x04\x10\x10\x10\x80\x08\0\0");
    put(&mut out, &describe::<WorkerStub>(0));
    put(&mut out, &describe::<ListenerStub>(1));
    for (import, name) in [(2, "a"), (4, "b")] {
        let mut bind = vec![5, import, 0, 0];
        bind.extend_from_slice(opendo::ObjectId::<WorkerStub>::from_name(name).as_bytes());
        bind.push(0);
        put(&mut out, &bind);
    }
    out
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(methods(), 2);
    let says = script.says(input);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let run = async {
            let node = Node::builder().object::<Worker>().limits(limits()).start().await.unwrap();
            let client = Network::new(&node).client().connect().await.unwrap();
            let bystander: WorkerStub = client.get("bystander");
            assert_eq!(bystander.push(0).await.unwrap(), 1);
            let (mut read, mut write) = tokio::io::split(Network::new(&node).connect_raw().unwrap());
            let sink = tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            });
            let _ = timeout(Duration::from_secs(1), write.write_all(&opening())).await;
            for (at, message) in says.iter().enumerate() {
                let _ = timeout(Duration::from_secs(1), write.write_all(message)).await;
                if at % 3 == 2 {
                    // Its calls run, and what they return can be used.
                    sleep(Duration::from_millis(1)).await;
                }
                for stats in node_stats(&node) {
                    assert!(within(&stats), "{stats:?}");
                }
            }
            sleep(Duration::from_millis(10)).await;
            assert_eq!(bystander.push(0).await.unwrap(), 2);
            sink.abort();
            let _ = sink.await;
            drop(write);
            sleep(Duration::from_secs(1)).await;
            let bystanders = SessionStats { bound_objects: 1, ..SessionStats::default() };
            assert_eq!(node_stats(&node), [bystanders]);
            for name in ["a", "b"] {
                client.get::<WorkerStub>(name).forget().await.unwrap();
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(listeners(), 0);
            client.close().await;
        };
        timeout(Duration::from_secs(300), run).await.expect("it hangs");
    });
});
