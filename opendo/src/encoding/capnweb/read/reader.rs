//! The deserializer.

use serde::de::value::{CowStrDeserializer, U32Deserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};

use super::access::{Container, Elements, Entries, Members, Pairs, Place, SpecialForm, TimeParts, Variant};
use super::token::Integer;
use super::{Reader, TextError};
use crate::encoding::capnweb::{
    BARE, MAX_DEPTH, MAX_SAFE, SPECIAL, SYSTEM_TIME, TOO_DEEP, on_enough_stack, path,
};
use crate::rpc::arg::Value as Promised;
use crate::rpc::cap::{self, CAP, Passed};
use crate::stream::{SINK, STREAM};

/// Goes on in the body of a promise that was resolved, if that is next. Only a stub or stream is left in the table.
macro_rules! resolved {
    ($self:ident.$method:ident($($arg:expr),*)) => {
        if let Some(place) = $self.tokens.marker()
            && let Ok(Passed::Value(Promised::There(value))) = cap::passed(place)
        {
            $self.tokens.cursor.skip()?;
            let text = super::super::text(&value.bytes)?;
            return $self.inside(|outer| {
                cap::decoding(value.passed, || (&mut Reader::new(text, outer.depth)).$method($($arg),*))
            });
        }
    };
}

impl<'a> Reader<'a> {
    /// Reads what is in the value that is next.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, TextError>) -> Result<T, TextError> {
        if self.depth + 1 >= MAX_DEPTH {
            return Err(TextError::new(TOO_DEEP));
        }
        self.depth += 1;
        let read = on_enough_stack(|| read(self));
        self.depth -= 1;
        read
    }

    fn integer<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, TextError> {
        match self.tokens.integer()? {
            Integer::Unsigned(value) => visitor.visit_u128(value),
            Integer::Signed(value) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_i128(value),
            },
        }
    }

    /// The place in the table of the stub, stream or sink that is next.
    fn place(&mut self, what: &str) -> Result<u32, TextError> {
        let Some(mut place) = self.tokens.marker() else { return self.tokens.expected(what) };
        self.tokens.cursor.skip()?;
        let fail = |why: &str| TextError::new(why);
        while let Passed::Value(Promised::There(value)) = cap::passed(place).map_err(fail)? {
            // Promises may resolve to promises; what is at the end of them has its place in another table.
            let text = super::super::text(&value.bytes)?;
            let found = path::marker(text).and_then(|at| value.passed.into_iter().nth(at as usize));
            let Some(found) = found else { return Reader::new(text, 0).tokens.expected(what) };
            place = cap::adopt(found).map_err(fail)?;
        }
        Ok(place)
    }

    /// An array, or what is written as the writer's bare lists are.
    fn elements<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, TextError> {
        let bare = std::mem::take(&mut self.bare);
        if bare {
            if self.tokens.cursor.peek() != Some(b'[') {
                return self.tokens.expected("a list");
            }
        } else {
            match self.tokens.peek_tag().as_deref() {
                Some("bytes") => {
                    let (container, bytes) = self.tokens.bytes()?;
                    return visitor.visit_seq(Container::new(container, &bytes));
                }
                Some("headers") => {
                    let pairs = self.headers()?;
                    return visitor.visit_seq(de::value::MapDeserializer::new(pairs.into_iter()));
                }
                _ if !self.tokens.is_array() => return self.tokens.expected("an array"),
                _ => self.tokens.cursor.expect(b'[')?,
            }
        }
        let value = self.inside(|this| {
            this.tokens.cursor.expect(b'[')?;
            let mut elements = Elements::new(this);
            let value = visitor.visit_seq(&mut elements)?;
            elements.end()?;
            Ok(value)
        })?;
        if !bare {
            self.tokens.cursor.expect(b']')?;
        }
        Ok(value)
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, TextError> {
        self.tokens.enter()?;
        self.tokens.cursor.expect(b',')?;
        let mut pairs = Vec::new();
        for pair in super::parts(self.tokens.cursor.skip()?) {
            let [name, value] = super::parts(pair)[..] else {
                return Err(TextError::new("expected a header"));
            };
            pairs.push((super::take(name)?, super::take(value)?));
        }
        self.tokens.cursor.expect(b']')?;
        Ok(pairs)
    }

    fn members<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, TextError> {
        if self.tokens.cursor.peek() == Some(b'{') {
            return self.inside(|this| {
                this.tokens.cursor.expect(b'{')?;
                let mut members = Members::new(this);
                let value = visitor.visit_map(&mut members)?;
                members.end()?;
                Ok(value)
            });
        }
        match self.tokens.peek_tag().as_deref() {
            Some("error") => {
                self.inside(|this| visitor.visit_map(Entries::of_error(&mut this.tokens, this.depth)?))
            }
            Some("headers") => {
                visitor.visit_map(de::value::MapDeserializer::new(self.headers()?.into_iter()))
            }
            _ => self.tokens.expected("an object"),
        }
    }

    /// Whatever is next, as what it is in Rust.
    fn any<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, TextError> {
        match self.tokens.cursor.peek() {
            Some(b'"') => visitor.visit_str(&self.tokens.string()?),
            Some(b'{') => self.members(visitor),
            Some(b't' | b'f') => visitor.visit_bool(self.tokens.bool()?),
            Some(b'n') if self.tokens.cursor.word("null") => visitor.visit_none(),
            Some(b'-' | b'0'..=b'9') => {
                // Beyond that JavaScript means a double, whatever its digits are.
                let mut ahead = self.tokens.cursor;
                let integer =
                    ahead.number()?.parse().ok().filter(|it: &i64| it.unsigned_abs() <= MAX_SAFE as u64);
                if integer.is_some() {
                    self.integer(visitor)
                } else {
                    visitor.visit_f64(self.tokens.float()?)
                }
            }
            _ => match self.tokens.peek_tag().as_deref() {
                None => self.elements(visitor),
                Some("undefined") => {
                    self.tokens.cursor.skip()?;
                    visitor.visit_unit()
                }
                Some("bytes") => visitor.visit_byte_buf(self.tokens.bytes()?.1),
                Some("bigint") => self.integer(visitor),
                Some("inf" | "-inf" | "nan") => visitor.visit_f64(self.tokens.float()?),
                Some("date") => visitor.visit_f64(self.tokens.date()?),
                Some("url") => visitor.visit_str(&self.tokens.string()?),
                Some("error" | "headers") => self.members(visitor),
                Some("#") => visitor.visit_newtype_struct(place_of(self.place("a stub")?)),
                Some(_) => self.tokens.expected("data"),
            },
        }
    }
}

