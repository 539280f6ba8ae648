//! How arguments and results become bytes.

mod postcard;

pub(crate) use self::postcard::with_encoder;
pub use self::postcard::{DecodeError, Decoder, EncodeError, Encoder};
