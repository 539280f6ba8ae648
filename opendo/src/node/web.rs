//! A node as a web server.

use axum::Router;
#[cfg(feature = "http")]
use axum::body::Bytes;
use opendo_transport::{Address, Connection, kind, socket};

use super::{ListenError, Node, WeakNode, transport_limits};
use crate::rpc::capnweb::Sort;
use crate::web::{self, Served, WebOptions, WebRequest};

impl Node {
    /// The node as a part of an axum application: a service for every path that the application has nothing at.
    ///
    /// A WebSocket to `/` gets the node's root, one to `/{Class}/{name}` that object, or the root if nobody may name
    /// objects; POST to the same paths is a batch, and `POST /rpc/{Class}/{name}/{method}` with JSON in the body is one call. Who may reach the application is
    /// the application's business: the rule of [`listen`](Self::listen) about strangers does not hold here.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    ///
    /// # async fn run() -> opendo::Result<()> {
    /// let node = opendo::Node::builder().start().await?;
    /// let app: Router = Router::new().route("/health", get(|| async { "fine" })).merge(node.into_router());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    /// axum::serve(listener, app).await?;
    /// # Ok(()) }
    /// ```
    pub fn into_router(&self) -> Router {
        let options =
            WebOptions { origins: self.0.origins.clone(), limits: transport_limits(&self.0.limits) };
        web::router(Keeping(self.clone()), options)
    }

    pub(super) async fn listen_web(&self, address: &Address) -> Result<Address, ListenError> {
        let listener = socket::listen(address, &self.listen_options()).await?;
        let address = listener.address().clone();
        let options =
            WebOptions { origins: self.0.origins.clone(), limits: transport_limits(&self.0.limits) };
        let router = web::router(self.weak(), options);
        let (most, closing) = (self.0.limits.max_sessions, self.0.closing.clone());
        self.0.runtime.spawn(web::serve(listener, router, most, closing));
        Ok(address)
    }
}

/// A node that lives as long as the application it is a part of.
#[derive(Clone)]
struct Keeping(Node);

impl Served for Keeping {
    #[cfg(feature = "websocket")]
    async fn binary(&self, connection: Connection<kind::Bytes>, request: WebRequest) {
        self.0.weak().binary(connection, request).await;
    }

    async fn text(&self, connection: Connection<kind::Text>, request: WebRequest, batch: bool) {
        self.0.weak().text(connection, request, batch).await;
    }

    #[cfg(feature = "http")]
    async fn plain(
        &self,
        class: String,
        name: String,
        method: String,
        body: Bytes,
        request: WebRequest,
    ) -> (u16, String) {
        self.0.weak().plain(class, name, method, body, request).await
    }
}

impl Served for WeakNode {
    #[cfg(feature = "websocket")]
    async fn binary(&self, connection: Connection<kind::Bytes>, _: WebRequest) {
        let Some(limits) = self.0.upgrade().map(|node| node.limits.clone()) else { return };
        match self.serve(connection, limits).await {
            Ok(session) => session.closed().await,
            Err(error) => tracing::debug!(%error, "a connection became no session"),
        }
    }

    async fn text(&self, connection: Connection<kind::Text>, request: WebRequest, batch: bool) {
        let sort = if batch { Sort::Request } else { Sort::Conversation };
        match self.text_session(connection, sort, credentials(&request), &request.path) {
            Ok((_, running)) => running.await,
            Err(error) => tracing::debug!(%error, "a connection became no session"),
        }
    }

    #[cfg(feature = "http")]
    async fn plain(
        &self,
        class: String,
        name: String,
        method: String,
        body: Bytes,
        request: WebRequest,
    ) -> (u16, String) {
        match self.plain_call(&class, &name, &method, &body, &request).await {
            Ok(result) => (200, format!(r#"{{"success":true,"result":{result}}}"#)),
            Err(error) => error,
        }
    }
}

/// The token of `Authorization: Bearer`, for an authenticator.
pub(super) fn credentials(request: &WebRequest) -> Vec<u8> {
    let header = request.headers.get(axum::http::header::AUTHORIZATION);
    let token = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    token.map(<[u8]>::to_vec).unwrap_or_default()
}
