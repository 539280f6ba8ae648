//! What keys are to become.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Keys in their order, each with its new value; `None` deletes. Most changes are of one key, and that one takes no memory
/// of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    /// `None` if there are others.
    one: Option<(Bytes, Option<Bytes>)>,
    /// `None` if there are no others.
    many: Option<Box<Many>>,
}

type Many = BTreeMap<Bytes, Option<Bytes>>;

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_none() && self.many.as_ref().is_none_or(|many| many.is_empty())
    }

    pub(crate) fn insert(&mut self, key: Bytes, value: Option<Bytes>) {
        match self.one.take() {
            None if self.many.is_none() => self.one = Some((key, value)),
            Some((before, _)) if before == key => self.one = Some((key, value)),
            before => {
                let many = self.many.get_or_insert_default();
                many.extend(before);
                many.insert(key, value);
            }
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        match &self.one {
            Some((one, value)) => (one == key).then_some(value),
            None => self.many.as_ref()?.get(key),
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<Bytes>)> {
        self.starting(&[])
    }

    /// Those whose keys are that one or behind it.
    pub(crate) fn starting(&self, start: &[u8]) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<Bytes>)> {
        let one = self.one.iter().filter(move |(key, _)| key >= start).map(|(key, value)| (key, value));
        let range = (Bound::Included(start), Bound::Unbounded);
        one.chain(self.many.iter().flat_map(move |many| many.range::<[u8], _>(range)))
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Bytes) -> bool) {
        self.one.take_if(|(key, _)| !keep(key));
        if let Some(many) = &mut self.many {
            many.retain(|key, _| keep(key));
        }
    }
}

impl PartialEq for Writes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Extend<(Bytes, Option<Bytes>)> for Writes {
    fn extend<I: IntoIterator<Item = (Bytes, Option<Bytes>)>>(&mut self, writes: I) {
        writes.into_iter().for_each(|(key, value)| self.insert(key, value));
    }
}

impl FromIterator<(Bytes, Option<Bytes>)> for Writes {
    fn from_iter<I: IntoIterator<Item = (Bytes, Option<Bytes>)>>(writes: I) -> Self {
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
    type Item = (Bytes, Option<Bytes>);
    type IntoIter =
        std::iter::Chain<std::option::IntoIter<Self::Item>, std::iter::Flatten<std::option::IntoIter<Many>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.one.into_iter().chain(self.many.map(|many| *many).into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn keys(writes: &Writes, start: &str) -> Vec<Bytes> {
        writes.starting(start.as_bytes()).map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn one_or_many_they_are_in_order_and_the_last_counts() {
        let mut writes = Writes::default();
        assert!(writes.is_empty());
        writes.insert(bytes("b"), None);
        writes.insert(bytes("b"), Some(bytes("1")));
        assert_eq!(writes.get(b"b"), Some(&Some(bytes("1"))));
        assert_eq!((keys(&writes, "b"), keys(&writes, "c")), (vec![bytes("b")], vec![]));
        writes.insert(bytes("a"), None);
        writes.insert(bytes("c"), None);
        writes.insert(bytes("b"), None);
        assert_eq!(keys(&writes, ""), ["a", "b", "c"]);
        assert_eq!(keys(&writes, "b"), ["b", "c"]);
        assert_eq!((writes.get(b"b"), writes.get(b"d")), (Some(&None), None));
    }

    #[test]
    fn they_are_equal_however_they_came_to_be() {
        let one = Writes::from([(bytes("b"), None)]);
        let mut left = Writes::from([(bytes("a"), None), (bytes("b"), None)]);
        assert_ne!(left, one);
        left.retain(|key| *key != "a");
        assert_eq!(left, one);
        left.insert(bytes("b"), Some(bytes("1")));
        assert_ne!(left, one);
        left.retain(|_| false);
        assert!(left.is_empty() && left.into_iter().next().is_none());
    }
}
