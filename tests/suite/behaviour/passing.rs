//! Three parties: what came over one session is passed on over another.

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};

use super::broker::{self, BrokerStub, Ear, listener};
use super::by_name::Gate;
use super::errors::failure;
use super::world::{World, let_others_run, unique, until};

fn hosted() -> NodeBuilder {
    broker::hosted()
}

/// Another node, the way to it, and an object there.
struct Elsewhere {
    node: Node,
    client: Client,
    broker: BrokerStub,
}

impl Elsewhere {
    async fn new() -> Self {
        let node = broker::hosted().start().await.unwrap();
        let address = node.listen(&format!("memory:{}", unique("elsewhere"))).await.unwrap();
        let client = opendo::connect(&address.to_string()).await.unwrap();
        let broker = client.get("far");
        Self { node, client, broker }
    }

    /// Nothing is left there either.
    async fn end(self) {
        let Self { node, client, broker } = self;
        drop(broker);
        let stats = || opendo::testing::node_stats(&node);
        let ours = || client.session().map(|session| session.stats()).into_iter();
        until("nothing is left", || stats().into_iter().chain(ours()).all(|it| it == Default::default()))
            .await;
        client.close().await;
    }
}

/// The same interface as another program knows it.
mod other {
    use super::super::broker::Ear;

    #[opendo::interface]
    pub trait Listener {
        fn hear(&mut self, what: String) -> u64;
        fn refuse(&self) -> Result<u64, String>;
    }

    #[opendo::interface]
    pub trait Broker {
        fn make(&self, ear: Ear) -> ListenerStub;
        async fn tell(&self, listener: ListenerStub, what: u64) -> u64;
        async fn provoke(&self, listener: ListenerStub, panic: bool) -> String;
    }
}

