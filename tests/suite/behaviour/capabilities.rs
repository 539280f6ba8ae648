//! Stubs as values: passed, kept, returned, passed on, and let go.

use std::collections::BTreeMap;

use opendo::prelude::*;
use opendo::{Arg, ErrorKind, NodeBuilder};
use serde::{Deserialize, Serialize};

use super::by_name::Log;
use super::errors::failure;
use super::world::World;

/// A target on either side.
pub struct Listener {
    log: Log,
}

#[rpc_target]
impl Listener {
    pub fn hear(&mut self, what: u64) -> u64 {
        self.log.push(what);
        what + 1
    }
}

fn listener() -> (ListenerStub, Log) {
    let log = Log::new();
    (opendo::serve(Listener { log: log.clone() }), log)
}

#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Pair {
    pub first: ListenerStub,
    pub second: Option<ListenerStub>,
    pub count: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Nested {
    Nothing,
    One(ListenerStub),
    Many { all: Vec<ListenerStub>, by_name: BTreeMap<String, Option<ListenerStub>> },
}

pub struct Broker {
    ctx: Ctx,
    kept: Vec<ListenerStub>,
}

#[durable_object]
impl Broker {
    pub async fn tell(&self, listener: ListenerStub, what: u64) -> u64 {
        listener.hear(what).await.unwrap()
    }

    pub fn keep(&mut self, listener: ListenerStub) {
        self.kept.push(listener);
    }

    pub async fn tell_all(&mut self, what: u64) -> u64 {
        let mut sum = 0;
        for listener in &self.kept {
            sum += listener.hear(what).await.unwrap();
        }
        sum
    }

    pub fn forget(&mut self) {
        self.kept.clear();
    }

    pub fn echo(&self, listener: ListenerStub) -> ListenerStub {
        listener
    }

    pub async fn make(&self, log: Log) -> ListenerStub {
        opendo::serve(Listener { log })
    }

    pub async fn fail(&self) -> Result<ListenerStub, String> {
        Err("not today".into())
    }

    pub async fn pair(&self, log: Log) -> Pair {
        let first: ListenerStub = opendo::serve(Listener { log });
        Pair { first: first.clone(), second: Some(first), count: 3 }
    }

    pub async fn nested(&self, nested: Nested) -> Nested {
        nested
    }

    pub fn other(&self, name: String) -> BrokerStub {
        self.ctx.get(name)
    }

    pub fn name(&self) -> Option<String> {
        self.ctx.key().name().map(Into::into)
    }

    pub async fn store(&mut self, broker: BrokerStub) -> Result<(), String> {
        self.ctx.storage().put("broker", &broker).map_err(|error| error.to_string())
    }

    pub async fn stored(&self) -> BrokerStub {
        self.ctx.storage().get("broker").await.unwrap().unwrap()
    }

    pub fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }

    pub fn square(&self, n: Arg<u64>) -> u64 {
        *n * *n
    }

    pub fn refuse(&self) -> Result<u64, String> {
        Err("no".into())
    }
}

impl DurableObject for Broker {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { ctx, kept: Vec::new() })
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Broker>()
}

