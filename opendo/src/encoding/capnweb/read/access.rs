//! Ways to hand what is in a value to serde.

use std::borrow::Cow;

use serde::de::value::{CowStrDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::super::path;
use super::key::KeyReader;
use super::token::Tokens;
use super::{Reader, TextError};
use crate::value::ByteContainer;

/// The elements of a list whose opening bracket was read.
pub(super) struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
    over: bool,
}

impl<'r, 'a> Elements<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>) -> Self {
        Self { reader, first: true, over: false }
    }

    fn step(&mut self) -> Result<bool, TextError> {
        self.over = self.over || !self.reader.tokens.cursor.next(&mut self.first, b']')?;
        Ok(!self.over)
    }

    /// All of them must have been taken.
    pub(super) fn end(mut self) -> Result<(), TextError> {
        if self.step()? { self.reader.tokens.expected("the end of the list") } else { Ok(()) }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, '_> {
    type Error = TextError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TextError> {
        if self.step()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

/// The members of an object whose opening bracket was read.
pub(super) struct Members<'r, 'a>(Elements<'r, 'a>);

impl<'r, 'a> Members<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>) -> Self {
        Self(Elements::new(reader))
    }

    fn step(&mut self) -> Result<bool, TextError> {
        let Elements { reader, first, over } = &mut self.0;
        *over = *over || !reader.tokens.cursor.next(first, b'}')?;
        Ok(!*over)
    }

    pub(super) fn end(mut self) -> Result<(), TextError> {
        if self.step()? { self.0.reader.tokens.expected("the end of the object") } else { Ok(()) }
    }
}

