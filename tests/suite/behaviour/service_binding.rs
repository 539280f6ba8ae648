//! Interfaces, and the classes that implement them under names of their own; objects that call each other.

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};

use super::errors::failure;
use super::world::{World, unique};

#[opendo::interface]
pub trait Greeter {
    /// Says hello.
    async fn greet(&self, name: String) -> String;
    fn times(&self) -> u64;
    async fn meet(&mut self, friend: ObjectId<GreeterStub>) -> ObjectId<GreeterStub>;
}

/// Implements the interface under a name of its own.
pub struct Cat;

#[durable_object(name = "Cat")]
impl Greeter for Cat {
    async fn greet(&self, name: String) -> String {
        format!("meow, {name}")
    }

    fn times(&self) -> u64 {
        0
    }

    async fn meet(&mut self, friend: ObjectId<GreeterStub>) -> ObjectId<GreeterStub> {
        friend
    }
}

impl DurableObject for Cat {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

/// Another one, under a name that is not its type's.
pub struct Dog {
    friends: Vec<ObjectId<GreeterStub>>,
}

#[durable_object(name = "dog")]
impl Greeter for Dog {
    async fn greet(&self, name: String) -> String {
        format!("woof, {name}")
    }

    fn times(&self) -> u64 {
        self.friends.len() as u64
    }

    async fn meet(&mut self, friend: ObjectId<GreeterStub>) -> ObjectId<GreeterStub> {
        self.friends.push(friend.clone());
        friend
    }
}

impl DurableObject for Dog {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { friends: Vec::new() })
    }
}

/// Called like the interface itself: `get` reaches it.
pub struct Person;

#[durable_object]
impl Greeter for Person {
    async fn greet(&self, name: String) -> String {
        format!("hello, {name}")
    }

    fn times(&self) -> u64 {
        u64::MAX
    }

    async fn meet(&mut self, friend: ObjectId<GreeterStub>) -> ObjectId<GreeterStub> {
        friend
    }
}

impl DurableObject for Person {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Cat>().object::<Dog>().object::<Person>().object::<Relay>()
}

every_way! {
    #[batch]
    async fn an_interface_is_reached_by_its_own_name(world: &World) {
        let person: GreeterStub = world.get("ann");
        assert_eq!(person.greet("Bob".into()).await?, "hello, Bob");
        assert_eq!(person.key().map(ToString::to_string).as_deref(), Some("Greeter/ann"));
    }

    #[batch]
    async fn classes_of_one_interface_are_told_apart_by_name(world: &World) {
        let (cats, dogs) = (world.class::<GreeterStub>("Cat"), world.class::<GreeterStub>("dog"));
        assert_eq!((cats.class(), dogs.class()), ("Cat", "dog"));
        let (cat, dog) = (cats.get("x"), dogs.get("x"));
        assert_ne!(cat.key(), dog.key());
        assert_eq!(
            (cat.greet("A".into()).await?, dog.greet("A".into()).await?),
            ("meow, A".into(), "woof, A".into())
        );
    }

    #[batch]
    async fn a_class_that_nobody_hosts(world: &World) {
        let ghosts = world.class::<GreeterStub>("Ghost");
        let ghost = ghosts.get("x"); // making the stub is no error
        let error = RpcError::from(ghost.times().await.unwrap_err());
        assert_eq!(
            (error.kind(), error.may_have_run(), error.is_retryable()),
            (ErrorKind::NoSuchClass, false, false)
        );
        assert!(error.message().contains("`Ghost`"), "{error}");
        assert_eq!(error.target(), Some("Ghost/x.times"));
        assert_eq!(world.get::<GreeterStub>("x").times().await?, u64::MAX); // others are not concerned
    }

    #[batch]
    async fn an_object_calls_others_by_name(world: &World) {
        let relay: RelayStub = world.get("relay");
        assert_eq!(relay.greet_by("ann".into(), "Bob".into()).await?, "hello, Bob");
        assert_eq!(relay.next(unique("relay"), 10).await?, 10);
    }

    /// Objects of the caller, reached by the session on which the call came.
    async fn an_object_calls_back_to_what_its_caller_hosts(world: &World) {
        let home = Node::builder().object::<Person>().start().await?;
        let client = home.client(world.address()).connect().await?;
        let relay: RelayStub = client.get("relay");
        assert_eq!(relay.greet_at_the_callers("ann".into()).await?, "hello, relay");
        // Others, who host nothing, are called in vain.
        let stranger = world.dial().connect().await?;
        let refused = stranger.get::<RelayStub>("relay").greet_at_the_callers("ann".into()).await;
        assert!(matches!(refused, Err(CallError::App(text)) if text.contains("no such class")));
        client.close().await;
        stranger.close().await;
        home.shutdown(std::time::Duration::from_secs(60)).await;
    }

    async fn a_local_caller_has_no_session(world: &World) {
        let result = world.get::<RelayStub>("relay").greet_at_the_callers("ann".into()).await;
        let expected = if world.is_remote() { "no such class" } else { "no session" };
        assert!(matches!(&result, Err(CallError::App(text)) if text.contains(expected)), "{result:?}");
    }

    async fn two_objects_of_one_class_and_name_at_two_nodes_are_two(world: &World) {
        let other = Node::builder().object::<Dog>().start().await?;
        let id = ObjectId::<GreeterStub>::unique();
        let (here, there) =
            (world.class::<GreeterStub>("dog").get("rex"), other.class::<GreeterStub>("dog").get("rex"));
        there.meet(id).await?;
        assert_eq!((here.times().await?, there.times().await?), (0, 1));
    }

    #[batch]
    async fn every_method_of_an_unknown_class_fails_alone(world: &World) {
        let (ghost, dog) =
            (world.class::<GreeterStub>("Ghost").get("x"), world.class::<GreeterStub>("dog").get("x"));
        for _ in 0..3 {
            assert_eq!(failure(ghost.greet("A".into()).await), (ErrorKind::NoSuchClass, false));
            assert_eq!(dog.times().await?, 0);
        }
    }
}

/// Passes calls on.
pub struct Relay(Ctx);

#[durable_object]
impl Relay {
    pub async fn greet_by(&self, person: String, name: String) -> String {
        self.0.get::<GreeterStub>(person).greet(name).await.unwrap()
    }

    /// Goes through a row of relays.
    pub async fn next(&self, prefix: String, more: u32) -> u32 {
        if more == 0 {
            return 0;
        }
        let next: RelayStub = self.0.get(format!("{prefix}/{more}"));
        next.next(prefix, more - 1).await.unwrap() + 1
    }

    pub async fn greet_at_the_callers(
        &self,
        #[call] call: &CallInfo,
        person: String,
    ) -> Result<String, String> {
        let session = call.session().ok_or("no session")?;
        session.get::<GreeterStub>(person).greet("relay".into()).await.map_err(|error| error.to_string())
    }
}

impl DurableObject for Relay {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx))
    }
}
