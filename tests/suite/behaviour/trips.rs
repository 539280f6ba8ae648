//! How long things take on a slow network, and what is left after it was cut. The clock is paused: all is exact.

#![allow(clippy::float_cmp)] // of rounded numbers

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::testing::Network;
use opendo::transport::{ByteStream, Connection, Peer};
use opendo::{Arg, ErrorKind, SessionStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::broker::{BrokerStub, Ear, listener};
use super::by_name::Gate;
use super::errors::failure;
use super::library::{self, LibraryStub, Well};
use super::world::{let_others_run, until};

const DELAY: Duration = Duration::from_millis(100);

async fn connected() -> (Node, Network, Client) {
    let node = library::hosted().start().await.unwrap();
    let network = Network::new(&node);
    let client = network.client().connect().await.unwrap();
    (node, network, client)
}

/// A way to a node on which everything takes [`DELAY`], however much is on it.
#[derive(Clone, Default)]
struct Line {
    /// How many times something was put on it, towards the node.
    pieces: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Line {
    async fn client(&self, node: &Node) -> Client {
        let (network, line) = (Network::new(node), self.clone());
        let client = Client::over(move || {
            let (network, line) = (network.clone(), line.clone());
            async move {
                let (near, far) = (tokio::io::duplex(1 << 20), network.connect_raw()?);
                let ((from_client, to_client), (from_node, to_node)) = (split(near.1), split(far));
                tokio::spawn(line.clone().carry(from_client, to_node, true));
                tokio::spawn(line.carry(from_node, to_client, false));
                let (read, write) = split(near.0);
                let limits = opendo::transport::Limits { max_message: 1 << 20 };
                Ok(Connection::new(ByteStream::new(read, write, Peer::local("test", "line"), &limits)))
            }
        });
        let client = client.connect().await.unwrap();
        // Classes and objects are made known.
        client.get::<BrokerStub>("a").name().await.unwrap();
        client.get::<LibraryStub>("l").forget().await.unwrap();
        client
    }

    async fn carry(self, mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, counted: bool) {
        let (arrive, mut arriving) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((at, piece)) = arriving.recv().await {
                tokio::time::sleep_until(at).await;
                let piece: Vec<u8> = piece;
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if counted {
                self.pieces.fetch_add(1, Ordering::SeqCst);
                self.bytes.fetch_add(count, Ordering::SeqCst);
            }
            let _ = arrive.send((Instant::now() + DELAY, buffer[..count].to_vec()));
        }
    }

    /// How many round trips that takes, in how many pieces and bytes.
    async fn trips<T>(&self, calls: impl Future<Output = T>) -> (f64, usize, usize) {
        // What was let go before is still on its way.
        tokio::time::sleep(DELAY * 10).await;
        let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        let (begun, pieces, bytes) = (Instant::now(), count(&self.pieces), count(&self.bytes));
        calls.await;
        let took = begun.elapsed().div_duration_f64(DELAY * 2);
        // The clock has steps of a millisecond.
        ((took * 10.0).round() / 10.0, count(&self.pieces) - pieces, count(&self.bytes) - bytes)
    }
}

#[tokio::test(start_paused = true)]
async fn dependent_calls_take_one_round_trip() {
    let node = library::hosted().start().await.unwrap();
    let line = Line::default();
    let client = line.client(&node).await;
    let broker: BrokerStub = client.get("a");
    broker.name().await.unwrap();
    let ear = Ear::new();
    let one_by_one = async {
        let b = broker.other("b".into()).await.unwrap();
        let made = b.make(ear.clone()).await.unwrap();
        made.hear(1).await.unwrap();
    };
    assert_eq!(line.trips(one_by_one).await.0, 3.0);
    let at_once = || async { broker.other("b".into()).make(ear.clone()).hear(2).await.unwrap() };
    assert_eq!(line.trips(at_once()).await.0, 1.0);
    // The interfaces are known now. All goes in one piece; what it lets go of may follow.
    let (trips, pieces, bytes) = line.trips(at_once()).await;
    assert_eq!(trips, 1.0);
    assert!(pieces <= 2 && bytes < 250, "{pieces} pieces, {bytes} bytes");
    // Values as well, however deep.
    let sums = async {
        let sum = broker.promised().add(1, 2);
        let squared = broker.promised().square(sum.into());
        let all = broker.sum(squared.into(), 1, broker.promised().add(1, 1).into());
        assert_eq!(all.await.unwrap(), 12);
    };
    assert_eq!(line.trips(sums).await.0, 1.0);
    // Not said to be needed so, the value comes first.
    let square = async { assert_eq!(broker.square(broker.add(1, 2).into()).await.unwrap(), 9) };
    assert_eq!(line.trips(square).await.0, 2.0);
    // A result as an argument.
    let told = async {
        let told = client.get::<BrokerStub>("b").tell_value(broker.make(ear.clone()).into(), Arg::new(7));
        assert_eq!(told.await.unwrap(), 8);
    };
    assert_eq!(line.trips(told).await.0, 1.0);
    tokio::time::sleep(DELAY * 2).await; // letting go takes its time, too
    assert_eq!(ear.live(), 0);
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_callback_takes_one_more_round_trip_and_what_comes_home_none() {
    let node = library::hosted().start().await.unwrap();
    let line = Line::default();
    let client = line.client(&node).await;
    let broker: BrokerStub = client.get("a");
    let (target, ear) = listener();
    broker.keep(target.clone()).await.unwrap();
    assert_eq!(line.trips(async { broker.tell_all(1).await.unwrap() }).await.0, 2.0);
    let back = broker.kept().await.unwrap().unwrap();
    let heard = line.trips(async { assert_eq!(back.hear(2).await.unwrap(), 3) }).await;
    assert_eq!(heard, (0.0, 0, 0));
    assert_eq!(ear.heard(), [1, 2]);
    broker.forget().await.unwrap();
    client.close().await;
}

/// The values of a stream are on their way while others are read.
#[tokio::test(start_paused = true)]
async fn a_stream_does_not_take_a_round_trip_for_each_value() {
    let node = library::hosted().start().await.unwrap();
    let line = Line::default();
    let client = line.client(&node).await;
    let library: LibraryStub = client.get("l");
    let read = async {
        let mut numbers = library.numbers(Well::new(), 1_000).await.unwrap();
        let mut count = 0;
        while let Some(number) = numbers.next().await {
            assert_eq!(number.unwrap(), count);
            count += 1;
        }
        assert_eq!(count, 1_000);
    };
    assert_eq!(line.trips(read).await.0, 1.0);
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn stubs_of_objects_heal_and_stubs_of_targets_do_not() {
    let (node, network, client) = connected().await;
    let broker: BrokerStub = client.get("a");
    let ((target, ours), theirs) = (listener(), Ear::new());
    let given = broker.other("b".into()).await.unwrap();
    let made = broker.make(theirs.clone()).await.unwrap();
    let promise = broker.make(theirs.clone());
    assert_eq!(promise.hear(0).await.unwrap(), 1);
    broker.keep(target.clone()).await.unwrap();
    for round in 0..3 {
        network.cut();
        until("the loss was noticed", || {
            client.session().is_none_or(|it| it.stats() == SessionStats::default())
        })
        .await;
        // The stub that was a result is a name, as the one that was made here is.
        assert_eq!(given.name().await.unwrap().as_deref(), Some("b"), "in round {round}");
        assert_eq!(broker.name().await.unwrap().as_deref(), Some("a"));
        let error = RpcError::from(made.hear(1).await.unwrap_err());
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Broken, false));
        assert!(error.message().contains("get a new one"), "{error}");
        assert_eq!(failure(promise.hear(1).await), (ErrorKind::Broken, false));
        assert_eq!(promise.hear(1).await.unwrap_err().rpc().unwrap().kind(), ErrorKind::Broken);
        theirs.gone().await;
        // What the node holds of ours is as broken.
        let told = broker.try_tell(target.clone(), 5).await.unwrap();
        assert_eq!(told, 6);
        let kept = broker.kept().await.unwrap().unwrap();
        assert_eq!(failure(kept.hear(1).await).0, ErrorKind::Broken);
        // A healed stub can be passed, and what it makes called.
        assert_eq!(broker.make_by(given.clone(), theirs.clone(), 8).await.unwrap(), 9);
        theirs.gone().await;
    }
    broker.forget().await.unwrap();
    drop((made, promise, given, target));
    ours.gone().await;
    until("nothing is left", || {
        opendo::testing::node_stats(&node).iter().all(|it| it.exports + it.imports == 0)
    })
    .await;
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_when_the_network_is_cut_is_told_the_truth() {
    let (_node, network, client) = connected().await;
    let broker: BrokerStub = client.get("a");
    let ((target, ours), theirs, gate) = (listener(), Ear::new(), Gate::new());
    let made = broker.make(theirs.clone()).await.unwrap();
    let held = made.hold(gate.clone(), 1);
    let slow = broker.make_slowly(theirs.clone(), gate.clone());
    let on_it = slow.hear(2);
    gate.reached().await;
    gate.reached().await;
    let_others_run().await;
    network.cut();
    assert_eq!(failure(held.await), (ErrorKind::Disconnected, true));
    let (kind, may_have_run) = failure(on_it.await);
    assert_eq!((kind, may_have_run), (ErrorKind::Disconnected, true));
    assert_eq!(failure(slow.await), (ErrorKind::Disconnected, true));
    gate.open();
    gate.open();
    drop(made);
    theirs.gone().await;
    // A callback that the cut took away: its object is told, and goes on.
    let told = broker.try_tell(target.clone(), 3).await.unwrap();
    assert_eq!(told, 4);
    drop(target);
    ours.gone().await;
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_connection_is_lost_ends_with_an_error_and_its_source_is_let_go() {
    let (_node, network, client) = connected().await;
    let library: LibraryStub = client.get("l");
    let well = Well::new();
    let mut numbers = library.numbers(well.clone(), u64::MAX).await.unwrap();
    assert_eq!(numbers.next().await.unwrap().unwrap(), 0);
    library.keep(well.numbers(u64::MAX)).await.unwrap();
    let mut silence = library.silence(well.clone()).await.unwrap();
    let mut sink = client.get::<LibraryStub>("s").sink().await.unwrap();
    assert_eq!(well.live(), 3);
    network.cut();
    well.gone().await;
    let error = loop {
        match numbers.next().await.expect("an end like any other") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
    assert!(numbers.next().await.is_none());
    assert!(silence.next().await.unwrap().is_err());
    until("the loss was noticed", || client.session().is_none_or(|it| it.stats() == SessionStats::default()))
        .await;
    assert!(sink.send(1).await.is_err() || sink.close().await.is_err());
    // The object that read it sees an end, too; and another stream works.
    while library.next().await.unwrap().is_some() {}
    assert_eq!(library.read(well.numbers(3)).await.unwrap(), [0, 1, 2]);
    client.get::<LibraryStub>("s").forget().await.unwrap();
    library.forget().await.unwrap();
    client.close().await;
}
