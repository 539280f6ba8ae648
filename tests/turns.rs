//! Where methods run: on the thread that calls them, or in a task.

// Remote methods are `pub`, their types with them, and they take their arguments by value: that is what makes them so.
#![allow(unreachable_pub, clippy::needless_pass_by_value)]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use opendo::prelude::*;
use opendo::transport::{Connection, Lines, Transport, kind, memory};
use opendo::{ErrorKind, Session, Stored};
use tokio::sync::Notify;
use tokio::task::yield_now;

thread_local! {
    /// The test makes a call here and now.
    static CALLS: Cell<bool> = const { Cell::new(false) };
    /// How many methods have begun here and not returned to their callers.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

// How long methods take is known for all of this process: where that matters, no time passes, and what is called in real
// time is called nowhere else.

/// Makes a call, and marks what runs before it is there.
fn here<C>(call: impl FnOnce() -> C) -> C {
    CALLS.set(true);
    let call = call();
    CALLS.set(false);
    call
}

/// Does what should not be done where it is called.
fn toil() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
}

static GATE: Barrier = Barrier::new(2);

static DEEPEST: AtomicU64 = AtomicU64::new(0);

struct Worker {
    ctx: Ctx,
    seen: Vec<u64>,
    next: Option<WorkerStub>,
}

#[durable_object(vis = "pub(crate)")]
impl Worker {
    /// Whether it runs where it is called.
    pub fn is_here(&mut self) -> bool {
        CALLS.get()
    }

    /// The same, where time passes.
    pub fn is_here_now(&mut self) -> bool {
        CALLS.get()
    }

    pub async fn is_here_async(&mut self) -> bool {
        CALLS.get()
    }

    #[method(concurrent)]
    pub async fn is_here_beside_others(&self) -> bool {
        CALLS.get()
    }

    /// Sees its caller all the same.
    pub fn is_here_and_not_cancelled(&mut self, #[call] call: &CallInfo) -> bool {
        CALLS.get() && !call.is_cancelled()
    }

    /// Begins where it is called, and goes on when it may.
    pub async fn wait(&mut self, gate: Callback<(), ()>) -> (bool, bool) {
        let begins = CALLS.get();
        gate.call(()).await.expect("the test answers");
        (begins, CALLS.get())
    }

    #[method(concurrent)]
    pub async fn wait_beside_others(&self, gate: Callback<(), ()>) -> bool {
        let begins = CALLS.get();
        gate.call(()).await.expect("the test answers");
        begins
    }

    pub fn toil(&mut self) -> bool {
        toil();
        CALLS.get()
    }

    /// Keeps its thread until it is let go.
    pub fn block(&mut self) {
        GATE.wait();
        GATE.wait();
    }

    pub fn panics(&mut self) {
        panic!("as the test wants");
    }

    pub fn abort(&mut self) {
        self.ctx.abort("as the test wants");
    }

    pub fn see(&mut self, number: u64) -> u64 {
        self.seen.push(number);
        number
    }

    pub fn seen(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.seen)
    }

    pub fn lead_to(&mut self, next: WorkerStub) {
        self.next = Some(next);
    }

    /// Goes down a line of objects, each called by the one before it.
    pub async fn descend(&mut self) -> u64 {
        let Some(next) = &self.next else { return 1 };
        DEPTH.set(DEPTH.get() + 1);
        DEEPEST.fetch_max(DEPTH.get().into(), Ordering::Relaxed);
        let call = next.descend();
        DEPTH.set(DEPTH.get() - 1);
        call.await.expect("it is there") + 1
    }
}

impl DurableObject for Worker {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { ctx, seen: Vec::new(), next: None })
    }
}

/// The same, for methods that take what their callers hold.
struct Apart;

#[durable_object(inline = false, vis = "pub(crate)")]
impl Apart {
    pub fn is_here(&mut self) -> bool {
        CALLS.get()
    }
}

