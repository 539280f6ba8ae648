//! A node as a web server.

use axum::Router;
#[cfg(feature = "http")]
use axum::body::Bytes;
use axum::http::HeaderMap;
#[cfg(feature = "websocket")]
use axum::{extract::Request, response::Response};
use futures::FutureExt as _;
use futures::future::OptionFuture;
use opendo_transport::{Address, Connection, Peer, kind, socket};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ListenError, Node, WeakNode, transport_limits};
#[cfg(feature = "websocket")]
use crate::object::id::{ObjectKey, ToObjectId};
use crate::rpc::capnweb::Sort;
#[cfg(feature = "websocket")]
use crate::rpc::stub::Stub;
use crate::web::{self, Served, WebOptions, WebRequest};
#[cfg(feature = "websocket")]
use crate::websocket::{Answer, Asked, Refusal};

impl Node {
    /// The node as a part of an axum application: a service for every path that the application has nothing at.
    ///
    /// A WebSocket to `/` gets the node's root, one to `/{Class}/{name}` that object, or the root if nobody may name
    /// objects; with `/socket` behind that, the object [accepts](crate::DurableObject::connect) it and speaks whatever
    /// it likes (feature `websocket`); POST to the same paths is a batch, and `POST /rpc/{Class}/{name}/{method}` with JSON in the body is one call. Who may reach the application is
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

    /// Answers a request of one's own application for a WebSocket with what the object says, in
    /// [`DurableObject::connect`](crate::DurableObject::connect). The rule for [origins](crate::NodeBuilder::origins) holds
    /// here as well; everything else about who may ask is the application's business.
    ///
    /// ```
    /// use axum::extract::{Path, Request, State};
    /// use axum::response::Response;
    /// use axum::{Router, routing::get};
    /// # use opendo::prelude::*;
    /// # pub struct Room;
    /// # #[durable_object] impl Room {}
    /// # impl DurableObject for Room { async fn new(_: Ctx) -> opendo::Result<Self> { Ok(Room) } }
    ///
    /// async fn chat(State(node): State<Node>, Path(room): Path<String>, request: Request) -> Response {
    ///     node.web_socket::<RoomStub>(room, request).await
    /// }
    ///
    /// # async fn run() -> opendo::Result<()> {
    /// let node = Node::builder().object::<Room>().start().await?;
    /// let app: Router = Router::new().route("/chat/{room}", get(chat)).with_state(node);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "websocket")]
    pub async fn web_socket<S: Stub>(&self, id: impl ToObjectId<S>, request: Request) -> Response {
        let key = id.into_key(S::INTERFACE.name);
        let node = self.weak();
        web::accept_socket(request, &self.0.origins, |asked| async move {
            let key = key.map_err(|error| Refusal::new(404, error.to_string()))?;
            node.open_socket(&key, asked).await
        })
        .await
    }

    /// Serves HTTP on a connection that was made elsewhere, until it ends.
    pub(crate) fn serve_web(&self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
        let options =
            WebOptions { origins: self.0.origins.clone(), limits: transport_limits(&self.0.limits) };
        let router = web::router(self.weak(), options);
        self.0.runtime.spawn(web::serve_one(socket, peer, router, self.0.closing.clone()));
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

    #[cfg(feature = "websocket")]
    async fn socket(&self, class: String, name: String, asked: Asked) -> Answer {
        self.0.weak().socket(class, name, asked).await
    }

    fn text(
        self,
        connection: Connection<kind::Text>,
        request: WebRequest,
        batch: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.0.weak().text(connection, request, batch)
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
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a connection became no session"),
        }
    }

    #[cfg(feature = "websocket")]
    async fn socket(&self, class: String, name: String, asked: Asked) -> Answer {
        // Whoever may not call the object may not connect to it.
        match self.names_allowed(asked.peer.clone(), credentials(&asked.headers)) {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::new(404, format!("there is nothing at `/{class}/{name}`"))),
            Err(error) => return Err(Refusal::new(401, error.message())),
        }
        self.open_socket(&ObjectKey::of_name(&class, &name), asked).await
    }

    fn text(
        self,
        connection: Connection<kind::Text>,
        request: WebRequest,
        batch: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        let sort = if batch { Sort::Request } else { Sort::Conversation };
        let session = self.text_session(connection, sort, credentials(&request.headers), &request.path);
        let running = session
            .map(|(_, running)| running)
            .inspect_err(|error| tracing::debug!(%error, "a connection became no session"));
        OptionFuture::from(running.ok()).map(drop)
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

#[cfg(feature = "websocket")]
impl WeakNode {
    /// Asks an object whether a WebSocket may come in.
    async fn open_socket(&self, key: &ObjectKey, asked: Asked) -> Answer {
        let answer = {
            let Some(node) = self.0.upgrade() else { return Err(Refusal::new(503, "the node is gone")) };
            let Some(entry) = node.classes.get(key.class()) else {
                return Err(Refusal::new(404, format!("this node hosts no class `{}`", key.class())));
            };
            entry.class.open_socket(key, asked)
        };
        answer.await.unwrap_or_else(|_| Err(Refusal::new(503, "the object was reset, or takes nothing now")))
    }
}

/// The token of `Authorization: Bearer`, for an authenticator.
pub(super) fn credentials(headers: &HeaderMap) -> Vec<u8> {
    let header = headers.get(axum::http::header::AUTHORIZATION);
    let token = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    token.map(<[u8]>::to_vec).unwrap_or_default()
}
