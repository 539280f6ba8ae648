//! Ids and names, by the numbers of the checklist.

use std::collections::{BTreeSet, HashSet};

use opendo::prelude::*;
use opendo::testing::hibernate;
use opendo::{ErrorKind, NodeBuilder, ParseIdError};

use super::actor::{Actor, ActorStub, Life};
use super::errors::failure;
use super::service_binding::{Cat, Dog, GreeterStub};
use super::values::{Echo, EchoStub};
use super::world::{World, unique};

fn hosted() -> NodeBuilder {
    Node::builder().object::<Actor>().object::<Echo>().object::<Cat>().object::<Dog>()
}

type Id = ObjectId<ActorStub>;

every_way! {
    /// 1.1, 1.2: HMAC-SHA256 of the name under the class; this text is the same for ever.
    #[batch]
    async fn the_id_of_a_name_never_changes(world: &World) {
        let actors = world.namespace::<ActorStub>();
        let id = actors.id_from_name("lobby");
        assert_eq!(
            (id.to_string(), id.clone()),
            (Id::from_name("lobby").to_string(), Id::from_name("lobby"))
        );
        assert_eq!(actors.get(&id).own_id().await?, id.to_string());
        assert_eq!(id.to_string(), "44248c1401d11884d32f612a555be5c965eaba9f46e04ea4875ec30797b564e3");
        assert_ne!(actors.id_from_name("Lobby"), id);
        assert_ne!(world.namespace::<EchoStub>().id_from_name("lobby").as_bytes(), id.as_bytes());
    }

    /// 1.3.
    #[batch]
    async fn unique_ids_do_not_collide(world: &World) {
        let actors = world.namespace::<ActorStub>();
        let ids: HashSet<_> = (0..1_000).map(|_| actors.unique_id()).collect();
        assert_eq!(ids.len(), 1_000);
        let id = actors.unique_id();
        assert_eq!((actors.get(&id).count().await?, actors.get(&id).count().await?), (1, 2));
        assert_eq!(actors.get(actors.unique_id()).count().await?, 1);
    }

    /// 1.4, 1.5.
    #[batch]
    async fn the_text_of_an_id_is_hex_and_reads_back(world: &World) {
        let actors = world.namespace::<ActorStub>();
        for id in [actors.unique_id(), actors.id_from_name("x")] {
            let text = id.to_string();
            assert!(text.len() == 64 && text.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f')));
            assert_eq!(actors.parse_id(&text)?, id);
            assert_eq!(text.to_uppercase().parse::<Id>()?, id);
        }
    }

    /// 1.6.
    #[batch]
    async fn what_is_no_id_is_refused(world: &World) {
        let actors = world.namespace::<ActorStub>();
        let long = "0".repeat(65);
        for text in
            ["", "0", &long[..63], &long, &"g".repeat(64), &"é".repeat(32), &format!("+{}", &long[..63])]
        {
            assert_eq!(actors.parse_id(text), Err(ParseIdError::NotHex), "{text}");
        }
        assert_eq!(ParseIdError::NotHex.to_string(), "invalid object id: must be 64 hex digits");
    }

    /// 1.7.
    #[batch]
    async fn an_id_of_another_class_is_refused(world: &World) {
        let actors = world.namespace::<ActorStub>();
        let foreign = world.namespace::<EchoStub>().unique_id().to_string();
        assert!(matches!(actors.parse_id(&foreign), Err(ParseIdError::WrongClass { .. })));
        assert!(matches!("0".repeat(64).parse::<Id>(), Err(ParseIdError::WrongClass { .. })));
    }

    /// 1.8.
    #[batch]
    async fn ids_are_compared_by_their_bytes(world: &World) {
        let actors = world.namespace::<ActorStub>();
        let named = actors.id_from_name("x");
        let unnamed = actors.parse_id(&named.to_string())?;
        assert_eq!((named.name(), unnamed.name()), (Some("x"), None));
        assert_eq!(named, unnamed);
        assert_eq!(HashSet::from([named.clone(), unnamed.clone()]).len(), 1);
        assert_eq!(BTreeSet::from([named, unnamed]).len(), 1);
    }

    /// 1.9.
    #[batch]
    async fn only_an_id_made_from_a_name_has_one(world: &World) {
        let actors = world.namespace::<ActorStub>();
        assert_eq!(actors.id_from_name("x").name(), Some("x"));
        assert_eq!(actors.unique_id().name(), None);
        let stub = actors.get("x");
        assert_eq!(stub.id().and_then(|id| id.name().map(str::to_owned)).as_deref(), Some("x"));
        assert_eq!(stub.key().map(ToString::to_string).as_deref(), Some("Actor/x"));
    }

    /// 1.10.
    #[batch]
    async fn an_object_started_by_name_knows_it(world: &World) {
        let name = unique("actor");
        assert_eq!(world.get::<ActorStub>(name.as_str()).name().await?, Some(name.clone()));
        assert_eq!(Life::of(&name).made(), 1); // the constructor knew it too
        assert_eq!(world.get::<ActorStub>(world.namespace::<ActorStub>().unique_id()).name().await?, None);
    }

    /// 1.11.
    #[batch]
    async fn an_object_does_not_know_a_name_of_more_than_a_kibibyte(world: &World) {
        let (fits, too_long) = ("é".repeat(512), format!("{}a", "é".repeat(512)));
        assert_eq!(world.get::<ActorStub>(fits.as_str()).name().await?, Some(fits));
        let stub: ActorStub = world.get(too_long.as_str());
        assert_eq!((stub.name().await?, stub.count().await?), (None, 1));
        assert_eq!(world.get::<ActorStub>(too_long.as_str()).count().await?, 2);
    }

    /// 1.12.
    #[batch]
    async fn an_instance_keeps_the_name_it_was_started_with(world: &World) {
        let name = unique("actor");
        let actors = world.namespace::<ActorStub>();
        let by_name = actors.get(name.as_str());
        let by_id = actors.get(actors.parse_id(&actors.id_from_name(&name).to_string())?);
        assert_eq!(by_id.name().await?, None);
        assert_eq!(by_name.name().await?, None);
        hibernate(&world.node, &by_id).await;
        assert_eq!(by_name.name().await?, Some(name.clone()));
        assert_eq!(by_id.name().await?, Some(name));
    }

    /// 1.13.
    #[batch]
    async fn every_text_is_a_name(world: &World) {
        for name in ["", "/", "\0", "é😀", "5", "Actor/x", &"0".repeat(64)] {
            assert_eq!(world.get::<ActorStub>(name).name().await?.as_deref(), Some(name));
        }
        assert_ne!(Id::from_name("é"), Id::from_name("e\u{301}")); // bytes, not glyphs
    }

    /// 1.15, where the compiler cannot see it: two classes called through one stub.
    #[batch]
    async fn an_id_of_another_class_reaches_nothing(world: &World) {
        let (cats, dogs) = (world.class::<GreeterStub>("Cat"), world.class::<GreeterStub>("dog"));
        let dog = dogs.id_from_name("rex");
        assert_eq!(dogs.get(&dog).greet("Ann".into()).await?, "woof, Ann");
        let error = cats.get(&dog).greet("Ann".into()).await;
        assert_eq!(failure(error), (ErrorKind::NoSuchClass, false));
        assert!(cats.parse_id(&dog.to_string()).is_err());
    }

    /// 1.16.
    #[batch]
    async fn a_name_is_short_for_its_id(world: &World) {
        let name = unique("actor");
        let actors = world.namespace::<ActorStub>();
        let id = actors.id_from_name(&name);
        let stubs = [
            world.get::<ActorStub>(name.as_str()),
            world.get(name.clone()),
            world.get(&name),
            world.get(&id),
            actors.get(id),
            actors.get(name.as_str()),
        ];
        for (stub, count) in stubs.into_iter().zip(1..) {
            assert_eq!(stub.count().await?, count);
        }
    }

    /// 1.21 the other way: ids do travel here.
    #[batch]
    async fn ids_travel_as_arguments_and_results(world: &World) {
        let echo: EchoStub = world.get("echo");
        let ids = vec![ObjectId::from_name("echo"), ObjectId::unique()];
        assert_eq!(echo.ids(ids.clone()).await?, ids);
        let back = echo.id(ids[0].clone()).await?;
        assert_eq!(world.get::<EchoStub>(back).u8(1).await?, 1);
    }

    #[batch]
    async fn ids_of_a_class_with_a_name_of_its_own_travel_too(world: &World) {
        let dogs = world.class::<GreeterStub>("dog");
        let (rex, friend) = (dogs.get("rex"), dogs.unique_id());
        assert_eq!(rex.meet(friend.clone()).await?, friend);
    }
}
