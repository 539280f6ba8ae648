//! What methods may return, and how callers take it.

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};
use serde::{Deserialize, Serialize};

use super::actor::{Actor, ActorStub, Refusal};
use super::actor::{Construction, Life};
use super::world::{World, unique};

/// One alias with one argument, one with two the other way round, one with none.
pub type R<T> = std::result::Result<T, Refusal>;
pub type Swapped<E, T> = Result<T, E>;
pub type Fixed = R<u8>;

/// Called like `Result`, and none.
pub mod own {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Result(pub u8);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct NoDisplay;

pub struct Returns;

#[durable_object]
impl Returns {
    pub fn nothing(&self) {}

    pub async fn nothing_later(&mut self) {}

    pub fn plain(&self, value: u8) -> u8 {
        value
    }

    pub async fn result(&self, fail: bool) -> Result<u8, Refusal> {
        if fail { Err(Refusal::TooMuch { wanted: 2, allowed: 1 }) } else { Ok(1) }
    }

    pub fn alias(&self, fail: bool) -> R<u8> {
        if fail { Err(Refusal::NotToday) } else { Ok(2) }
    }

    pub fn swapped(&self, fail: bool) -> Swapped<Refusal, u8> {
        self.alias(fail)
    }

    pub fn fixed(&self, fail: bool) -> Fixed {
        self.alias(fail)
    }

    pub async fn path(&self, fail: bool) -> ::std::result::Result<u8, String> {
        if fail { Err("no".into()) } else { Ok(3) }
    }

    pub fn unit_or_error(&self, fail: bool) -> Result<(), ()> {
        if fail { Err(()) } else { Ok(()) }
    }

    pub fn nested(&self, which: u8) -> Result<Result<u8, Refusal>, String> {
        match which {
            0 => Ok(Ok(0)),
            1 => Ok(Err(Refusal::NotToday)),
            _ => Err("no".into()),
        }
    }

    pub fn inside(&self, fail: bool) -> Option<Result<u8, String>> {
        Some(if fail { Err("no".into()) } else { Ok(4) })
    }

    pub fn own(&self) -> own::Result {
        own::Result(5)
    }

    pub fn no_display(&self) -> Result<(), NoDisplay> {
        Err(NoDisplay)
    }
}

impl DurableObject for Returns {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Returns>().object::<Actor>()
}

fn returns(world: &World) -> ReturnsStub {
    world.get("it")
}

every_way! {
    #[batch]
    async fn unit_and_plain_values(world: &World) {
        let it = returns(world);
        let (): () = it.nothing().await?;
        let (): () = it.nothing_later().await?;
        assert_eq!(it.plain(7).await?, 7);
    }

    #[batch]
    async fn results_with_an_error_that_holds_data(world: &World) {
        let it = returns(world);
        assert_eq!(it.result(false).await?, 1);
        let error = it.result(true).await.unwrap_err();
        assert_eq!(error, CallError::App(Refusal::TooMuch { wanted: 2, allowed: 1 }));
        assert_eq!(error.to_string(), "2 is more than 1");
        assert!(error.may_have_run() && !error.is_retryable() && error.rpc().is_none());
    }

    #[batch]
    async fn aliases_of_result_are_seen_through(world: &World) {
        let it = returns(world);
        let refused = Err(CallError::App(Refusal::NotToday));
        assert_eq!((it.alias(false).await?, it.alias(true).await), (2, refused.clone()));
        assert_eq!((it.swapped(false).await?, it.swapped(true).await), (2, refused.clone()));
        assert_eq!((it.fixed(false).await?, it.fixed(true).await), (2, refused));
        assert_eq!((it.path(false).await?, it.path(true).await), (3, Err(CallError::App("no".into()))));
        assert_eq!(
            (it.unit_or_error(false).await, it.unit_or_error(true).await),
            (Ok(()), Err(CallError::App(())))
        );
    }

    #[batch]
    async fn results_inside_of_values_stay_values(world: &World) {
        let it = returns(world);
        assert_eq!(it.nested(0).await, Ok(Ok(0)));
        assert_eq!(it.nested(1).await, Ok(Err(Refusal::NotToday)));
        assert_eq!(it.nested(2).await, Err(CallError::App("no".into())));
        assert_eq!((it.inside(false).await?, it.inside(true).await?), (Some(Ok(4)), Some(Err("no".into()))));
        assert_eq!(it.own().await?, own::Result(5));
    }

    #[batch]
    async fn an_error_needs_no_display(world: &World) {
        assert_eq!(returns(world).no_display().await, Err(CallError::App(NoDisplay)));
    }

    /// `?` in functions that return what programs usually return.
    #[batch]
    async fn question_mark_converts(world: &World) {
        async fn plain_into_any(it: &ReturnsStub) -> opendo::Result<u8> {
            Ok(it.plain(1).await?)
        }
        async fn result_into_any(it: &ReturnsStub) -> opendo::Result<u8> {
            Ok(it.result(true).await?)
        }
        async fn plain_into_rpc(it: &ReturnsStub) -> Result<u8, RpcError> {
            Ok(it.plain(2).await?)
        }
        async fn result_into_call_error(it: &ReturnsStub) -> Result<u8, CallError<Refusal>> {
            Ok(it.result(false).await? + it.alias(true).await?)
        }
        let it = returns(world);
        assert_eq!(plain_into_any(&it).await?, 1);
        assert_eq!(plain_into_rpc(&it).await?, 2);
        assert_eq!(result_into_call_error(&it).await, Err(CallError::App(Refusal::NotToday)));
        let error = result_into_any(&it).await.unwrap_err();
        let refused = error.downcast_ref::<CallError<Refusal>>().and_then(CallError::app);
        assert_eq!(refused, Some(&Refusal::TooMuch { wanted: 2, allowed: 1 }));
    }

    #[batch]
    async fn the_frameworks_error_converts_too(world: &World) {
        async fn into_rpc(actor: &ActorStub) -> Result<u64, RpcError> {
            Ok(actor.count().await?)
        }
        let name = unique("fails");
        Life::of(&name).construct(Construction::Fails);
        let error = into_rpc(&world.get(name.as_str())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reset);
        assert_eq!(error.target(), Some(format!("Actor/{name}.count").as_str()));
        assert_eq!(
            error.to_string(),
            format!("Actor/{name}.count: object reset: the constructor failed: no room")
        );
    }
}
