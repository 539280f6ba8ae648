use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use opendo_transport::websocket::{Role, SUBPROTOCOL, TEXT_SUBPROTOCOL, WebSocket, accept_key};
use opendo_transport::{Connection, kind};

use super::{Origins, Served, WebOptions, WebRequest, peer_of, refusal};
use crate::websocket::{Answer, Asked, Refusal};

/// Whether a header that is a list has `token`.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str, same: fn(&str, &str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| same(value.trim(), token))
}

/// What a request for an upgrade comes to.
struct Handshake {
    key: String,
    upgraded: OnUpgrade,
}

impl Handshake {
    /// Of a request that asks for a WebSocket as it should.
    fn of(request: &mut Request) -> Result<Self, Box<Response>> {
        let headers = request.headers();
        let asked = lists(headers, &header::CONNECTION, "upgrade", str::eq_ignore_ascii_case)
            && lists(headers, &header::UPGRADE, "websocket", str::eq_ignore_ascii_case);
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked) else {
            let reason = "a GET is for WebSockets: ask for the upgrade, or use POST";
            return Err(super::method_not_allowed(reason).into());
        };
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let mut response = refusal(StatusCode::UPGRADE_REQUIRED, "use version 13 of the protocol");
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return Err(response.into());
        }
        let key = accept_key(key.as_bytes());
        Ok(Self { key, upgraded: hyper::upgrade::on(request) })
    }

    /// The answer that agrees to it.
    fn agree(key: &str, subprotocol: Option<&str>) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, key);
        if let Some(chosen) = subprotocol {
            response = response.header(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        response.body(Body::empty()).expect("headers of letters and digits, or as they came")
    }
}

pub(super) async fn upgrade<S: Served>(
    served: S,
    options: &WebOptions,
    mut request: Request,
    mut about: WebRequest,
) -> Response {
    let handshake = match Handshake::of(&mut request) {
        Ok(handshake) => handshake,
        Err(response) => return *response,
    };
    if about.path.get(2).is_some_and(|third| third == "socket") {
        let (class, name) = (std::mem::take(&mut about.path[0]), std::mem::take(&mut about.path[1]));
        let asked = asked(below_socket(request.uri()), request.uri(), about);
        return answer(handshake, served.socket(class, name, asked).await);
    }
    let headers = request.headers();
    let offered = |name: &&str| lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, name, str::eq);
    let chosen = [SUBPROTOCOL, TEXT_SUBPROTOCOL].into_iter().find(offered);
    let binary = chosen == Some(SUBPROTOCOL);
    let limits = options.limits;
    let Handshake { key, upgraded } = handshake;
    tokio::spawn(async move {
        let Some(stream) = opened(upgraded).await else { return };
        let peer = about.peer.clone();
        if binary {
            let socket = WebSocket::<_, kind::Bytes>::new(stream, Role::Server, peer, &limits).await;
            served.binary(Connection::new(socket), about).await;
        } else {
            let socket = WebSocket::<_, kind::Text>::new(stream, Role::Server, peer, &limits).await;
            // A task of its own, since nothing of the request is to stay as long as the session.
            tokio::spawn(served.text(Connection::new(socket), about, false));
        }
    });
    Handshake::agree(&key, chosen)
}

async fn opened(upgraded: OnUpgrade) -> Option<TokioIo<hyper::upgrade::Upgraded>> {
    match upgraded.await {
        Ok(stream) => Some(TokioIo::new(stream)),
        Err(error) => {
            tracing::debug!(%error, "an upgrade became no connection");
            None
        }
    }
}

/// A request that an application has for an object, which `open` asks.
pub(crate) async fn accept_socket<F: Future<Output = Answer>>(
    mut request: Request,
    origins: &Origins,
    open: impl FnOnce(Asked) -> F,
) -> Response {
    let peer = peer_of(&request);
    let allowed = match origins.judge(request.headers(), &peer) {
        Ok(allowed) => allowed,
        Err(reason) => return refusal(StatusCode::FORBIDDEN, reason),
    };
    let mut response = match Handshake::of(&mut request) {
        Err(response) => *response,
        Ok(handshake) => {
            let about = WebRequest { path: Vec::new(), headers: request.headers().clone(), peer };
            let asked = asked(request.uri().path().to_owned(), request.uri(), about);
            answer(handshake, open(asked).await)
        }
    };
    response.headers_mut().extend(allowed);
    response
}

fn asked(path: String, uri: &Uri, about: WebRequest) -> Asked {
    let query = uri.query().map(str::to_owned);
    Asked { path, query, headers: about.headers, peer: about.peer }
}

/// What a path has behind `/{Class}/{name}/socket`.
fn below_socket(uri: &Uri) -> String {
    let rest = uri.path().splitn(5, '/').nth(4);
    rest.map(|rest| format!("/{rest}")).unwrap_or_default()
}

fn answer(handshake: Handshake, answer: Answer) -> Response {
    match answer {
        Ok(mut accepted) => {
            let response = Handshake::agree(&handshake.key, accepted.subprotocol.take().as_deref());
            tokio::spawn(async move {
                if let Some(stream) = opened(handshake.upgraded).await {
                    accepted.run(stream).await;
                }
            });
            response
        }
        Err(Refusal { status, text }) => {
            refusal(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text)
        }
    }
}
