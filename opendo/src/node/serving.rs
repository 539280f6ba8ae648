//! Connections on their way to be sessions.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use opendo_transport::{Connection, Listener, TransportError, kind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Node, WeakNode, transport_limits};
#[cfg(feature = "capnweb")]
use crate::rpc::any_core::AnyCore;
#[cfg(feature = "capnweb")]
use crate::rpc::capnweb::{self, Root, Sort, TextCore};
use crate::rpc::driver::{Access, Host, Role, establish};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use crate::rpc::session::Session;

/// How long a listener that ran out of file descriptors waits for others to be closed.
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(100);

impl Node {
    pub(super) fn listen_options(&self) -> opendo_transport::ListenOptions {
        let options: opendo_transport::ListenOptions = transport_limits(&self.0.limits).into();
        #[cfg(feature = "tls")]
        if let Some(identity) = &self.0.identity {
            return options.identity(identity.clone());
        }
        options
    }
}

impl WeakNode {
    pub(super) async fn accept(self, mut listener: Listener, closing: CancellationToken) {
        loop {
            let Some(node) = self.0.upgrade() else { return };
            let (permits, limits, runtime) =
                (node.session_permits.clone(), node.limits.clone(), node.runtime.clone());
            drop(node); // a listener does not keep its node alive
            let next = async {
                let accepted = listener.accept().await;
                // After that, so that a listener that waits holds no place. Never closed.
                (permits.acquire_owned().await.ok(), accepted)
            };
            let Some((permit, accepted)) = closing.run_until_cancelled(next).await else { return };
            match accepted {
                Ok(connection) => {
                    let node = self.clone();
                    runtime.spawn(async move {
                        match node.serve(connection, limits).await {
                            // Nothing of this task is to stay as long as the session.
                            Ok(session) => session.on_end(|_| drop(permit)).keep(),
                            Err(error) => tracing::debug!(%error, "a connection became no session"),
                        }
                    });
                }
                Err(error @ TransportError::Exhausted { .. }) => {
                    tracing::warn!(%error, "cannot accept for now");
                    sleep(PAUSE_WHEN_EXHAUSTED).await;
                }
                Err(error) => {
                    tracing::error!(%error, address = %listener.address(), "no longer listening");
                    return;
                }
            }
        }
    }

    pub(super) async fn serve(
        &self,
        connection: Connection<kind::Bytes>,
        limits: Arc<Limits>,
    ) -> Result<Session, RpcError> {
        let host: Arc<dyn Host> = Arc::new(self.clone());
        let access = Access::default();
        let (core, driver) = establish(connection, Role::Accepting, &limits, &[], Some(host), access).await?;
        let closed = || RpcError::new(ErrorKind::Closed, "the node is gone");
        let node = self.0.upgrade().ok_or_else(closed)?;
        let place = Arc::as_ptr(&core).addr();
        node.sessions.lock().insert(place, core.clone());
        if node.closing.is_cancelled() {
            core.drain();
        }
        let weak = self.clone();
        node.runtime.spawn(driver.run().map(move |()| {
            if let Some(node) = weak.0.upgrade() {
                node.sessions.lock().remove(&place);
            }
        }));
        Ok(Session::new(core))
    }

    /// A session with a peer that speaks Cap'n Web, which is to be run. `path` names the object that is its main
    /// interface; without one that is the node's root.
    #[cfg(feature = "capnweb")]
    pub(super) fn text_session(
        &self,
        connection: Connection<kind::Text>,
        sort: Sort,
        credentials: Vec<u8>,
        path: &[String],
    ) -> Result<(Arc<TextCore>, impl Future<Output = ()> + Send + use<>), RpcError> {
        use opendo_transport::Transport;

        let closed = || RpcError::new(ErrorKind::Closed, "the node is gone");
        let node = self.0.upgrade().ok_or_else(closed)?;
        let core = TextCore::new(connection.peer(), node.limits.clone(), self.objects(), credentials, sort);
        let main = self.main_of(&Session::new(core.clone()), path);
        let main = match main {
            Ok(main) => main,
            Err(error) => {
                core.abort(&error);
                node.runtime.spawn(capnweb::run(core, connection));
                return Err(error);
            }
        };
        if let Some(main) = main {
            core.offer(main);
        }
        let any: Arc<dyn AnyCore> = core.clone();
        let place = Arc::as_ptr(&core).addr();
        node.sessions.lock().insert(place, any);
        if node.closing.is_cancelled() {
            core.drain();
        }
        let weak = self.clone();
        let running = capnweb::run(core.clone(), connection).map(move |()| {
            if let Some(node) = weak.0.upgrade() {
                node.sessions.lock().remove(&place);
            }
        });
        Ok((core, running))
    }

    /// Whether a peer with these credentials may name objects, or why it is none of ours.
    #[cfg(feature = "websocket")]
    pub(super) fn names_allowed(
        &self,
        peer: opendo_transport::Peer,
        credentials: Vec<u8>,
    ) -> Result<bool, RpcError> {
        let closed = |text| RpcError::new(ErrorKind::Closed, text);
        let limits = self.0.upgrade().ok_or_else(|| closed("the node is gone"))?.limits.clone();
        // A session that is only judged.
        let core = TextCore::new(peer, limits, self.objects(), credentials, Sort::Request);
        let access = self.accept(&Session::new(core.clone()));
        core.end(&closed("it was judged"));
        Ok(access?.names)
    }

    #[cfg(feature = "capnweb")]
    fn main_of(&self, session: &Session, path: &[String]) -> Result<Option<crate::rpc::cap::Cap>, RpcError> {
        let Access { root, names } = self.accept(session)?;
        let refused = |text: String| Err(RpcError::new(ErrorKind::NoSuchClass, text));
        match path {
            // Where nothing else can be named, a path is only how the way to here is called.
            _ if root.is_some() && (path.is_empty() || !names) => Ok(root),
            [] => Ok(names.then(|| Arc::new(Root(Arc::new(self.clone()))) as _)),
            [class, name] if names => match self.class(class) {
                Some(hosted) => Ok(Some(hosted.of_name(name))),
                None => refused(format!("this node hosts no class `{class}`")),
            },
            _ => refused(format!("there is nothing at `/{}`", path.join("/"))),
        }
    }
}
