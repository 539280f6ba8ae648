//! Arguments without a fixed number.

use std::fmt;
use std::ops::Deref;

use serde::{Serialize, de::DeserializeOwned};

use crate::encoding::{DecodeError, Decoder, EncodeError, Encoder, Form};
use crate::rpc::method::ArgType;

/// All arguments from here on, as the last argument of a method: what JavaScript writes `...rest`.
///
/// Rust callers give them as a list. It dereferences to a slice.
///
/// ```
/// use opendo::{Rest, prelude::*};
///
/// pub struct Math;
///
/// #[rpc_target]
/// impl Math {
///     /// In JavaScript: `math.max(3, 9, 4)`.
///     pub fn max(&self, numbers: Rest<f64>) -> f64 { numbers.iter().copied().fold(f64::MIN, f64::max) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let math: MathStub = opendo::serve(Math);
/// assert_eq!(math.max(vec![3.0, 9.0, 4.0].into()).await?, 9.0);
/// # Ok(()) }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rest<T>(pub Vec<T>);

impl<T> From<Vec<T>> for Rest<T> {
    fn from(arguments: Vec<T>) -> Self {
        Self(arguments)
    }
}

impl<T> Deref for Rest<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Rest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Not by serde's traits: only whole arguments can be the rest of them.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> ArgType for Rest<T> {
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        match out.form() {
            Form::Postcard => out.append(&self.0),
            #[cfg(feature = "capnweb")]
            Form::CapnWeb => self.0.iter().try_for_each(|argument| out.append(argument)),
        }
    }

    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.take_rest().map(Self)
    }
}
