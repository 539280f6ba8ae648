//! What a method is told about its call.

use opendo::prelude::*;
use opendo::{Caller, NodeBuilder, TraceContext};
use serde::{Deserialize, Serialize};

use super::world::World;

/// The facts of a call, as they can travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub caller: String,
    pub has_session: bool,
    pub object: Option<String>,
    pub method: String,
    pub trace: Option<Vec<u8>>,
    pub cancelled: bool,
}

impl Facts {
    fn of(call: &CallInfo) -> Self {
        Self {
            caller: match call.caller() {
                Caller::Local => "local".to_owned(),
                Caller::Object(key) => key.to_string(),
                Caller::Session(session) => {
                    assert!(!session.peer().to_string().is_empty());
                    "session".to_owned()
                }
                other => format!("{other:?}"),
            },
            has_session: call.session().is_some(),
            object: call.object().map(ToString::to_string),
            method: call.method().name.to_owned(),
            trace: call.trace().map(|trace| [&trace.trace[..], &trace.span, &[trace.flags]].concat()),
            cancelled: call.is_cancelled(),
        }
    }
}

const TRACE: TraceContext = TraceContext { trace: [7; 16], span: [8; 8], flags: 1 };

fn trace_bytes() -> Vec<u8> {
    [&[7; 16][..], &[8; 8], &[1]].concat()
}

pub struct Teller(Ctx);

#[durable_object]
impl Teller {
    pub async fn facts(&self, #[call] call: &CallInfo) -> Facts {
        Facts::of(call)
    }

    /// Wherever the argument stands, and whatever the method is called on the wire.
    #[method(name = "what-you-know")]
    pub fn renamed(&mut self, before: u8, #[call] info: &CallInfo, after: u8) -> (u8, Facts, u8) {
        (before, Facts::of(info), after)
    }

    /// What another object is told when this one calls it.
    pub async fn anothers(&mut self, name: String) -> Facts {
        self.0.get::<TellerStub>(name).facts().await.unwrap()
    }

    /// The same, from a task beside the call.
    pub async fn anothers_from_a_task(&mut self, name: String) -> Facts {
        let another: TellerStub = self.0.get(name);
        tokio::spawn(async move { another.facts().await.unwrap() }).await.unwrap()
    }

    /// What an object at the caller's node is told.
    pub async fn at_the_callers(&mut self, #[call] call: &CallInfo, name: String) -> Facts {
        call.session().unwrap().get::<TellerStub>(name).facts().await.unwrap()
    }

    /// The other object's trace, when this one gives it one of its own.
    pub async fn anothers_with_a_trace(&mut self, name: String) -> Facts {
        self.0.get::<TellerStub>(name).with_trace(TraceContext { flags: 0, ..TRACE }).facts().await.unwrap()
    }
}

impl DurableObject for Teller {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx))
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Teller>()
}

every_way! {
    #[batch]
    async fn who_calls_what(world: &World) {
        let facts = world.get::<TellerStub>("ann").facts().await?;
        let expected = Facts {
            caller: if world.is_remote() { "session" } else { "local" }.to_owned(),
            has_session: world.is_remote(),
            object: Some("Teller/ann".to_owned()),
            method: "facts".to_owned(),
            trace: None,
            cancelled: false,
        };
        assert_eq!(facts, expected);
    }

    #[batch]
    async fn the_facts_may_be_asked_for_anywhere_in_the_signature(world: &World) {
        let (before, facts, after) = world.get::<TellerStub>("ann").renamed(1, 2).await?;
        assert_eq!((before, facts.method.as_str(), after), (1, "what-you-know", 2));
    }

    #[batch]
    async fn an_object_that_calls_is_named(world: &World) {
        let facts = world.get::<TellerStub>("ann").anothers("bob".into()).await?;
        assert_eq!(
            (facts.caller.as_str(), facts.object.as_deref(), facts.has_session),
            ("Teller/ann", Some("Teller/bob"), false)
        );
    }

    #[batch]
    async fn a_task_of_its_own_is_nobodys_call(world: &World) {
        let facts = world.get::<TellerStub>("ann").anothers_from_a_task("bob".into()).await?;
        assert_eq!(facts.caller, "local");
    }

    #[batch]
    async fn a_trace_goes_with_the_calls_of_a_view(world: &World) {
        let ann: TellerStub = world.get("ann");
        // Text has no place for it.
        let expected = (!world.is_text()).then(trace_bytes);
        assert_eq!(ann.with_trace(TRACE).facts().await?.trace, expected);
        assert_eq!(ann.facts().await?.trace, None);
        assert_eq!(ann.with_trace(TRACE).fresh().facts().await?.trace, expected);
    }

    #[batch]
    async fn calls_inside_a_call_belong_to_its_trace(world: &World) {
        let ann: TellerStub = world.get("ann");
        let expected = (!world.is_text()).then(trace_bytes);
        assert_eq!(ann.with_trace(TRACE).anothers("bob".into()).await?.trace, expected);
        assert_eq!(ann.anothers("bob".into()).await?.trace, None);
        let own = ann.with_trace(TRACE).anothers_with_a_trace("bob".into()).await?.trace;
        assert_eq!(own.and_then(|trace| trace.last().copied()), Some(0)); // its own one wins
    }

    async fn a_trace_goes_back_over_the_session(world: &World) {
        let home = Node::builder().object::<Teller>().start().await?;
        let client = home.client(world.address()).connect().await?;
        let facts = client.get::<TellerStub>("ann").with_trace(TRACE).at_the_callers("bob".into()).await?;
        assert_eq!((facts.trace, facts.caller.as_str()), (Some(trace_bytes()), "session"));
        client.close().await;
    }
}
