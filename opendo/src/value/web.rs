//! What the web has types for.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::Value;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::stream::RpcStream;

/// Bytes with a media type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob {
    /// The media type, such as `text/plain`; may be empty.
    pub kind: String,
    /// What is in it.
    pub bytes: Bytes,
}

/// An address. Only its text: whether it is one is for those to say who use it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url(pub String);

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The headers of a request or response, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first header of that name, in whatever case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An HTTP request.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// What is asked for.
    pub url: String,
    /// `GET`, unless it says something else.
    pub method: String,
    /// Its headers.
    pub headers: Headers,
    /// What it carries.
    pub body: Body,
}

impl Request {
    /// A `GET` of that address.
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: "GET".to_owned(), headers: Headers::default(), body: Body::None }
    }
}

/// An HTTP response.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// 200, unless it says something else.
    pub status: u16,
    /// A word about the status; may be empty.
    pub status_text: String,
    /// Its headers.
    pub headers: Headers,
    /// What it carries.
    pub body: Body,
}

impl Response {
    /// A response that everything went well.
    pub fn ok(body: impl Into<Body>) -> Self {
        Self { status: 200, status_text: String::new(), headers: Headers::default(), body: body.into() }
    }
}

/// What a request or response carries.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// Pieces, each of them bytes or a text.
    Stream(RpcStream<Value>),
}

impl Body {
    /// All of it. A stream is read to its end.
    ///
    /// # Errors
    /// The stream's, and [`Decode`](ErrorKind::Decode) when it holds something else than bytes and texts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// use opendo::{RpcStream, value::{Body, Response}};
    ///
    /// let response = Response::ok(Body::Stream(RpcStream::from_iter(["a".into(), "b".into()])));
    /// assert_eq!(response.body.text().await?, "ab");
    /// # Ok(()) }
    /// ```
    pub async fn bytes(self) -> Result<Bytes, RpcError> {
        let mut pieces = match self {
            Self::None => return Ok(Bytes::new()),
            Self::Text(text) => return Ok(text.into()),
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Stream(pieces) => pieces,
        };
        let mut all = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            match piece? {
                Value::Bytes(bytes, _) => all.extend_from_slice(&bytes),
                Value::String(text) => all.extend_from_slice(text.as_bytes()),
                other => {
                    let text =
                        format!("the body of a request or response: expected bytes, got {}", other.kind());
                    return Err(RpcError::new(ErrorKind::Decode, text));
                }
            }
        }
        Ok(all.freeze())
    }

    /// All of it as a text. What is no UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, RpcError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Ok(String::from_utf8_lossy(&other.bytes().await?).into_owned()),
        }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
