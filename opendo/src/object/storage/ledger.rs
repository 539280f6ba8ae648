//! What an object has written and the engine has not confirmed, and what must not leave before it has.
//!
//! Writes go into a layer. When something is about to leave the object (a reply, a call, a callback), what was
//! written so far is *sealed*: it becomes part of the next commit, and what leaves is held until that commit is
//! confirmed. One commit of an object is on its way at a time; what is sealed meanwhile goes with the next one.
//!
//! An object whose class has SQL keeps all of it in a database of its own. There, to seal is to commit, and what is on
//! its way is the flush of the disk. The engine keeps the ownership, and when to wake the object: as long as it is in
//! memory it is [to be asked](UnixMillis::ASK), so that no alarm is lost between two databases (checklist 7.8).

mod gate;
mod layer;
mod lock;
mod messages;
#[cfg(test)]
mod tests;
mod timers;
mod transaction;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::engine::committer::{CommitError, Committer, Committing};
use crate::engine::{
    Changes, Commit, EngineError, EngineResult, KeyRange, Ownership, Piece, UnixMillis, Write,
};
use crate::node::WeakNode;
use crate::object::control::Control;
use crate::object::id::ObjectKey;
use crate::object::storage::own::Own;
use crate::object::storage::{StorageError, keys};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;

pub(crate) use self::gate::Output;
pub(super) use self::layer::Overlay;
use self::layer::{Draft, Layer, within};
use self::lock::Lock;
pub(crate) use self::messages::Sent;
use self::timers::Retry;
pub(crate) use self::timers::Timer;
pub(crate) use self::transaction::outside_of_transactions;

/// See the module.
///
/// There is one for each live object, and most have nothing to do: what only some of them need, or all of them only now and
/// then, is in boxes.
pub(crate) struct Ledger {
    key: Arc<ObjectKey>,
    committer: Arc<Committer>,
    node: WeakNode,
    /// Of a class that has SQL.
    apart: Option<Box<Apart>>,
    state: Lock,
    /// Of the instance: told when a commit fails, as that is lost then, and when something is written that no call commits.
    owner: Weak<Control>,
}

/// An object that keeps its state itself.
struct Apart {
    own: Own,
    /// Cancelled when the object was given up.
    released: CancellationToken,
}

#[derive(Default)]
struct State {
    ownership: Option<Ownership>,
    /// There as long as something is not durable, or waits.
    work: Option<Box<Work>>,
    /// There if it says something.
    facts: Option<Box<Facts>>,
    /// One transaction at a time: from the first one on.
    transaction: Option<Arc<tokio::sync::Mutex<()>>>,
    /// Nothing was there when the object was claimed, and its constructor may ask for it still.
    found_nothing: bool,
    /// Nothing is written any more.
    closed: bool,
    /// The commits ended in an error.
    failed: Option<RpcError>,
    /// The instance was thrown away before what it had written was sealed. What is said behind that must not leave.
    dropped: Option<RpcError>,
}

/// What was written and is not durable, and what waits for that.
#[derive(Default)]
struct Work {
    /// What was written and not sealed.
    layer: Layer,
    /// What the transactions that run have written, each within the one before it.
    transactions: Vec<Layer>,
    /// Waits for the commit that is on its way.
    sealed: Draft,
    in_flight: Option<Arc<Changes>>,
    /// What waits instead, with a database of its own.
    unsynced: Option<super::own::Sealed>,
    /// Something was to be sealed while a statement or a transaction of the user's ran: it is when that has ended.
    postponed: bool,
    /// Seals are counted: the last one, the last one that is on its way, the last one that is durable.
    last_seal: u64,
    in_flight_seal: u64,
    confirmed: u64,
    /// In the order in which they leave, with the seal that each waits for.
    held: Held,
    /// Somebody lets go of what was held, and takes along what is added.
    releasing: bool,
}

/// Outputs, in their order. Most often there is one.
#[derive(Default)]
struct Held {
    first: Option<(u64, Output)>,
    /// Empty if there is no first one.
    others: VecDeque<(u64, Output)>,
}

impl Held {
    fn push(&mut self, seal: u64, output: Output) {
        match self.first {
            None => self.first = Some((seal, output)),
            Some(_) => self.others.push_back((seal, output)),
        }
    }

