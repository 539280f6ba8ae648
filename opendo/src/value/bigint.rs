//! Integers of any size.

use std::fmt;
use std::str::FromStr;

use crate::encoding::capnweb::{MAX_BIGINT, bigint};

/// An integer of up to 16,384 digits, its sign among them: JavaScript's `bigint`, as its decimal text.
///
/// ```
/// use opendo::value::BigInt;
///
/// let large: BigInt = "123456789012345678901234567890".parse().unwrap();
/// assert_eq!(u128::try_from(&large), Ok(123456789012345678901234567890));
/// assert!(u64::try_from(&large).is_err());
/// assert_eq!(BigInt::from(-5_i64).to_string(), "-5");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt(String);

/// A text that is no integer, or one of too many digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no integer of up to {MAX_BIGINT} digits")]
pub struct ParseBigIntError(());

impl BigInt {
    /// The decimal digits, after a `-` if it is negative.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BigInt {
    type Err = ParseBigIntError;

    /// Takes what JavaScript's `BigInt()` takes: `0x`, `0o` and `0b` are prefixes, nothing is 0.
    fn from_str(text: &str) -> Result<Self, ParseBigIntError> {
        let fits = text.encode_utf16().take(MAX_BIGINT + 1).count() <= MAX_BIGINT;
        let decimal = if fits { bigint::decimal(text) } else { None };
        decimal.filter(|text| text.len() <= MAX_BIGINT).map(Self).ok_or(ParseBigIntError(()))
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}n", self.0)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl From<$type> for BigInt {
            fn from(value: $type) -> Self {
                Self(value.to_string())
            }
        }

        impl TryFrom<&BigInt> for $type {
            type Error = std::num::ParseIntError;

            fn try_from(value: &BigInt) -> Result<Self, Self::Error> {
                value.0.parse()
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);
