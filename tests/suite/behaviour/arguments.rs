//! Promises as arguments: of stubs, of values, and made by hand.

use opendo::prelude::*;
use opendo::{Arg, ErrorKind, NodeBuilder};
use tokio::sync::oneshot;

use super::broker::{self, BrokerStub, Ear, ListenerStub, listener};
use super::by_name::Gate;
use super::errors::failure;
use super::world::{World, let_others_run};

fn hosted() -> NodeBuilder {
    broker::hosted()
}

/// A stub that leads nowhere yet. Dropping what it is made good with breaks it.
fn promised() -> (oneshot::Sender<ListenerStub>, ListenerStub) {
    let (make_good, made_good) = oneshot::channel();
    (make_good, opendo::promise(async { Ok(made_good.await.expect("as the test wants")) }))
}

every_way! {
    async fn a_stub_that_has_not_come_is_an_argument_anywhere(world: &World) {
        let (broker, other): (BrokerStub, BrokerStub) = (world.get("a"), world.get("b"));
        let second = world.dial().connect().await?;
        let elsewhere = [other, second.get("c"), world.node.get("d"), opendo::promise({
            let last = second.get("e");
            async { Ok(last) }
        })];
        for to in elsewhere {
            let (ear, gate) = (Ear::new(), Gate::new());
            let made = broker.make_slowly(ear.clone(), gate.clone());
            let (told, kept) = (to.tell((*made).clone(), 1), to.keep((*made).clone()));
            gate.reached().await;
            drop(made);
            gate.open();
            assert_eq!(told.await?, 2);
            kept.await?;
            assert_eq!(to.tell_all(2).await?, 3);
            to.forget().await?;
            ear.gone().await;
            assert_eq!(ear.heard(), [1, 2]);
            // One that never comes.
            let failed = broker.fail();
            let error = to.try_tell((*failed).clone(), 1).await.unwrap_err();
            let why = if world.is_text() { "not today" } else { "`fail`" };
            assert!(error.to_string().contains(why), "{error}");
        }
        second.close().await;
    }

    async fn values_of_calls_are_arguments_in_every_combination(world: &World) {
        let broker: BrokerStub = world.get("a");
        let second = world.dial().connect().await?;
        // Within the process, over the same session, over another one; said to be one, and not.
        let sources: [BrokerStub; 3] = [world.node.get("b"), world.get("c"), second.get("d")];
        for source in &sources {
            for source in [source.clone(), source.promised()] {
                assert_eq!(broker.square(source.add(1, 2).into()).await?, 9);
                for another in &sources {
                    let sum = broker.sum(source.add(1, 2).into(), 10, another.add(20, 30).into());
                    assert_eq!(sum.await?, 63);
                    let mixed = broker.sum(Arg::new(1), 10, another.promised().add(20, 30).into());
                    assert_eq!(mixed.await?, 61);
                }
                // The value of a call that takes the value of a call.
                let inner = source.square(source.add(1, 1).into());
                assert_eq!(broker.sum(inner.into(), 0, Arg::new(1)).await?, 5);
            }
        }
        second.close().await;
    }

    async fn a_call_waits_for_its_slow_arguments_and_others_do_not_wait_for_it(world: &World) {
        let (broker, slow): (BrokerStub, BrokerStub) = (world.get("a"), world.get("b"));
        let second = world.dial().connect().await?;
        for slow in [slow.clone(), slow.promised(), second.get("c"), world.node.get("d")] {
            let gate = Gate::new();
            let squared = broker.square(slow.add_slowly(1, 2, gate.clone()).into());
            let both = broker.sum(slow.add(1, 1).into(), 0, Arg::new(1));
            gate.reached().await;
            assert_eq!(broker.add(1, 1).await?, 2); // it overtakes
            gate.open();
            assert_eq!((squared.await?, both.await?), (9, 3));
        }
        second.close().await;
    }

    #[batch]
    async fn a_failed_argument_fails_the_call_which_does_not_run(world: &World) {
        let broker: BrokerStub = world.get("a");
        let second = world.dial().connect().await?;
        let sources = [world.get("b"), second.get::<BrokerStub>("c"), world.node.get("d")];
        for (source, same_session) in sources.into_iter().zip([true, false, false]) {
            for (source, is_kept) in [(source.clone(), false), (source.promised(), true)] {
                // Otherwise the caller waits for the argument, and does not make the call.
                let failed = |is_kept| match is_kept && same_session {
                    true => world.failed_dependency(),
                    false => (ErrorKind::Failed, false),
                };
                let (target, ear) = listener();
                let refused = broker.tell_value(target.clone().into(), source.refuse().into());
                assert_eq!(failure(refused.await), failed(is_kept));
                let absent = broker.tell_value(source.fail().into(), Arg::new(1));
                assert_eq!(failure(absent.await), failed(true));
                // Two of them, and one that would have been fine.
                let both = broker.sum(source.refuse().into(), 1, source.add(1, 1).into());
                assert_eq!(failure(both.await), failed(is_kept));
                drop(target);
                ear.gone().await;
                assert!(ear.heard().is_empty());
            }
        }
        second.close().await;
    }

    /// A call whose result is called, and is the argument of another one, too.
    async fn a_result_may_be_called_and_be_an_argument(world: &World) {
        let broker: BrokerStub = world.get("a");
        let second = world.dial().connect().await?;
        for to in [world.get::<BrokerStub>("b"), second.get("c"), world.node.get("d")] {
            let (ear, gate) = (Ear::new(), Gate::new());
            let made = broker.make_slowly(ear.clone(), gate.clone());
            let heard = made.hear(1);
            gate.reached().await;
            let told = to.tell_value(made.into(), broker.promised().add(1, 1).into());
            gate.open();
            assert_eq!((heard.await?, told.await?), (2, 3));
            ear.gone().await;
            assert_eq!(ear.heard(), [1, 2]);
        }
        second.close().await;
    }

    /// The call itself has not left yet when something is called on its result.
    async fn the_result_of_a_call_that_waits_for_its_argument_is_called_before_it_arrives(world: &World) {
        let (broker, slow): (BrokerStub, BrokerStub) = (world.get("a"), world.get("b"));
        let second = world.dial().connect().await?;
        let sources = [slow.clone(), slow.promised(), second.get("c"), world.node.get("d")];
        for (slow, same_session) in sources.into_iter().zip([true, true, false, false]) {
            let (ear, gate) = (Ear::new(), Gate::new());
            let made = broker.make_after(ear.clone(), slow.add_slowly(1, 2, gate.clone()).into());
            let calls = [made.hear(1), made.hear(2)];
            // Not to the same object: it would wait there for a call that is still to come.
            let told = world.get::<BrokerStub>("e").tell((*made).clone(), 3);
            gate.reached().await;
            let_others_run().await;
            gate.open();
            for (what, call) in (1..).zip(calls) {
                assert_eq!(call.await?, what + 1);
            }
            assert_eq!(told.await?, 4);
            drop(made);
            ear.gone().await;
            let failed = broker.make_after(ear.clone(), slow.promised().refuse().into());
            let expected = if same_session { world.failed_dependency() } else { (ErrorKind::Failed, false) };
            assert_eq!(failure(failed.hear(1).await), expected);
        }
        second.close().await;
    }

    async fn a_promise_can_be_called_and_passed_before_it_is_made_good(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (make_good, promise) = promised();
        let (target, ear) = listener();
        broker.keep(promise.clone()).await?;
        let before: Vec<_> = (0..10).map(|what| promise.hear_slowly(what)).collect();
        let told = broker.tell_all(10);
        world.get::<BrokerStub>("barrier").name().await?;
        let_others_run().await;
        assert!(ear.heard().is_empty());
        make_good.send(target.clone()).unwrap();
        let after = promise.hear_slowly(11);
        for call in before {
            call.await?;
        }
        assert_eq!((told.await?, after.await?), (11, 12));
        let heard = ear.heard();
        assert_eq!(heard[..10], (0..10).collect::<Vec<_>>());
        // It came back: a promise is at home where it was made.
        assert_eq!(broker.echo(promise.clone()).await?.hear(13).await?, 14);
        drop((promise, target));
        broker.forget().await?;
        ear.gone().await;
    }

    async fn a_promise_may_come_to_anything(world: &World) {
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        // Something of the peer's: what is called on its results is known there before it is.
        let (make_good, made_good) = oneshot::channel::<BrokerStub>();
        let promise: BrokerStub = opendo::promise(async { Ok(made_good.await.unwrap()) });
        let early = promise.make(ear.clone());
        let heard = [early.hear(1), early.hear(2)];
        let told = broker.tell((*early).clone(), 3);
        // And by way of the peer, to which it is one of ours.
        let by = broker.make_by(promise.clone(), ear.clone(), 4);
        let_others_run().await;
        make_good.send(world.get("b")).unwrap();
        for (what, call) in (1..).zip(heard) {
            assert_eq!(call.await?, what + 1);
        }
        assert_eq!((told.await?, by.await.unwrap()), (4, 5));
        let late = promise.make(ear.clone());
        assert_eq!(late.hear(5).await?, 6);
        drop((early, late, promise));
        // A promise of a promise of a result that has not come.
        let made = broker.make(ear.clone());
        let stub = (*made).clone();
        let inner: ListenerStub = opendo::promise(async { Ok(stub) });
        let outer: ListenerStub = opendo::promise(async { Ok(inner) });
        assert_eq!(broker.tell(outer, 6).await?, 7);
        drop(made);
        ear.gone().await;
    }

    async fn a_promise_that_is_broken_fails_its_calls_here_and_there(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (make_good, promise) = promised();
        broker.keep(promise.clone()).await?;
        let (early, told) = (promise.hear(1), broker.try_tell(promise.clone(), 1));
        drop(make_good); // the future panics
        assert_eq!(failure(early.await), (ErrorKind::Broken, false));
        assert!(told.await.unwrap_err().to_string().contains("is gone"));
        assert_eq!(failure(promise.hear(1).await), (ErrorKind::Broken, false));
        assert_eq!(promise.broken().await.kind(), ErrorKind::Broken);
        broker.forget().await?;
        // One whose future fails.
        let other: BrokerStub = world.get("b");
        let promise: BrokerStub = opendo::promise(async move { Ok(other.panic().await?) });
        assert_eq!(failure(promise.name().await), (ErrorKind::Reset, false));
        assert_eq!(failure(promise.other("c".into()).name().await), (ErrorKind::Reset, false));
        assert_eq!(promise.broken().await.kind(), ErrorKind::Reset);
    }
}