fn place_of(place: u32) -> U32Deserializer<TextError> {
    place.into_deserializer()
}

macro_rules! forward {
    ($($to:ident: $($method:ident)*;)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
            resolved!(self.$method(visitor));
            self.$to(visitor)
        }
    )*)*};
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = TextError;

    forward! {
        any: deserialize_any;
        integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
            deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        elements: deserialize_seq;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_bool(visitor));
        visitor.visit_bool(self.tokens.bool()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_f64(visitor));
        visitor.visit_f64(self.tokens.float()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_str(visitor));
        visitor.visit_str(&self.tokens.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_bytes(visitor));
        if std::mem::take(&mut self.bare) {
            return visitor.visit_byte_buf(self.tokens.base64()?);
        }
        if self.tokens.is_array() {
            return self.elements(visitor);
        }
        visitor.visit_byte_buf(self.tokens.bytes()?.1)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_option(visitor));
        if self.tokens.is_nullish() {
            self.tokens.cursor.skip()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_unit(visitor));
        if !self.tokens.is_nullish() {
            return self.tokens.expected("undefined");
        }
        self.tokens.cursor.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TextError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TextError> {
        match name {
            CAP => visitor.visit_newtype_struct(place_of(self.place("a stub")?)),
            STREAM => visitor.visit_newtype_struct(place_of(self.place("a stream to read")?)),
            SINK => visitor.visit_newtype_struct(place_of(self.place("a stream to write")?)),
            SPECIAL => {
                resolved!(self.deserialize_newtype_struct(name, visitor));
                match self.tokens.peek_tag() {
                    Some(tag) if tag == "#" => visitor.visit_enum(Place(self.place("a stub")?)),
                    Some(tag) => {
                        self.tokens.enter()?;
                        let mut form = SpecialForm::new(tag, self);
                        let value = visitor.visit_enum(&mut form)?;
                        form.end()?;
                        Ok(value)
                    }
                    None => self.any(visitor),
                }
            }
            BARE => {
                self.bare = true;
                visitor.visit_newtype_struct(self)
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TextError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, TextError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_map(visitor));
        if !self.tokens.is_array() {
            return self.members(visitor);
        }
        let text = self.tokens.cursor.skip()?;
        self.inside(|this| {
            visitor.visit_map(Pairs::new(path::elements(text).unwrap_or_default(), this.depth))
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_struct(name, fields, visitor));
        if name == SYSTEM_TIME && self.tokens.peek_tag().as_deref() == Some("date") {
            return visitor.visit_seq(TimeParts::new(self.tokens.date()?)?);
        }
        if self.tokens.is_array() { self.elements(visitor) } else { self.members(visitor) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextError> {
        resolved!(self.deserialize_enum(name, variants, visitor));
        match self.tokens.cursor.peek() {
            Some(b'"') => {
                let variant: CowStrDeserializer<'_, TextError> = self.tokens.string()?.into_deserializer();
                visitor.visit_enum(variant)
            }
            Some(b'{') => {
                self.tokens.cursor.expect(b'{')?;
                let value = self.inside(|this| visitor.visit_enum(Variant(this)))?;
                self.tokens.cursor.expect(b'}')?;
                Ok(value)
            }
            _ => self.tokens.expected(&format!("one of the variants {}", variants.join(", "))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        self.tokens.cursor.skip()?;
        visitor.visit_unit()
    }
}
