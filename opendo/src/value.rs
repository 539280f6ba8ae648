//! Values of any type.

mod bytes;

pub use bytes::ByteContainer;

/// By this name an encoding that has a form of its own for blobs recognises one.
pub(crate) const BLOB: &str = "$opendo::blob";

/// Bytes with a type, such as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    kind: String,
    bytes: ::bytes::Bytes,
}
impl Blob {
    /// new
    pub fn new(kind: impl Into<String>, bytes: impl Into<::bytes::Bytes>) -> Self {
        Self { kind: kind.into(), bytes: bytes.into() }
    }
    /// kind
    pub fn kind(&self) -> &str {
        &self.kind
    }
    /// bytes
    pub fn bytes(&self) -> &::bytes::Bytes {
        &self.bytes
    }
}
