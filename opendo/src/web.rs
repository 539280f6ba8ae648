//! Objects for browsers and other HTTP clients: WebSockets, batches and plain calls, on any path.
//!
//! | request | what it is |
//! | --- | --- |
//! | `GET` with an upgrade | a WebSocket: binary if it offers our subprotocol, text otherwise |
//! | `POST /rpc/{Class}/{name}/{method}` | one call, JSON in and out |
//! | `POST` to any other path | a batch |
//! | `OPTIONS` | asks which origins may ask |

mod origins;
mod serve;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
#[cfg(feature = "http")]
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
#[cfg(feature = "websocket")]
use hyper_util::rt::TokioIo;
#[cfg(feature = "http")]
use opendo_transport::http::{BatchReply, batch};
#[cfg(feature = "websocket")]
use opendo_transport::websocket::{Role, SUBPROTOCOL, TEXT_SUBPROTOCOL, WebSocket, accept_key};
use opendo_transport::{Connection, Limits, Peer, kind};
use percent_encoding::percent_decode_str;
#[cfg(feature = "http")]
use tokio::time::timeout;

pub(crate) use self::origins::Origins;
pub(crate) use self::serve::serve;

/// What is served: a node, or a stand-in for one. A future that is dropped is a client that hung up.
pub(crate) trait Served: Clone + Send + Sync + 'static {
    /// A WebSocket that chose our subprotocol. Over when its session is.
    fn binary(
        &self,
        connection: Connection<kind::Bytes>,
        request: WebRequest,
    ) -> impl Future<Output = ()> + Send;

    /// A WebSocket that speaks Cap'n Web, or one HTTP batch. Over when its session is; a batch is answered then.
    fn text(
        &self,
        connection: Connection<kind::Text>,
        request: WebRequest,
        batch: bool,
    ) -> impl Future<Output = ()> + Send;

    /// One call: JSON in, status and JSON out.
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
    /// What follows `?`, not decoded.
    pub(crate) query: Option<String>,
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
        Method::GET => upgrade(served, options, request, about),
        #[cfg(feature = "http")]
        Method::POST => post(served, options, request, about).await,
        _ => {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST, or GET for a WebSocket");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
            response
        }
    }
}

/// What there is to be asked with.
const ALLOWED: &str = match (cfg!(feature = "websocket"), cfg!(feature = "http")) {
    (true, true) => "GET, POST, OPTIONS",
    (true, false) => "GET, OPTIONS",
    (false, _) => "POST, OPTIONS",
};

fn refusal(status: StatusCode, reason: &'static str) -> Response {
    (status, reason).into_response()
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
        Ok(Self {
            path: segments(request.uri())?,
            query: request.uri().query().map(str::to_owned),
            headers: request.headers().clone(),
            peer,
        })
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

/// Whether a header that is a list has `token`.
#[cfg(feature = "websocket")]
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str, same: fn(&str, &str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| same(value.trim(), token))
}

#[cfg(feature = "websocket")]
fn upgrade<S: Served>(served: S, options: &WebOptions, mut request: Request, about: WebRequest) -> Response {
    let headers = request.headers();
    let asked = lists(headers, &header::CONNECTION, "upgrade", str::eq_ignore_ascii_case)
        && lists(headers, &header::UPGRADE, "websocket", str::eq_ignore_ascii_case);
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked) else {
        return refusal(StatusCode::BAD_REQUEST, "a GET is for WebSockets: ask for the upgrade, or use POST");
    };
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = refusal(StatusCode::UPGRADE_REQUIRED, "use version 13 of the protocol");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let key = accept_key(key.as_bytes());
    let offered = |name: &&str| lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, name, str::eq);
    let chosen = [SUBPROTOCOL, TEXT_SUBPROTOCOL].into_iter().find(offered);
    let binary = chosen == Some(SUBPROTOCOL);
    let upgraded = hyper::upgrade::on(&mut request);
    let limits = options.limits;
    tokio::spawn(async move {
        let stream = match upgraded.await {
            Ok(stream) => TokioIo::new(stream),
            Err(error) => return tracing::debug!(%error, "an upgrade became no connection"),
        };
        let peer = about.peer.clone();
        if binary {
            let socket = WebSocket::<_, kind::Bytes>::new(stream, Role::Server, peer, &limits).await;
            served.binary(Connection::new(socket), about).await;
        } else {
            let socket = WebSocket::<_, kind::Text>::new(stream, Role::Server, peer, &limits).await;
            served.text(Connection::new(socket), about, false).await;
        }
    });
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, key);
    if let Some(chosen) = chosen {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    response.body(Body::empty()).expect("headers of letters and digits")
}

#[cfg(feature = "http")]
async fn post<S: Served>(served: S, options: &WebOptions, request: Request, about: WebRequest) -> Response {
    let limit = options.limits.max_message;
    let body = match timeout(PATIENCE, Limited::new(request.into_body(), limit).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        }
        Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "the body is not complete"),
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    if let [rpc, class, name, method] = &*about.path
        && rpc == "rpc"
    {
        let (class, name, method) = (class.clone(), name.clone(), method.clone());
        let (status, json) = served.plain(class, name, method, body, about).await;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, [(header::CONTENT_TYPE, "application/json")], json).into_response();
    }
    let (connection, reply) = batch(body, &options.limits, about.peer.clone());
    match tokio::join!(served.text(connection, about, true), reply).1 {
        BatchReply::Complete(lines) => lines.into_response(),
        BatchReply::Aborted(line) => (StatusCode::BAD_REQUEST, line).into_response(),
        BatchReply::TooLarge => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the reply is too large"),
    }
}
