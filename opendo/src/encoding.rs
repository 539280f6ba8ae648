//! How arguments and results become bytes.

#[cfg(feature = "capnweb")]
#[allow(dead_code, unused_imports)] // until sessions speak it
pub(crate) mod capnweb;
mod postcard;

pub use self::postcard::{DecodeError, Decoder, EncodeError, Encoder};
pub(crate) use self::postcard::{decode_all, with_encoder};
