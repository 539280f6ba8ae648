//! Typed stubs of ours, at a server that is not: Cap'n Web's own library, from npm, on Node.

// Arguments are what they are for the server's sake.
#![allow(clippy::needless_pass_by_value)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::value::{BigInt, Date, ErrorValue, Value};
use opendo::{Callback, DynStub, ErrorKind, RpcSink, RpcStream};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::time::timeout;

#[path = "npm.rs"]
mod npm;

/// What the server has that these tests call; see `conformance/reference-server.mjs`.
#[opendo::interface(rename_all = "camelCase")]
trait Fixture {
    async fn square(&self, n: f64) -> f64;
    async fn generate_fibonacci(&self, length: u32) -> Vec<u32>;
    async fn throw_rich(&self) -> Result<(), ErrorValue>;
    async fn throw_value(&self, value: String) -> Result<(), String>;
    async fn get_user(&self, id: u32) -> User;
    async fn make_counter(&self, value: f64) -> CounterStub;
    async fn increment_counter(&self, counter: CounterStub, by: f64) -> f64;
    async fn list_counters(&self, count: u32) -> Vec<CounterStub>;
    async fn call_twice(&self, function: Callback<f64, f64>, value: f64) -> (f64, f64);
    async fn register_callback(&self, function: Callback<f64, f64>);
    async fn fire_callback(&self, value: f64) -> f64;
    async fn drop_callback(&self);
    async fn node(&self, number: u32) -> LinkStub;
    async fn classify(&self, value: Value) -> String;
    async fn big_add(&self, a: BigInt, b: BigInt) -> BigInt;
    async fn add_millis(&self, date: Date, millis: f64) -> Date;
    async fn reverse_bytes(&self, bytes: ByteBuf) -> ByteBuf;
    async fn give_stream(&self, chunks: Vec<u32>) -> RpcStream<u32>;
    async fn give_failing(&self, count: u32, message: String) -> RpcStream<u32>;
    async fn collect(&self, stream: RpcStream<u32>) -> Vec<u32>;
    async fn cancel_after(&self, stream: RpcStream<u32>, count: u32) -> u32;
    async fn take_writable(&self, sink: RpcSink<u32>, chunks: Vec<u32>) -> u32;
    async fn open_sink(&self, name: String) -> RpcSink<u32>;
    async fn failing_sink(&self, name: String, after: u32) -> RpcSink<u32>;
    async fn sink_state(&self, name: String) -> SinkState;
    async fn track(&self, token: String) -> LinkStub;
    async fn live_count(&self, token: String) -> u32;
    async fn slow(&self, millis: u32, value: u32) -> u32;
    async fn stats(&self) -> Stats;
    async fn die(&self, message: String);
    async fn hang_up(&self);
}

#[opendo::interface]
trait Counter {
    async fn increment(&mut self, by: f64) -> f64;
    #[method(property)]
    async fn value(&self) -> f64;
}

#[opendo::interface]
trait Link {
    async fn next(&self) -> LinkStub;
    #[method(property)]
    async fn value(&self) -> u32;
}

/// A counter of ours.
struct Ours(f64);

#[rpc_target]
impl Counter for Ours {
    async fn increment(&mut self, by: f64) -> f64 {
        self.0 += by;
        self.0
    }

