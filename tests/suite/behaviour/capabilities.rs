//! Stubs as values: passed, kept, returned, let go, and how their targets learn of it.

use std::collections::BTreeMap;

use opendo::NodeBuilder;
use opendo::prelude::*;
use serde::{Deserialize, Serialize};

use super::broker::{self, BrokerStub, Ear, ListenerStub, listener};
use super::by_name::{Gate, Log};
use super::world::{World, let_others_run};

#[opendo::interface]
pub trait Hearing {
    async fn hear(&self, what: u64) -> u64;
}

pub struct Wall(Log);

#[rpc_target]
impl Hearing for Wall {
    async fn hear(&self, what: u64) -> u64 {
        self.0.push(what);
        what
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wrapped(ListenerStub);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Chosen {
    Nothing,
    One(ListenerStub),
    Named { by: HearingStub, also: Box<Option<BrokerStub>> },
}

/// Stubs of all kinds, in all that values can be made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Everything {
    target: ListenerStub,
    object: BrokerStub,
    interface: HearingStub,
    wrapped: Wrapped,
    tuple: (ListenerStub, u64, Option<HearingStub>),
    array: [ListenerStub; 2],
    result: Result<HearingStub, String>,
    chosen: Vec<Chosen>,
    maps: BTreeMap<String, BTreeMap<u8, Vec<Option<ListenerStub>>>>,
}

/// What is given everything.
pub struct Mirror;

#[rpc_target]
impl Mirror {
    pub fn show(&self, everything: Everything) -> Everything {
        everything
    }
}

/// An object that gives out mirrors.
pub struct Hall;

#[durable_object]
impl Hall {
    pub fn mirror(&self) -> MirrorStub {
        opendo::serve(Mirror)
    }

    pub async fn show(&self, everything: Everything) -> Result<Everything, Everything> {
        everything.wrapped.0.hear(0).await.unwrap();
        if everything.tuple.1 == 0 { Ok(everything) } else { Err(everything) }
    }
}

impl DurableObject for Hall {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

fn hosted() -> NodeBuilder {
    broker::hosted().object::<Hall>()
}

impl Everything {
    fn of(target: &ListenerStub, object: &BrokerStub, interface: &HearingStub, number: u64) -> Self {
        let (target, object, interface) = (|| target.clone(), object.clone(), || interface.clone());
        Self {
            target: target(),
            object: object.clone(),
            interface: interface(),
            wrapped: Wrapped(target()),
            tuple: (target(), number, Some(interface())),
            array: [target(), target()],
            result: Ok(interface()),
            chosen: vec![
                Chosen::Nothing,
                Chosen::One(target()),
                Chosen::Named { by: interface(), also: Box::new(Some(object)) },
            ],
            maps: BTreeMap::from([("a".into(), BTreeMap::from([(1, vec![None, Some(target())])]))]),
        }
    }