impl DurableObject for Apart {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

/// Its name says how its constructor goes.
struct Made {
    here: bool,
}

static FAILED: AtomicU64 = AtomicU64::new(0);

#[durable_object(vis = "pub(crate)")]
impl Made {
    /// Whether it was made where it was called, and whether it is called there.
    pub fn is_here(&mut self) -> (bool, bool) {
        (self.here, CALLS.get())
    }
}

impl DurableObject for Made {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let here = CALLS.get();
        match ctx.key().name() {
            Some("waits") => yield_now().await,
            Some("fails") => {
                FAILED.fetch_add(1, Ordering::Relaxed);
                return Err(opendo::Error::msg("as the test wants"));
            }
            Some("panics") => panic!("as the test wants"),
            Some("itself") => {
                let error = here_not(|| ctx.this::<MadeStub>().is_here()).await.unwrap_err();
                assert_eq!(error.rpc().map(RpcError::kind), Some(ErrorKind::Reentrant));
            }
            _ => {}
        }
        Ok(Self { here })
    }
}

/// Makes a call that is none of the test's.
fn here_not<C>(call: impl FnOnce() -> C) -> C {
    let before = CALLS.replace(false);
    let call = call();
    CALLS.set(before);
    call
}

async fn node() -> Node {
    let node = Node::builder().object::<Worker>().object::<Apart>().object::<Ledger>().object::<Made>();
    node.start().await.unwrap()
}

/// One that is there.
async fn worker(node: &Node, name: &str) -> WorkerStub {
    let worker: WorkerStub = node.get(name);
    worker.seen().await.unwrap();
    worker
}

