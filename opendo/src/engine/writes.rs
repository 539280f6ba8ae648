//! What keys are to become.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Deref};

use bytes::Bytes;

/// A key and its new value; `None` deletes. What is short takes no memory of its own.
#[derive(Clone)]
pub(crate) enum Write {
    Short(Short),
    Long(Bytes, Option<Bytes>),
}

/// How long a key and its value are that are short together.
const SHORT: usize = 64;

/// The key, then the value.
#[derive(Clone, Copy)]
pub(crate) struct Short {
    bytes: [u8; SHORT],
    key: u8,
    length: u8,
}

impl Write {
    /// Of the key that `both` begins with, so many bytes, and the value behind it.
    pub(crate) fn of(both: &[u8], key: usize) -> Self {
        let mut bytes = [0; SHORT];
        let Some(short) = bytes.get_mut(..both.len()) else {
            let [key, value] = [&both[..key], &both[key..]].map(Bytes::copy_from_slice);
            return Self::Long(key, Some(value));
        };
        short.copy_from_slice(both);
        Self::Short(Short { bytes, key: key as u8, length: both.len() as u8 })
    }

    pub(crate) fn key(&self) -> Piece<'_> {
        match self {
            Self::Short(short) => Piece::Short(&short.bytes[..short.key.into()]),
            Self::Long(key, _) => Piece::Long(key),
        }
    }

    pub(crate) fn value(&self) -> Option<Piece<'_>> {
        match self {
            Self::Short(short) => Some(Piece::Short(&short.bytes[short.key.into()..short.length.into()])),
            Self::Long(_, value) => value.as_ref().map(Piece::Long),
        }
    }

    fn pieces(&self) -> (Piece<'_>, Option<Piece<'_>>) {
        (self.key(), self.value())
    }

    pub(crate) fn into_pair(self) -> (Bytes, Option<Bytes>) {
        match self {
            Self::Short(_) => (self.key().to_bytes(), self.value().map(Piece::to_bytes)),
            Self::Long(key, value) => (key, value),
        }
    }
}

impl From<(Bytes, Option<Bytes>)> for Write {
    fn from((key, value): (Bytes, Option<Bytes>)) -> Self {
        Self::Long(key, value)
    }
}

/// A key or a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    Short(&'a [u8]),
    Long(&'a Bytes),
}

impl Piece<'_> {
    pub(crate) fn to_bytes(self) -> Bytes {
        match self {
            Self::Short(bytes) => Bytes::copy_from_slice(bytes),
            Self::Long(bytes) => bytes.clone(),
        }
    }
}

impl PartialEq for Piece<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

/// Keys in their order, each with its new value. Most changes are of one key.
#[derive(Clone, Default)]
pub(crate) struct Writes {
    /// `None` if there are others.
    one: Option<Write>,
    /// `None` if there are no others.
    many: Option<Box<Many>>,
}

type Many = BTreeMap<Bytes, Option<Bytes>>;

