//! What an object keeps.

use opendo::NodeBuilder;
use opendo::prelude::*;
use opendo::testing::{hibernate, reset};
use serde::{Deserialize, Serialize};

use super::actor::kept::Stored;
use super::actor::{Actor, ActorStub};
use super::by_name::Gate;
use super::world::{World, unique};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub title: String,
    pub tags: Vec<Option<u8>>,
}

pub struct Shelf(Ctx);

#[durable_object]
impl Shelf {
    pub fn put(&mut self, key: String, entry: Entry) -> Stored<()> {
        Ok(self.0.storage().put(&key, &entry)?)
    }

    pub async fn get(&self, key: String) -> Stored<Option<Entry>> {
        Ok(self.0.storage().get(&key).await?)
    }

    pub fn delete(&mut self, key: String) -> Stored<()> {
        Ok(self.0.storage().delete(&key)?)
    }

    /// Writes, reads, overwrites, deletes, reads: all in one call.
    pub async fn see_own_writes(&mut self) -> Stored<[Option<u8>; 4]> {
        let storage = self.0.storage();
        let before = storage.get("x").await?;
        storage.put("x", &1_u8)?;
        let one = storage.get("x").await?;
        storage.put("x", &2_u8)?;
        let two = storage.get("x").await?;
        storage.delete("x")?;
        Ok([before, one, two, storage.get("x").await?])
    }

    /// Reads as another type than was written.
    pub async fn misread(&mut self) -> Stored<Option<Entry>> {
        self.0.storage().put("number", &1_u8)?;
        Ok(self.0.storage().get("number").await?)
    }

    /// Writes two, stands at the gate between them, and is dropped with its caller.
    #[method(cancel)]
    pub async fn two(&mut self, gate: Gate) -> Stored<()> {
        self.0.storage().put("first", &Entry { title: "1".into(), tags: vec![] })?;
        gate.pass().await;
        self.0.storage().put("second", &Entry { title: "2".into(), tags: vec![] })?;
        Ok(())
    }

    /// Changes the value after it was handed over.
    pub async fn change_afterwards(&mut self) -> Stored<Option<Vec<u8>>> {
        let mut value = vec![1_u8];
        self.0.storage().put("list", &value)?;
        value.push(2);
        Ok(self.0.storage().get("list").await?)
    }
}

impl DurableObject for Shelf {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx))
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Shelf>().object::<Actor>()
}

fn entry() -> Entry {
    Entry { title: "é😀".into(), tags: vec![Some(1), None] }
}

every_way! {
    #[batch]
    async fn values_outlive_the_instance(world: &World) {
        let shelf: ShelfStub = world.get(unique("shelf"));
        assert_eq!(shelf.get("a".into()).await?, None);
        shelf.put("a".into(), entry()).await?;
        hibernate(&world.node, &shelf).await;
        assert_eq!(shelf.get("a".into()).await?, Some(entry()));
        reset(&world.node, &shelf, "to look again").await;
        let shelf = shelf.fresh();
        assert_eq!(shelf.get("a".into()).await?, Some(entry()));
        shelf.delete("a".into()).await?;
        hibernate(&world.node, &shelf).await;
        assert_eq!(shelf.get("a".into()).await?, None);
    }

    #[batch]
    async fn reads_see_unconfirmed_writes(world: &World) {
        let shelf: ShelfStub = world.get(unique("shelf"));
        assert_eq!(shelf.see_own_writes().await?, [None, Some(1), Some(2), None]);
    }

    /// Checklist 5.7.
    #[batch]
    async fn what_is_stored_is_a_copy(world: &World) {
        let shelf: ShelfStub = world.get(unique("shelf"));
        assert_eq!(shelf.change_afterwards().await?, Some(vec![1]));
    }

    #[batch]
    async fn every_text_is_a_key(world: &World) {
        let shelf: ShelfStub = world.get(unique("shelf"));
        for key in ["", "/", "é😀", "a\0b", &"k".repeat(2_000)] {
            let entry = Entry { title: key.to_owned(), tags: vec![] };
            shelf.put(key.into(), entry.clone()).await?;
            assert_eq!(shelf.get(key.into()).await?, Some(entry));
        }
    }

    #[batch]
    async fn objects_do_not_see_each_others_values(world: &World) {
        let (one, two): (ShelfStub, ShelfStub) = (world.get(unique("shelf")), world.get(unique("shelf")));
        one.put("a".into(), entry()).await?;
        assert_eq!((one.get("a".into()).await?, two.get("a".into()).await?), (Some(entry()), None));
    }

    #[batch]
    async fn objects_of_other_classes_with_the_same_name_do_not_either(world: &World) {
        let name = unique("same");
        let (shelf, actor): (ShelfStub, ActorStub) = (world.get(name.as_str()), world.get(name.as_str()));
        shelf.put("kept".into(), entry()).await?;
        assert_eq!(actor.kept().await?, None);
        actor.keep(1).await?;
        assert_eq!(shelf.get("kept".into()).await?, Some(entry()));
    }

    #[batch]
    async fn a_value_of_another_type_is_an_error_and_nothing_more(world: &World) {
        let shelf: ShelfStub = world.get(unique("shelf"));
        let error = shelf.misread().await.unwrap_err();
        assert!(error.to_string().contains("`number`"), "{error}");
        assert_eq!(shelf.get("x".into()).await?, None);
    }

    /// What a method wrote before it was dropped was written; what it did not come to was not.
    async fn a_method_that_is_dropped_keeps_its_writes(world: &World) {
        let shelf: ShelfStub = world.get(unique("shelf"));
        let gate = Gate::new();
        let two = shelf.two(gate.clone());
        gate.reached().await;
        drop(two);
        gate.left().await;
        assert!(shelf.get("first".into()).await?.is_some());
        assert!(shelf.get("second".into()).await?.is_none());
        reset(&world.node, &shelf, "to look again").await;
        assert!(shelf.fresh().get("first".into()).await?.is_some());
    }

    /// Checklist 3.20: `put a; reply; put b; abort` leaves a.
    #[batch]
    async fn only_what_was_answered_outlives_an_abort(world: &World) {
        let actor: ActorStub = world.get(unique("actor"));
        actor.keep(1).await?;
        let gate = Gate::new();
        gate.open();
        assert!(actor.abort(2, gate).await.is_err());
        assert_eq!(actor.fresh().kept().await?, Some(1));
    }
}