every_way! {
    async fn a_callback_is_called_during_the_call(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (listener, log) = listener();
        assert_eq!(broker.tell(listener, 4).await?, 5);
        assert_eq!(log.take(), [4]);
    }

    async fn a_callback_that_is_kept_is_called_later_and_let_go(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (listener, log) = listener();
        broker.keep(listener.clone()).await?;
        broker.keep(listener).await?;
        assert_eq!(broker.tell_all(1).await?, 4);
        assert_eq!(log.take(), [1, 1]);
        broker.forget().await?;
        assert_eq!(broker.tell_all(1).await?, 0);
    }

    async fn a_stub_that_comes_home_is_the_one_that_left(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (listener, log) = listener();
        let back = broker.echo(listener).await?;
        assert!(format!("{back:?}").contains("target"));
        assert_eq!(back.hear(1).await?, 2);
        assert_eq!(log.take(), [1]);
        // And out again.
        assert_eq!(broker.tell(back, 2).await?, 3);
    }

    async fn a_target_made_by_a_method_lives_as_long_as_its_stubs(world: &World) {
        let broker: BrokerStub = world.get("a");
        let log = Log::new();
        let made = broker.make(log.clone()).await?;
        let copy = made.clone();
        drop(made);
        assert_eq!(copy.hear(1).await?, 2);
        // It goes home, and the method calls it there.
        assert_eq!(broker.tell(copy, 2).await?, 3);
        assert_eq!(log.take(), [1, 2]);
    }

    async fn calls_on_a_result_need_not_await_it(world: &World) {
        let broker: BrokerStub = world.get("a");
        let log = Log::new();
        assert_eq!(broker.make(log.clone()).hear(1).await?, 2);
        let made = broker.make(log.clone());
        let (a, b) = (made.hear(2), made.hear(3));
        assert_eq!((b.await?, a.await?), (4, 3));
        let made = made.await?;
        assert_eq!(made.hear(4).await?, 5);
        assert_eq!(log.take(), [1, 2, 3, 4]);
    }

    async fn calls_on_fields_of_a_result_need_not_await_it(world: &World) {
        let broker: BrokerStub = world.get("a");
        let log = Log::new();
        let pair = broker.pair(log.clone());
        let (a, b) = (pair.first.hear(1), pair.second.hear(2));
        assert_eq!((a.await?, b.await?), (2, 3));
        assert_eq!(pair.await?.count, 3);
        assert_eq!(log.take(), [1, 2]);
    }

    async fn a_chain_of_results(world: &World) {
        let broker: BrokerStub = world.get("a");
        let name = broker.other("b".into()).other("c".into()).other("d".into()).name().await?;
        assert_eq!(name.as_deref(), Some("d"));
    }

    async fn a_result_that_did_not_come_fails_what_was_called_on_it(world: &World) {
        let broker: BrokerStub = world.get("a");
        let failed = broker.fail();
        let (a, b) = (failed.hear(1), failed.hear(2));
        assert_eq!(failure(a.await), (ErrorKind::Failed, false));
        assert_eq!(failure(b.await), (ErrorKind::Failed, false));
        assert_eq!(failed.await.unwrap_err(), CallError::App("not today".into()));
        assert_eq!(failure(broker.fail().hear(1).await), (ErrorKind::Failed, false));
    }

    async fn a_result_that_has_not_come_is_an_argument(world: &World) {
        let broker: BrokerStub = world.get("a");
        let log = Log::new();
        let made = broker.make(log.clone());
        let stub: ListenerStub = (*made).clone();
        assert_eq!(broker.tell(stub, 7).await?, 8);
        assert_eq!(log.take(), [7]);
    }

    async fn stubs_nest_in_anything(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (listener, log) = listener();
        assert!(matches!(broker.nested(Nested::Nothing).await?, Nested::Nothing));
        let Nested::One(back) = broker.nested(Nested::One(listener.clone())).await? else { panic!() };
        back.hear(1).await?;
        let by_name = BTreeMap::from([("a".to_owned(), Some(listener.clone())), ("b".to_owned(), None)]);
        let many = Nested::Many { all: vec![listener.clone(), listener], by_name };
        let Nested::Many { all, by_name } = broker.nested(many).await? else { panic!() };
        assert_eq!((all.len(), by_name.len()), (2, 2));
        for stub in all.iter().chain(by_name.values().flatten()) {
            stub.hear(2).await?;
        }
        assert_eq!(log.take(), [1, 2, 2, 2]);
    }

    async fn stubs_of_objects_know_their_name_and_can_be_stored(world: &World) {
        let broker: BrokerStub = world.get("a");
        let other = broker.other("b".into()).await?;
        assert_eq!(other.key().unwrap().name(), Some("b"));
        assert_eq!(other.name().await?.as_deref(), Some("b"));
        broker.store(other).await?;
        opendo::testing::hibernate(&world.node, &broker).await;
        assert_eq!(broker.stored().await?.name().await?.as_deref(), Some("b"));
    }

    async fn the_value_of_a_call_is_an_argument(world: &World) {
        let broker: BrokerStub = world.get("a");
        assert_eq!(broker.square(Arg::new(3)).await?, 9);
        let sum = broker.promised().add(1, 2);
        assert_eq!(broker.square(sum.into()).await?, 9);
        // Also when nobody said that it would be one.
        assert_eq!(broker.square(broker.add(2, 2).into()).await?, 16);
        assert_eq!(broker.square(broker.promised().square(Arg::new(2)).into()).await?, 16);
        assert_eq!(failure(broker.square(broker.promised().refuse().into()).await), (ErrorKind::Failed, false));
        assert_eq!(failure(broker.square(broker.refuse().into()).await), (ErrorKind::Failed, false));
    }
}