every_way! {
    async fn what_one_node_gave_is_called_by_another(world: &World) {
        let (near, far) = (world.get::<BrokerStub>("a"), Elsewhere::new().await);
        let ear = Ear::new();
        let made = near.make(ear.clone()).await?;
        assert_eq!(far.broker.tell(made.clone(), 1).await?, 2);
        far.broker.keep(made.clone()).await?;
        // There and back again: it is the one it was.
        let back = far.broker.echo(made.clone()).await?;
        assert_eq!((back.hear(2).await?, near.tell(back, 3).await?), (3, 4));
        // The one in the middle need not hold it.
        drop(made);
        assert_eq!(far.broker.tell_all(4).await?, 5);
        assert_eq!((ear.heard(), ear.live()), (vec![1, 2, 3, 4], 1));
        far.broker.forget().await?;
        ear.gone().await;
        far.end().await;
    }

    async fn order_is_kept_through_the_one_in_the_middle(world: &World) {
        let (near, far) = (world.get::<BrokerStub>("a"), Elsewhere::new().await);
        let ear = Ear::new();
        let made = near.make(ear.clone()).await?;
        far.broker.tell_many(made, 2_000).await?;
        assert_eq!(ear.heard(), (0..2_000).collect::<Vec<_>>());
        ear.gone().await;
        far.end().await;
    }

    async fn errors_come_through_the_one_in_the_middle(world: &World) {
        let (near, far) = (world.get::<BrokerStub>("a"), Elsewhere::new().await);
        let made = near.make(Ear::new()).await?;
        assert!(far.broker.provoke(made.clone(), false).await?.contains("not today"));
        assert!(far.broker.provoke(made.clone(), true).await?.contains("panicked"));
        // The method was found to be unknown, or the target gone, at the very end of the way.
        let lost = far.broker.try_tell(made, 1).await.unwrap_err();
        assert!(lost.to_string().contains("panicked"), "{lost}");
        far.end().await;
    }

    async fn a_withdrawn_call_is_withdrawn_at_the_end_of_the_way(world: &World) {
        let (near, far) = (world.get::<BrokerStub>("a"), Elsewhere::new().await);
        let (ear, gate) = (Ear::new(), Gate::new());
        let made = near.make(ear.clone()).await?;
        let call = far.broker.wait(made, gate.clone());
        gate.reached().await;
        drop(call);
        gate.left().await; // nobody opened it
        ear.gone().await;
        far.end().await;
    }

    async fn a_signature_that_differs_is_refused_wherever_it_shows(world: &World) {
        if !world.is_remote() {
            return Ok(()); // both sides were built together
        }
        let far = Elsewhere::new().await;
        let near: other::BrokerStub = world.class("Broker").get("a");
        let ear = Ear::new();
        let made = near.make(ear.clone()).await?;
        // Where it is known as something else than it is.
        // Over text nothing is compared: what cannot be decoded shows it.
        let kind = if world.is_text() { ErrorKind::Decode } else { ErrorKind::SignatureMismatch };
        assert_eq!(failure(made.hear("1".into()).await), (kind, false));
        assert_eq!(made.refuse().await, Err(CallError::App("not today".into())));
        // Where it is called as what it is, but was passed on as something else: what fits, works.
        let other_far: other::BrokerStub = far.client.class("Broker").get("far");
        assert!(other_far.provoke(made.clone(), false).await?.contains("not today"));
        let (kind, _) = failure(other_far.tell(made.clone(), 1).await);
        assert_eq!(kind, ErrorKind::Reset); // the method there unwraps its mismatch
        assert!(ear.heard().is_empty());
        drop((made, other_far));
        ear.gone().await;
        far.end().await;
    }

    async fn results_are_called_before_they_arrive_through_the_one_in_the_middle(world: &World) {
        let (near, far) = (world.get::<BrokerStub>("a"), Elsewhere::new().await);
        let ear = Ear::new();
        assert_eq!(far.broker.make_by(near.clone(), ear.clone(), 1).await?, 2);
        ear.gone().await;
        // Here the first result leads back to the middle, which asks the near one.
        let made = near.other("b".into());
        let calls = [made.make(ear.clone()).hear(2), made.make(ear.clone()).hear(3)];
        let by = far.broker.echo_by((*made).clone(), ear.serve());
        let calls = calls.into_iter().chain([by.hear(4), by.hear(5)]);
        for (what, call) in (3..).zip(calls.collect::<Vec<_>>()) {
            assert_eq!(call.await?, what);
        }
        drop((by, made));
        ear.gone().await;
        // A failure as well.
        let error = far.broker.fail_with_broker().make(ear.clone()).hear(1).await;
        assert_eq!(failure(error), (ErrorKind::Failed, false));
        far.end().await;
    }

    async fn an_object_calls_back_over_two_sessions(world: &World) {
        let (near, far) = (world.get::<BrokerStub>("a"), Elsewhere::new().await);
        let (target, ear) = listener();
        // The object of one node is given to that of the other, and calls what the middle made.
        let back = far.broker.echo_by(near.clone(), target.clone()).await?;
        assert!(format!("{back:?}").contains("target")); // it came home
        near.keep(target).await?;
        let kept = near.kept().await?.unwrap();
        assert_eq!(far.broker.tell(kept, 5).await?, 6);
        drop(back);
        near.forget().await?;
        ear.gone().await;
        far.end().await;
    }

    /// One client's target, kept by the node, is called by another client.
    async fn a_target_of_one_client_is_called_by_another_until_the_first_is_gone(world: &World) {
        let owner = world.dial().connect().await?;
        let (target, ear) = listener();
        owner.get::<BrokerStub>("a").keep(target).await?;
        let broker: BrokerStub = world.get("a");
        let kept = broker.kept().await?.unwrap();
        assert_eq!(kept.hear(1).await?, 2);
        let gate = Gate::new();
        let held = kept.hold(gate.clone(), 2);
        gate.reached().await;
        drop(owner); // in order: what runs there is answered
        gate.open();
        assert_eq!(held.await?, 3);
        until("the session has ended", || world.node.sessions() == usize::from(world.is_remote())).await;
        ear.gone().await; // though there are stubs, they lead nowhere
        let error = RpcError::from(kept.hear(3).await.unwrap_err());
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Broken, false), "{error}");
        assert!(error.to_string().contains("session"), "{error}");
        assert!(broker.try_tell(kept, 4).await.unwrap_err().to_string().contains("session"));
        assert_eq!(ear.heard(), [1, 2]);
        broker.forget().await?;
    }

    async fn when_the_origin_ends_its_stubs_are_broken_everywhere(world: &World) {
        let (far, client) = (Elsewhere::new().await, world.dial().connect().await?);
        let near: BrokerStub = client.get("a");
        let ear = Ear::new();
        let made = near.make(ear.clone()).await?;
        far.broker.keep(made.clone()).await?;
        assert_eq!(far.broker.tell_all(1).await?, 2);
        client.close().await;
        ear.gone().await;
        let error = far.broker.try_tell(made, 2).await.unwrap_err();
        assert!(error.to_string().contains("session"), "{error}");
        far.broker.forget().await?;
        let_others_run().await;
        far.end().await;
    }
}