    /// The first one, if that waits for no later seal.
    fn pop(&mut self, confirmed: u64) -> Option<Output> {
        let (_, output) = self.first.take_if(|(seal, _)| *seal <= confirmed)?;
        self.first = self.others.pop_front();
        Some(output)
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// What is known of an object that was claimed.
pub(crate) struct Opened {
    /// It has sent messages that have not arrived.
    pub(crate) has_messages: bool,
}

/// What an object may have besides keys.
#[derive(Default)]
struct Facts {
    /// Everything that was there when the object was claimed, while its constructor may ask for it.
    loaded: Option<BTreeMap<Bytes, Bytes>>,
    /// As the last seal says.
    timers: BTreeMap<Timer, UnixMillis>,
    /// The timer whose handler runs, with what is to be stored of it if the instance is lost meanwhile. Nothing once
    /// somebody has set it again, and that was sealed.
    running: Option<(Timer, Retry)>,
    messages: messages::Messages,
    /// As the last seal says.
    wake: Option<UnixMillis>,
    /// What the registry was told of its wake-up.
    told: Option<UnixMillis>,
}

impl Ledger {
    pub(crate) fn new(
        committer: Arc<Committer>,
        node: WeakNode,
        own: Option<Own>,
        key: Arc<ObjectKey>,
        owner: Weak<Control>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key,
            committer,
            node,
            apart: own.map(|own| Box::new(Apart { own, released: CancellationToken::new() })),
            state: Lock::default(),
            owner,
        })
    }

    pub(crate) fn key(&self) -> &Arc<ObjectKey> {
        &self.key
    }

    pub(crate) fn node(&self) -> &WeakNode {
        &self.node
    }

    /// Its database, if its class has SQL.
    pub(crate) fn own(&self) -> Option<&Own> {
        self.apart.as_ref().map(|apart| &apart.own)
    }

    fn owner(&self) -> Option<Arc<Control>> {
        self.owner.upgrade()
    }

    /// Claims the object. Before anything else.
    pub(crate) async fn open(&self) -> EngineResult<Opened> {
        let claim = self.committer.engine().claim(&self.key).await?;
        {
            let mut state = self.state.lock();
            state.ownership = Some(claim.ownership);
            if self.apart.is_none() && claim.values.as_ref().is_some_and(BTreeMap::is_empty) {
                state.found_nothing = true;
                return Ok(Opened { has_messages: false });
            }
        }
        let values = match self.own() {
            None => claim.values,
            Some(own) => Box::pin(self.open_apart(own)).await?,
        };
        let timers: Vec<(Bytes, Bytes)> = match &values {
            Some(values) => within(values, &keys::timers()).collect(),
            None => self.list(keys::timers(), false, usize::MAX).await?,
        };
        let mut state = self.state.lock();
        let facts = state.facts();
        facts.loaded = values.filter(|_| self.apart.is_none());
        facts.timers = timers.iter().filter_map(|(key, value)| keys::timer(key, value)).collect();
        facts.wake = facts.timers.values().min().copied();
        let has_messages = facts.timers.contains_key(&Timer::Messages);
        self.tell_registry(&mut state);
        Ok(Opened { has_messages })
    }

    /// Opens the database of an object that keeps its state itself.
    async fn open_apart(&self, own: &Own) -> EngineResult<Option<BTreeMap<Bytes, Bytes>>> {
        let here = [(keys::own(), Some(Bytes::new()))];
        let asked = Changes { wake: Some(Some(UnixMillis::ASK)), writes: here.into(), ..Changes::default() };
        let (told, opened) = tokio::join!(self.tell_engine(asked), own.open(&self.key));
        told.and(opened)?;
        own.load()
    }