    /// Calls each of them: the targets seven times, the interface four times.
    async fn call(&self, name: &str) -> opendo::Result<()> {
        let mut targets = vec![&self.target, &self.wrapped.0, &self.tuple.0, &self.array[0], &self.array[1]];
        targets.extend(self.maps["a"][&1].iter().flatten());
        let mut walls = vec![&self.interface, self.tuple.2.as_ref().unwrap(), self.result.as_ref().unwrap()];
        let mut objects = vec![&self.object];
        assert_eq!(self.chosen.len(), 3);
        for chosen in &self.chosen {
            match chosen {
                Chosen::Nothing => {}
                Chosen::One(target) => targets.push(target),
                Chosen::Named { by, also } => {
                    walls.push(by);
                    objects.push(Option::as_ref(also).unwrap());
                }
            }
        }
        for target in targets {
            assert_eq!(target.hear(1).await?, 2);
        }
        for wall in walls {
            assert_eq!(wall.hear(2).await?, 2);
        }
        for object in objects {
            assert_eq!(object.name().await?.as_deref(), Some(name));
        }
        Ok(())
    }
}

every_way! {
    async fn stubs_of_every_kind_travel_in_every_nesting(world: &World) {
        let (hall, object): (HallStub, BrokerStub) = (world.get("hall"), world.get("o"));
        let ((target, ear), log) = (listener(), Log::new());
        let wall: HearingStub = opendo::serve(Wall(log.clone()));
        let shown = hall.show(Everything::of(&target, &object, &wall, 0)).await;
        shown.unwrap().call("o").await?;
        assert_eq!((ear.heard(), log.take()), (vec![0, 1, 1, 1, 1, 1, 1, 1], vec![2, 2, 2, 2]));
        // In an error of the method as well, and by way of a target made over there.
        let Err(CallError::App(back)) = hall.show(Everything::of(&target, &object, &wall, 1)).await else {
            panic!("no error")
        };
        let mirror = hall.mirror();
        mirror.show(back).await?.call("o").await?;
        assert_eq!((ear.heard().len(), log.take().len()), (8, 4));
        drop((target, mirror));
        ear.gone().await;
    }

    async fn one_stub_many_times_in_one_message(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (target, ear) = listener();
        let made = broker.make(ear.clone()).await?;
        assert_eq!(ear.live(), 2);
        let many: Vec<_> = (0..200).map(|at| if at % 2 == 0 { target.clone() } else { made.clone() }).collect();
        drop((target, made));
        let mut back = broker.echo_all(many).await?;
        assert_eq!(back.len(), 200);
        for (what, stub) in (0..).zip(&back) {
            assert_eq!(stub.hear(what).await?, what + 1);
        }
        assert_eq!(ear.heard(), (0..200).collect::<Vec<_>>());
        // One of each is enough.
        back.drain(1..199);
        let_others_run().await;
        assert_eq!(ear.live(), 2);
        drop(back);
        ear.gone().await;
    }

    /// Original, clone, one kept by an object, one that came back; and the same for a target made over there.
    async fn a_target_lives_until_the_last_of_its_stubs_whichever_that_is(world: &World) {
        let (broker, other): (BrokerStub, BrokerStub) = (world.get("a"), world.get("b"));
        for first in 0..4 {
            for (step, made_there) in [(1, false), (3, true), (1, true), (3, false)] {
                let ear = Ear::new();
                let original = if made_there { broker.make(ear.clone()).await? } else { ear.serve() };
                other.keep(original.clone()).await?;
                let back = broker.echo(original.clone()).await?;
                let mut holds = [Some(original.clone()), Some(original), Some(back)];
                for turn in 0..4 {
                    assert_eq!(ear.live(), 1);
                    match holds.get_mut((first + turn * step) % 4) {
                        Some(hold) => drop(hold.take()),
                        None => other.forget().await?,
                    }
                    if turn < 3 {
                        let_others_run().await;
                    }
                }
                ear.gone().await;
            }
        }
    }

    async fn a_stub_that_is_dropped_while_it_is_called_is_let_go_afterwards(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (ear, gate) = (Ear::new(), Gate::new());
        let made = broker.make(ear.clone()).await?;
        let call = made.hold(gate.clone(), 1);
        drop(made);
        gate.reached().await;
        let_others_run().await;
        assert_eq!(ear.live(), 1);
        gate.open();
        assert_eq!(call.await?, 2);
        ear.gone().await;
        // The other way round.
        let (target, ear) = listener();
        let call = broker.tell_and_drop(target, gate.clone(), 2);
        gate.reached().await;
        let_others_run().await;
        assert_eq!(ear.live(), 1);
        gate.open();
        assert_eq!(call.await?, 3);
        ear.gone().await;
        // And a call that nobody waits for.
        let made = broker.make(ear.clone()).await?;
        Call::detach(made.hear(3));
        drop(made);
        ear.gone().await;
        assert_eq!(ear.heard(), [2, 3]);
    }

    /// Nothing of it waits for anything: passes, releases and calls of both sides cross each other.
    async fn what_is_passed_again_while_it_is_let_go_stays(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (target, ear) = listener();
        let mut calls = Vec::new();
        for what in 0..100 {
            Call::detach(broker.keep(target.clone()));
            calls.push(broker.tell_all(what));
            Call::detach(broker.forget());
            drop(broker.echo(target.clone())); // withdrawn, or its result is let go
        }
        for (what, call) in (0..).zip(calls) {
            assert_eq!(call.await?, what + 1);
        }
        assert_eq!(ear.heard(), (0..100).collect::<Vec<_>>());
        broker.keep(target).await?;
        assert_eq!(broker.tell_all(7).await?, 8);
        broker.forget().await?;
        ear.gone().await;
    }

    async fn calls_that_are_withdrawn_let_go_of_what_they_passed(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (target, ear) = listener();
        let gate = Gate::new();
        let busy = broker.hold(gate.clone());
        gate.reached().await;
        drop(broker.keep(target.clone())); // it will not run, except over text
        let running = broker.tell_and_drop(target, gate.clone(), 1);
        world.get::<BrokerStub>("barrier").name().await?;
        gate.open();
        busy.await?;
        gate.reached().await;
        drop(running); // it runs, and nobody waits
        gate.open();
        if world.is_text() {
            broker.forget().await?;
        }
        ear.gone().await;
        assert_eq!(ear.heard(), [1]);
    }

    /// Its calls do not go anywhere: they also work when there is no connection any more.
    async fn a_stub_that_comes_home_is_local_again(world: &World) {
        let client = world.dial().connect().await?;
        let broker: BrokerStub = client.get("a");
        let (target, ear) = listener();
        broker.keep(target.clone()).await?;
        let back = [
            broker.echo(target.clone()).await?,
            broker.echo_all(vec![target.clone()]).await?.remove(0),
            broker.kept().await?.unwrap(),
            // Two hops, one of them between objects.
            broker.echo_by(client.get("b"), target.clone()).await?,
        ];
        client.close().await;
        for stub in &back {
            assert!(format!("{stub:?}").contains("target"));
            // One instance, one order: each other call on another stub.
            let calls = [stub.hear_slowly(1), target.hear(2), stub.hear_slowly(3), target.hear(4)];
            for call in calls {
                call.await?;
            }
            assert_eq!(ear.heard(), [1, 2, 3, 4]);
        }
        drop((back, target));
        world.get::<BrokerStub>("a").forget().await?;
        ear.gone().await;
    }

    async fn ten_thousand_callbacks_start_in_the_order_in_which_they_were_made(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (target, ear) = listener();
        broker.tell_many(target, 10_000).await?;
        assert_eq!(ear.heard(), (0..10_000).collect::<Vec<_>>());
        ear.gone().await;
    }

    async fn callbacks_fail_like_other_calls(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (target, ear) = listener();
        assert!(broker.provoke(target.clone(), false).await?.contains("not today"));
        let reset = broker.provoke(target.clone(), true).await?;
        assert!(reset.contains("panicked"), "{reset}");
        // It is gone for good, and says so to everybody.
        assert!(broker.try_tell(target.clone(), 1).await.is_err());
        assert!(target.hear(1).await.is_err());
        drop(target);
        ear.gone().await;
    }

    /// The interface is implemented here, kept over there, and called by later calls.
    async fn an_implementation_of_the_caller_is_called_later_and_let_go(world: &World) {
        let (hall, object): (HallStub, BrokerStub) = (world.get("hall"), world.get("o"));
        let (target, ear) = listener();
        object.keep(target.clone()).await?;
        object.keep(target).await?;
        for what in 1..4 {
            assert_eq!(object.tell_all(what).await?, 2 * (what + 1));
        }
        hall.mirror().await?;
        assert_eq!(ear.heard(), [1, 1, 2, 2, 3, 3]);
        opendo::testing::hibernate(&world.node, &object).await; // memory is all that held it
        ear.gone().await;
        assert_eq!(object.tell_all(4).await?, 0);
    }
}
