//! How arguments and results become bytes.

mod postcard;

pub use self::postcard::{DecodeError, Decoder, EncodeError, Encoder};
pub(crate) use self::postcard::{decode_all, with_encoder};
