//! In process nothing is encoded; over a session every value is, once each way.

use std::sync::atomic::{AtomicUsize, Ordering};

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::by_name::{ByName, Log};
use super::errors::failure;
use super::world::{World, unique};

/// How often a value was encoded and decoded.
#[derive(Default)]
pub struct Count {
    encoded: AtomicUsize,
    decoded: AtomicUsize,
}

impl Count {
    fn take(&self) -> (usize, usize) {
        (self.encoded.swap(0, Ordering::SeqCst), self.decoded.swap(0, Ordering::SeqCst))
    }
}

/// A value that counts its encodings.
#[derive(Clone)]
pub struct Counted(ByName<Count>);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.encoded.fetch_add(1, Ordering::SeqCst);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = ByName::<Count>::deserialize(deserializer)?;
        value.decoded.fetch_add(1, Ordering::SeqCst);
        Ok(Self(value))
    }
}

/// A value that cannot travel, for one reason or another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stubborn {
    FailsToEncode,
    PanicsInEncode,
    FailsToDecode,
    PanicsInDecode,
    Travels,
}

use Stubborn::{FailsToDecode, FailsToEncode, PanicsInDecode, PanicsInEncode, Travels};

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FailsToEncode => Err(serde::ser::Error::custom("as the test wants")),
            PanicsInEncode => panic!("as the test wants"),
            FailsToDecode => 0_u8.serialize(serializer),
            PanicsInDecode => 1_u8.serialize(serializer),
            Travels => 2_u8.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Err(serde::de::Error::custom("as the test wants")),
            1 => panic!("as the test wants"),
            _ => Ok(Travels),
        }
    }
}

#[derive(Default)]
pub struct Mover {
    moved: u32,
}

#[durable_object]
impl Mover {
    pub fn both(&mut self, value: Counted) -> Counted {
        value
    }

    pub fn error(&mut self, value: Counted) -> Result<(), Counted> {
        Err(value)
    }

    pub fn take(&mut self, log: Log, value: Stubborn) -> u32 {
        log.push(value as u64);
        self.moved += 1;
        self.moved
    }

    /// Gives one of the stubborn values, by number.
    pub fn give(&mut self, which: usize) -> Stubborn {
        self.moved += 1;
        [FailsToEncode, PanicsInEncode, FailsToDecode, PanicsInDecode, Travels][which]
    }

    /// The same as an error.
    pub fn refuse(&mut self, which: usize) -> Result<(), Stubborn> {
        Err(self.give(which))
    }
}

impl DurableObject for Mover {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self::default())
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Mover>()
}

every_way! {
    #[batch]
    async fn values_are_encoded_only_over_a_session(world: &World) {
        let mover: MoverStub = world.get(unique("mover"));
        let count = ByName::<Count>::new();
        let value = mover.both(Counted(count.clone())).await?;
        assert_eq!(count.take(), if world.is_remote() { (2, 2) } else { (0, 0) });
        assert!(mover.error(value).await.is_err());
        assert_eq!(count.take(), if world.is_remote() { (2, 2) } else { (0, 0) });
    }

    #[batch]
    async fn an_argument_that_cannot_travel_costs_its_call_only(world: &World) {
        let mover: MoverStub = world.get(unique("mover"));
        let log = Log::new();
        let mut moved = 0;
        for value in [FailsToEncode, PanicsInEncode, FailsToDecode, PanicsInDecode] {
            // Making the call must not panic either: it is the call that fails.
            let call = mover.take(log.clone(), value);
            if world.is_remote() {
                let kind = match value {
                    FailsToEncode | PanicsInEncode => ErrorKind::Encode,
                    _ => ErrorKind::Decode,
                };
                assert_eq!(failure(call.await), (kind, false), "{value:?}");
                assert!(log.take().is_empty());
            } else {
                moved += 1;
                assert_eq!(call.await?, moved);
                assert_eq!(log.take(), [value as u64]);
            }
            moved += 1;
            assert_eq!(mover.take(Log::new(), Travels).await?, moved); // the same stub, the same instance
        }
    }

    #[batch]
    async fn a_result_that_cannot_travel_costs_its_call_only(world: &World) {
        let mover: MoverStub = world.get(unique("mover"));
        for (which, value) in
            [FailsToEncode, PanicsInEncode, FailsToDecode, PanicsInDecode].into_iter().enumerate()
        {
            // In a task, so that a panic where it is awaited is seen for what it is.
            let (give, refuse) = (mover.give(which), mover.refuse(which));
            let given = tokio::spawn(give).await.unwrap_or_else(|panic| panic!("{value:?}: {panic}"));
            let refused = tokio::spawn(refuse).await.unwrap_or_else(|panic| panic!("{value:?}: {panic}"));
            if world.is_remote() {
                let kind = if which < 2 { ErrorKind::Encode } else { ErrorKind::Decode };
                assert_eq!(failure(given), (kind, true), "{value:?}");
                // Over text an error is what it says to anybody, also where it is not the one that is expected.
                let thrown = world.is_text() && kind == ErrorKind::Decode;
                let kind = if thrown { ErrorKind::Thrown } else { kind };
                assert_eq!(failure(refused), (kind, true), "{value:?}");
            } else {
                assert_eq!((given?, refused), (value, Err(CallError::App(value))));
            }
            assert_eq!(mover.give(4).await?, Travels);
        }
        assert_eq!(mover.take(Log::new(), Travels).await?, 4 * 3 + 1); // the instance went on
    }
}
