//! Results that are used before they arrive.

use futures::FutureExt;
use opendo::prelude::*;
use opendo::{ErrorKind, Limits, NodeBuilder};
use serde::{Deserialize, Serialize};

use super::broker::{self, BrokerStub, Ear, ListenerStub, Pair, Springs, listener};
use super::by_name::Gate;
use super::errors::failure;
use super::world::{World, let_others_run};

/// A struct without names, with another one in it.
#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Both(pub ListenerStub, pub Option<Pair>, pub u64);

#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Deep {
    pub both: Both,
    pub r#type: ListenerStub,
    pub broker: BrokerStub,
    pub plain: Vec<u64>,
}

pub struct Nest(Ctx);

#[durable_object]
impl Nest {
    pub fn deep(&self, ear: Ear, pair: bool) -> Deep {
        let (a, b, c) = (ear.serve(), ear.serve(), ear.serve());
        let pair = pair.then(|| Pair { first: b.clone(), second: None, count: 1 });
        Deep { both: Both(a, pair, 2), r#type: c, broker: self.0.get("b"), plain: vec![1] }
    }

    pub fn perhaps(&self, ear: Ear, there: bool) -> Option<ListenerStub> {
        there.then(|| ear.serve())
    }
}

impl DurableObject for Nest {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx))
    }
}

fn hosted() -> NodeBuilder {
    let limits = Limits { max_message: 64 * 1024, ..Limits::default() };
    broker::hosted().object::<Nest>().limits(limits)
}

/// The text of a call's failure.
fn text<T, E>(result: Result<T, CallError<E>>) -> String {
    match result {
        Err(CallError::Rpc(error)) => error.to_string(),
        _ => panic!("no such error"),
    }
}