#[tokio::test(start_paused = true)]
async fn a_call_of_what_has_nothing_to_do_runs_where_it_is_made() {
    let node = node().await;
    let worker = worker(&node, "idle").await;
    let calls = [
        here(|| worker.is_here()),
        here(|| worker.is_here_async()),
        here(|| worker.is_here_beside_others()),
        here(|| worker.is_here_and_not_cancelled()),
    ];
    for call in calls {
        assert!(call.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_is_made_where_it_is_first_called_unless_its_constructor_waits() {
    let node = node().await;
    let made = |name: &str| here(|| node.get::<MadeStub>(name).is_here());
    assert_eq!(made("at once").await.unwrap(), (true, true));
    let waits = node.get::<MadeStub>("waits");
    let (first, second) = here(|| (waits.is_here(), waits.is_here()));
    assert_eq!(first.await.unwrap(), (true, false), "it begins here, and the call is behind it");
    assert_eq!(second.await.unwrap(), (true, false));
    assert_eq!(made("waits").await.unwrap(), (true, true), "as every other, once it is there");
    assert_eq!(made("itself").await.unwrap(), (true, false), "it had to wait for an answer");
}

#[tokio::test(start_paused = true)]
async fn a_constructor_that_fails_where_it_is_called_fails_that_call_and_runs_once_for_it() {
    let node = node().await;
    for tries in 1..=2 {
        let error = here(|| node.get::<MadeStub>("fails").is_here()).await.unwrap_err();
        let rpc = error.rpc().unwrap();
        assert_eq!((rpc.kind(), rpc.may_have_run()), (ErrorKind::Reset, false));
        assert!(error.to_string().contains("as the test wants"), "{error}");
        assert_eq!(FAILED.load(Ordering::Relaxed), tries);
    }
    let error = here(|| node.get::<MadeStub>("panics").is_here()).await.unwrap_err();
    assert_eq!(error.rpc().map(RpcError::kind), Some(ErrorKind::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_class_can_have_all_its_calls_run_in_tasks() {
    let node = node().await;
    let apart: ApartStub = node.get("apart");
    for _ in 0..3 {
        assert!(!here(|| apart.is_here()).await.unwrap());
    }
}

/// A callback that is told that it was called, and returns when it is told to.
fn gate() -> (Callback<(), ()>, Arc<Notify>, Arc<Notify>) {
    let (reached, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, opened) = (reached.clone(), open.clone());
    let callback = Callback::new(move |()| {
        let (told, opened) = (told.clone(), opened.clone());
        async move {
            told.notify_one();
            opened.notified().await;
        }
    });
    (callback, reached, open)
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_on_in_a_task_and_what_comes_meanwhile_behind_it() {
    let node = node().await;
    let worker = worker(&node, "waits").await;
    let (callback, reached, open) = gate();
    let waits = here(|| worker.wait(callback));
    reached.notified().await;
    let next: Vec<_> = (1..=3).map(|number| worker.see(number)).collect();
    let alone = here(|| worker.is_here());
    open.notify_one();
    assert_eq!(waits.await.unwrap(), (true, false));
    for (call, number) in next.into_iter().zip(1..) {
        assert_eq!(call.await.unwrap(), number);
    }
    assert!(!alone.await.unwrap(), "it had to queue");
    assert_eq!(worker.seen().await.unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_overlaps_joins_a_method_that_began_where_it_was_called() {
    let node = node().await;
    let worker = worker(&node, "overlaps").await;
    let (callback, reached, open) = gate();
    let waits = here(|| worker.wait_beside_others(callback));
    reached.notified().await;
    worker.is_here_beside_others().await.unwrap();
    let mut alone = worker.is_here();
    assert!(futures::poll!(&mut alone).is_pending(), "an exclusive one waits");
    open.notify_one();
    assert!(waits.await.unwrap());
    alone.await.unwrap();
}

static GO_ON: Notify = Notify::const_new();

/// What has begun, and in which order.
#[derive(Default)]
struct Begun(Mutex<Vec<u32>>);

#[rpc_target(vis = "pub(crate)")]
impl Begun {
    pub fn beside(&self, number: u32) {
        self.0.lock().unwrap().push(number);
    }

    pub async fn beside_and_waits(&self, number: u32) {
        self.0.lock().unwrap().push(number);
        yield_now().await;
    }

    /// When it may go on, and not when it begins.
    pub async fn goes_on_beside(&self, number: u32) {
        GO_ON.notified().await;
        self.0.lock().unwrap().push(number);
    }

    pub fn alone(&mut self, number: u32) {
        self.0.get_mut().unwrap().push(number);
    }

    pub async fn alone_and_waits(&mut self, number: u32) {
        self.0.get_mut().unwrap().push(number);
        yield_now().await;
    }

    pub fn all(&self) -> Vec<u32> {
        self.0.lock().unwrap().clone()
    }
}

/// Also where some end as soon as they begin, and where several are taken out of the queue together.
#[tokio::test]
async fn what_queues_begins_in_the_order_of_its_calls() {
    const CALLS: u32 = 64;
    for alone in [0b0000, 0b0010, 0b0100, 0b0110, 0b1010, 0b1111] {
        let begun: BegunStub = opendo::serve(Begun::default());
        let first = begun.beside_and_waits(0); // so that the others queue
        let others = (1..CALLS).map(|number| match (number % 3 == 0, alone >> (number % 4) & 1 == 1) {
            (false, false) => begun.beside(number),
            (true, false) => begun.beside_and_waits(number),
            (false, true) => begun.alone(number),
            (true, true) => begun.alone_and_waits(number),
        });
        for call in [first].into_iter().chain(others).collect::<Vec<_>>() {
            call.await.unwrap();
        }
        assert_eq!(begun.all().await.unwrap(), (0..CALLS).collect::<Vec<_>>(), "{alone:b}");
    }
}

/// However many call, and call again as soon as they are answered.
#[tokio::test]
async fn what_waits_goes_on_beside_whatever_else_comes() {
    const CALLERS: usize = 2_000; // more than run before others get a turn
    const ROUNDS: usize = 8;
    const LAST: u32 = u32::MAX;
    let begun: BegunStub = opendo::serve(Begun::default());
    let waits = begun.goes_on_beside(LAST);
    let callers = (0..CALLERS).map(|_| {
        let begun = begun.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                begun.beside(0).await.unwrap();
                if round == 1 {
                    GO_ON.notify_one();
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    waits.await.unwrap();
    let before = begun.all().await.unwrap().iter().position(|number| *number == LAST).unwrap();
    assert!(before < CALLERS * ROUNDS / 2, "it ended behind {before} of {}", CALLERS * ROUNDS);
}

/// A caller that lets go of what began where it called lets it run to its end.
#[tokio::test(start_paused = true)]
async fn a_call_that_has_begun_runs_without_its_caller() {
    let node = node().await;
    let worker = worker(&node, "left").await;
    let (callback, reached, open) = gate();
    drop(worker.wait(callback));
    drop(worker.see(1));
    Call::detach(worker.see(2));
    reached.notified().await;
    open.notify_one();
    assert_eq!(worker.seen().await.unwrap(), [2], "the first of them was withdrawn before its turn");
}

#[tokio::test]
async fn methods_that_toil_run_in_tasks_from_the_second_time_on() {
    let node = node().await;
    let worker = worker(&node, "toils").await;
    worker.toil().await.unwrap();
    for _ in 0..3 {
        assert!(!here(|| worker.toil()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_within_calls_are_bounded_where_they_are_made_and_go_on_in_tasks() {
    let node = node().await;
    let mut last = None;
    for number in (0..100).rev() {
        let this = worker(&node, &format!("line/{number}")).await;
        if let Some(next) = last.replace(this.clone()) {
            this.lead_to(next).await.unwrap();
        }
    }
    assert_eq!(last.unwrap().descend().await.unwrap(), 100);
    let deepest = DEEPEST.load(Ordering::Relaxed);
    assert_eq!(deepest, 1 + 16, "one that runs in a task, and those that begin within it");
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_the_instance_and_not_the_caller() {
    let node = node().await;
    let worker = worker(&node, "panics").await;
    let error = here(|| worker.panics()).await.unwrap_err();
    assert_eq!(error.rpc().map(|error| (error.kind(), error.may_have_run())), Some((ErrorKind::Reset, true)));
    let worker = worker.fresh();
    worker.see(1).await.unwrap();
    let error = here(|| worker.abort()).await.unwrap_err();
    assert_eq!(error.rpc().unwrap().kind(), ErrorKind::Reset);
    assert!(error.to_string().contains("as the test wants"), "{error}");
    assert!(worker.fresh().seen().await.unwrap().is_empty());
}

/// They end before they are awaited, so nothing else would make this task wait.
#[tokio::test(start_paused = true)]
async fn a_loop_of_calls_lets_others_run() {
    let node = node().await;
    let worker = worker(&node, "loop").await;
    let done = Arc::new(AtomicBool::new(false));
    let other = done.clone();
    tokio::spawn(async move {
        yield_now().await;
        other.store(true, Ordering::Relaxed);
    });
    let mut calls = 0;
    while !done.load(Ordering::Relaxed) {
        worker.is_here().await.unwrap();
        calls += 1;
        assert!(calls < 100_000, "nobody else runs");
    }
}

#[tokio::test]
async fn other_threads_and_other_runtimes_run_no_methods() {
    let node = node().await;
    let worker = worker(&node, "elsewhere").await;
    let stub = worker.clone();
    let call = std::thread::spawn(move || here(|| stub.is_here_now())).join().unwrap();
    assert!(!call.await.unwrap());
    let other = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let stub = worker.clone();
            let task = tokio::spawn(async move { here(|| stub.is_here_now()).await.unwrap() });
            here(|| worker.is_here_now()).await.unwrap() || task.await.unwrap()
        })
    };
    assert!(!tokio::task::spawn_blocking(|| std::thread::spawn(other).join().unwrap()).await.unwrap());
}

/// What the lever of a machine does takes long.
struct Lever(Arc<AtomicU64>);

#[rpc_target(vis = "pub(crate)")]
impl Lever {
    pub fn pull(&mut self) {
        toil();
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Machine(LeverStub, Arc<AtomicU64>);

#[rpc_target(vis = "pub(crate)")]
impl Machine {
    pub fn lever(&self) -> LeverStub {
        self.0.clone()
    }

    pub fn pulled(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

/// As in JavaScript, where what is said next may count on it.
#[tokio::test]
async fn what_comes_as_text_starts_as_it_is_read_however_long_it_takes() {
    let pulled = Arc::new(AtomicU64::new(0));
    let lever: LeverStub = opendo::serve(Lever(pulled.clone()));
    lever.pull().await.unwrap(); // known to take long from now on
    let root = move |_: &Session| Ok(opendo::serve::<MachineStub, _>(Machine(lever.clone(), pulled.clone())));
    let node = Node::builder().accept(root).start().await.unwrap();
    let (ours, theirs) = memory::pair::<kind::Text>(8);
    let _session = node.serve_connection(Connection::new(theirs)).await.unwrap();
    let (mut sender, mut receiver) = ours.split();
    let mut said = Lines::default();
    said.push(r#"["push",["pipeline",0,["lever"],[]]]"#.to_owned());
    said.push(r#"["push",["pipeline",1,["pull"],[]]]"#.to_owned());
    said.push(r#"["push",["pipeline",0,["pulled"],[]]]"#.to_owned());
    said.push(r#"["pull",3]"#.to_owned());
    sender.send(&mut said).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), r#"["resolve",3,2]"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_a_moment_for_another_thread_and_then_queues() {
    let node = node().await;
    let worker = worker(&node, "blocks").await;
    let stub = worker.clone();
    let blocks = tokio::spawn(async move { stub.block().await.unwrap() });
    let queued = tokio::spawn(async move {
        GATE.wait();
        let mut call = worker.see(1);
        assert!(futures::poll!(&mut call).is_pending());
        GATE.wait();
        call.await.unwrap()
    });
    blocks.await.unwrap();
    assert_eq!(queued.await.unwrap(), 1);
}

/// Whoever calls, and from wherever: each call runs once, and those of one caller in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_callers_are_served_once_each_and_in_their_order() {
    const EACH: u64 = 5_000;
    let node = node().await;
    let worker = worker(&node, "races").await;
    let callers = (0..4).map(|caller| {
        let stub = worker.clone();
        tokio::spawn(async move {
            let numbers: Vec<_> = (0..EACH).map(|number| caller * EACH + number).collect();
            for batch in numbers.chunks(10) {
                let calls: Vec<_> = batch.iter().map(|number| stub.see(*number)).collect();
                for (call, number) in calls.into_iter().zip(batch) {
                    assert_eq!(call.await.unwrap(), *number);
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let seen = worker.seen().await.unwrap();
    assert_eq!(seen.len() as u64, 4 * EACH);
    for caller in 0..4 {
        let own: Vec<_> = seen.iter().filter(|number| **number / EACH == caller).collect();
        assert!(own.is_sorted(), "caller {caller}");
    }
}

/// An object that has something durable, and a target that writes for it.
struct Ledger {
    ctx: Ctx,
    sum: Stored<u64>,
}

struct Clerk(Ctx);

#[rpc_target(vis = "pub(crate)")]
impl Clerk {
    pub fn note(&mut self, text: String) {
        self.0.storage().put("note", &text).unwrap();
    }
}

#[durable_object(vis = "pub(crate)")]
impl Ledger {
    pub async fn add(&mut self, number: u64) -> u64 {
        *self.sum.edit() += number;
        *self.sum
    }

    /// What others do is no part of a transaction in which they are called.
    pub async fn fail_while_a_clerk_notes(&mut self) -> Option<String> {
        let storage = self.ctx.storage();
        let clerk: ClerkStub = opendo::serve(Clerk(self.ctx.clone()));
        let failed: Result<(), String> = storage
            .transaction(async {
                clerk.note("mine".into()).await.map_err(|error| error.to_string())?;
                storage.put("other", &1).map_err(|error| error.to_string())?;
                Err("as the test wants".into())
            })
            .await;
        assert_eq!(failed, Err("as the test wants".into()));
        assert_eq!(storage.get::<u64>("other").await.unwrap(), None);
        storage.get("note").await.unwrap()
    }
}

impl DurableObject for Ledger {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let sum = ctx.stored("sum").await?;
        Ok(Self { ctx, sum })
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_runs_where_it_is_called_is_in_no_transaction_of_its_caller() {
    let node = node().await;
    let ledger: LedgerStub = node.get("a");
    assert_eq!(ledger.add(1).await.unwrap(), 1);
    assert_eq!(ledger.fail_while_a_clerk_notes().await.unwrap().as_deref(), Some("mine"));
    assert_eq!(ledger.add(1).await.unwrap(), 2);
}