fn pieces<'a>((key, value): (&'a Bytes, &'a Option<Bytes>)) -> (Piece<'a>, Option<Piece<'a>>) {
    (Piece::Long(key), value.as_ref().map(Piece::Long))
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_none() && self.many.as_ref().is_none_or(|many| many.is_empty())
    }

    pub(crate) fn insert(&mut self, write: impl Into<Write>) {
        let write = write.into();
        match &mut self.one {
            None if self.many.is_none() => self.one = Some(write),
            Some(before) if *before.key() == *write.key() => *before = write,
            before => {
                let before = before.take().map(Write::into_pair);
                let many = self.many.get_or_insert_default();
                many.extend(before);
                many.extend([write.into_pair()]);
            }
        }
    }

    /// What becomes of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<Piece<'_>>> {
        match &self.one {
            Some(one) => (*one.key() == *key).then(|| one.value()),
            None => self.many.as_ref()?.get(key).map(|value| value.as_ref().map(Piece::Long)),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Piece<'_>, Option<Piece<'_>>)> {
        let many = self.many.iter().flat_map(|many| many.iter());
        self.one.iter().map(Write::pieces).chain(many.map(pieces))
    }

    /// Those whose keys are that one or behind it.
    pub(crate) fn starting(&self, start: &[u8]) -> impl Iterator<Item = (Piece<'_>, Option<Piece<'_>>)> {
        let one = self.one.iter().filter(move |one| *one.key() >= *start);
        let range = (Bound::Included(start), Bound::Unbounded);
        let many = self.many.iter().flat_map(move |many| many.range::<[u8], _>(range));
        one.map(Write::pieces).chain(many.map(pieces))
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        self.one.take_if(|one| !keep(&one.key()));
        if let Some(many) = &mut self.many {
            many.retain(|key, _| keep(key));
        }
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Writes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<W: Into<Write>> Extend<W> for Writes {
    fn extend<I: IntoIterator<Item = W>>(&mut self, writes: I) {
        writes.into_iter().for_each(|write| self.insert(write));
    }
}

impl<W: Into<Write>> FromIterator<W> for Writes {
    fn from_iter<I: IntoIterator<Item = W>>(writes: I) -> Self {
        let mut all = Self::default();
        all.extend(writes);
        all
    }
}

impl<const N: usize> From<[(Bytes, Option<Bytes>); N]> for Writes {
    fn from(writes: [(Bytes, Option<Bytes>); N]) -> Self {
        writes.into_iter().collect()
    }
}

impl IntoIterator for Writes {
    type Item = Write;
    type IntoIter = std::iter::Chain<
        std::option::IntoIter<Write>,
        std::iter::Map<std::iter::Flatten<std::option::IntoIter<Many>>, fn((Bytes, Option<Bytes>)) -> Write>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        let many = self.many.map(|many| *many).into_iter().flatten();
        self.one.into_iter().chain(many.map(Write::from as fn(_) -> _))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn keys(writes: &Writes, start: &str) -> Vec<Bytes> {
        writes.starting(start.as_bytes()).map(|(key, _)| key.to_bytes()).collect()
    }

    #[test]
    fn one_or_many_they_are_in_order_and_the_last_counts() {
        let mut writes = Writes::default();
        assert!(writes.is_empty());
        writes.insert((bytes("b"), None));
        writes.insert((bytes("b"), Some(bytes("1"))));
        assert_eq!(writes.get(b"b"), Some(Some(Piece::Short(b"1"))));
        assert_eq!((keys(&writes, "b"), keys(&writes, "c")), (vec![bytes("b")], vec![]));
        writes.insert((bytes("a"), None));
        writes.insert((bytes("c"), None));
        writes.insert((bytes("b"), None));
        assert_eq!(keys(&writes, ""), ["a", "b", "c"]);
        assert_eq!(keys(&writes, "b"), ["b", "c"]);
        assert_eq!((writes.get(b"b"), writes.get(b"d")), (Some(None), None));
    }

    #[test]
    fn they_are_equal_however_they_came_to_be() {
        let one = Writes::from([(bytes("b"), None)]);
        let mut left = Writes::from([(bytes("a"), None), (bytes("b"), None)]);
        assert_ne!(left, one);
        left.retain(|key| key != b"a");
        assert_eq!(left, one);
        left.insert((bytes("b"), Some(bytes("1"))));
        assert_ne!(left, one);
        left.retain(|_| false);
        assert!(left.is_empty() && left.into_iter().next().is_none());
    }

    #[test]
    fn what_is_short_and_what_is_long_is_the_same() {
        for (key, value) in
            [(0, 0), (0, SHORT), (1, 0), (6, 8), (6, SHORT - 6), (6, SHORT - 5), (SHORT, 0), (300, 9)]
        {
            let both: Vec<u8> = (0..key + value).map(|at| at as u8).collect();
            let write = Write::of(&both, key);
            assert_eq!(matches!(write, Write::Short(_)), both.len() <= SHORT);
            assert_eq!((&*write.key(), write.value().as_deref()), (&both[..key], Some(&both[key..])));
            let long = both.split_at(key);
            let long = (Bytes::copy_from_slice(long.0), Some(Bytes::copy_from_slice(long.1)));
            assert_eq!(write.into_pair(), long);
        }
    }
}
