//! A peer that says a proper hello and then anything: no panic, no hang, and a client beside it notices nothing.
//!
//! The first byte decides whether the rest is raw bytes or cut into messages, each behind a byte that is its size.
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz session -- -max_total_time=120`

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use opendo::Stub;
use opendo::prelude::*;
use opendo::testing::{Network, node_stats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

pub struct Worker {
    log: Vec<u8>,
}

#[durable_object]
impl Worker {
    pub fn push(&mut self, byte: u8) -> usize {
        self.log.push(byte);
        self.log.len()
    }

    pub fn swap(&mut self, log: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.log, log)
    }

    pub fn name(&self, of: Option<String>) -> Result<(u64, String), String> {
        of.map(|name| (name.len() as u64, name)).ok_or_else(|| "nobody".to_owned())
    }

    #[method(concurrent)]
    pub async fn hold(&self, #[call] call: &CallInfo) {
        call.cancelled().await;
    }

    #[method(concurrent)]
    pub async fn call_back(&self, #[call] call: &CallInfo) -> Option<usize> {
        let back: WorkerStub = call.session()?.get("back");
        back.push(1).await.ok()
    }
}

impl DurableObject for Worker {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { log: Vec::new() })
    }
}

fn put(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(&(message.len() as u32).to_le_bytes());
    out.extend_from_slice(message);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Hello, the class, and objects 1 and 2 of it.
fn opening() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b"\0ODO\x01\0\x80\x80\x04\x10\x10\x80\x08\0\0");
    let interface = WorkerStub::INTERFACE;
    let mut describe = vec![4, 0, interface.name.len() as u8];
    describe.extend_from_slice(interface.name.as_bytes());
    describe.push(interface.methods.len() as u8);
    for method in interface.methods {
        put_varint(&mut describe, u64::from(method.id));
        put_varint(&mut describe, method.fingerprint);
    }
    put(&mut out, &describe);
    for (import, name) in [(2, "a"), (4, "b")] {
        let mut bind = vec![5, import, 0, 0];
        bind.extend_from_slice(opendo::ObjectId::<WorkerStub>::from_name(name).as_bytes());
        bind.push(0);
        put(&mut out, &bind);
    }
    out
}

/// Calls are easier to find with this: a message that begins with 1 and the number of a method is made one.
fn message(piece: &[u8], calls: &mut u64) -> Vec<u8> {
    let methods = WorkerStub::INTERFACE.methods;
    match piece {
        [1, method, rest @ ..] if usize::from(*method) < methods.len() => {
            *calls += 1;
            let mut out = vec![1, 0];
            put_varint(&mut out, *calls);
            out.push(if method % 2 == 0 { 2 } else { 4 });
            out.extend_from_slice(&methods[usize::from(*method)].id.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(rest);
            out
        }
        _ => piece.to_vec(),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, input)) = input.split_first() else { return };
    let mut script = opening();
    if mode % 2 == 0 {
        let (mut rest, mut calls) = (input, 0);
        while let Some((size, tail)) = rest.split_first() {
            let (piece, tail) = tail.split_at(usize::from(*size).min(tail.len()));
            put(&mut script, &message(piece, &mut calls));
            rest = tail;
        }
    } else {
        script.extend_from_slice(input);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let run = async {
            let node = Node::builder().object::<Worker>().start().await.unwrap();
            let client = Network::new(&node).client().connect().await.unwrap();
            let bystander: WorkerStub = client.get("bystander");
            assert_eq!(bystander.push(0).await.unwrap(), 1);
            let (mut read, mut write) = tokio::io::split(Network::new(&node).connect_raw().unwrap());
            let sink = tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            });
            let _ = timeout(Duration::from_secs(1), write.write_all(&script)).await;
            sleep(Duration::from_millis(10)).await;
            assert_eq!(bystander.push(0).await.unwrap(), 2);
            sink.abort();
            let _ = sink.await;
            drop(write);
            sleep(Duration::from_secs(1)).await;
            let stats = node_stats(&node);
            assert_eq!(stats.len(), 1);
            assert_eq!((stats[0].running_calls, stats[0].pending_calls, stats[0].unsent_bytes), (0, 0, 0));
            client.close().await;
        };
        timeout(Duration::from_secs(300), run).await.expect("it hangs");
    });
});
