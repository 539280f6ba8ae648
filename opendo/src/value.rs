//! Values of any type.

mod bytes;

pub use bytes::ByteContainer;

/// By this name an encoding that has a form of its own for blobs recognises one.
pub(crate) const BLOB: &str = "$opendo::blob";