every_way! {
    async fn calls_on_a_result_need_not_await_it(world: &World) {
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        assert_eq!(broker.make(ear.clone()).hear(1).await?, 2);
        ear.gone().await;
        let made = broker.make(ear.clone());
        let (a, b) = (made.hear(2), made.hear(3));
        assert_eq!((b.await?, a.await?), (4, 3));
        let made = made.await?;
        assert_eq!(made.hear(4).await?, 5);
        assert_eq!(ear.heard(), [1, 2, 3, 4]);
        drop(made);
        ear.gone().await;
    }

    #[batch]
    async fn a_chain_is_called_before_any_of_it_has_arrived(world: &World) {
        let ear = Ear::new();
        let end = world.get::<BrokerStub>("a").other("b".into()).other("c".into());
        let (name, heard) = (end.name(), end.make(ear.clone()).hear(1));
        assert_eq!((heard.await?, name.await?.as_deref()), (2, Some("c")));
        drop(end);
        ear.gone().await;
    }

    async fn every_part_of_a_result_can_be_called_before_it_arrives(world: &World) {
        let nest: NestStub = world.get("n");
        let ear = Ear::new();
        let deep = nest.deep(ear.clone(), true);
        let calls = [
            deep.both.0.hear(1),
            deep.both.1.first.hear(2),
            deep.r#type.hear(3),
            deep.broker.make(ear.clone()).hear(4),
            deep.broker.other("c".into()).pair(ear.clone(), true).second.hear(5),
        ];
        for (what, call) in (1..).zip(calls) {
            assert_eq!(call.await?, what + 1);
        }
        let mut heard = ear.heard();
        heard.sort_unstable(); // they are different targets
        assert_eq!(heard, [1, 2, 3, 4, 5]);
        let deep = deep.await?;
        assert_eq!((deep.both.2, deep.both.1.as_ref().unwrap().count, deep.plain.len()), (2, 1, 1));
        assert_eq!(deep.both.1.unwrap().first.hear(6).await?, 7);
        drop((deep.both.0, deep.r#type));
        ear.gone().await;
    }

    #[batch]
    async fn what_is_not_in_a_result_fails_what_was_called_on_it(world: &World) {
        let (nest, broker): (NestStub, BrokerStub) = (world.get("n"), world.get("a"));
        let ear = Ear::new();
        let deep = nest.deep(ear.clone(), false);
        let (missing, there) = (deep.both.1.first.hear(1), deep.both.0.hear(2));
        let missing = text(missing.await);
        // Over text it is the method that is not there, in the words of Cap'n Web.
        let (kind, nested, top) = match world.is_text() {
            true => (ErrorKind::NoSuchMethod, "'both.1.first.hear' is not a function.", "'hear' is not a function."),
            false => (ErrorKind::Broken, "holds no stub at `both.1.first`", "holds no stub here"),
        };
        assert!(missing.contains(nested), "{missing}");
        assert_eq!(there.await?, 3);
        let pair = broker.pair(ear.clone(), false);
        assert_eq!(failure(pair.second.hear(1).await), (kind, false));
        assert!(text(nest.perhaps(ear.clone(), false).hear(1).await).contains(top));
        assert_eq!(nest.perhaps(ear.clone(), true).hear(4).await?, 5);
        assert_eq!(ear.heard(), [2, 4]);
    }

    async fn a_chain_of_results(world: &World) {
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        let name = broker.other("b".into()).other("c".into()).other("d".into()).name().await?;
        assert_eq!(name.as_deref(), Some("d"));
        let mut end = (*broker.other("0".into())).clone();
        for at in 1..50 {
            end = (*end.other(at.to_string())).clone();
        }
        assert_eq!(end.make(ear.clone()).hear(1).await?, 2);
        assert_eq!(end.name().await?.as_deref(), Some("49"));
    }

    async fn a_failure_reaches_everything_that_was_called_on_the_result(world: &World) {
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        // An error of the method: its text is its caller's.
        let failed = broker.fail();
        let (a, b) = (failed.hear(1), failed.hear(2));
        assert_eq!(failure(a.await), world.failed_dependency());
        assert!(text(b.await).contains(if world.is_text() { "not today" } else { "`fail`" }));
        assert_eq!(failed.await.unwrap_err(), CallError::App("not today".into()));
        let deeper = broker.fail_with_broker().other("b".into()).make(ear.clone()).hear(3);
        assert_eq!(failure(deeper.await), world.failed_dependency());
        // A panic.
        let other: BrokerStub = world.get("b");
        let panicked = other.panic();
        let (a, b) = (panicked.make(ear.clone()).hear(4), panicked.name());
        assert_eq!(failure(a.await), (ErrorKind::Reset, false));
        assert_eq!(failure(b.await), (ErrorKind::Reset, false));
        assert_eq!(failure(panicked.await), (ErrorKind::Reset, true));
        assert!(ear.heard().is_empty());
    }

    async fn a_result_that_cannot_be_encoded_fails_what_was_called_on_it(world: &World) {
        if !world.is_remote() {
            return Ok(()); // nothing is encoded
        }
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        for springs in [Springs::Refuses, Springs::Panics] {
            let trapped = broker.trapped(ear.clone(), springs, 0);
            let (a, b) = (trapped.stub.hear(1), trapped.stub.hear(2));
            assert_eq!(failure(a.await), (ErrorKind::Encode, false));
            assert_eq!(failure(b.await), (ErrorKind::Encode, false));
            assert_eq!(failure(trapped.await), (ErrorKind::Encode, true));
            ear.gone().await;
        }
        assert_eq!(broker.trapped(ear.clone(), Springs::Never, 0).stub.hear(3).await?, 4);
        assert_eq!(ear.heard(), [3]);
    }

    async fn a_result_that_is_too_large_fails_what_was_called_on_it(world: &World) {
        if !world.is_remote() {
            return Ok(());
        }
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        // What a message may have is told to the other side: it is this one that takes no more.
        let limits = Limits { max_message: 64 * 1024, ..Limits::default() };
        let client = world.dial().limits(limits).connect().await?;
        let trapped = client.get::<BrokerStub>("a").trapped(ear.clone(), Springs::Never, 100 * 1024);
        let called = trapped.stub.hear(1);
        assert_eq!(failure(called.await), (ErrorKind::TooLarge, false));
        assert_eq!(failure(trapped.await), (ErrorKind::TooLarge, true));
        ear.gone().await;
        assert_eq!(broker.trapped(ear.clone(), Springs::Never, 10).stub.hear(3).await?, 4);
        client.close().await;
        assert_eq!(ear.heard(), [3]);
    }

    async fn a_call_may_be_dropped_once_something_was_called_on_it(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (ear, gate) = (Ear::new(), Gate::new());
        let busy = broker.hold(gate.clone());
        gate.reached().await;
        let made = broker.make(ear.clone());
        let heard = made.hear(1);
        drop(made);
        let pair = broker.pair(ear.clone(), true);
        let second = pair.second.clone();
        drop(pair);
        gate.open();
        busy.await?;
        assert_eq!((heard.await?, second.hear(2).await?), (2, 3));
        drop(second);
        ear.gone().await;
        assert_eq!(ear.heard(), [1, 2]);
    }

    async fn a_withdrawn_call_on_a_result_does_not_run(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (ear, gate) = (Ear::new(), Gate::new());
        let made = broker.make_slowly(ear.clone(), gate.clone());
        gate.reached().await;
        let calls = [made.hear(1), made.hear(2), made.hear(3)];
        let [first, second, third] = calls;
        drop(second);
        world.get::<BrokerStub>("barrier").name().await?;
        gate.open();
        assert_eq!((third.await?, first.await?), (4, 2));
        // Over text the other side learns only that nobody wants to know what comes of it.
        assert_eq!(ear.heard(), if world.is_text() { vec![1, 2, 3] } else { vec![1, 3] });
        drop(made);
        ear.gone().await;
    }

    /// As many as may wait before, the others after: also through a clone, and through what has arrived.
    async fn calls_made_before_and_after_the_result_arrives_keep_their_order(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (ear, gate) = (Ear::new(), Gate::new());
        let mut made = broker.make_slowly(ear.clone(), gate.clone());
        let promise = (*made).clone();
        gate.reached().await;
        let mut calls: Vec<_> = (0..4_000).map(|what| promise.hear_slowly(what)).collect();
        let_others_run().await;
        gate.open();
        let mut arrived = None;
        for what in 4_000..10_000 {
            // Others get a turn now and then, so that it arrives somewhere in between.
            if what % 100 == 0 {
                tokio::task::yield_now().await;
                if arrived.is_none() {
                    arrived = (&mut made).now_or_never().transpose()?;
                }
            }
            // What has arrived is the same target, so it must not overtake what went by the promise.
            calls.push(match &arrived {
                Some(stub) if what % 2 == 0 => stub.hear_slowly(what),
                _ if arrived.is_none() => promise.hear_slowly(what),
                _ => promise.clone().hear_slowly(what),
            });
        }
        for (what, call) in (0..).zip(calls) {
            assert_eq!(call.await?, what + 1);
        }
        assert_eq!(ear.heard(), (0..10_000).collect::<Vec<_>>());
        drop((made, promise, arrived));
        ear.gone().await;
    }

    async fn a_result_may_be_the_callers_own_stub(world: &World) {
        let broker: BrokerStub = world.get("a");
        let ((target, ear), gate) = (listener(), Gate::new());
        let back = broker.echo_slowly(target.clone(), gate.clone());
        gate.reached().await;
        let calls: Vec<_> = (0..100).map(|what| back.hear_slowly(what)).collect();
        world.get::<BrokerStub>("barrier").name().await?; // they have arrived there
        gate.open();
        let back = back.await?;
        // It came home, and what was called on it before has come home before it.
        let last = back.hear(100);
        for call in calls {
            call.await?;
        }
        last.await?;
        assert_eq!(ear.heard(), (0..101).collect::<Vec<_>>());
        drop((back, target));
        ear.gone().await;
    }

    /// The time is that of the call, not of what others need its result for.
    #[test(flavor = "current_thread")]
    async fn a_call_whose_caller_waits_no_longer_still_serves_what_was_called_on_it(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (ear, gate) = (Ear::new(), Gate::new());
        let made = broker.with_timeout(std::time::Duration::from_millis(300)).make_slowly(ear.clone(), gate.clone());
        let heard = made.hear(1);
        gate.reached().await;
        assert_eq!(failure(made.await), (ErrorKind::Deadline, true));
        gate.open();
        assert_eq!(heard.await?, 2);
        ear.gone().await;
    }
}
