//! What travels beside a body.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Cap;
use crate::rpc::arg::Value;
use crate::stream::Chunks;

/// One thing that travels beside a body.
#[derive(Clone)]
pub(crate) enum Passed {
    Cap(Cap),
    /// Handed out once.
    Chunks(Arc<Mutex<Option<Chunks>>>),
    Value(Value),
    /// In the text encoding only, where it has to become a stream.
    #[cfg(feature = "capnweb")]
    Blob(crate::value::Blob),
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cap(_) => "capability",
            Self::Chunks(_) => "stream",
            Self::Value(_) => "value",
            #[cfg(feature = "capnweb")]
            Self::Blob(_) => "blob",
        })
    }
}

/// All that travels beside one body. Mostly that is nothing: then it is one word, and nothing has to be let go of.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllPassed(Option<Box<List>>);

#[derive(Clone, Debug)]
struct List(Vec<Passed>);

impl AllPassed {
    pub(crate) const NOTHING: Self = Self(None);

    pub(crate) fn push(&mut self, passed: Passed) {
        self.0.get_or_insert_with(|| Box::new(List(Vec::new()))).0.push(passed);
    }
}

impl From<Vec<Passed>> for AllPassed {
    fn from(all: Vec<Passed>) -> Self {
        Self((!all.is_empty()).then(|| Box::new(List(all))))
    }
}

impl From<&[Passed]> for AllPassed {
    #[inline]
    fn from(all: &[Passed]) -> Self {
        if all.is_empty() { Self::NOTHING } else { all.to_vec().into() }
    }
}

impl From<Passed> for AllPassed {
    fn from(one: Passed) -> Self {
        vec![one].into()
    }
}

impl FromIterator<Passed> for AllPassed {
    fn from_iter<I: IntoIterator<Item = Passed>>(all: I) -> Self {
        Vec::from_iter(all).into()
    }
}

impl IntoIterator for AllPassed {
    type Item = Passed;
    type IntoIter = std::vec::IntoIter<Passed>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map_or_else(Vec::new, |list| list.0).into_iter()
    }
}

impl Deref for AllPassed {
    type Target = [Passed];

    #[inline]
    fn deref(&self) -> &[Passed] {
        self.0.as_ref().map_or(&[], |list| &list.0)
    }
}

impl DerefMut for AllPassed {
    fn deref_mut(&mut self) -> &mut [Passed] {
        self.0.as_mut().map_or(&mut [], |list| &mut list.0)
    }
}
