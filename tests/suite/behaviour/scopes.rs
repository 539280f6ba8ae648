//! Stubs inside values that cannot be encoded or decoded, that do it strangely, or that are stored.

use std::fmt;

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::broker::{self, BrokerStub, ListenerStub, Springs, Trap, Trapped, listener};
use super::errors::failure;
use super::place::Place;
use super::world::{World, unique};

/// A stub that is decoded twice from the one place where it is.
#[derive(Debug)]
pub struct Twice(ListenerStub, ListenerStub);

impl Serialize for Twice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = u32::deserialize(deserializer)?;
        let stub = || ListenerStub::deserialize(Place(place)).map_err(serde::de::Error::custom);
        Ok(Self(stub()?, stub()?))
    }
}

/// A place where there is nothing, or something else.
#[derive(Debug)]
pub struct Astray(u32, ListenerStub);

impl Serialize for Astray {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, &self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Astray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (place, stub) = <(u32, ListenerStub)>::deserialize(deserializer)?;
        ListenerStub::deserialize(Place(place)).map_err(serde::de::Error::custom)?;
        Ok(Self(place, stub))
    }
}

/// It makes calls while it is encoded, with stubs and results of stubs.
#[derive(Debug, Deserialize)]
pub struct Meddler {
    first: ListenerStub,
    broker: BrokerStub,
    last: ListenerStub,
}

impl Serialize for Meddler {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Call::detach(self.broker.tell(self.last.clone(), 10));
        // The struct's fields are encoded around further ones.
        (&self.first, With(&self.broker, &self.last), &self.last).serialize(serializer)
    }
}

struct With<'a>(&'a BrokerStub, &'a ListenerStub);

