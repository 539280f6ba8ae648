//! What an object does when it begins and when it goes to sleep.

use std::time::Duration;

use crate::object::context::Ctx;
use crate::object::outbox::Undelivered;
use crate::object::timers::{AlarmInfo, Scheduled, no_handler};
use crate::registry::class::Registration;
use crate::registry::retained::Lost;
use crate::rpc::error::Result;

/// The lifecycle of a durable object: how it is made, and what it does before it leaves memory.
///
/// ```
/// use opendo::prelude::*;
///
/// pub struct Counter { ctx: Ctx, value: u64 }
///
/// #[durable_object]
/// impl Counter {
///     pub fn increment(&mut self) -> opendo::Result<u64, String> {
///         self.value += 1;
///         self.ctx.storage().put("value", &self.value).map_err(|error| error.to_string())?;
///         Ok(self.value)
///     }
/// }
///
/// impl DurableObject for Counter {
///     async fn new(ctx: Ctx) -> opendo::Result<Self> {
///         let value = ctx.storage().get("value").await?.unwrap_or(0);
///         Ok(Counter { ctx, value })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no constructor: `DurableObject` is not implemented for it",
    label = "this durable object",
    note = "write `impl DurableObject for {Self} {{ async fn new(ctx: Ctx) -> opendo::Result<Self> {{ … }} }}`"
)]
pub trait DurableObject: Send + Sync + Sized + 'static {
    /// Makes the instance, from what its storage holds.
    ///
    /// Runs once per activation, at the first call, before every call; calls that come meanwhile wait. When it
    /// fails (or panics) they all fail with [`Reset`](crate::ErrorKind::Reset) and nothing is left behind: the next
    /// call on a fresh stub tries again (checklist 3.1 to 3.3).
    fn new(ctx: Ctx) -> impl Future<Output = Result<Self>> + Send;

    /// Runs when the [alarm](Ctx::alarm) is due. Like a call it runs alone, and what it writes is kept also if it fails.
    ///
    /// It runs at least once for each time that was set: again if it fails (an `Err`, a panic, an abort, or more than 15
    /// minutes), and again if the process dies before its writes are durable.
    fn alarm(&mut self, info: AlarmInfo) -> impl Future<Output = Result<()>> + Send {
        let _ = info;
        async { Err(no_handler("alarm")) }
    }

    /// Runs when something that was [scheduled](Ctx::schedule) is due, under the same rules as [`alarm`](Self::alarm).
    fn scheduled(&mut self, event: Scheduled) -> impl Future<Output = Result<()>> + Send {
        let _ = event;
        async { Err(no_handler("scheduled")) }
    }

    /// Runs when a stub that was [retained](Ctx::retain) is lost: its connection has ended, or its target has. It is not
    /// among the [retained](Ctx::retained) ones any more. An error is logged.
    ///
    /// It does not run when the node shuts down or dies: whoever starts again retains nothing.
    fn lost(&mut self, lost: Lost) -> impl Future<Output = Result<()>> + Send {
        let _ = lost;
        async { Ok(()) }
    }

    /// Runs when a [message](Ctx::send) that this object has sent cannot be delivered, now or later: its class is not
    /// hosted by the node, its method is not there or has another signature, its arguments are not what the method
    /// takes. The message is dropped with what this writes. An error is logged.
    ///
    /// It runs at least once for each such message: again if it panics, or if the process dies before its writes are
    /// durable.
    fn undelivered(&mut self, message: Undelivered) -> impl Future<Output = Result<()>> + Send {
        let _ = message;
        async { Ok(()) }
    }

    /// How long an instance of this class may be idle before it leaves memory; `None` for the node's
    /// [`idle_timeout`](crate::Limits::idle_timeout).
    const IDLE: Option<Duration> = None;

    /// Runs before the instance leaves memory because it is idle. What is not in storage then is lost.
    ///
    /// It does not run when the instance is thrown away (a panic, `ctx.abort`) or the process dies: keep nothing
    /// here that matters.
    fn hibernate(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A type with a `#[durable_object]` impl block. Implemented by the macro.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a durable object",
    label = "no `#[durable_object]` impl block",
    note = "annotate its impl block with `#[durable_object]`"
)]
pub trait Object: DurableObject {
    /// The class's wire name.
    const CLASS: &'static str;

    /// Whether its objects have a SQL database each: `#[durable_object(sql)]`.
    const SQL: bool = false;

    #[doc(hidden)]
    fn register(class: &mut Registration<Self>);
}