    async fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u32,
    name: String,
    friends: Vec<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SinkState {
    chunks: u32,
    closed: bool,
    aborted: Option<String>,
    list: Vec<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stats {
    imports: u32,
    exports: u32,
}

struct Server {
    process: Child,
    address: String,
    trace: PathBuf,
}

impl Server {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = npm::directory("conformance", &["reference-server.mjs"]);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let trace = directory.join(format!("trace-{}-{number}", std::process::id()));
        let mut command = Command::new("node");
        command.args(["reference-server.mjs", "0", "--trace"]).arg(&trace).current_dir(directory);
        let mut process = command.stdout(Stdio::piped()).spawn().expect(npm::NEEDED);
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening ").expect("its address").to_owned();
        Self { process, address, trace }
    }

    /// What was said, with `<` or `>` before it; and how it ended.
    fn trace(&self) -> Vec<String> {
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line.to_owned()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.trace);
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("it hangs")
}

/// Runs `case` at a server of its own, over a WebSocket; then neither side may hold anything of the other.
async fn at_a_server(case: impl AsyncFnOnce(FixtureStub, &Server)) {
    if npm::is_left_out() {
        return;
    }
    let server = Server::start();
    let client = Client::builder(&format!("ws://{}", server.address)).connect().await.unwrap();
    let root: FixtureStub = client.root();
    soon(case(root.clone(), &server)).await;
    soon(async {
        // Each turn is a round trip.
        while root.stats().await.unwrap() != (Stats { imports: 1, exports: 1 }) {}
    })
    .await;
    let stats = client.session().unwrap().stats();
    assert_eq!((stats.imports, stats.exports, stats.pending_calls), (0, 0, 0));
    drop(root);
    soon(client.close()).await;
}

#[tokio::test]
async fn calls_give_what_they_are_declared_to_give() {
    at_a_server(async |root, _| {
        assert_eq!(root.square(3.0).await.unwrap(), 9.0);
        assert_eq!(root.generate_fibonacci(6).await.unwrap(), [0, 1, 1, 2, 3, 5]);
        let user = root.get_user(3).await.unwrap();
        assert_eq!(user, User { id: 3, name: "user3".into(), friends: vec![4, 5] });
        // A type that does not fit fails the one call.
        let other = DynStub::from(root.clone());
        assert_eq!(other.call("square", ["x"]).await.unwrap().as_f64().map(f64::is_nan), Some(true));
        assert_eq!(root.square(2.0).await.unwrap(), 4.0);
    })
    .await;
}

#[tokio::test]
async fn bytes_dates_and_bigints_are_what_they_are() {
    at_a_server(async |root, _| {
        assert_eq!(root.reverse_bytes(ByteBuf::from([1, 2, 255])).await.unwrap()[..], [255, 2, 1]);
        let date = root.add_millis(Date::from_millis(1000.0), 1.0).await.unwrap();
        assert_eq!(date.millis(), 1001.0);
        let large: BigInt = "123456789012345678901234567890".parse().unwrap();
        let sum = root.big_add(large, BigInt::from(1_u8)).await.unwrap();
        assert_eq!(sum.as_str(), "123456789012345678901234567891");
        for (value, class) in [
            (Value::Undefined, "undefined"),
            (Value::Null, "null"),
            (f64::NAN.into(), "nan"),
            (f64::NEG_INFINITY.into(), "-inf"),
            (Value::Bytes(vec![1].into(), Default::default()), "bytes"),
            (ErrorValue::new("TypeError", "no").into(), "error"),
            (BigInt::from(5_u8).into(), "bigint"),
            (vec![1, 2].into(), "array"),
        ] {
            assert_eq!(root.classify(value).await.unwrap(), class);
        }
    })
    .await;
}

#[tokio::test]
async fn properties_are_read() {
    at_a_server(async |root, _| {
        let counter = root.make_counter(4.0).await.unwrap();
        assert_eq!(counter.value().await.unwrap(), 4.0);
        let any = DynStub::from(root.clone());
        assert_eq!(any.get("fixtureName").await.unwrap().as_str(), Some("capnweb-fixture"));
        let config = any.get("config").await.unwrap();
        assert_eq!(config.get("limits").get("depth").as_f64(), Some(3.0));
        assert!(any.get("nothing").await.unwrap().is_nullish());
        let error = any.get("secret").await.unwrap_err();
        assert!(format!("{error}").contains("instance property"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_is_thrown_comes_with_its_class_and_properties() {
    at_a_server(async |root, _| {
        let Err(CallError::App(error)) = root.throw_rich().await else { panic!() };
        assert_eq!((error.name.as_str(), error.message.as_str()), ("RangeError", "rich"));
        assert_eq!(error.get("code").as_str(), Some("E_RICH"));
        assert_eq!(error.get("details").get("count").as_f64(), Some(7.0));
        assert!(matches!(error.get("when"), Value::Date(date) if date.millis() == 1234.0));
        let Err(CallError::App(error)) = root.throw_value("no error".into()).await else { panic!() };
        assert_eq!(error, "no error");
        // The error of a method that is declared to have none.
        let error = DynStub::from(root).typed::<CounterStub>().unwrap().increment(1.0).await.unwrap_err();
        assert!(error.to_string().contains("'increment' is not a function."), "{error}");
    })
    .await;
}

#[tokio::test]
async fn callbacks_are_called_while_and_after_they_are_passed() {
    at_a_server(async |root, _| {
        let calls = Arc::new(AtomicU32::new(0));
        let count = calls.clone();
        let double = Callback::new(move |n: f64| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { 2.0 * n }
        });
        assert_eq!(root.call_twice(double.clone(), 5.0).await.unwrap(), (10.0, 10.0));
        root.register_callback(double.clone()).await.unwrap();
        drop(double);
        assert_eq!(root.fire_callback(7.0).await.unwrap(), 14.0);
        root.drop_callback().await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    })
    .await;
}

#[tokio::test]
async fn capabilities_go_both_ways_and_are_released() {
    at_a_server(async |root, _| {
        assert_eq!(root.increment_counter(opendo::serve(Ours(1.0)), 4.0).await.unwrap(), 5.0);
        let theirs = root.make_counter(10.0).await.unwrap();
        assert_eq!(root.increment_counter(theirs.clone(), 2.0).await.unwrap(), 12.0);
        assert_eq!(theirs.value().await.unwrap(), 12.0);
        let many = root.list_counters(5).await.unwrap();
        assert_eq!(many[3].value().await.unwrap(), 3.0);
        let tracked = root.track("rust".into()).await.unwrap();
        assert_eq!(root.live_count("rust".into()).await.unwrap(), 1);
        drop((tracked, theirs, many));
        // A result that nobody uses, and one that comes when nobody waits any more.
        drop(root.track("rust".into()));
        Call::detach(root.make_counter(1.0));
        drop(root.slow(5, 1));
        while root.live_count("rust".into()).await.unwrap() > 0 {}
    })
    .await;
}

/// What lies between is not asked for.
#[tokio::test]
async fn calls_on_results_take_one_round_trip() {
    at_a_server(async |root, server| {
        let node = root.node(1).next().next();
        let value = node.value();
        let counter = root.make_counter(4.0);
        let sum = counter.increment(3.0);
        let (value, sum) = tokio::join!(value, sum);
        assert_eq!((value.unwrap(), sum.unwrap()), (3, 7.0));
        let trace = server.trace();
        let pulls: Vec<_> = trace.iter().filter(|line| line.contains("pull")).collect();
        assert_eq!(pulls, [r#"< ["pull",4]"#, r#"< ["pull",6]"#], "{trace:#?}");
        let answered = trace.iter().position(|line| line.starts_with('>')).unwrap();
        assert!(trace[answered].starts_with(r#"> ["resolve",4,"#), "{trace:#?}");
    })
    .await;
}

#[tokio::test]
async fn streams_are_read_and_written() {
    at_a_server(async |root, _| {
        let stream = root.give_stream(vec![1, 2, 3]).await.unwrap();
        assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>().await, [1, 2, 3]);
        let mut failing = root.give_failing(2, "enough".into()).await.unwrap();
        assert_eq!((failing.next().await, failing.next().await), (Some(Ok(0)), Some(Ok(1))));
        let error = failing.next().await.unwrap().unwrap_err();
        assert!(error.message().contains("enough"), "{error}");
        // One that is not read, and one that is read in part.
        drop(root.give_stream(vec![1; 100]).await.unwrap());
        let mut part = root.give_stream((0..100).collect()).await.unwrap();
        assert_eq!(part.next().await, Some(Ok(0)));
        drop(part);

        assert_eq!(root.collect(RpcStream::from_iter(0..50)).await.unwrap(), (0..50).collect::<Vec<_>>());
        assert_eq!(root.cancel_after(RpcStream::from_iter(0..500), 3).await.unwrap(), 3);
        let (sink, stream) = opendo::pipe::<u32>();
        let (count, read) = tokio::join!(
            root.take_writable(sink, vec![4, 5, 6]),
            stream.map(Result::unwrap).collect::<Vec<_>>()
        );
        assert_eq!((count.unwrap(), read), (3, vec![4, 5, 6]));
    })
    .await;
}

#[tokio::test]
async fn sinks_tell_how_they_end() {
    at_a_server(async |root, _| {
        let state = async |name: &str| root.sink_state(name.into()).await.unwrap();
        let mut sink = root.open_sink("good".into()).await.unwrap();
        for n in 0..3 {
            sink.send(n).await.unwrap();
        }
        sink.close().await.unwrap();
        let good = SinkState { chunks: 3, closed: true, aborted: None, list: vec![0, 1, 2] };
        assert_eq!(state("good").await, good);

        let mut sink = root.open_sink("aborted".into()).await.unwrap();
        sink.send(1).await.unwrap();
        sink.abort("enough");
        while state("aborted").await.aborted.is_none() {}
        assert_eq!(state("aborted").await.aborted.as_deref(), Some("enough"));

        drop(root.open_sink("dropped".into()).await.unwrap());
        while state("dropped").await.aborted.is_none() {}
        assert!(!state("dropped").await.closed);

        let mut sink = root.failing_sink("full".into(), 2).await.unwrap();
        let mut failed = None;
        for n in 0..1000 {
            if let Err(error) = sink.send(n).await {
                failed = Some(error);
                break;
            }
        }
        let error = match failed {
            Some(error) => error,
            None => sink.close().await.unwrap_err(),
        };
        assert!(error.message().contains("sink full"), "{error}");
    })
    .await;
}

/// The session ends, with the reason; what belonged to it is broken, and the client is there for new calls.
#[tokio::test]
async fn an_abort_of_the_server_ends_the_session_and_not_the_client() {
    for (aborts, reason) in [(true, "dead of the test"), (false, "")] {
        at_a_server(async |root, _| {
            let counter = root.make_counter(1.0).await.unwrap();
            let waiting = root.slow(60_000, 1);
            if aborts {
                root.die(reason.into()).await.unwrap();
            } else {
                root.hang_up().await.unwrap();
            }
            let Err(CallError::Rpc(error)) = waiting.await else { panic!() };
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, true), "{error}");
            assert!(error.message().contains(reason), "{error}");
            assert!(counter.broken().await.message().contains(reason));
            assert!(counter.increment(1.0).await.is_err());
            assert_eq!(root.square(3.0).await.unwrap(), 9.0);
        })
        .await;
    }
}

/// Each batch is one request: what is called before the first result is waited for.
#[tokio::test]
async fn batches_are_answered_as_sessions_are() {
    if npm::is_left_out() {
        return;
    }
    let server = Server::start();
    let client = Client::builder(&format!("http://{}", server.address)).connect().await.unwrap();
    let root: FixtureStub = client.root();
    soon(async {
        let square = root.square(3.0);
        let sum = root.make_counter(4.0).increment(3.0);
        let fails = root.throw_rich();
        let link = root.node(1).next().value();
        assert_eq!((square.await.unwrap(), sum.await.unwrap(), link.await.unwrap()), (9.0, 7.0, 2));
        let Err(CallError::App(error)) = fails.await else { panic!() };
        assert_eq!(error.name, "RangeError");
        // The next one.
        assert_eq!(root.square(4.0).await.unwrap(), 16.0);
        // A stub does not outlive its batch.
        let counter = root.make_counter(1.0).await.unwrap();
        assert!(counter.increment(1.0).await.is_err());
        assert_eq!(root.square(5.0).await.unwrap(), 25.0);
        client.close().await;
    })
    .await;
}
