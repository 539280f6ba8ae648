//! What a column of a row holds.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// A value of one of the types that SQLite has, for rows whose types are not known.
///
/// It is a parameter too, and a field of a row's struct.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SqlValue {
    /// NULL.
    #[default]
    Null,
    /// INTEGER: all 64 bits of it (Cloudflare's come back as a double; checklist 6.10).
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

impl Serialize for SqlValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Real(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Blob(value) => serializer.serialize_bytes(value),
        }
    }
}

impl<'de> Deserialize<'de> for SqlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl Visitor<'_> for AnyValue {
    type Value = SqlValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_unit<E: Error>(self) -> Result<SqlValue, E> {
        Ok(SqlValue::Null)
    }

    fn visit_none<E: Error>(self) -> Result<SqlValue, E> {
        Ok(SqlValue::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<SqlValue, E> {
        Ok(SqlValue::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<SqlValue, E> {
        Ok(SqlValue::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<SqlValue, E> {
        i64::try_from(value)
            .map(SqlValue::Integer)
            .map_err(|_| E::custom("an integer has 63 bits and a sign"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<SqlValue, E> {
        Ok(SqlValue::Real(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<SqlValue, E> {
        Ok(SqlValue::Text(value.to_owned()))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<SqlValue, E> {
        Ok(SqlValue::Blob(value.to_vec()))
    }
}
