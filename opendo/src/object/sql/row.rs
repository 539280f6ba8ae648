//! Rows as serde values: a struct by the names of the columns, a tuple by their places, a scalar if there is one.

use std::any::type_name;

use rusqlite::types::ValueRef;
use serde::de::value::{BorrowedStrDeserializer, Error, SeqDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::error::SqlError;
use super::value::SqlValue;

/// The names of a statement's columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    /// Whether a later column has the same name: by name, the last one counts (checklist 6.11).
    hidden: Vec<bool>,
}

impl Columns {
    pub(super) fn new(names: Vec<String>) -> Self {
        let hidden = (0..names.len()).map(|index| names[index + 1..].contains(&names[index])).collect();
        Self { names, hidden }
    }
}

/// What rows are read from.
pub(super) trait Cells<'de> {
    fn cell(&self, index: usize) -> Result<Cell<'de>, Error>;
}

#[derive(Clone, Copy)]
pub(super) enum Cell<'de> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'de str),
    Blob(&'de [u8]),
}

impl<'de> Cells<'de> for &'de rusqlite::Row<'_> {
    fn cell(&self, index: usize) -> Result<Cell<'de>, Error> {
        Ok(match self.get_ref(index).map_err(Error::custom)? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Integer(value),
            ValueRef::Real(value) => Cell::Real(value),
            ValueRef::Text(value) => Cell::Text(std::str::from_utf8(value).map_err(Error::custom)?),
            ValueRef::Blob(value) => Cell::Blob(value),
        })
    }
}

impl<'de> Cells<'de> for &'de [SqlValue] {
    fn cell(&self, index: usize) -> Result<Cell<'de>, Error> {
        Ok(match &self[index] {
            SqlValue::Null => Cell::Null,
            SqlValue::Integer(value) => Cell::Integer(*value),
            SqlValue::Real(value) => Cell::Real(*value),
            SqlValue::Text(value) => Cell::Text(value),
            SqlValue::Blob(value) => Cell::Blob(value),
        })
    }
}

pub(super) fn read<'de, T: Deserialize<'de>>(
    cells: &impl Cells<'de>,
    columns: &Columns,
) -> Result<T, SqlError> {
    T::deserialize(Row { cells, columns })
        .map_err(|error| SqlError::Row { expected: type_name::<T>(), reason: error.to_string() })
}

struct Row<'r, C> {
    cells: &'r C,
    columns: &'r Columns,
}

impl<'de, C: Cells<'de>> Row<'_, C> {
    fn count(&self) -> usize {
        self.columns.names.len()
    }

    /// The value of the only column.
    fn single(&self) -> Result<Cell<'de>, Error> {
        match self.count() {
            1 => self.cells.cell(0),
            count => Err(Error::custom(format!("the row has {count} columns, and one value was asked for"))),
        }
    }

    fn seed<S: DeserializeSeed<'de>>(&self, index: usize, seed: S) -> Result<S::Value, Error> {
        let read = self.cells.cell(index).and_then(|cell| seed.deserialize(cell));
        read.map_err(|error| Error::custom(format!("column `{}`: {error}", self.columns.names[index])))
    }
}

macro_rules! single {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.single()?.$method(visitor)
        })*
    };
}

impl<'de, C: Cells<'de>> Deserializer<'de> for Row<'_, C> {
    type Error = Error;

    single! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.count() {
            1 => self.single()?.deserialize_any(visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.count() {
            1 if matches!(self.single()?, Cell::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(ByPlace { row: self, next: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        if length != self.count() {
            let count = self.count();
            return Err(Error::custom(format!("the row has {count} columns, and {length} were asked for")));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(ByName { row: self, next: 0 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.single()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct ByPlace<'r, C> {
    row: Row<'r, C>,
    next: usize,
}

impl<'de, C: Cells<'de>> de::SeqAccess<'de> for ByPlace<'_, C> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.next == self.row.count() {
            return Ok(None);
        }
        self.next += 1;
        self.row.seed(self.next - 1, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.row.count() - self.next)
    }
}

struct ByName<'r, C> {
    row: Row<'r, C>,
    next: usize,
}

impl<'de, C: Cells<'de>> de::MapAccess<'de> for ByName<'_, C> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while self.row.columns.hidden.get(self.next) == Some(&true) {
            self.next += 1;
        }
        let Some(name) = self.row.columns.names.get(self.next) else { return Ok(None) };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.next += 1;
        self.row.seed(self.next - 1, seed)
    }
}

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Integer(value) => visitor.visit_i64(value),
            Self::Real(value) => visitor.visit_f64(value),
            Self::Text(value) => visitor.visit_borrowed_str(value),
            Self::Blob(value) => visitor.visit_borrowed_bytes(value),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Integer(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Blob(value) => visitor.visit_seq(SeqDeserializer::new(value.iter().copied())),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Blob(value) if value.len() != length => {
                Err(Error::invalid_length(value.len(), &format!("{length} bytes").as_str()))
            }
            other => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(value) => {
                BorrowedStrDeserializer::new(value).deserialize_enum(name, variants, visitor)
            }
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple_struct map struct identifier ignored_any
    }
}
