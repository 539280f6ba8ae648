//! The end of sessions, targets and promises: who is told, when, and what is left.

use futures::FutureExt;
use opendo::prelude::*;
use opendo::testing::reset;
use opendo::{ErrorKind, NodeBuilder, Session, SessionStats};

use super::broker::{self, BrokerStub, Ear, ListenerStub, listener};
use super::by_name::{Gate, Log};
use super::errors::failure;
use super::world::{World, let_others_run, until};

/// Knows the sessions of its callers.
pub struct Porter {
    sessions: Vec<Session>,
}

#[durable_object]
impl Porter {
    /// Notes what happens to the session of this call.
    pub fn watch(&mut self, #[call] call: &CallInfo, listener: ListenerStub, log: Log, ear: Ear) {
        let session = call.session().unwrap().clone();
        let hook = |entry: u64| {
            let (log, ear) = (log.clone(), ear.clone());
            // Everything was let go before the first hook runs.
            session.on_end(move |_| log.push(if ear.live() == 0 { entry } else { 0 }))
        };
        hook(1).keep();
        let second = hook(2);
        hook(3).keep();
        drop(second);
        hook(4).keep();
        drop(listener);
        self.sessions.push(session);
    }

    /// Ends its caller's session in order.
    pub fn close(&self, #[call] call: &CallInfo) {
        let session = call.session().unwrap().clone();
        tokio::spawn(async move { session.close().await });
    }

    /// Gives out a target that ends with the session.
    pub fn lend(&self, ear: Ear) -> ListenerStub {
        ear.serve()
    }

    /// The session of this call, as it is now: other calls and callbacks under way.
    pub fn stats(&self, #[call] call: &CallInfo) -> Vec<u64> {
        let stats = call.session().unwrap().stats();
        [stats.pending_calls, stats.running_calls, stats.exports, stats.imports].map(|it| it as u64).to_vec()
    }

    /// Lets hooks know of a session that has ended before.
    pub fn too_late(&mut self, log: Log) -> String {
        let session = self.sessions.pop().unwrap();
        session.on_end(move |_| log.push(9)).keep();
        format!("{:?}", session.stats() == SessionStats::default())
    }
}

impl DurableObject for Porter {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { sessions: Vec::new() })
    }
}

fn hosted() -> NodeBuilder {
    broker::hosted().object::<Porter>()
}

/// That it has not come to an end yet.
fn is_whole(broken: &mut (impl Future<Output = RpcError> + Unpin)) -> bool {
    broken.now_or_never().is_none()
}

