//! What every stub has, beside the methods of its interface.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use opendo_transport::envelope::TraceContext;
use serde::{Serialize, de::DeserializeOwned};

use crate::node::WeakNode;
use crate::object::id::{ObjectId, ObjectKey};
use crate::object::lasting::LastingName;
use crate::rpc::error::RpcError;
use crate::rpc::incoming::Incoming;
use crate::rpc::method::Interface;
use crate::rpc::remote::Remote;

/// The typed client of an object, a target or an interface. Implemented by the macros.
///
/// Every stub is `Clone + Send + Sync`. A clone shares its original's order (calls made through either start in
/// the order in which they were made) and, after a reset of the object, its brokenness.
/// [`fresh`](StubExt::fresh) gives a stub that shares neither.
///
/// **Stubs are values**: they can be arguments and results of remote methods, as they are or inside structs, options,
/// lists and maps. Whoever gets one can call what it leads to, from wherever it is, as long as it (or a clone) is
/// kept: `Clone` is a second hold, `Drop` lets go. One that comes back to the process it was made in leads straight
/// to its object again. A stub of an object, or of a [lasting](crate::Lasting) target, also heals after a reconnect and can be put into
/// storage; one of another target ends with the session it came over.
pub trait Stub: Clone + Send + Sync + fmt::Debug + Serialize + DeserializeOwned + Sized + 'static {
    /// The methods, as they are known on the wire.
    const INTERFACE: &'static Interface;

    #[doc(hidden)]
    type Calls: Calls + ?Sized;
    #[doc(hidden)]
    fn from_core(core: StubCore<Self::Calls>) -> Self;
    #[doc(hidden)]
    fn core(&self) -> &StubCore<Self::Calls>;
    #[doc(hidden)]
    fn remote(remote: Remote) -> Arc<Self::Calls>;
    #[doc(hidden)]
    fn fresh(calls: &Self::Calls) -> Arc<Self::Calls>;
    #[doc(hidden)]
    fn deliver(calls: &Self::Calls, call: Incoming);
}

/// What every stub can do, whatever its methods are called.
///
/// It is a trait, so that a remote method of the same name wins over it; call `StubExt::fresh(&stub)` then.
///
/// ```
/// # use opendo::prelude::*;
/// # use std::time::Duration;
/// # pub struct Echo;
/// # #[rpc_target] impl Echo { pub fn echo(&self, text: String) -> String { text } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// # let echo: EchoStub = opendo::serve(Echo);
/// let hurried = echo.with_timeout(Duration::from_millis(200)); // each of its calls has 200 ms
/// assert_eq!(hurried.echo("hi".into()).await?, "hi");
/// # Ok(()) }
/// ```
pub trait StubExt: Stub {
    /// A view of this stub whose calls end with [`ErrorKind::Deadline`](crate::ErrorKind::Deadline) when they
    /// take longer than `timeout`.
    ///
    /// The remaining time travels with the call: an object does not start a call whose time is over, and a
    /// method sees it in [`CallInfo::remaining`](crate::CallInfo::remaining). A method that has started runs to
    /// its end all the same. Over a [text session](crate::docs::semantics#text-sessions) only the caller knows of it.
    #[must_use]
    fn with_timeout(&self, timeout: Duration) -> Self {
        let mut core = self.core().clone();
        core.options.timeout = Some(timeout);
        Self::from_core(core)
    }

    /// A view of this stub whose calls belong to `trace`, instead of the trace of the method that makes them.
    /// Traces do not travel over [text sessions](crate::docs::semantics#text-sessions).
    #[must_use]
    fn with_trace(&self, trace: TraceContext) -> Self {
        let mut core = self.core().clone();
        core.options.trace = Some(trace);
        Self::from_core(core)
    }

    /// A view of this stub whose results can be [arguments](crate::Arg) of other calls before they have arrived.
    ///
    /// The other side keeps each result until its [`Call`](crate::Call) is gone, which costs a message; results that
    /// are [`Pipelined`](crate::Pipelined) are kept anyway.
    #[must_use]
    fn promised(&self) -> Self {
        let mut core = self.core().clone();
        core.options.keep = true;
        Self::from_core(core)
    }