    /// Of an object that keeps its state itself: has the engine know something of it. One at a time.
    async fn tell_engine(&self, changes: Changes) -> EngineResult<()> {
        let (done, told) = tokio::sync::oneshot::channel();
        let (epoch, sequence) = {
            let mut state = self.state.lock();
            let Some(ownership) = &mut state.ownership else { return Ok(()) };
            ownership.sequence += 1;
            (ownership.epoch, ownership.sequence)
        };
        let commit = Commit { object: self.key.clone(), epoch, sequence, changes: Arc::new(changes) };
        self.committer.submit(commit, Arc::new(Told(Mutex::new(Some(done)))));
        let failed = |error: String| EngineError::Failed(error);
        match told.await {
            Ok(result) => result.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("the node is gone".into())),
        }
    }

    fn tell_registry(&self, state: &mut State) {
        if self.apart.is_some() {
            let facts = state.facts();
            let before = std::mem::replace(&mut facts.told, facts.wake);
            self.committer.wakes().tell(&self.key, before, facts.wake);
        }
    }

    /// The committed values of keys, in their order.
    pub(super) async fn get(&self, keys: Vec<Bytes>) -> EngineResult<Vec<Option<Bytes>>> {
        match self.own() {
            None => self.committer.engine().get(&self.key, keys).await,
            Some(own) => own.get(&keys),
        }
    }

    /// The committed keys and values of a range.
    pub(super) async fn list(
        &self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> EngineResult<Vec<(Bytes, Bytes)>> {
        match self.own() {
            None => self.committer.engine().list(&self.key, range, reverse, limit).await,
            Some(own) => own.list(&range, reverse, limit),
        }
    }

    /// What was loaded when it was claimed is not needed any more: later reads ask the engine.
    pub(crate) fn forget_loaded(&self) {
        let mut state = self.state.lock();
        state.found_nothing = false;
        if let Some(facts) = &mut state.facts {
            facts.loaded = None;
        }
        state.tidy();
    }

    pub(super) fn write(&self, write: impl Into<Write>) -> Result<(), StorageError> {
        self.change(|layer| layer.changes.edit().writes.insert(write))
    }

    pub(super) fn write_all(&self, writes: impl IntoIterator<Item = Write>) -> Result<(), StorageError> {
        self.change(|layer| layer.changes.edit().writes.extend(writes))
    }

    pub(super) fn clear(&self, range: KeyRange) -> Result<(), StorageError> {
        self.change(|layer| {
            layer.changes.edit().follow(Changes { cleared: vec![range], ..Changes::default() });
        })
    }

    /// Removes the tables that the user has made.
    pub(super) fn drop_tables(&self) -> Result<(), StorageError> {
        self.state.lock().check()?;
        match self.own() {
            None => Ok(()),
            Some(own) => Ok(own.drop_tables()?),
        }
    }

    /// The instance has what cannot be stored: it is lost.
    pub(super) fn give_up(&self, error: &StorageError) {
        if let Some(owner) = self.owner() {
            owner.reset(RpcError::new(ErrorKind::Reset, error.to_string()));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Layer)) -> Result<(), StorageError> {
        let depth = self.depth();
        let mut state = self.state.lock();
        state.check()?;
        let work = state.work.get_or_insert_default();
        let layer = match depth {
            0 => Some(&mut work.layer),
            _ => work.transactions.get_mut(depth - 1),
        };
        change(layer.filter(|_| self.writes()).ok_or(StorageError::Transaction)?);
        drop(state);
        if depth == 0 {
            self.written();
        }
        Ok(())
    }

    /// Something was written that counts. Calls commit at their end; work beside them has none.
    pub(crate) fn written(&self) {
        let of_a_call = CallInfo::with_current(|current| current.is_some_and(|info| info.commits(self)));
        if !of_a_call && let Some(owner) = self.owner() {
            owner.wrote_outside();
        }
    }

    /// What was written for the key and is not confirmed; otherwise the committed value, if it is known.
    pub(super) fn pending(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, StorageError> {
        let depth = self.depth();
        let state = self.state.lock();
        state.check()?;
        let written = state.below_to(depth).find_map(|changes| changes.get(key));
        let loaded = || state.loaded().map(|loaded| loaded.get(key).cloned());
        Ok(written.or_else(loaded))
    }

    /// The same for a range.
    pub(super) fn overlay(&self, range: &KeyRange) -> Result<Overlay, StorageError> {
        let depth = self.depth();
        let state = self.state.lock();
        state.check()?;
        let mut all = Changes::default();
        let layers: Vec<_> = state.below_to(depth).collect();
        for changes in layers.into_iter().rev() {
            let writes = changes.writes.starting(&range.start);
            let writes = writes.take_while(|(key, _)| range.contains(key));
            all.follow(Changes {
                cleared: changes.cleared.clone(),
                writes: writes.map(|(key, value)| (key.to_bytes(), value.map(Piece::to_bytes))).collect(),
                wake: None,
            });
        }
        let below = state.loaded().map(|loaded| within(loaded, range).collect());
        Ok(Overlay {
            cleared: all.cleared,
            writes: all.writes.into_iter().map(Write::into_pair).collect(),
            below,
        })
    }

    /// Whether another instance would have to wait for this one, which is gone.
    pub(crate) fn lingers(&self) -> bool {
        match &self.apart {
            None => self.is_dirty(),
            Some(apart) => !apart.released.is_cancelled(),
        }
    }

    /// Resolves when another instance may have the object.
    pub(crate) async fn left(self: Arc<Self>) {
        let _ = self.durable().await;
        if let Some(apart) = &self.apart {
            // Two cannot have the same file open.
            apart.released.cancelled().await;
        }
    }

    /// Gives the object up, once its instance is gone and nothing is on its way.
    pub(crate) async fn release(&self) {
        if let Some(own) = self.own() {
            let closed = own.close().await;
            let wake = {
                let mut state = self.state.lock();
                let failed = state.failed.is_some();
                let facts = state.facts();
                // What was not flushed may be there, or not.
                let wake = if failed { facts.wake.min(facts.told).or(facts.told) } else { facts.wake };
                let told = facts.told.take();
                self.committer.wakes().tell(&self.key, told, None);
                wake.or(facts.wake)
            };
            let gone = matches!(closed, Ok(true)).then(|| (keys::own(), None));
            let left = Changes { wake: Some(wake), writes: gone.into_iter().collect(), ..Changes::default() };
            if let Err(error) = closed.and(self.tell_engine(left).await) {
                tracing::warn!(object = %self.key, %error, "could not close the object's database");
            }
        }
        let ownership = self.state.lock().ownership.take();
        if let Some(ownership) = ownership
            && let Err(error) = self.committer.engine().release(&self.key, ownership.epoch).await
        {
            // The next owner claims it all the same; this only costs a record.
            tracing::warn!(object = %self.key, %error, "could not release");
        }
        if let Some(apart) = &self.apart {
            apart.released.cancel();
        }
    }
}

impl State {
    fn check(&self) -> Result<(), StorageError> {
        if self.closed || self.failed.is_some() { Err(StorageError::Closed) } else { Ok(()) }
    }

    fn loaded(&self) -> Option<&BTreeMap<Bytes, Bytes>> {
        static NOTHING: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        if self.found_nothing {
            return Some(&NOTHING);
        }
        self.facts.as_ref()?.loaded.as_ref()
    }

    fn facts(&mut self) -> &mut Facts {
        self.facts.get_or_insert_default()
    }

    /// The layers that the task at that depth sees, the uppermost first.
    fn below_to(&self, depth: usize) -> impl Iterator<Item = &Changes> {
        self.work.iter().flat_map(move |work| {
            let layers = work.layers(depth).rev().map(|layer| &layer.changes);
            layers.chain([&work.sealed]).filter_map(Draft::get).chain(work.in_flight.as_deref())
        })
    }

    /// Lets go of what says nothing any more.
    fn tidy(&mut self) {
        self.work.take_if(|work| work.is_over());
        self.facts.take_if(|facts| facts.are_none());
    }
}

impl Work {
    /// Those that the task at that depth sees.
    fn layers(&self, depth: usize) -> impl DoubleEndedIterator<Item = &Layer> {
        std::iter::once(&self.layer).chain(self.transactions.iter().take(depth))
    }

    fn has_unsealed(&self) -> bool {
        !self.layer.is_empty() || self.transactions.iter().any(|layer| !layer.is_empty())
    }

    fn is_over(&self) -> bool {
        self.is_open()
            && !self.has_unsealed()
            && self.transactions.is_empty()
            && self.sealed.is_empty()
            && self.in_flight.is_none()
            && self.unsynced.is_none()
    }
}

impl Facts {
    fn are_none(&self) -> bool {
        let Self { loaded, timers, running, messages, wake, told } = self;
        loaded.is_none()
            && timers.is_empty()
            && running.is_none()
            && messages.are_none()
            && wake.is_none()
            && told.is_none()
    }
}

/// Tells what became of what the engine was told.
struct Told(Mutex<Option<tokio::sync::oneshot::Sender<Result<(), CommitError>>>>);

impl Committing for Told {
    fn committed(self: Arc<Self>, result: Result<(), CommitError>) {
        if let Some(done) = self.0.lock().take() {
            let _ = done.send(result);
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", self.key)
    }
}