every_way! {
    async fn stubs_of_targets_break_with_their_session_on_both_sides(world: &World) {
        let client = world.dial().connect().await?;
        let broker: BrokerStub = client.get("a");
        let ((target, ours), theirs) = (listener(), Ear::new());
        broker.keep(target.clone()).await?;
        let made = broker.make(theirs.clone()).await?;
        let kept = world.get::<BrokerStub>("a").kept().await?.unwrap();
        let (mut here, mut there, mut object) =
            (Box::pin(made.broken()), Box::pin(kept.broken()), Box::pin(broker.broken()));
        let mut own = Box::pin(target.broken());
        assert!(is_whole(&mut here) && is_whole(&mut object) && is_whole(&mut own));
        assert!(is_whole(&mut there));
        client.close().await;
        let error = here.await;
        assert_eq!(error.kind(), ErrorKind::Broken);
        assert!(error.message().contains("session"), "{error}");
        // A stub of an object heals, unless its client was closed.
        assert_eq!(object.await.kind(), ErrorKind::Closed);
        // What is here does not depend on who held it.
        assert!(is_whole(&mut own));
        assert_eq!(target.hear(1).await?, 2);
        assert_eq!(failure(made.hear(1).await), (ErrorKind::Broken, false));
        if !world.is_remote() {
            assert_eq!(there.await.kind(), ErrorKind::Broken);
        }
        theirs.gone().await;
        assert!(world.get::<BrokerStub>("a").try_tell(kept, 1).await.is_err());
        world.get::<BrokerStub>("a").forget().await?;
        drop((target, own));
        ours.gone().await;
    }

    async fn a_reset_that_a_call_finds_breaks_the_stub_wherever_it_is(world: &World) {
        let broker: BrokerStub = world.get("a");
        let ear = Ear::new();
        let made = broker.make(ear.clone()).await?;
        let copy = made.clone();
        let mut broken = Box::pin(copy.broken());
        assert!(is_whole(&mut broken));
        assert_eq!(failure(made.panic().await), (ErrorKind::Reset, true));
        assert_eq!(broken.await.kind(), ErrorKind::Reset);
        assert_eq!(failure(copy.hear(1).await), (ErrorKind::Reset, false));
    }

    async fn a_result_that_does_not_come_breaks_its_stub(world: &World) {
        let broker: BrokerStub = world.get("a");
        let gate = Gate::new();
        let failed = broker.fail();
        let stub: ListenerStub = (*failed).clone();
        assert_eq!(stub.broken().await.kind(), ErrorKind::Failed);
        // A watch is no hold, and one on a result that comes does not end.
        let made = broker.make_slowly(Ear::new(), gate.clone());
        let mut broken = Box::pin(made.broken());
        gate.reached().await;
        gate.open();
        assert_eq!(made.hear(1).await?, 2);
        assert!(is_whole(&mut broken));
        drop((made, stub, failed));
    }

    async fn what_is_reset_breaks_its_stubs_in_its_process(world: &World) {
        let (target, ear) = listener();
        let mut broken = Box::pin(target.broken());
        assert!(is_whole(&mut broken));
        world.get::<BrokerStub>("a").provoke(target.clone(), true).await?;
        assert_eq!(broken.await.kind(), ErrorKind::Reset);
        assert_eq!(target.broken().await.kind(), ErrorKind::Reset); // still
        drop(target);
        ear.gone().await;
        // An object that is reset breaks the stubs that were connected to it, not those that come later.
        let object: BrokerStub = world.node.get("b");
        object.name().await?;
        let mut broken = Box::pin(object.broken());
        assert!(is_whole(&mut broken));
        assert!(reset(&world.node, &object, "as the test wants").await);
        assert_eq!(broken.await.kind(), ErrorKind::Reset);
        let mut fresh = Box::pin(object.fresh().broken());
        assert!(is_whole(&mut fresh));
    }

    async fn what_never_comes_breaks_what_was_promised(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (ear, gate) = (Ear::new(), Gate::new());
        let failed = broker.fail();
        let stub = (*failed).clone();
        assert_eq!(failure(stub.hear(1).await), world.failed_dependency());
        if !world.is_remote() {
            assert_eq!(stub.broken().await.kind(), ErrorKind::Failed);
        }
        drop((failed, stub));
        // What does come is as whole as it is there.
        let made = broker.make_slowly(ear.clone(), gate.clone());
        let mut broken = Box::pin(made.broken());
        assert!(is_whole(&mut broken));
        gate.open();
        assert_eq!(made.hear(1).await?, 2);
        assert!(is_whole(&mut broken));
        drop((made, broken));
        ear.gone().await;
    }

    async fn hooks_run_in_order_after_everything_was_let_go(world: &World) {
        let client = world.dial().connect().await?;
        let (log, ear) = (Log::new(), Ear::new());
        let (porter, broker): (PorterStub, BrokerStub) = (client.get("p"), client.get("a"));
        porter.watch(listener().0, log.clone(), ear.clone()).await?;
        let _held = (broker.make(ear.clone()).await?, porter.lend(ear.clone()).await?);
        let_others_run().await;
        assert_eq!((log.take(), ear.live()), (vec![], 2));
        client.close().await;
        // The node's side may hear of the end after ours has.
        let ended = || world.node.sessions() == usize::from(world.is_remote());
        until("the node has ended it, too", ended).await;
        assert_eq!((log.take(), ear.live()), (vec![1, 3, 4], 0));
        // One that comes too late runs at once.
        let porter: PorterStub = world.get("p");
        assert_eq!(porter.too_late(log.clone()).await?, "true");
        assert_eq!(log.take(), [9]);
    }

    async fn stats_tell_what_is_held(world: &World) {
        let client = world.dial().connect().await?;
        let (porter, broker): (PorterStub, BrokerStub) = (client.get("p"), client.get("a"));
        let session = client.session().unwrap();
        assert_eq!(porter.stats().await?, [0, 1, 0, 0]);
        let ((target, ear), gate) = (listener(), Gate::new());
        broker.keep(target.clone()).await?;
        broker.keep(target).await?;
        let held = (broker.make(ear.clone()).await?, porter.lend(ear.clone()).await?, broker.kept().await?);
        assert_eq!(porter.stats().await?, [0, 1, 2, 2]);
        let calling = held.0.hold(gate.clone(), 1);
        gate.reached().await;
        assert_eq!(porter.stats().await?, [0, 2, 2, 2]);
        let stats = session.stats();
        // Over text the two objects and the call's result are among the imports.
        let imports = if world.is_text() { 5 } else { 2 };
        assert_eq!((stats.pending_calls, stats.exports, stats.imports), (1, 2, imports));
        gate.open();
        calling.await?;
        let made = broker.make(ear.clone());
        assert_eq!(made.hear(1).await?, 2);
        assert_eq!(session.stats().kept_results, 0); // it is the other side that keeps it
        drop((made, held));
        broker.forget().await?;
        drop((broker, porter));
        until("all is zero", || session.stats() == SessionStats::default()).await;
        ear.gone().await;
        client.close().await;
    }

    async fn draining_waits_for_both_directions_and_keeps_nothing_from_being_called(world: &World) {
        let client = world.dial().connect().await?;
        let broker: BrokerStub = client.get("a");
        let session = client.session().unwrap();
        let ((target, ear), gate) = (listener(), Gate::new());
        session.drain().await; // there is nothing
        let telling = broker.tell_and_drop(target, gate.clone(), 1);
        gate.reached().await; // a call each way
        let mut drained = Box::pin(session.drain());
        assert!((&mut drained).now_or_never().is_none());
        assert_eq!(client.get::<BrokerStub>("b").add(1, 2).await?, 3);
        assert!((&mut drained).now_or_never().is_none());
        gate.open();
        drained.await;
        assert_eq!(telling.await?, 2);
        assert_eq!(broker.add(1, 2).await?, 3);
        ear.gone().await;
        client.close().await;
    }

    /// From either end, with a callback in flight, which is answered: also though it is made after the end began.
    async fn closing_waits_for_callbacks_and_leaves_nothing(world: &World) {
        for from_the_node in [false, true] {
            let client = world.dial().patience(std::time::Duration::ZERO).connect().await?;
            let (broker, porter): (BrokerStub, PorterStub) = (client.get("a"), client.get("p"));
            let session = client.session().unwrap();
            let ((target, ours), theirs, gate) = (listener(), Ear::new(), Gate::new());
            let held = broker.make(theirs.clone()).await?;
            broker.keep(target.clone()).await?;
            let telling = broker.tell_and_drop(target, gate.clone(), 1);
            let holding = held.hold(gate.clone(), 2);
            gate.reached().await;
            gate.reached().await;
            if from_the_node {
                porter.close().await?;
            }
            let mut closed = Box::pin(async {
                if from_the_node { session.closed().await } else { session.close().await }
            });
            for _ in 0..10 {
                assert!((&mut closed).now_or_never().is_none());
                let_others_run().await;
            }
            gate.open();
            gate.open();
            closed.await;
            assert_eq!((telling.await?, holding.await?), (2, 3));
            assert_eq!(session.stats(), SessionStats::default());
            theirs.gone().await;
            assert_eq!(failure(held.hear(1).await), (ErrorKind::Broken, false));
            drop(porter);
            world.get::<BrokerStub>("a").forget().await?;
            ours.gone().await;
            client.close().await;
        }
    }
}
