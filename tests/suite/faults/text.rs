//! A peer that speaks Cap'n Web made by hand, and what it finds at the node.

use std::cell::{Cell, RefCell};

use futures::{FutureExt, StreamExt};
use opendo::prelude::*;
use opendo::testing::{SessionStats, node_stats};
use opendo::transport::{
    Connection, Limits as TransportLimits, Lines, Receiver, Sender, Transport, kind, memory,
};
use opendo::value::{ErrorValue, Value};
use opendo::{DynStub, Limits, RpcSink, RpcStream, Session};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::world::{HANG, panics, settle, soon, watch_panics};

thread_local! {
    static COUNTERS: Cell<i64> = const { Cell::new(0) };
    static SUNK: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
    static HELD: Cell<i64> = const { Cell::new(0) };
    static SQUARES: Cell<u64> = const { Cell::new(0) };
}

/// How many counters of this thread are in memory.
pub(super) fn counters() -> i64 {
    COUNTERS.get()
}

/// How many calls of [`Api::hold`] run.
pub(super) fn held() -> i64 {
    HELD.get()
}

/// How many squares were asked for since this was asked last.
pub(super) fn squares() -> u64 {
    SQUARES.take()
}

/// What was written to sinks since this was asked last.
pub(super) fn sunk() -> Vec<Value> {
    SUNK.take()
}

pub(super) struct Counter(f64);

impl Counter {
    fn stub(value: f64) -> CounterStub {
        COUNTERS.set(COUNTERS.get() + 1);
        opendo::serve(Self(value))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        COUNTERS.set(COUNTERS.get() - 1);
    }
}

#[rpc_target(rename_all = "camelCase")]
impl Counter {
    pub fn increment(&mut self, by: Option<f64>) -> f64 {
        self.0 += by.unwrap_or(1.0);
        self.0
    }

