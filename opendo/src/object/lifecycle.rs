//! What an object does when it begins and when it goes to sleep.

use std::time::Duration;

use crate::object::context::Ctx;
use crate::object::outbox::Undelivered;
use crate::object::timers::{AlarmInfo, Scheduled, no_handler};
use crate::registry::class::Registration;
use crate::registry::retained::Lost;
use crate::rpc::error::Result;
#[cfg(feature = "websocket")]
use crate::websocket::{Opening, WebSocket};
#[cfg(feature = "websocket")]
use opendo_transport::websocket::{Closed, Message};

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

    /// Runs when a WebSocket wants in, at `/{Class}/{name}/socket` of the node or wherever an application
    /// [hands it over](crate::Node::web_socket): it is [accepted](Opening::accept), with tags and an attachment, or
    /// [refused](Opening::refuse). One that is neither when this returns is refused, with status 403, or with 500 for an
    /// `Err`, which is logged (503 where the object has [too many](crate::SocketError::TooManySockets)). By default there is nothing to be found: 404.
    ///
    /// ```
    /// use opendo::{Closed, Message, Opening, WebSocket, prelude::*};
    ///
    /// pub struct Room { ctx: Ctx }
    ///
    /// #[durable_object]
    /// impl Room {}
    ///
    /// impl DurableObject for Room {
    ///     async fn new(ctx: Ctx) -> opendo::Result<Self> {
    ///         ctx.set_auto_response(Some(("ping", "pong")))?; // does not wake it
    ///         Ok(Room { ctx })
    ///     }
    ///
    ///     async fn connect(&mut self, opening: Opening) -> opendo::Result<()> {
    ///         match opening.query().and_then(|query| query.strip_prefix("name=")).map(str::to_owned) {
    ///             Some(name) => drop(opening.accept(&["member"], &name)?),
    ///             None => opening.refuse(400, "say who you are: ?name=…"),
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     async fn message(&mut self, socket: WebSocket, message: Message) -> opendo::Result<()> {
    ///         let Message::Text(text) = message else { return Ok(socket.close(1003, "text only")?) };
    ///         let line = format!("{}: {text}", socket.attachment::<String>()?);
    ///         for member in self.ctx.web_sockets_tagged("member") {
    ///             let _ = member.send(line.as_str()); // one that is closed, or does not read, gets nothing
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     async fn disconnected(&mut self, socket: WebSocket, close: Closed) -> opendo::Result<()> {
    ///         println!("{} has left: {}", socket.attachment::<String>()?, close.code);
    ///         Ok(())
    ///     }
    /// }
    /// # async fn run() -> opendo::Result<()> {
    /// let node = Node::builder().object::<Room>().start().await?;
    /// node.listen("ws://127.0.0.1:8080").await?; // new WebSocket("ws://127.0.0.1:8080/Room/lobby/socket?name=ann")
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "websocket")]
    fn connect(&mut self, opening: Opening) -> impl Future<Output = Result<()>> + Send {
        opening.refuse(404, "objects of this class take no WebSockets");
        async { Ok(()) }
    }

    /// Runs for each message of a WebSocket that was accepted, in order, alone like a call. It wakes the object if that
    /// sleeps. An error is logged; it neither closes the socket nor resets the object (checklist 8.13).
    #[cfg(feature = "websocket")]
    fn message(&mut self, socket: WebSocket, message: Message) -> impl Future<Output = Result<()>> + Send {
        let _ = (socket, message);
        async { Err(no_handler("message")) }
    }

    /// Runs once for each WebSocket that was accepted, when it is over: closed by the peer, closed
    /// [here](WebSocket::close), or lost. It is not among [`web_sockets`](Ctx::web_sockets) any more. An error is logged.
    ///
    /// Whatever throws the instance away closes its WebSockets with code 1012, and the next instance is told. When
    /// the node shuts down or dies nobody is told: whoever starts again has none.
    #[cfg(feature = "websocket")]
    fn disconnected(&mut self, socket: WebSocket, close: Closed) -> impl Future<Output = Result<()>> + Send {
        let _ = (socket, close);
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
