//! Parameters: any serde value that is a list of scalars, by place, or a struct of them, by name.

use std::collections::BTreeMap;

use rusqlite::Statement;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use serde::de::value::Error;
use serde::ser::{self, Error as _, Impossible, Serialize};

use super::error::SqlError;
use super::value::SqlValue;

/// What was given, and for whom.
pub(super) enum Given {
    Placed(Vec<SqlValue>),
    Named(Vec<(String, SqlValue)>),
}

impl Given {
    pub(super) fn new(params: &(impl Serialize + ?Sized)) -> Result<Self, SqlError> {
        params.serialize(List).map_err(|error| wrong(error.to_string()))
    }

    /// Binds all of `statement`'s parameters, or fails.
    pub(super) fn bind(&self, statement: &mut Statement<'_>) -> Result<(), SqlError> {
        let expected = statement.parameter_count();
        match self {
            Self::Placed(values) if values.len() != expected => {
                Err(SqlError::ParameterCount { expected, given: values.len() })
            }
            Self::Placed(values) => {
                let mut numbered = (1..).zip(values);
                numbered.try_for_each(|(index, value)| bind(statement, index, value))
            }
            Self::Named(values) => bind_named(statement, values),
        }
    }
}

fn bind(statement: &mut Statement<'_>, index: usize, value: &SqlValue) -> Result<(), SqlError> {
    statement.raw_bind_parameter(index, Bound(value)).map_err(|error| wrong(error.to_string()))
}

fn bind_named(statement: &mut Statement<'_>, values: &[(String, SqlValue)]) -> Result<(), SqlError> {
    let mut unused: BTreeMap<&str, &SqlValue> = values.iter().map(|(name, value)| (&**name, value)).collect();
    let values = unused.clone();
    for index in 1..=statement.parameter_count() {
        let Some(name) = statement.parameter_name(index) else {
            return Err(wrong("fields have names, and the statement has a `?`".to_owned()));
        };
        // Behind the sign: SQLite has `:name`, `@name` and `$name`.
        let value = values.get(&name[1..]).ok_or_else(|| wrong(format!("there is no field for `{name}`")))?;
        unused.remove(&name[1..]);
        bind(statement, index, value)?;
    }
    match unused.first_key_value() {
        Some((name, _)) => Err(wrong(format!("the statement has no `:{name}`"))),
        None => Ok(()),
    }
}

fn wrong(reason: String) -> SqlError {
    SqlError::Parameter { reason }
}

struct Bound<'a>(&'a SqlValue);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Integer(value) => ValueRef::Integer(*value),
            SqlValue::Real(value) => ValueRef::Real(*value),
            SqlValue::Text(value) => ValueRef::Text(value.as_bytes()),
            SqlValue::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// Serializes one parameter.
struct One;

/// A `u8` is an INTEGER, a list of them a BLOB.
enum Scalar {
    Byte(u8),
    Value(SqlValue),
}

impl From<Scalar> for SqlValue {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Byte(byte) => Self::Integer(byte.into()),
            Scalar::Value(value) => value,
        }
    }
}

fn one(value: &(impl Serialize + ?Sized)) -> Result<SqlValue, Error> {
    value.serialize(One).map(SqlValue::from)
}

fn no(what: &str) -> Error {
    Error::custom(format!("{what} is not a single value; NULL, numbers, texts and bytes are"))
}

fn integer<T: TryInto<i64> + Copy + std::fmt::Display>(value: T) -> Result<Scalar, Error> {
    let integer =
        value.try_into().map_err(|_| Error::custom(format!("{value} is out of the range of an i64")))?;
    Ok(Scalar::Value(SqlValue::Integer(integer)))
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Scalar, Error> { integer(value) })*
    };
}

impl ser::Serializer for One {
    type Ok = Scalar;
    type Error = Error;
    type SerializeSeq = Bytes;
    type SerializeTuple = Bytes;
    type SerializeTupleStruct = Impossible<Scalar, Error>;
    type SerializeTupleVariant = Impossible<Scalar, Error>;
    type SerializeMap = Impossible<Scalar, Error>;
    type SerializeStruct = Impossible<Scalar, Error>;
    type SerializeStructVariant = Impossible<Scalar, Error>;

