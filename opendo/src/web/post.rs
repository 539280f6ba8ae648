use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use opendo_transport::http::{BatchReply, batch};
use tokio::time::timeout;

use super::{PATIENCE, Served, WebOptions, WebRequest, refusal};

pub(super) async fn post<S: Served>(
    served: S,
    options: &WebOptions,
    request: Request,
    about: WebRequest,
) -> Response {
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