impl Serialize for With<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let padding = String::new();
        let trapped =
            |springs| Trapped { stub: self.1.clone(), trap: Trap(springs), padding: padding.clone() };
        Call::detach(self.0.spring(trapped(Springs::Never)));
        Call::detach(self.0.spring(trapped(Springs::Panics)));
        self.0.serialize(serializer)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Untagged {
    Number(u64),
    /// It is this only when there is something else, too: which shows after the stub was decoded.
    Two(ListenerStub, u64),
    Stub((ListenerStub,)),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Flat {
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Inner {
    stub: ListenerStub,
}

/// It takes values of all these kinds.
pub struct Taker;

#[durable_object]
impl Taker {
    pub async fn twice(&self, twice: Twice) -> Twice {
        twice.0.hear(1).await.unwrap();
        drop(twice.0);
        twice.1.hear(2).await.unwrap();
        Twice(twice.1.clone(), twice.1)
    }

    pub fn astray(&self, astray: Astray) -> u32 {
        astray.0
    }

    pub async fn meddle(&self, meddler: Meddler) -> u64 {
        meddler.first.hear(1).await.unwrap() + meddler.last.hear(2).await.unwrap()
    }

    pub fn untagged(&self, untagged: Untagged) -> Untagged {
        untagged
    }

    pub fn flat(&self, flat: Flat) -> Flat {
        flat
    }
}

impl DurableObject for Taker {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

fn hosted() -> NodeBuilder {
    broker::hosted().object::<Taker>()
}

/// What the sessions hold of stubs and streams, all in all.
fn held(world: &World) -> usize {
    world.stats().iter().map(|stats| stats.exports + stats.imports).sum()
}

every_way! {
    async fn a_value_that_cannot_be_encoded_passes_nothing(world: &World) {
        let broker: BrokerStub = world.get("a");
        let (target, ear) = listener();
        let trapped = |springs| Trapped { stub: target.clone(), trap: Trap(springs), padding: String::new() };
        broker.name().await?;
        let before = held(world); // over text, the object too
        for springs in [Springs::Refuses, Springs::Panics] {
            let sprung = broker.spring(trapped(springs)).await;
            if world.is_remote() {
                assert_eq!(failure(sprung), (ErrorKind::Encode, false));
                assert_eq!(held(world), before);
            } else {
                assert_eq!((sprung?, ear.heard()), (2, vec![1])); // it moves
            }
            // On the same thread, at once, and with a stub again: only that one goes.
            let (other, heard) = listener();
            assert_eq!(broker.tell(other, 5).await?, 6);
            assert_eq!(heard.heard(), [5]);
            assert_eq!(broker.spring(trapped(Springs::Never)).await?, 2);
            assert_eq!(ear.heard(), [1]);
        }
        drop(target);
        ear.gone().await;
    }

    async fn a_serialize_may_make_calls_with_stubs_itself(world: &World) {
        let (taker, broker): (TakerStub, BrokerStub) = (world.get("t"), world.get("a"));
        let ((first, ear), (last, other)) = (listener(), listener());
        assert_eq!(taker.meddle(Meddler { first, broker: broker.clone(), last }).await?, 5);
        broker.name().await?; // behind what the encoding called
        ear.gone().await;
        other.gone().await;
        let mut heard = other.heard();
        heard.sort_unstable();
        assert_eq!(ear.heard(), [1]);
        assert_eq!(heard, if world.is_remote() { vec![1, 2, 10] } else { vec![2] });
    }

    async fn a_stub_may_be_decoded_twice(world: &World) {
        if world.is_text() {
            return Ok(()); // a stub has no place there; what is buffered is decoded twice, see below
        }
        let taker: TakerStub = world.get("t");
        let (target, ear) = listener();
        let Twice(one, two) = taker.twice(Twice(target.clone(), target)).await?;
        drop(one);
        assert_eq!(two.hear(3).await?, 4);
        assert_eq!(ear.heard(), [1, 2, 3]);
        drop(two);
        ear.gone().await;
    }

    #[batch]
    async fn a_place_where_there_is_no_stub_is_an_error(world: &World) {
        if !world.is_remote() {
            return Ok(()); // nothing is decoded
        }
        let taker: TakerStub = world.get("t");
        for place in [1, 7, u32::MAX] {
            let (target, ear) = listener();
            let error = RpcError::from(taker.astray(Astray(place, target)).await.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.message().contains("not in the message"), "{error}");
            ear.gone().await;
        }
        assert_eq!(taker.astray(Astray(0, listener().0)).await?, 0);
    }

    /// Such types need an encoding that describes itself, as text does.
    #[batch]
    async fn what_cannot_be_decoded_is_an_error_and_not_a_panic(world: &World) {
        if !world.is_remote() {
            return Ok(());
        }
        let taker: TakerStub = world.get("t");
        let (target, ear) = listener();
        let (untagged, flat) = (Untagged::Stub((target.clone(),)), Flat { inner: Inner { stub: target } });
        let (untagged, flat) = (taker.untagged(untagged).await, taker.flat(flat).await);
        if world.is_text() {
            let (Untagged::Stub((untagged,)), flat) = (untagged?, flat?) else { panic!("something else") };
            assert_eq!((untagged.hear(1).await?, flat.inner.stub.hear(2).await?), (2, 3));
        } else {
            assert_eq!(failure(untagged).0, ErrorKind::Decode);
            let (kind, _) = failure(flat);
            assert!(matches!(kind, ErrorKind::Encode | ErrorKind::Decode), "{kind:?}");
        }
        ear.gone().await;
    }

    async fn outside_of_a_call_a_stub_is_no_value(world: &World) {
        let broker: BrokerStub = world.get("a");
        let outside = |stub: &dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result| {
            struct Shown<'a>(&'a dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result);
            impl fmt::Display for Shown<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0(f)
                }
            }
            use fmt::Write;
            write!(String::new(), "{}", Shown(stub))
        };
        let (target, ear) = listener();
        // A formatter is a serializer.
        assert!(outside(&|f| broker.serialize(f)).is_err());
        assert!(outside(&|f| target.serialize(f)).is_err());
        let error = ListenerStub::deserialize(Place(0)).unwrap_err().to_string();
        assert!(error.contains("arguments and results of remote methods only"), "{error}");
        // Nothing of that is said of what fails later for other reasons.
        if world.is_remote() {
            let trapped = Trapped { stub: target.clone(), trap: Trap(Springs::Refuses), padding: String::new() };
            let error = broker.spring(trapped).await.unwrap_err().to_string();
            assert!(!error.contains("remote methods only"), "{error}");
        }
        assert_eq!(broker.tell(target, 1).await?, 2);
        ear.gone().await;
    }

    async fn only_stubs_of_the_nodes_own_objects_can_be_stored(world: &World) {
        let broker: BrokerStub = world.get(unique("a"));
        let (target, ear) = listener();
        let only = "only stubs of this node's own objects, and of their lasting targets, can be stored";
        let refused = broker.store_listener(target.clone()).await.unwrap_err().to_string();
        assert!(refused.contains(only), "{refused}");
        let made = broker.make(ear.clone()).await?;
        assert!(broker.store_listener(made).await.unwrap_err().to_string().contains(only));
        // An object of another node, which this one reaches by way of the caller.
        let elsewhere = hosted().start().await?;
        let refused = broker.store(elsewhere.get("far")).await;
        if world.is_remote() {
            assert!(refused.unwrap_err().to_string().contains(only));
        }
        // Its own, by any way on which they come.
        for other in [world.get("b"), broker.other("b".into()).await?] {
            broker.store(other).await.unwrap();
            opendo::testing::hibernate(&world.node, &broker).await;
            assert_eq!(broker.stored().await?.name().await?.as_deref(), Some("b"));
        }
        drop(target);
        ear.gone().await;
    }
}
