//! Whatever an object does with its keys, it sees what a map would show it; and what it finds after a crash is what it
//! had at some moment behind its last answer.
//!
//! What is written lies in layers (committed, on its way, sealed, written by this call, by the transactions that run); each
//! case has some of them, on a disk that is held now and then. The cases are the same in every run; one that fails is
//! shrunk and printed, with the seed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, join};
use futures::{FutureExt, poll};
use opendo::prelude::*;
use opendo::testing::{Disk, crash, hibernate, reset};
use opendo::{List, StorageError};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::keeper::{Doing, KeeperStub, Script, node_on, within};

const KEYS: [&str; 10] = ["", "a", "a\0", "aa", "ab", "b", "é", "éa", "\u{ffee}", "😀"];

/// What the object holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    entries: BTreeMap<String, u64>,
    alarm: Option<SystemTime>,
    schedules: BTreeMap<String, SystemTime>,
}

#[derive(Clone, Debug, Default)]
struct Options {
    start: Option<&'static str>,
    start_after: Option<&'static str>,
    end: Option<&'static str>,
    prefix: Option<&'static str>,
    reverse: bool,
    limit: Option<usize>,
}

#[derive(Clone, Debug)]
enum Op {
    Put(&'static str, u64),
    PutMany(Vec<(&'static str, u64)>),
    Delete(&'static str),
    DeleteMany(Vec<&'static str>),
    DeleteAll,
    SetAlarm(u64),
    DeleteAlarm,
    Schedule(&'static str, u64),
    Unschedule(&'static str),
    Get(&'static str),
    GetMany(Vec<&'static str>),
    List(Options),
    Transaction(Vec<Op>, End),
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Returns,
    Fails,
    Panics,
    IsDropped,
}

/// What happens to the object.
#[derive(Clone, Debug)]
enum Step {
    Call(Vec<Op>),
    /// The disk writes nothing from now on.
    Hold,
    ReleaseOne,
    Release,
    Hibernate,
    Reset,
    Crash,
}

fn key() -> impl Strategy<Value = &'static str> {
    select(&KEYS[..])
}

fn options() -> impl Strategy<Value = Options> {
    (of(key()), of(key()), of(key()), of(key()), any::<bool>(), of(0..5_usize)).prop_map(
        |(start, start_after, end, prefix, reverse, limit)| Options {
            start,
            start_after,
            end,
            prefix,
            reverse,
            limit,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let one = prop_oneof![
        8 => (key(), 0..100_u64).prop_map(|(key, value)| Op::Put(key, value)),
        3 => vec((key(), 0..100_u64), 0..6).prop_map(Op::PutMany),
        4 => key().prop_map(Op::Delete),
        2 => vec(key(), 0..4).prop_map(Op::DeleteMany),
        1 => Just(Op::DeleteAll),
        1 => (0..10_u64).prop_map(Op::SetAlarm),
        1 => Just(Op::DeleteAlarm),
        2 => (select(&["x", "y"][..]), 0..10_u64).prop_map(|(name, at)| Op::Schedule(name, at)),
        1 => select(&["x", "y"][..]).prop_map(Op::Unschedule),
        2 => key().prop_map(Op::Get),
        1 => vec(key(), 0..4).prop_map(Op::GetMany),
        8 => options().prop_map(Op::List),
    ];
    let end = prop_oneof![
        4 => Just(End::Returns),
        2 => Just(End::Fails),
        1 => Just(End::Panics),
        1 => Just(End::IsDropped),
    ];
    one.prop_recursive(3, 16, 6, move |inner| {
        (vec(inner, 0..6), end.clone()).prop_map(|(ops, end)| Op::Transaction(ops, end))
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => vec(op(), 0..8).prop_map(Step::Call),
        3 => Just(Step::Hold),
        3 => Just(Step::ReleaseOne),
        2 => Just(Step::Release),
        1 => Just(Step::Hibernate),
        1 => Just(Step::Reset),
        2 => Just(Step::Crash),
    ]
}

/// Far enough away that it never comes.
fn moment(hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + 3600 * hours)
}

/// Why a case fails; or, within transactions that are to be undone, nothing.
enum Stop {
    Wanted,
    Wrong(String),
}

impl Stop {
    fn text(self) -> String {
        match self {
            Self::Wanted => "an error that was wanted within a transaction got out of it".into(),
            Self::Wrong(text) => text,
        }
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Wrong(error.to_string())
    }
}

#[allow(clippy::needless_pass_by_value)] // it is written where it is computed
fn same<T: PartialEq + std::fmt::Debug>(
    what: impl std::fmt::Debug,
    found: T,
    expected: T,
) -> Result<(), Stop> {
    if found == expected {
        return Ok(());
    }
    Err(Stop::Wrong(format!("{what:?} gave {found:?} instead of {expected:?}")))
}

impl Options {
    fn ask(&self, mut list: List<u64>) -> List<u64> {
        let Self { start, start_after, end, prefix, reverse, limit } = self;
        list = start.iter().fold(list, |list, key| list.start(key));
        list = start_after.iter().fold(list, |list, key| list.start_after(key));
        list = end.iter().fold(list, |list, key| list.end(key));
        list = prefix.iter().fold(list, |list, prefix| list.prefix(prefix));
        list = limit.iter().fold(list, |list, limit| list.limit(*limit));
        if *reverse { list.reverse() } else { list }
    }

    /// Checklist 5.3, as a filter.
    fn expected(&self, entries: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
        let fits = |key: &str| {
            self.start.is_none_or(|start| key >= start)
                && self.start_after.is_none_or(|after| key > after)
                && self.end.is_none_or(|end| key < end)
                && self.prefix.is_none_or(|prefix| key.starts_with(prefix))
        };
        let fitting = entries.iter().filter(|(key, _)| fits(key)).map(|(key, value)| (key.clone(), *value));
        let mut found: Vec<_> = fitting.collect();
        if self.reverse {
            found.reverse();
        }
        found.truncate(self.limit.unwrap_or(usize::MAX));
        found
    }
}

/// Does it to the object, and to what it should hold.
fn apply<'a>(ctx: &'a Ctx, held: &'a mut Held, ops: &'a [Op]) -> BoxFuture<'a, Result<(), Stop>> {
    async move {
        let storage = ctx.storage();
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    storage.put(key, value)?;
                    held.entries.insert((*key).to_owned(), *value);
                }
                Op::PutMany(entries) => {
                    storage.put_many(entries.iter().copied())?;
                    held.entries.extend(entries.iter().map(|(key, value)| ((*key).to_owned(), *value)));
                }
                Op::Delete(key) => {
                    storage.delete(key)?;
                    held.entries.remove(*key);
                }
                Op::DeleteMany(keys) => {
                    storage.delete_many(keys)?;
                    held.entries.retain(|key, _| !keys.contains(&&**key));
                }
                Op::DeleteAll => {
                    storage.delete_all()?;
                    *held = Held::default();
                }
                Op::SetAlarm(hours) => {
                    ctx.alarm().set_at(moment(*hours))?;
                    held.alarm = Some(moment(*hours));
                }
                Op::DeleteAlarm => {
                    ctx.alarm().delete()?;
                    held.alarm = None;
                }
                Op::Schedule(name, hours) => {
                    ctx.schedule(name, moment(*hours), &())?;
                    held.schedules.insert((*name).to_owned(), moment(*hours));
                }
                Op::Unschedule(name) => {
                    ctx.unschedule(name)?;
                    held.schedules.remove(*name);
                }
                Op::Get(key) => same(op, storage.get(key).await?, held.entries.get(*key).copied())?,
                Op::GetMany(keys) => {
                    let mut expected = held.entries.clone();
                    expected.retain(|key, _| keys.contains(&&**key));
                    same(op, storage.get_many(keys).await?, expected)?;
                }
                Op::List(options) => {
                    same(op, options.ask(storage.list()).await?, options.expected(&held.entries))?;
                }
                Op::Transaction(ops, end) => {
                    let before = held.clone();
                    transact(ctx, held, ops, *end).await?;
                    if !matches!(end, End::Returns) {
                        *held = before;
                    }
                }
            }
            same(op, ctx.alarm().get(), held.alarm)?;
            same(op, ctx.schedules(), held.schedules.clone())?;
        }
        Ok(())
    }
    .boxed()
}

async fn transact(ctx: &Ctx, held: &mut Held, ops: &[Op], end: End) -> Result<(), Stop> {
    let done = AtomicBool::new(false);
    let body = async {
        apply(ctx, held, ops).await?;
        match end {
            End::Returns => return Ok(()),
            End::Fails => return Err(Stop::Wanted),
            End::Panics => resume_unwind(Box::new("as the test wants")),
            End::IsDropped => done.store(true, Ordering::Relaxed),
        }
        std::future::pending().await
    };
    let mut running = pin!(AssertUnwindSafe(ctx.storage().transaction(body)).catch_unwind());
    loop {
        match poll!(&mut running) {
            std::task::Poll::Ready(Ok(Ok(()) | Err(Stop::Wanted)) | Err(_)) => return Ok(()),
            std::task::Poll::Ready(Ok(Err(wrong))) => return Err(wrong),
            std::task::Poll::Pending if done.load(Ordering::Relaxed) => return Ok(()),
            std::task::Poll::Pending => tokio::task::yield_now().await,
        }
    }
}

/// All that the object holds, by its own account.
async fn found(ctx: &Ctx) -> Result<Held, StorageError> {
    let entries = ctx.storage().list::<u64>().await?.into_iter().collect();
    Ok(Held { entries, alarm: ctx.alarm().get(), schedules: ctx.schedules() })
}

/// A case: an object on a disk, and what it should hold.
struct Case {
    name: String,
    disk: Disk,
    node: Node,
    stub: KeeperStub,
    /// What it held after each call, the first of them certainly durable.
    states: Vec<Held>,
    /// Calls that were not answered, with the number of their state.
    unanswered: Vec<(usize, Doing<()>)>,
}

/// What each constructor does: it reads what was loaded, and writes (checklist 3.1).
async fn made(ctx: Ctx) -> opendo::Result<()> {
    let all: BTreeMap<_, _> = ctx.storage().list::<u64>().await?.into_iter().collect();
    let options =
        Options { start: Some("a\0"), end: Some("é"), reverse: true, limit: Some(2), ..Options::default() };
    let some = options.ask(ctx.storage().list()).await?;
    assert_eq!(some, options.expected(&all));
    assert_eq!(ctx.storage().get("b").await?, all.get("b").copied());
    ctx.storage().delete("b")?;
    ctx.storage().put("made", &all.get("made").map_or(1, |made| made + 1))?;
    let found: BTreeMap<_, _> = ctx.storage().list::<u64>().await?.into_iter().collect();
    assert!(!found.contains_key("b") && found.contains_key("made"));
    Ok(())
}

impl Held {
    /// What it holds after its constructor ran.
    fn and_made(mut self) -> Self {
        self.entries.remove("b");
        *self.entries.entry("made".to_owned()).or_default() += 1;
        self
    }
}

impl Case {
    async fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("list-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Script::of(&name).on_new(made);
        let disk = Disk::new();
        let node = node_on(&disk).await;
        let stub = node.get(name.as_str());
        let mut case = Self { name, disk, node, stub, states: vec![Held::default()], unanswered: Vec::new() };
        case.begin_again().await.unwrap();
        case
    }

    /// A new instance: it holds one of the states that it may hold.
    async fn begin_again(&mut self) -> Result<(), String> {
        self.stub = self.node.get(self.name.as_str());
        let looking = within(&self.stub, |ctx| async move { found(&ctx).await });
        let found = looking.done().await.map_err(|error| error.to_string())?;
        let possible = std::mem::take(&mut self.states);
        if !possible.iter().any(|state| state.clone().and_made() == found) {
            return Err(format!("a new instance found {found:?}, and there was {possible:?}"));
        }
        self.states = vec![found];
        Ok(())
    }

    fn held(&self) -> &Held {
        self.states.last().expect("there is always one")
    }

    /// What was answered is durable: no state before it can come back.
    async fn see_answers(&mut self) {
        crate::world::let_others_run().await;
        let mut answered = 0;
        for (state, mut call) in std::mem::take(&mut self.unanswered) {
            if call.is_answered() {
                assert!(self.unanswered.is_empty(), "answers come in the order of the calls");
                answered = state;
            } else {
                self.unanswered.push((state, call));
            }
        }
        self.states.drain(..answered);
        for (state, _) in &mut self.unanswered {
            *state -= answered;
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Call(ops) => {
                let mut held = self.held().clone();
                let (tell, told) = tokio::sync::oneshot::channel();
                let call = within(&self.stub, move |ctx| async move {
                    let result = apply(&ctx, &mut held, &ops).await;
                    let result = match (result, found(&ctx).await) {
                        (Ok(()), Ok(found)) => same("the call", found, held.clone()),
                        (Ok(()), Err(error)) => Err(error.into()),
                        (wrong, _) => wrong,
                    };
                    let _ = tell.send(result.map(|()| held));
                });
                let held = told.await.map_err(|_| "the call was lost")?;
                self.states.push(held.map_err(Stop::text)?);
                self.unanswered.push((self.states.len() - 1, call));
            }
            Step::Hold => self.disk.hold(),
            Step::ReleaseOne => {
                self.disk.release_one();
            }
            Step::Release => self.disk.release(),
            Step::Hibernate => {
                let releasing = async {
                    crate::world::let_others_run().await;
                    self.disk.release();
                };
                join(hibernate(&self.node, &self.stub), releasing).await;
                self.states.drain(..self.states.len() - 1);
                self.unanswered.clear();
                return self.begin_again().await;
            }
            Step::Reset => {
                let releasing = async {
                    crate::world::let_others_run().await;
                    self.disk.release();
                };
                join(reset(&self.node, &self.stub, "as the case wants"), releasing).await;
                // Every call had returned: it was sealed.
                self.states.drain(..self.states.len() - 1);
                self.unanswered.clear();
                return self.begin_again().await;
            }
            Step::Crash => {
                self.see_answers().await;
                crash(&self.node).await;
                self.disk.release();
                self.unanswered.clear();
                self.node = node_on(&self.disk).await;
                return self.begin_again().await;
            }
        }
        self.see_answers().await;
        Ok(())
    }
}

fn runs(steps: Vec<Step>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut case = Case::new().await;
        for step in steps {
            case.step(step).await?;
        }
        case.step(Step::Crash).await
    })
}

/// Checklist 5.3, 5.12, 5.14, 5.16, 5.20, 5.29, 7.7.
#[test]
fn an_object_sees_what_a_map_would_show_and_finds_it_again() {
    const SEED: u8 = 7;
    let config =
        Config { cases: 100, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]));
    let result = runner.run(&vec(step(), 0..24), |steps| runs(steps).map_err(TestCaseError::fail));
    if let Err(TestError::Fail(why, steps)) = result {
        panic!("seed {SEED}: {why}: {steps:#?}");
    }
}
