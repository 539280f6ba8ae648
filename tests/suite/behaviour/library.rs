//! The object that the cases about streams use, and sources that are counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use opendo::prelude::*;
use opendo::{NodeBuilder, RpcSink, RpcStream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::broker::{self, Ear, ListenerStub, Springs, Trap};
use super::by_name::{ByName, Gate};
use super::world::until;

/// What was drawn from its sources, and how many of them there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Well {
    drawn: ByName<AtomicUsize>,
    live: ByName<AtomicUsize>,
}

/// A source: 0, 1, 2, …
pub(crate) struct Bucket {
    well: Well,
    numbers: std::ops::Range<u64>,
}

impl Iterator for Bucket {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let next = self.numbers.next()?;
        self.well.drawn.fetch_add(1, Ordering::SeqCst);
        Some(next)
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.well.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Well {
    pub(crate) fn new() -> Self {
        Self { drawn: ByName::new(), live: ByName::new() }
    }

    pub(crate) fn source(&self, count: u64) -> Bucket {
        self.live.fetch_add(1, Ordering::SeqCst);
        Bucket { well: self.clone(), numbers: 0..count }
    }

    pub(crate) fn numbers(&self, count: u64) -> RpcStream<u64> {
        RpcStream::from_iter(self.source(count))
    }

    /// One that never gives anything.
    pub(crate) fn silence(&self) -> RpcStream<u64> {
        let source = self.source(0);
        RpcStream::from_stream(futures::stream::pending().map(move |number| {
            let _kept = &source;
            number
        }))
    }

    /// How many values the sources have given.
    pub(crate) fn drawn(&self) -> usize {
        self.drawn.load(Ordering::SeqCst)
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Waits until every source was dropped.
    pub(crate) async fn gone(&self) {
        until("the sources are gone", || self.live() == 0).await;
    }
}

/// A state that changes.
#[derive(Debug)]
pub(crate) struct State(pub(crate) watch::Sender<u64>);

impl Default for State {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

/// Streams in all that values can be made of.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shelf {
    pub first: RpcStream<u64>,
    pub second: Option<RpcStream<String>>,
    pub rest: Vec<(u8, Option<RpcStream<u64>>)>,
    pub trap: Trap,
}

/// All that comes, up to an error.
pub(crate) async fn all<T: opendo::Streamed>(mut stream: RpcStream<T>) -> Result<Vec<T>, RpcError> {
    let mut values = Vec::new();
    while let Some(value) = stream.next().await {
        values.push(value?);
    }
    assert!(stream.next().await.is_none());
    Ok(values)
}

pub struct Library {
    kept: Option<RpcStream<u64>>,
}

#[durable_object]
impl Library {
    // ---- reads

    pub async fn read(&self, numbers: RpcStream<u64>) -> Result<Vec<u64>, String> {
        all(numbers).await.map_err(|error| error.to_string())
    }

    pub async fn take(&self, mut numbers: RpcStream<u64>, count: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        while (taken.len() as u64) < count {
            taken.push(numbers.next().await.unwrap().unwrap());
        }
        taken
    }

    pub async fn read_shelf(&self, shelf: Shelf) -> (Vec<u64>, Vec<String>, u64) {
        let mut rest = 0;
        // The last one first.
        for (number, stream) in shelf.rest.into_iter().rev() {
            if let Some(stream) = stream {
                rest += u64::from(number) + all(stream).await.unwrap().into_iter().sum::<u64>();
            }
        }
        let second = match shelf.second {
            Some(second) => all(second).await.unwrap(),
            None => Vec::new(),
        };
        (all(shelf.first).await.unwrap(), second, rest)
    }

    pub async fn call_each(&self, mut listeners: RpcStream<ListenerStub>) -> u64 {
        let mut calls = 0;
        while let Some(listener) = listeners.next().await {
            calls = listener.unwrap().hear(calls).await.unwrap();
        }
        calls
    }

    pub async fn read_each(&self, mut streams: RpcStream<RpcStream<u64>>) -> Vec<Vec<u64>> {
        let mut read = Vec::new();
        while let Some(stream) = streams.next().await {
            read.push(all(stream.unwrap()).await.unwrap());
        }
        read
    }

    /// Reads nothing before the gate is open.
    pub async fn read_later(&self, numbers: RpcStream<u64>, gate: Gate) -> u64 {
        gate.pass().await;
        all(numbers).await.unwrap().len() as u64
    }

    /// The number of bytes.
    pub async fn weigh(&self, mut bytes: RpcStream<Vec<u8>>) -> u64 {
        let mut sum = 0;
        while let Some(bytes) = bytes.next().await {
            sum += bytes.unwrap().len() as u64;
        }
        sum
    }

    // ---- gives

    pub fn numbers(&self, well: Well, count: u64) -> RpcStream<u64> {
        well.numbers(count)
    }

    pub fn silence(&self, well: Well) -> RpcStream<u64> {
        well.silence()
    }

    /// Fails after so many.
    pub fn faulty(&self, well: Well, count: u64) -> RpcStream<u64> {
        let values = well.source(count).map(Ok).chain([Err("the well is dry")]);
        RpcStream::try_from_stream(futures::stream::iter(values))
    }

    /// The last one cannot be encoded.
    pub fn traps(&self, count: u64) -> RpcStream<Trap> {
        let count = usize::try_from(count).unwrap();
        RpcStream::from_iter(std::iter::repeat_n(Trap(Springs::Never), count).chain([Trap(Springs::Refuses)]))
    }

    pub fn listeners(&self, ear: Ear, count: u64) -> RpcStream<ListenerStub> {
        RpcStream::from_iter((0..count).map(move |_| ear.serve()))
    }

    pub fn shelf(&self, well: Well, springs: Springs) -> Shelf {
        Shelf {
            first: well.numbers(10),
            second: Some(RpcStream::from_iter(["a".to_owned(), "b".to_owned()])),
            rest: vec![(1, None), (2, Some(well.numbers(3))), (3, Some(well.numbers(0)))],
            trap: Trap(springs),
        }
    }

    pub fn states(&self, state: ByName<State>) -> RpcStream<u64> {
        RpcStream::latest(state.0.subscribe())
    }

    pub fn echo(&self, numbers: RpcStream<u64>) -> RpcStream<u64> {
        numbers
    }

    /// Takes the first, and gives back the rest.
    pub async fn behead(&self, mut numbers: RpcStream<u64>) -> RpcStream<u64> {
        numbers.next().await;
        numbers
    }

    pub fn keep(&mut self, numbers: RpcStream<u64>) {
        self.kept = Some(numbers);
    }

    pub async fn next(&mut self) -> Option<u64> {
        self.kept.as_mut()?.next().await?.ok()
    }

    pub fn forget(&mut self) {
        self.kept = None;
    }

    // ---- writes

    pub async fn write(&self, mut sink: RpcSink<u64>, count: u64) -> Result<u64, String> {
        for number in 0..count {
            sink.send(number).await.map_err(|error| error.to_string())?;
        }
        sink.close().await.map_err(|error| error.to_string())?;
        Ok(count)
    }

    /// Ends it otherwise than in order.
    pub async fn spoil(&self, mut sink: RpcSink<u64>, abort: bool) {
        sink.send(1).await.unwrap();
        if abort {
            sink.abort("enough");
        }
    }

    pub fn echo_sink(&self, sink: RpcSink<u64>) -> RpcSink<u64> {
        sink
    }

    /// A sink of its own: what is written there is read here.
    pub fn sink(&mut self) -> RpcSink<u64> {
        let (sink, stream) = opendo::pipe();
        self.kept = Some(stream);
        sink
    }
}

impl DurableObject for Library {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { kept: None })
    }
}

pub(crate) fn hosted() -> NodeBuilder {
    broker::hosted().object::<Library>()
}
