use std::net::IpAddr;

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use opendo_transport::Peer;

use super::ALLOWED;

/// Whose pages may ask, in a browser. Who is no browser names no origin and is always let through: this keeps one site's
/// page from using another site's reach, it does not tell who somebody is.
///
/// Cookies are never part of it: no answer allows credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of this server only, which is when the origin names the host that was asked. The default.
    ///
    /// To a client on this machine that host must be `localhost` or an IP address, lest a page makes its own name resolve
    /// to this machine. A server behind a proxy on the same machine therefore lists its origins.
    #[default]
    Same,
    /// Every page there is.
    Any,
    /// Pages of these origins, as in `https://example.com`, and no others.
    List(Vec<String>),
}

impl Origins {
    /// What to add to the answer, or why there is none.
    pub(super) fn judge(&self, headers: &HeaderMap, peer: &Peer) -> Result<HeaderMap, &'static str> {
        let mut allowed = HeaderMap::new();
        let origin = headers.get(header::ORIGIN);
        match self {
            Self::Any => {
                allowed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::List(list) => {
                allowed.insert(header::VARY, HeaderValue::from_static("origin"));
                if let Some(origin) = origin {
                    if !list.iter().any(|listed| listed.as_bytes() == origin.as_bytes()) {
                        return Err("pages of this origin may not ask");
                    }
                    allowed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
            Self::Same => {
                if let Some(origin) = origin {
                    same_host(origin, headers.get(header::HOST), peer)?;
                }
            }
        }
        Ok(allowed)
    }

    /// The answer to a browser that asks before it asks, beside what [`judge`](Self::judge) adds.
    pub(super) fn preflight() -> Response {
        let headers = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
            (header::ACCESS_CONTROL_MAX_AGE, "3600"),
        ];
        (StatusCode::NO_CONTENT, headers).into_response()
    }
}

fn same_host(origin: &HeaderValue, host: Option<&HeaderValue>, peer: &Peer) -> Result<(), &'static str> {
    // The scheme does not count: who ends TLS in front of us hides it. A default port is in neither.
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = host.and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let (Some(origin), Some(host)) = (origin.as_ref().and_then(Uri::authority), host) else {
        return Err("pages of this origin may not ask");
    };
    if *origin != host {
        return Err("pages of another origin may not ask");
    }
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    if peer.is_local() && name.parse::<IpAddr>().is_err() && !name.eq_ignore_ascii_case("localhost") {
        return Err("on this machine, only pages of localhost may ask; list other origins");
    }
    Ok(())
}