    /// Resolves when calls on this stub can never succeed any more, with the reason: the session that it came over
    /// has ended, what it leads to was reset, the result it stands for did not come. A stub of an object at the other
    /// end of a [`Client`](crate::Client) heals: its session's end is none, but the client's is. That something
    /// elsewhere was reset shows with the next call to it. Waiting for it does not hold what the stub leads to, if that
    /// is elsewhere.
    ///
    /// ```
    /// # use opendo::prelude::*;
    /// # #[opendo::interface] pub trait Member { async fn told(&self, text: String); }
    /// /// Forgets a member who has gone away.
    /// async fn watch(member: MemberStub) {
    ///     let reason = member.broken().await;
    ///     println!("a member is gone: {reason}");
    /// }
    /// ```
    fn broken(&self) -> impl Future<Output = RpcError> + Send + 'static {
        self.core().calls.broken()
    }

    /// A stub of the same object that shares nothing with this one: its own order, and not broken.
    ///
    /// After a [`Reset`](crate::ErrorKind::Reset) this is how to reach the object's new instance (checklist 2.6
    /// to 2.8). A target that was reset is gone; a fresh stub of it is as broken.
    #[must_use]
    fn fresh(&self) -> Self {
        let core = self.core();
        Self::from_core(StubCore { calls: <Self as Stub>::fresh(&core.calls), options: core.options.clone() })
    }

    /// The id of the object this stub names; `None` for a target. Never causes a call.
    fn id(&self) -> Option<ObjectId<Self>> {
        self.key().map(ObjectId::from_key)
    }

    /// Class and id of the object this stub names; `None` for a target. Never causes a call.
    fn key(&self) -> Option<&ObjectKey> {
        self.core().calls.key()
    }
}

impl<S: Stub> StubExt for S {}

/// What a call is made with, beside its arguments.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) trace: Option<TraceContext>,
    /// The result is used before it has arrived.
    pub(crate) keep: bool,
}

/// The typed vtable behind a stub, as far as the library knows it. The macro's trait adds the methods.
pub trait Calls: Send + Sync {
    /// The object, unless it is a target.
    fn key(&self) -> Option<&ObjectKey>;

    /// Where it leads, unless it is in this process.
    fn remote(&self) -> Option<&Remote> {
        None
    }

    /// The target that its object makes again, if it is one.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn lasting(&self) -> Option<&LastingName> {
        None
    }

    /// The node that hosts it, if it is an object of this process, or a target that one makes again.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn node(&self) -> Option<&WeakNode> {
        None
    }

    /// Resolves when calls can never succeed any more.
    fn broken(&self) -> Broken;
}

/// Resolves with the reason when something is gone for good.
pub type Broken = BoxFuture<'static, RpcError>;

/// What a stub wraps: where its calls go, and with which options.
pub struct StubCore<C: ?Sized> {
    calls: Arc<C>,
    options: CallOptions,
}

impl<C: Calls + ?Sized> StubCore<C> {
    pub(crate) fn new(calls: Arc<C>) -> Self {
        Self { calls, options: CallOptions::default() }
    }

    /// Where the calls go.
    pub fn calls(&self) -> &C {
        self.calls.deref()
    }

    /// The options of each call.
    pub fn options(&self) -> &CallOptions {
        &self.options
    }
}

impl<C: ?Sized> Clone for StubCore<C> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone(), options: self.options.clone() }
    }
}

impl<C: Calls + ?Sized> fmt::Debug for StubCore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.calls.key(), self.calls.lasting()) {
            (Some(key), _) => fmt::Display::fmt(key, f),
            (None, Some(name)) => fmt::Display::fmt(name, f),
            (None, None) => f.write_str("target"),
        }
    }
}

/// `Self` is the stub of `O`: how its calls reach an `O` of this process. Implemented by the macros.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stub of `{O}`",
    note = "annotate the impl block of `{O}` with `#[durable_object]` or `#[rpc_target]`"
)]
pub trait ServedBy<O: Send + Sync + 'static>: Stub {
    #[doc(hidden)]
    fn local(local: Arc<crate::object::local::Local<O>>) -> Arc<Self::Calls>;
    #[doc(hidden)]
    fn dispatch(local: &crate::object::local::Local<O>, call: Incoming);
}
