//! What programs see of a session.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use opendo_transport::Peer;

use crate::object::id::ToObjectId;
use crate::registry::namespace::Objects;
use crate::rpc::any_core::AnyCore;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::remote::{self, Place, Remote};
use crate::rpc::stub::Stub;

/// A connection to a peer, both ways: its calls arrive here, and its objects can be called.
///
/// A method gets the session its call came over from [`CallInfo::session`](crate::CallInfo::session). Clones are
/// the same session. It does not reconnect (a [`Client`](crate::Client) does): when the connection is gone, calls
/// fail with [`Disconnected`](crate::ErrorKind::Disconnected), and stubs that the peer passed to us are
/// [`Broken`](crate::ErrorKind::Broken).
#[derive(Clone)]
pub struct Session(Arc<dyn AnyCore>);

impl Session {
    pub(crate) fn new(core: Arc<dyn AnyCore>) -> Self {
        Self(core)
    }

    /// A stub of an object that the peer hosts. No I/O, and no check that the peer hosts the class: a call tells.
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        remote::stub(self.0.clone().as_uplink(), id, S::INTERFACE.name)
    }

    /// A stub of the peer's root target: what it gives to this session before anything else. No I/O; a call tells
    /// whether it has one.
    pub fn root<S: Stub>(&self) -> S {
        remote::of_remote(&Remote::new(self.0.clone().as_uplink(), Place::Root))
    }

    /// The objects of the node at this end, for what it gives to the peer: see
    /// [`NodeBuilder::accept`](crate::NodeBuilder::accept). There are none at a client that is no node.
    pub fn objects(&self) -> Objects {
        self.0.life().objects.clone()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.0.life().peer
    }

    /// What the peer's hello carried for an authenticator. Empty when it sent none.
    pub fn credentials(&self) -> &[u8] {
        &self.0.life().credentials
    }

    /// What the session holds at the moment.
    pub fn stats(&self) -> SessionStats {
        self.0.stats()
    }

    /// Resolves when every call was answered, in both directions, without keeping new ones from being made.
    pub async fn drain(&self) {
        poll_fn(|cx| self.0.poll_idle(cx)).await;
    }

    /// Ends the session in order: no new calls in either direction, those that run are answered.
    ///
    /// Resolves when the session has ended. A peer that does not read, or a method that does not end, holds it up as
    /// long as it likes: put a timeout around it where that matters.
    pub async fn close(&self) {
        self.0.drain();
        self.closed().await;
    }

    /// Ends the session at once and tells the peer why: its calls in flight fail with this text, and so do ours.
    pub fn abort(&self, reason: impl Into<String>) {
        self.0.abort(&RpcError::new(ErrorKind::Disconnected, reason));
    }

    /// Ends the session at once by closing the connection. A WebSocket tells the peer `reason`; calls in flight fail.
    pub fn hang_up(&self, reason: &str) {
        self.0.hang_up(reason);
    }

    /// Resolves when the session has ended, for whatever reason.
    pub async fn closed(&self) {
        self.0.life().wait_for_end().await;
    }

    /// Calls `hook` with the reason when the session has ended: now, if it has. Hooks run in the order in which they
    /// were registered, after every call in flight was failed and every stub let go. Dropping the guard unregisters;
    /// [`EndGuard::keep`] leaves it for good.
    ///
    /// ```
    /// # use opendo::Session;
    /// fn log_end(session: &Session) {
    ///     let peer = session.peer().to_string();
    ///     session.on_end(move |why| println!("{peer} is gone: {why}")).keep();
    /// }
    /// ```
    pub fn on_end(&self, hook: impl FnOnce(&RpcError) + Send + 'static) -> EndGuard {
        let number = self.0.life().on_end(Box::new(hook));
        EndGuard { session: Some(self.0.clone()), number }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.0.life().peer)
    }
}

/// Keeps a hook registered; see [`Session::on_end`].
#[must_use = "dropped, it unregisters the hook; use `.keep()` to leave it"]
pub struct EndGuard {
    session: Option<Arc<dyn AnyCore>>,
    number: u64,
}

impl EndGuard {
    /// Leaves the hook registered as long as the session lasts.
    pub fn keep(mut self) {
        self.session = None;
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.life().forget(self.number);
        }
    }
}

impl fmt::Debug for EndGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndGuard").finish_non_exhaustive()
    }
}

/// What a session holds at the moment. After everything was answered and released, all of it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Own calls that are not answered yet.
    pub pending_calls: usize,
    /// Calls of the peer that are not answered yet.
    pub running_calls: usize,
    /// Bytes that wait to be written.
    pub unsent_bytes: usize,
    /// Objects, roots and results that the peer has named and not released.
    pub bound_objects: usize,
    /// Results that are kept because the peer may still use them.
    pub kept_results: usize,
    /// Capabilities of ours that the peer holds.
    pub exports: usize,
    /// Capabilities of the peer that we hold; where text is spoken also its objects, and results of own calls.
    pub imports: usize,
}