    #[method(property)]
    pub fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Address {
    city: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct User {
    id: u32,
    address: Address,
    friends: Vec<u32>,
}

/// What every peer finds under 0.
#[derive(Default)]
pub(super) struct Api {
    kept: Vec<Value>,
}

#[rpc_target(rename_all = "camelCase")]
impl Api {
    pub fn square(&self, n: f64) -> f64 {
        SQUARES.set(SQUARES.get() + 1);
        n * n
    }

    pub fn throw_error(&self) -> Result<(), ErrorValue> {
        Err(ErrorValue::new("RangeError", "test error"))
    }

    pub fn make_counter(&self, n: f64) -> CounterStub {
        Counter::stub(n)
    }

    pub async fn increment_counter(&self, counter: CounterStub, by: f64) -> Result<f64, String> {
        counter.increment(Some(by)).await.map_err(|error| error.to_string())
    }

    pub async fn echo(&self, value: Value) -> Value {
        value
    }

    pub fn keep(&mut self, value: Value) {
        self.kept.push(value);
    }

    pub fn forget(&mut self) {
        self.kept.clear();
    }

    pub fn get_user(&self, id: u32) -> User {
        User { id, address: Address { city: format!("city{id}") }, friends: vec![id + 1, id + 2] }
    }

    pub fn numbers(&self, count: u32) -> Vec<u32> {
        (0..count).collect()
    }

    pub fn counters(&self, count: u32) -> Vec<CounterStub> {
        (0..count).map(|n| Counter::stub(n.into())).collect()
    }

    pub async fn call_function(&self, function: DynStub, n: f64) -> Result<Value, Value> {
        match function.invoke([n]).await {
            Ok(result) => Ok(Value::object([("result", result)])),
            Err(CallError::App(thrown)) => Err(thrown),
            Err(CallError::Rpc(error)) => Err(error.to_string().into()),
        }
    }

    /// Runs until its caller is gone.
    pub async fn hold(&self, #[call] call: &CallInfo) {
        HELD.set(HELD.get() + 1);
        call.cancelled().await;
        HELD.set(HELD.get() - 1);
    }

    pub fn make(&self, size: u32) -> String {
        "x".repeat(size as usize)
    }

    pub async fn collect(&self, mut stream: RpcStream<Value>) -> Result<Vec<Value>, ErrorValue> {
        let mut all = Vec::new();
        while let Some(value) = stream.next().await {
            all.push(value.map_err(|error| ErrorValue::new("Error", error.message()))?);
        }
        Ok(all)
    }

    pub async fn give_stream(&self, count: u32) -> RpcStream<u32> {
        RpcStream::from_iter(0..count)
    }

    pub async fn open_sink(&self) -> RpcSink<Value> {
        let (sink, mut stream) = opendo::pipe::<Value>();
        tokio::spawn(async move {
            while let Some(value) = stream.next().await {
                let value = value.unwrap_or_else(|error| error.message().into());
                SUNK.with_borrow_mut(|sunk| sunk.push(value));
            }
        });
        sink
    }

    pub async fn fill(&self, mut sink: RpcSink<u32>, count: u32) -> Result<u32, ErrorValue> {
        for value in 0..count {
            sink.send(value).await.map_err(|error| ErrorValue::new("Error", error.message()))?;
        }
        sink.close().await.map_err(|error| ErrorValue::new("Error", error.message()))?;
        Ok(count)
    }
}

/// The other end of a session of the node's.
pub(super) struct Peer {
    sender: Box<dyn Sender<kind::Text>>,
    receiver: Box<dyn Receiver<kind::Text>>,
    pub(super) session: Session,
}

impl Peer {
    pub(super) async fn of(node: &Node, limits: &Limits) -> Self {
        let (ours, theirs) = memory::pair::<kind::Text>(32);
        let theirs = theirs.with_limits(&TransportLimits { max_message: limits.max_message });
        let session = node.serve_connection(Connection::new(theirs)).await.unwrap();
        let (sender, receiver) = ours.split();
        Self { sender, receiver, session }
    }

    /// Nobody may be there to hear it any more.
    pub(super) async fn say(&mut self, line: impl Into<String>) {
        let mut batch = Lines::default();
        batch.push(line.into());
        let _ = soon(self.sender.send(&mut batch)).await;
    }

    /// The next line; `None` at the end.
    pub(super) async fn hear(&mut self) -> Option<String> {
        soon(self.receiver.receive()).await.map(|line| plain(&line.unwrap()))
    }

    /// Ends the connection.
    pub(super) async fn close(&mut self) {
        let _ = soon(self.sender.close()).await;
    }

    /// Follows a script: says the lines after `<` and is told those after `>`.
    pub(super) async fn follow(&mut self, script: &str) {
        if let Err(difference) = self.try_follow(script).await {
            panic!("{difference} in\n{script}");
        }
    }

    /// The same; how it went otherwise.
    pub(super) async fn try_follow(&mut self, script: &str) -> Result<(), String> {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_at(1) {
                ("<", line) => self.say(line.trim()).await,
                (">", line) => match timeout(HANG, self.receiver.receive()).await {
                    Ok(Some(Ok(heard))) if plain(&heard) == line.trim() => {}
                    Ok(Some(Ok(heard))) => return Err(format!("{} instead of {line}", plain(&heard))),
                    heard => return Err(format!("{heard:?} instead of {line}")),
                },
                (_, _) => panic!("neither said nor heard: {line}"),
            }
        }
        Ok(())
    }

    /// The reason for which the other side ends the session, whatever it said before.
    pub(super) async fn aborted(&mut self) -> String {
        let mut last = String::new();
        while let Some(line) = self.hear().await {
            assert!(!last.starts_with(r#"["abort""#), "{line} after {last}");
            last = line;
        }
        assert!(last.starts_with(r#"["abort""#), "the end came after {last:?}");
        last
    }

    /// What else was said to it, if anything.
    pub(super) async fn more(&mut self) -> Option<String> {
        settle().await;
        self.hear().now_or_never().flatten()
    }
}

/// As it would be said by a peer whose errors have no properties of ours. Nobody asks for the class of the error that
/// ends a session.
fn plain(line: &str) -> String {
    const ABORT: &str = "[\"abort\",[\"error\",\"";
    if let Some((class, _)) = line.strip_prefix(ABORT).and_then(|rest| rest.split_once('"')) {
        return line.replacen(class, "Error", 1);
    }
    let mut rest = line;
    let mut out = String::new();
    while let Some(at) = rest.find(",null,{\"code\":\"") {
        out.push_str(&rest[..at]);
        let props = &rest[at..];
        let end = props.find('}').expect("they end");
        if !props[..end].contains("mayHaveRun") {
            out.push_str(&props[..=end]);
        }
        rest = &props[end + 1..];
    }
    out + rest
}

/// A node, and a peer that does nothing wrong and must not notice those who do.
pub(super) struct World {
    pub(super) node: Node,
    limits: Limits,
    bystander: Peer,
    calls: u32,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        watch_panics();
        let root = |_: &Session| Ok(opendo::serve::<ApiStub, _>(Api::default()));
        let node = Node::builder().limits(limits.clone()).accept(root).start().await.unwrap();
        let bystander = Peer::of(&node, &Limits::default()).await;
        let mut world = Self { node, limits, bystander, calls: 0 };
        world.undisturbed().await;
        world
    }

    pub(super) async fn peer(&self) -> Peer {
        Peer::of(&self.node, &self.limits).await
    }

    /// The bystander's session goes on as if it were alone.
    pub(super) async fn undisturbed(&mut self) {
        self.calls += 1;
        let (id, n) = (self.calls, f64::from(self.calls));
        let script = format!(
            r#"< ["push",["pipeline",0,["square"],[{n}]]]
               < ["pull",{id}]
               > ["resolve",{id},{}]
               < ["release",{id},1]"#,
            n * n
        );
        self.bystander.follow(&script).await;
        squares();
        assert_eq!(panics(), 0);
    }

    /// What the node holds of its one other peer.
    pub(super) fn other(&self) -> SessionStats {
        let mut stats = node_stats(&self.node);
        let at = stats.iter().position(|it| *it == SessionStats::default()).expect("the bystander's session");
        stats.swap_remove(at);
        assert_eq!(stats.len(), 1, "{stats:?}");
        stats[0]
    }

    /// No other session is there.
    pub(super) fn is_alone(&self) -> bool {
        node_stats(&self.node).len() == 1
    }

    /// No other session is there any more, and nothing is left of one.
    pub(super) async fn alone(&mut self) {
        self.undisturbed().await;
        settle().await;
        assert_eq!(node_stats(&self.node), [SessionStats::default()]);
        assert_eq!((counters(), held()), (0, 0));
    }
}
