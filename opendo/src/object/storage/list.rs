//! Ranges of keys.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::engine::KeyRange;
use crate::object::storage::ledger::Overlay;
use crate::object::storage::{Storage, StorageError, keys};

/// How many entries are asked of the engine at once.
const PAGE: usize = 1024;

/// Which keys and values are asked for. Await it for them.
///
/// Several bounds may be given; a key has to keep to all of them. See [`Storage::list`].
#[must_use = "a list is read when it is awaited"]
pub struct List<T> {
    storage: Storage,
    start: Bytes,
    end: Option<Bytes>,
    reverse: bool,
    limit: usize,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> List<T> {
    pub(super) fn new(storage: Storage) -> Self {
        let KeyRange { start, end } = keys::user();
        Self { storage, start, end, reverse: false, limit: usize::MAX, value: PhantomData }
    }

    fn from(mut self, start: Bytes) -> Self {
        self.start = self.start.max(start);
        self
    }

    fn until(mut self, end: Bytes) -> Self {
        self.end = Some(match self.end {
            Some(before) => before.min(end),
            None => end,
        });
        self
    }

    /// Keys from this one on.
    pub fn start(self, key: impl AsRef<str>) -> Self {
        self.from(keys::bound(key.as_ref().as_bytes()))
    }

    /// Keys behind this one.
    pub fn start_after(self, key: impl AsRef<str>) -> Self {
        let mut behind = key.as_ref().as_bytes().to_vec();
        behind.push(0); // the very next key in byte order
        self.from(keys::bound(&behind))
    }

    /// Keys before this one.
    pub fn end(self, key: impl AsRef<str>) -> Self {
        self.until(keys::bound(key.as_ref().as_bytes()))
    }

    /// Keys that begin with this.
    pub fn prefix(self, prefix: impl AsRef<str>) -> Self {
        let start = keys::bound(prefix.as_ref().as_bytes());
        let mut end = BytesMut::from(&start[..]);
        // The first key behind all that begin so; 0xff is in no UTF-8.
        end.put_u8(0xff);
        self.from(start).until(end.freeze())
    }

    /// From the last one back. The bounds keep their meaning.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// So many at most, from where it begins.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    async fn read(self) -> Result<Vec<(String, T)>, StorageError> {
        let Self { storage, start, end, reverse, limit, .. } = self;
        let mut range = KeyRange { start, end };
        let mut found = Vec::new();
        if range.is_empty() || limit == 0 {
            return Ok(found);
        }
        let ledger = storage.ledger();
        let Overlay { cleared, mut writes, below } = ledger.overlay(&range)?;
        let visible = |key: &Bytes| !cleared.iter().any(|range| range.contains(key));
        let mut take = |key: &Bytes, value: Option<&Bytes>| -> Result<ControlFlow<()>, StorageError> {
            if let Some(value) = value {
                found.push(storage.decode_entry(key, value)?);
            }
            Ok(if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let (mut known, mut last_page) = (below, false);
        'pages: while !last_page {
            let page = match known.take() {
                Some(mut all) => {
                    last_page = true;
                    if reverse {
                        all.reverse();
                    }
                    all
                }
                None => {
                    let many = limit.clamp(1, PAGE);
                    let page = ledger.list(range.clone(), reverse, many).await?;
                    last_page = page.len() < many;
                    page
                }
            };
            for (key, value) in &page {
                // What was written and lies before it comes first, and what was written of it instead of it.
                let mut written = None;
                while let Some(entry) = if reverse { writes.last_entry() } else { writes.first_entry() } {
                    let is_later = if reverse { entry.key() < key } else { entry.key() > key };
                    if is_later {
                        break;
                    }
                    let (at, value) = entry.remove_entry();
                    if at == *key {
                        written = Some(value);
                    } else if take(&at, value.as_ref())?.is_break() {
                        break 'pages;
                    }
                }
                let value = written.unwrap_or_else(|| visible(key).then(|| value.clone()));
                if take(key, value.as_ref())?.is_break() {
                    break 'pages;
                }
            }
            if let Some((key, _)) = page.last() {
                if reverse {
                    range.end = Some(key.clone());
                } else {
                    range.start = [key, &[0][..]].concat().into();
                }
            }
        }
        if found.len() < limit {
            let rest: Vec<_> =
                if reverse { writes.into_iter().rev().collect() } else { writes.into_iter().collect() };
            for (key, value) in rest.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                if found.len() == limit {
                    break;
                }
                found.push(storage.decode_entry(&key, &value)?);
            }
        }
        Ok(found)
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for List<T> {
    type Output = Result<Vec<(String, T)>, StorageError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.read().boxed()
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("storage", &self.storage).finish_non_exhaustive()
    }
}
