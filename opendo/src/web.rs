//! Objects for browsers and other HTTP clients: WebSockets, batches and plain calls, on any path.
//!
//! | request | what it is |
//! | --- | --- |
//! | `GET /{Class}/{name}/socket` and below, with an upgrade | a WebSocket that the object itself accepts |
//! | `GET` with an upgrade, to any other path | a WebSocket: binary if it offers our subprotocol, text otherwise |
//! | `POST /rpc/{Class}/{name}/{method}` | one call, JSON in and out |
//! | `POST` to any other path | a batch |
//! | `OPTIONS` | asks which origins may ask |

mod origins;
#[cfg(feature = "http")]
mod post;
mod serve;
#[cfg(test)]
mod tests;
#[cfg(feature = "websocket")]
mod upgrade;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
#[cfg(feature = "http")]
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use opendo_transport::{Connection, Limits, Peer, kind};
use percent_encoding::percent_decode_str;

pub use self::origins::Origins;
pub(crate) use self::serve::{serve, serve_one};
#[cfg(feature = "websocket")]
pub(crate) use self::upgrade::accept_socket;
#[cfg(feature = "websocket")]
use crate::websocket::{Answer, Asked};

/// What is served: a node, or a stand-in for one. A future that is dropped is a client that hung up.
pub(crate) trait Served: Clone + Send + Sync + 'static {
    /// A WebSocket that chose our subprotocol. Over when its session has begun.
    #[cfg(feature = "websocket")]
    fn binary(
        &self,
        connection: Connection<kind::Bytes>,
        request: WebRequest,
    ) -> impl Future<Output = ()> + Send;

    /// A WebSocket that an object may accept, and then runs.
    #[cfg(feature = "websocket")]
    fn socket(&self, class: String, name: String, asked: Asked) -> impl Future<Output = Answer> + Send;

    /// A WebSocket that speaks Cap'n Web, or one HTTP batch. Over when its session is; a batch is answered then.
    fn text(
        self,
        connection: Connection<kind::Text>,
        request: WebRequest,
        batch: bool,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// One call: JSON in, status and JSON out.
    #[cfg(feature = "http")]
    fn plain(
        &self,
        class: String,
        name: String,
        method: String,
        body: Bytes,
        request: WebRequest,
    ) -> impl Future<Output = (u16, String)> + Send;
}

/// What a client asked for, and who it is.
#[derive(Debug, Clone)]
pub(crate) struct WebRequest {
    /// The segments of the path, decoded; without what the router is mounted under. None for `/`.
    pub(crate) path: Vec<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
}

/// How to serve.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebOptions {
    /// Whose pages may ask.
    pub(crate) origins: Origins,
    /// How large a message may be, and a body.
    pub(crate) limits: Limits,
}

/// How long a client may take to send what it has begun to send.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves every path below where it is mounted.
pub(crate) fn router<S: Served>(served: S, options: WebOptions) -> Router {
    let options = Arc::new(options);
    Router::new().fallback(move |request: Request| answer(served.clone(), Arc::clone(&options), request))
}

async fn answer<S: Served>(served: S, options: Arc<WebOptions>, request: Request) -> Response {
    let peer = peer_of(&request);
    let allowed = match options.origins.judge(request.headers(), &peer) {
        Ok(allowed) => allowed,
        Err(reason) => return refusal(StatusCode::FORBIDDEN, reason),
    };
    let mut response = match WebRequest::of(&request, peer) {
        Ok(about) => route(served, &options, request, about).await,
        Err(reason) => refusal(StatusCode::BAD_REQUEST, reason),
    };
    response.headers_mut().extend(allowed);
    response
}

async fn route<S: Served>(served: S, options: &WebOptions, request: Request, about: WebRequest) -> Response {
    match *request.method() {
        Method::OPTIONS => Origins::preflight(),
        #[cfg(feature = "websocket")]
        Method::GET => upgrade::upgrade(served, options, request, about).await,
        #[cfg(feature = "http")]
        Method::POST => post::post(served, options, request, about).await,
        _ => method_not_allowed("use POST, or GET for a WebSocket"),
    }
}

fn method_not_allowed(reason: &'static str) -> Response {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, reason);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    response
}

/// What there is to be asked with.
const ALLOWED: &str = match (cfg!(feature = "websocket"), cfg!(feature = "http")) {
    (true, true) => "GET, POST, OPTIONS",
    (true, false) => "GET, OPTIONS",
    (false, _) => "POST, OPTIONS",
};

fn refusal(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, reason.into()).into_response()
}

/// Known to our own listener, and perhaps to the server that a router is mounted in.
fn peer_of(request: &Request) -> Peer {
    let extensions = request.extensions();
    if let Some(peer) = extensions.get::<Peer>() {
        return peer.clone();
    }
    match extensions.get::<ConnectInfo<std::net::SocketAddr>>() {
        Some(ConnectInfo(address)) if address.ip().to_canonical().is_loopback() => {
            Peer::local("http", address.to_string())
        }
        Some(ConnectInfo(address)) => Peer::remote("http", address.to_string()),
        None => Peer::remote("http", "unknown"),
    }
}

impl WebRequest {
    fn of(request: &Request, peer: Peer) -> Result<Self, &'static str> {
        Ok(Self { path: segments(request.uri())?, headers: request.headers().clone(), peer })
    }
}

fn segments(uri: &Uri) -> Result<Vec<String>, &'static str> {
    let path = uri.path().strip_prefix('/').unwrap_or(uri.path());
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let decode = |segment| match percent_decode_str(segment).decode_utf8() {
        Ok(segment) => Ok(segment.into_owned()),
        Err(_) => Err("the path is not UTF-8"),
    };
    path.split('/').map(decode).collect()
}
