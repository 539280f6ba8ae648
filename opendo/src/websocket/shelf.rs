//! The sockets of the objects of a class.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use opendo_transport::websocket::Closed;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio_util::task::TaskTracker;

use super::entry::{Entry, State};
use super::{SocketError, Sockets};
use crate::object::id::ObjectKey;

/// See the module.
#[derive(Default)]
pub(crate) struct Shelf {
    last: AtomicU64,
    objects: Mutex<FxHashMap<[u8; 32], OfObject>>,
    pub(crate) pumps: TaskTracker,
}

#[derive(Default)]
struct OfObject {
    /// By number: the oldest first.
    all: BTreeMap<u64, Arc<Entry>>,
    tagged: FxHashMap<Arc<str>, BTreeMap<u64, Arc<Entry>>>,
    auto_response: Arc<AutoResponse>,
}

impl OfObject {
    fn tag(&mut self, entry: &Arc<Entry>) {
        for tag in &*entry.tags() {
            self.tagged.entry(tag.clone()).or_default().insert(entry.number, entry.clone());
        }
    }

    fn untag(&mut self, entry: &Entry) {
        for tag in &*entry.tags() {
            if let Some(tagged) = self.tagged.get_mut(tag) {
                tagged.remove(&entry.number);
                if tagged.is_empty() {
                    self.tagged.remove(tag);
                }
            }
        }
    }
}

/// What is answered without the object.
#[derive(Default)]
pub(crate) struct AutoResponse(Mutex<Option<(Arc<str>, Arc<str>)>>);

impl AutoResponse {
    pub(super) fn get(&self) -> Option<(Arc<str>, Arc<str>)> {
        self.0.lock().clone()
    }

    /// What is answered to a text.
    pub(super) fn to(&self, text: &str) -> Option<Arc<str>> {
        let pair = self.0.lock();
        pair.as_ref().filter(|(request, _)| **request == *text).map(|(_, response)| response.clone())
    }
}

impl Shelf {
    /// A new socket.
    pub(super) fn add(
        &self,
        class: &Arc<dyn Sockets>,
        object: &Arc<ObjectKey>,
        tags: Arc<[Arc<str>]>,
        attachment: Bytes,
    ) -> Result<Arc<Entry>, SocketError> {
        let around = class.surroundings();
        let limit = around.limits.max_sockets;
        let mut objects = self.objects.lock();
        let known = objects.entry(*object.bytes()).or_default();
        if known.all.len() >= limit {
            return Err(SocketError::TooManySockets { limit });
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            number,
            object: object.clone(),
            class: Arc::downgrade(class),
            auto_response: known.auto_response.clone(),
            clock: around.clock,
            max_unsent: around.limits.max_socket_unsent,
            state: Mutex::new(State::new(tags, attachment)),
        });
        known.all.insert(number, entry.clone());
        known.tag(&entry);
        Ok(entry)
    }

    /// It is not among the object's any more.
    pub(super) fn remove(&self, entry: &Entry) {
        let mut objects = self.objects.lock();
        if let Some(known) = objects.get_mut(entry.object.bytes())
            && known.all.remove(&entry.number).is_some()
        {
            known.untag(entry);
        }
    }

    /// Those of an object, the oldest first; of a tag, if one is given.
    pub(super) fn of(&self, object: &ObjectKey, tag: Option<&str>) -> Vec<Arc<Entry>> {
        let objects = self.objects.lock();
        let Some(known) = objects.get(object.bytes()) else { return Vec::new() };
        match tag {
            None => known.all.values().cloned().collect(),
            Some(tag) => {
                known.tagged.get(tag).into_iter().flat_map(|tagged| tagged.values().cloned()).collect()
            }
        }
    }

    /// Gives a socket other tags.
    pub(super) fn set_tags(&self, entry: &Arc<Entry>, tags: Arc<[Arc<str>]>) {
        let mut objects = self.objects.lock();
        let known = objects.get_mut(entry.object.bytes());
        match known.filter(|known| known.all.contains_key(&entry.number)) {
            Some(known) => {
                known.untag(entry);
                entry.set_tags(tags);
                known.tag(entry);
            }
            None => entry.set_tags(tags),
        }
    }

    pub(super) fn auto_response(&self, object: &ObjectKey) -> Option<(Arc<str>, Arc<str>)> {
        self.objects.lock().get(object.bytes())?.auto_response.get()
    }

    pub(super) fn set_auto_response(&self, object: &ObjectKey, pair: Option<(Arc<str>, Arc<str>)>) {
        let mut objects = self.objects.lock();
        *objects.entry(*object.bytes()).or_default().auto_response.0.lock() = pair;
    }

    /// The object has left memory. What is there for its sockets stays as long as it has some.
    pub(crate) fn left(&self, object: &ObjectKey) {
        let mut objects = self.objects.lock();
        if objects.get(object.bytes()).is_some_and(|known| known.all.is_empty()) {
            objects.remove(object.bytes());
        }
    }

    /// Takes all sockets of an object, and what was there for them.
    pub(crate) fn cut(&self, object: &ObjectKey, closed: &Closed) {
        let known = self.objects.lock().remove(object.bytes());
        for entry in known.into_iter().flat_map(|known| known.all.into_values()) {
            entry.cut(Some(closed.clone()));
        }
    }

    /// Takes all sockets there are. Nobody is told.
    pub(crate) fn cut_all(&self) {
        let objects = std::mem::take(&mut *self.objects.lock());
        for entry in objects.into_values().flat_map(|known| known.all.into_values()) {
            entry.cut(None);
        }
    }
}
