//! A node as a web server.

use axum::Router;
use axum::body::Bytes;
use opendo_transport::{Address, Connection, kind, memory, socket};
use tokio::runtime::Handle;

use super::{ListenError, Node, WeakNode, transport_limits};
use crate::encoding::{self, Encoded, Form, Shape, capnweb};
use crate::rpc::any_core::AnyCore;
use crate::rpc::capnweb::{Sort, decode};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::web::{self, Served, WebOptions, WebRequest};

impl Node {
    /// The node as a part of an axum application: a service for every path that the application has nothing at.
    ///
    /// A WebSocket to `/` gets the node's root, one to `/{Class}/{name}` that object; POST to the same paths is a
    /// batch, and `POST /rpc/{Class}/{name}/{method}` with JSON in the body is one call. Who may reach the application is
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
    async fn binary(&self, connection: Connection<kind::Bytes>, request: WebRequest) {
        self.0.weak().binary(connection, request).await;
    }

    async fn text(&self, connection: Connection<kind::Text>, request: WebRequest, batch: bool) {
        self.0.weak().text(connection, request, batch).await;
    }

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
fn credentials(request: &WebRequest) -> Vec<u8> {
    let header = request.headers.get(axum::http::header::AUTHORIZATION);
    let token = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    token.map(<[u8]>::to_vec).unwrap_or_default()
}

impl WeakNode {
    /// One call, as JSON: its result, or the status and the body of an answer that says what went wrong.
    async fn plain_call(
        &self,
        class: &str,
        name: &str,
        method: &str,
        body: &[u8],
        request: &WebRequest,
    ) -> Result<String, (u16, String)> {
        let args = arguments(body).map_err(|text| refusal(400, "BadRequest", &text))?;
        // A request is a session of its own, of which nothing stays.
        let (connection, _) = memory::pair(1);
        let path = [class.to_owned(), name.to_owned()];
        let session =
            self.text_session(Connection::new(connection), Sort::Request, credentials(request), &path);
        let (core, running) = session.map_err(|error| failure(&error))?;
        let running = Handle::current().spawn(running);
        let result = core.call_main(method, args).await;
        core.end(&RpcError::new(ErrorKind::Closed, "the request is answered"));
        running.abort();
        let value = result.map_err(|error| failure(&error))?;
        let json: serde_json::Value = decode(value).map_err(|error| failure(&error))?;
        Ok(json.to_string())
    }
}

/// The arguments of a call, as an expression: what is under `params`, a list of them or the only one.
fn arguments(body: &[u8]) -> Result<Encoded, String> {
    let json: serde_json::Value = match body {
        [] => serde_json::Value::Null,
        body => serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?,
    };
    let params = match json {
        serde_json::Value::Object(mut members) => members.remove("params").unwrap_or_default(),
        other => other,
    };
    let list = match params {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::Array(list) => list,
        single => vec![single],
    };
    encoding::encoded(Form::CapnWeb, Shape::Arguments, |out| {
        list.iter().try_for_each(|each| out.append(each))
    })
    .map_err(|error| error.to_string())
}

/// The answer that tells of an error: one of the method's is none of the server's.
fn failure(error: &RpcError) -> (u16, String) {
    if let Some(thrown) = error.thrown() {
        let text = std::str::from_utf8(&thrown.bytes).unwrap_or("null");
        return refusal(422, "Thrown", capnweb::rpc_error(text).message());
    }
    let status = match error.kind() {
        ErrorKind::NoSuchClass | ErrorKind::NoSuchMethod => 404,
        ErrorKind::Unauthorized => 401,
        ErrorKind::Decode | ErrorKind::SignatureMismatch => 400,
        ErrorKind::TooLarge => 413,
        ErrorKind::Overloaded => 429,
        ErrorKind::Closed | ErrorKind::Disconnected | ErrorKind::Reset => 503,
        ErrorKind::Deadline => 504,
        _ => 500,
    };
    refusal(status, &format!("{:?}", error.kind()), error.message())
}

fn refusal(status: u16, code: &str, message: &str) -> (u16, String) {
    let error = serde_json::json!({ "success": false, "error": { "code": code, "message": message } });
    (status, error.to_string())
}