    integers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128);
    integers!(serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);

    fn serialize_u8(self, value: u8) -> Result<Scalar, Error> {
        Ok(Scalar::Byte(value))
    }

    fn serialize_bool(self, value: bool) -> Result<Scalar, Error> {
        integer(i64::from(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Scalar, Error> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Scalar, Error> {
        if value.is_nan() {
            return Err(Error::custom("SQLite has no NaN; it would become NULL"));
        }
        Ok(Scalar::Value(SqlValue::Real(value)))
    }

    fn serialize_char(self, value: char) -> Result<Scalar, Error> {
        Ok(Scalar::Value(SqlValue::Text(value.into())))
    }

    fn serialize_str(self, value: &str) -> Result<Scalar, Error> {
        Ok(Scalar::Value(SqlValue::Text(value.to_owned())))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Scalar, Error> {
        Ok(Scalar::Value(SqlValue::Blob(value.to_vec())))
    }

    fn serialize_none(self) -> Result<Scalar, Error> {
        Ok(Scalar::Value(SqlValue::Null))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Scalar, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Scalar, Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Scalar, Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Scalar, Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Scalar, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<Scalar, Error> {
        Err(no(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Bytes, Error> {
        Ok(Bytes(Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Bytes, Error> {
        Ok(Bytes(Vec::new()))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        Err(no(name))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(no(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(no("a map"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        Err(no(name))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(no(variant))
    }
}

/// A list inside the list: bytes, or a mistake.
struct Bytes(Vec<u8>);

impl Bytes {
    fn push(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        match value.serialize(One)? {
            Scalar::Byte(byte) => {
                self.0.push(byte);
                Ok(())
            }
            Scalar::Value(_) => Err(no("a list of anything but bytes")),
        }
    }

    fn blob(self) -> Scalar {
        Scalar::Value(SqlValue::Blob(self.0))
    }
}

impl ser::SerializeSeq for Bytes {
    type Ok = Scalar;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<Scalar, Error> {
        Ok(self.blob())
    }
}

impl ser::SerializeTuple for Bytes {
    type Ok = Scalar;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<Scalar, Error> {
        Ok(self.blob())
    }
}

/// Serializes all parameters.
struct List;

macro_rules! single {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Given, Error> { Ok(Given::Placed(vec![one(&value)?])) })*
    };
}

impl ser::Serializer for List {
    type Ok = Given;
    type Error = Error;
    type SerializeSeq = Placed;
    type SerializeTuple = Placed;
    type SerializeTupleStruct = Placed;
    type SerializeTupleVariant = Impossible<Given, Error>;
    type SerializeMap = Named;
    type SerializeStruct = Named;
    type SerializeStructVariant = Impossible<Given, Error>;

    single!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128);
    single!(serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);
    single!(serialize_bool bool, serialize_f32 f32, serialize_f64 f64, serialize_char char, serialize_str &str);

    fn serialize_bytes(self, value: &[u8]) -> Result<Given, Error> {
        Ok(Given::Placed(vec![SqlValue::Blob(value.to_vec())]))
    }

    fn serialize_none(self) -> Result<Given, Error> {
        Ok(Given::Placed(vec![SqlValue::Null]))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Given, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Given, Error> {
        Ok(Given::Placed(Vec::new()))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Given, Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Given, Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Given, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<Given, Error> {
        Err(no(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Placed, Error> {
        Ok(Placed(Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Placed, Error> {
        Ok(Placed(Vec::new()))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Placed, Error> {
        Ok(Placed(Vec::new()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(no(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Named, Error> {
        Ok(Named { values: Vec::new(), key: String::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Named, Error> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(no(variant))
    }
}

struct Placed(Vec<SqlValue>);

macro_rules! placed {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Placed {
            type Ok = Given;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.0.push(one(value)?);
                Ok(())
            }

            fn end(self) -> Result<Given, Error> {
                Ok(Given::Placed(self.0))
            }
        })*
    };
}

placed!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field);

struct Named {
    values: Vec<(String, SqlValue)>,
    /// Of the value that comes next.
    key: String,
}

impl ser::SerializeStruct for Named {
    type Ok = Given;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        let value = one(value).map_err(|error| Error::custom(format!("`{name}`: {error}")))?;
        self.values.push((name.to_owned(), value));
        Ok(())
    }

    fn end(self) -> Result<Given, Error> {
        Ok(Given::Named(self.values))
    }
}

impl ser::SerializeMap for Named {
    type Ok = Given;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match one(key)? {
            SqlValue::Text(key) => self.key = key,
            _ => return Err(Error::custom("the name of a parameter is a text")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.values.push((std::mem::take(&mut self.key), one(value)?));
        Ok(())
    }

    fn end(self) -> Result<Given, Error> {
        Ok(Given::Named(self.values))
    }
}
