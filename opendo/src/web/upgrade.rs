use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use opendo_transport::websocket::{Role, SUBPROTOCOL, TEXT_SUBPROTOCOL, WebSocket, accept_key};
use opendo_transport::{Connection, kind};

use super::{Served, WebOptions, WebRequest, refusal};

/// Whether a header that is a list has `token`.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str, same: fn(&str, &str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| same(value.trim(), token))
}

pub(super) fn upgrade<S: Served>(
    served: S,
    options: &WebOptions,
    mut request: Request,
    about: WebRequest,
) -> Response {
    let headers = request.headers();
    let asked = lists(headers, &header::CONNECTION, "upgrade", str::eq_ignore_ascii_case)
        && lists(headers, &header::UPGRADE, "websocket", str::eq_ignore_ascii_case);
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked) else {
        return super::method_not_allowed("a GET is for WebSockets: ask for the upgrade, or use POST");
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
