//! The page, as it is in the binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;

/// Nothing comes from elsewhere, and nothing that was said can become a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page at `/` and what it is made of.
pub(crate) fn router() -> Router {
    const HTML: &str = "text/html; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    Router::new()
        .merge(file("/", HTML, include_str!("page/index.html")))
        .merge(file("/style.css", STYLE, include_str!("page/style.css")))
        .merge(file("/main.js", SCRIPT, include_str!("page/main.js")))
        .merge(file("/view.js", SCRIPT, include_str!("page/view.js")))
        .merge(file("/membership.js", SCRIPT, include_str!("page/membership.js")))
        .merge(file("/vendor/capnweb-0.12.0.js", SCRIPT, include_str!("page/vendor/capnweb-0.12.0.js")))
}

fn file(path: &str, kind: &'static str, text: &'static str) -> Router {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    Router::new().route(path, get(move || async move { (headers, text) }))
}
