//! `POST /rpc/{Class}/{name}/{method}`: one call in plain JSON, for `curl` and programs that know nothing of sessions.

use opendo_transport::{Connection, memory};
use tokio::runtime::Handle;

use super::WeakNode;
use super::web::credentials;
use crate::encoding::{self, Encoded, Form, Shape, capnweb};
use crate::rpc::any_core::AnyCore;
use crate::rpc::capnweb::{Sort, decode};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::web::WebRequest;

impl WeakNode {
    /// One call, as JSON: its result, or the status and the body of an answer that says what went wrong.
    pub(super) async fn plain_call(
        &self,
        class: &str,
        name: &str,
        method: &str,
        body: &[u8],
        request: &WebRequest,
    ) -> Result<String, (u16, String)> {
        let args = arguments(body).map_err(|text| refusal(400, "BadRequest", &text))?;
        if !self.0.upgrade().is_some_and(|node| node.allow_names) {
            let text = format!("there is nothing at `/{class}/{name}`");
            return Err(failure(&RpcError::new(ErrorKind::NoSuchClass, text)));
        }
        // A request is a session of its own, of which nothing stays.
        let (connection, _) = memory::pair(1);
        let path = [class.to_owned(), name.to_owned()];
        let session = self.text_session(
            Connection::new(connection),
            Sort::Request,
            credentials(&request.headers),
            &path,
        );
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