impl<'de> de::MapAccess<'de> for &mut Members<'_, '_> {
    type Error = TextError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TextError> {
        if !self.step()? {
            return Ok(None);
        }
        let key = self.0.reader.tokens.cursor.string()?;
        self.0.reader.tokens.cursor.expect(b':')?;
        seed.deserialize(KeyReader(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TextError> {
        seed.deserialize(&mut *self.0.reader)
    }
}

/// A map whose keys are no texts: an array of pairs.
pub(super) struct Pairs<'a> {
    pairs: std::vec::IntoIter<&'a str>,
    value: Option<&'a str>,
    depth: usize,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(pairs: Vec<&'a str>, depth: usize) -> Self {
        Self { pairs: pairs.into_iter(), value: None, depth }
    }
}

impl<'de> de::MapAccess<'de> for Pairs<'_> {
    type Error = TextError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TextError> {
        let Some(pair) = self.pairs.next() else { return Ok(None) };
        let Some([key, value]) = path::elements(pair).and_then(|parts| <[&str; 2]>::try_from(parts).ok())
        else {
            return Reader::new(pair, 0).tokens.expected("a key and a value");
        };
        self.value = Some(value);
        seed.deserialize(&mut Reader::new(key, self.depth)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TextError> {
        seed.deserialize(&mut Reader::new(self.value.take().unwrap_or("null"), self.depth))
    }
}

/// An error as an object.
pub(super) struct Entries<'a> {
    entries: std::vec::IntoIter<(Cow<'a, str>, &'a str)>,
    value: Option<&'a str>,
    depth: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn of_error(tokens: &mut Tokens<'a>, depth: usize) -> Result<Self, TextError> {
        let parts = super::parts(tokens.cursor.skip()?);
        let mut entries = Vec::new();
        for (name, part) in ["name", "message", "stack"].into_iter().zip(parts.iter().skip(1)) {
            entries.push((Cow::Borrowed(name), *part));
        }
        if let Some(props) = parts.get(4) {
            let mut cursor = Tokens::new(props).cursor;
            let mut first = true;
            cursor.expect(b'{')?;
            while cursor.next(&mut first, b'}')? {
                let name = cursor.string()?;
                cursor.expect(b':')?;
                entries.push((name, cursor.skip()?));
            }
        }
        Ok(Self { entries: entries.into_iter(), value: None, depth })
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = TextError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TextError> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(KeyReader(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TextError> {
        seed.deserialize(&mut Reader::new(self.value.take().unwrap_or("null"), self.depth))
    }
}

/// The elements of a typed array.
pub(super) struct Container<'b> {
    container: ByteContainer,
    rest: &'b [u8],
}

impl<'b> Container<'b> {
    pub(super) fn new(container: ByteContainer, bytes: &'b [u8]) -> Self {
        Self { container, rest: bytes }
    }
}

impl<'de> de::SeqAccess<'de> for Container<'_> {
    type Error = TextError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TextError> {
        use ByteContainer as C;
        macro_rules! element {
            ($type:ty) => {{
                let Some((element, rest)) = self.rest.split_first_chunk() else { return Ok(None) };
                self.rest = rest;
                seed.deserialize(<$type>::from_le_bytes(*element).into_deserializer()).map(Some)
            }};
        }
        match self.container {
            C::Int8Array => element!(i8),
            C::Int16Array => element!(i16),
            C::Uint16Array => element!(u16),
            C::Int32Array => element!(i32),
            C::Uint32Array => element!(u32),
            C::BigInt64Array => element!(i64),
            C::BigUint64Array => element!(u64),
            C::Float32Array => element!(f32),
            C::Float64Array => element!(f64),
            C::Uint8Array | C::ArrayBuffer | C::DataView | C::Uint8ClampedArray => element!(u8),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len() / self.container.element_size())
    }
}

/// A date as the seconds and nanoseconds of a `SystemTime`.
pub(super) struct TimeParts {
    seconds: u64,
    nanos: u32,
    taken: u8,
}

impl TimeParts {
    pub(super) fn new(millis: f64) -> Result<Self, TextError> {
        if millis.is_nan() {
            return Err(TextError::new("expected a date, got the invalid one"));
        }
        if !(0.0..1e19).contains(&millis) {
            return Err(TextError::new("expected a date from 1970 on"));
        }
        let seconds = (millis / 1e3).floor();
        // Doubles tell no finer steps than this apart nowadays; the rest is noise.
        let nanos = ((millis - seconds * 1e3) * 1e6).round() as u64;
        Ok(Self {
            seconds: seconds as u64 + nanos / 1_000_000_000,
            nanos: (nanos % 1_000_000_000) as u32,
            taken: 0,
        })
    }
}

impl<'de> de::SeqAccess<'de> for TimeParts {
    type Error = TextError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TextError> {
        self.taken += 1;
        match self.taken {
            1 => seed.deserialize(self.seconds.into_deserializer()).map(Some),
            2 => seed.deserialize(self.nanos.into_deserializer()).map(Some),
            _ => Ok(None),
        }
    }
}

/// A variant with what it holds, behind the opening bracket of the object that it is.
pub(super) struct Variant<'r, 'a>(pub(super) &'r mut Reader<'a>);

impl<'de> de::EnumAccess<'de> for Variant<'_, '_> {
    type Error = TextError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), TextError> {
        let name = self.0.tokens.cursor.string()?;
        self.0.tokens.cursor.expect(b':')?;
        let name: CowStrDeserializer<'_, TextError> = name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, '_> {
    type Error = TextError;

    fn unit_variant(self) -> Result<(), TextError> {
        <()>::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, TextError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, TextError> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextError> {
        self.0.deserialize_struct("", fields, visitor)
    }
}

/// A special form as an enum: the tag is the variant, what follows it a tuple.
pub(super) struct SpecialForm<'r, 'a> {
    tag: Cow<'a, str>,
    reader: &'r mut Reader<'a>,
    over: bool,
}

impl<'r, 'a> SpecialForm<'r, 'a> {
    /// Behind the tag.
    pub(super) fn new(tag: Cow<'a, str>, reader: &'r mut Reader<'a>) -> Self {
        Self { tag, reader, over: false }
    }

    fn step(&mut self) -> Result<bool, TextError> {
        self.over = self.over || !self.reader.tokens.cursor.more(b']')?;
        Ok(!self.over)
    }

    /// What was not taken does not matter.
    pub(super) fn end(mut self) -> Result<(), TextError> {
        while self.step()? {
            self.reader.tokens.cursor.skip()?;
        }
        Ok(())
    }
}

impl<'de> de::EnumAccess<'de> for &mut SpecialForm<'_, '_> {
    type Error = TextError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), TextError> {
        let tag: StrDeserializer<'_, TextError> = self.tag.as_ref().into_deserializer();
        Ok((seed.deserialize(tag)?, self))
    }
}

impl<'de> de::SeqAccess<'de> for &mut SpecialForm<'_, '_> {
    type Error = TextError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TextError> {
        if self.step()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> de::VariantAccess<'de> for &mut SpecialForm<'_, '_> {
    type Error = TextError;

    fn unit_variant(self) -> Result<(), TextError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, TextError> {
        if self.step()? { seed.deserialize(&mut *self.reader) } else { Err(TextError::new("expected more")) }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TextError> {
        visitor.visit_seq(self)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextError> {
        visitor.visit_seq(self)
    }
}

/// The same for what is in the table beside the body.
pub(super) struct Place(pub(super) u32);

impl<'de> de::EnumAccess<'de> for Place {
    type Error = TextError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), TextError> {
        let tag: StrDeserializer<'_, TextError> = "#".into_deserializer();
        Ok((seed.deserialize(tag)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Place {
    type Error = TextError;

    fn unit_variant(self) -> Result<(), TextError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, TextError> {
        seed.deserialize(self.0.into_deserializer())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TextError> {
        visitor.visit_seq(SeqDeserializer::new(std::iter::once(self.0)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextError> {
        self.tuple_variant(1, visitor)
    }
}
