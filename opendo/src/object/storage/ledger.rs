//! What an object has written and the engine has not confirmed, and what must not leave before it has.
//!
//! Writes go into a layer. When something is about to leave the object (a reply, a call, a callback), what was
//! written so far is *sealed*: it becomes part of the next commit, and what leaves is held until that commit is
//! confirmed. One commit of an object is on its way at a time; what is sealed meanwhile goes with the next one.

mod messages;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::engine::committer::{CommitError, Committer, Committing};
use crate::engine::{Changes, Commit, EngineResult, KeyRange, Ownership, UnixMillis};
use crate::object::context::Control;
use crate::object::id::ObjectKey;
use crate::object::storage::{StorageError, keys};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;

pub(crate) use self::messages::Sent;

/// What leaves the object once what it has written is durable; told so, or why that failed.
pub(crate) type Output = Box<dyn FnOnce(Result<(), RpcError>) + Send>;

/// See the module.
pub(crate) struct Ledger {
    key: Arc<ObjectKey>,
    committer: Arc<Committer>,
    state: Mutex<State>,
    /// Of the instance.
    owner: OnceLock<Weak<Control>>,
    /// One transaction at a time.
    pub(super) transaction: tokio::sync::Mutex<()>,
}

struct State {
    ownership: Option<Ownership>,
    /// Everything that was there when the object was claimed, while its constructor may ask for it.
    loaded: Option<BTreeMap<Bytes, Bytes>>,
    /// What was written and not sealed; behind it, what the transactions that run have written, each within the one
    /// before it.
    layers: Vec<Layer>,
    /// Waits for the commit that is on its way.
    sealed: Changes,
    in_flight: Option<Arc<Changes>>,
    /// Seals are counted: the last one, the last one that is on its way, the last one that is durable.
    last_seal: u64,
    in_flight_seal: u64,
    confirmed: u64,
    /// In the order in which they leave, with the seal that each waits for.
    held: VecDeque<(u64, Output)>,
    /// Somebody lets go of what was held, and takes along what is added.
    releasing: bool,
    timers: BTreeMap<Timer, UnixMillis>,
    /// The timer whose handler runs, with what is to be stored of it if the instance is lost meanwhile. Nothing once
    /// somebody has set it again.
    running: Option<(Timer, TimerRecord)>,
    messages: messages::Messages,
    /// As the last seal says.
    wake: Option<UnixMillis>,
    /// Nothing is written any more.
    closed: bool,
    /// The commits ended in an error.
    failed: Option<RpcError>,
}

/// What is stored of a timer, and when it is due; `None` if nothing is.
pub(crate) type TimerRecord = Option<(UnixMillis, Bytes)>;

#[derive(Default)]
struct Layer {
    changes: Changes,
    timers: BTreeMap<Timer, Option<UnixMillis>>,
    /// Messages that were recorded in it, and whether all that were recorded before it are removed.
    sent: Vec<Sent>,
    forgets: bool,
}

/// What the object is woken for: the alarm, a schedule by its name, or messages that have not been delivered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Alarm,
    Schedule(Arc<str>),
    Messages,
}

impl Timer {
    /// Of a schedule. Its name has the limit of a key.
    pub(crate) fn named(name: &str) -> Result<Self, StorageError> {
        keys::check(name)?;
        Ok(Self::Schedule(name.into()))
    }
}

tokio::task_local! {
    /// The transaction that the task runs: of which ledger, and how deep.
    static TRANSACTION: (usize, usize);
}

impl Changes {
    /// Adds what came later.
    fn follow(&mut self, later: Self) {
        for range in &later.cleared {
            self.writes.retain(|key, _| !range.contains(key));
        }
        self.cleared.extend(later.cleared);
        self.writes.extend(later.writes);
        self.wake = later.wake.or(self.wake);
    }

    /// What it says of a key: its value, that there is none, or nothing.
    fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let cleared = || self.cleared.iter().any(|range| range.contains(key)).then_some(None);
        self.writes.get(key).cloned().or_else(cleared)
    }
}

/// What the layers say of a range, to be laid over what the engine says.
pub(super) struct Overlay {
    pub(super) cleared: Vec<KeyRange>,
    pub(super) writes: BTreeMap<Bytes, Option<Bytes>>,
    /// What lies below, if that is known.
    pub(super) below: Option<Vec<(Bytes, Bytes)>>,
}

impl Ledger {
    pub(crate) fn new(committer: Arc<Committer>, key: Arc<ObjectKey>) -> Arc<Self> {
        let state = State {
            ownership: None,
            loaded: None,
            layers: vec![Layer::default()],
            sealed: Changes::default(),
            in_flight: None,
            last_seal: 0,
            in_flight_seal: 0,
            confirmed: 0,
            held: VecDeque::new(),
            releasing: false,
            timers: BTreeMap::new(),
            running: None,
            messages: messages::Messages::default(),
            wake: None,
            closed: false,
            failed: None,
        };
        Arc::new(Self {
            key,
            committer,
            state: Mutex::new(state),
            owner: OnceLock::new(),
            transaction: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn key(&self) -> &Arc<ObjectKey> {
        &self.key
    }

    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.committer
    }

    /// Whose it is: that is told when a commit fails, as the instance is lost then, and when something is written
    /// that no call commits. Once.
    pub(crate) fn belongs_to(&self, owner: &Arc<Control>) {
        let _ = self.owner.set(Arc::downgrade(owner));
    }

    fn owner(&self) -> Option<Arc<Control>> {
        self.owner.get().and_then(Weak::upgrade)
    }

    /// Claims the object. Before anything else.
    pub(crate) async fn open(&self) -> EngineResult<()> {
        let engine = self.committer.engine();
        let claim = engine.claim(&self.key).await?;
        let timers: Vec<(Bytes, Bytes)> = match &claim.values {
            Some(values) => within(values, &keys::timers()).collect(),
            None => engine.list(&self.key, keys::timers(), false, usize::MAX).await?,
        };
        let mut state = self.state.lock();
        state.messages.epoch = claim.ownership.epoch.0;
        state.ownership = Some(claim.ownership);
        state.loaded = claim.values;
        state.timers = timers.iter().filter_map(|(key, value)| keys::timer(key, value)).collect();
        state.wake = state.timers.values().min().copied();
        Ok(())
    }

    /// What was loaded when it was claimed is not needed any more: later reads ask the engine.
    pub(crate) fn forget_loaded(&self) {
        self.state.lock().loaded = None;
    }

    /// How deep the transaction is in which this task runs; 0 outside of one.
    fn depth(&self) -> usize {
        let own = std::ptr::from_ref(self).addr();
        TRANSACTION.try_with(|(ledger, depth)| if *ledger == own { *depth } else { 0 }).unwrap_or(0)
    }

    pub(super) fn write(&self, key: Bytes, value: Option<Bytes>) -> Result<(), StorageError> {
        self.change(|layer| {
            layer.changes.writes.insert(key, value);
        })
    }

    pub(super) fn write_all(
        &self,
        writes: impl IntoIterator<Item = (Bytes, Option<Bytes>)>,
    ) -> Result<(), StorageError> {
        self.change(|layer| layer.changes.writes.extend(writes))
    }

    pub(super) fn clear(&self, range: KeyRange) -> Result<(), StorageError> {
        self.change(|layer| {
            layer.changes.follow(Changes { cleared: vec![range], ..Changes::default() });
        })
    }

    /// Removes every timer.
    pub(super) fn clear_timers(&self) -> Result<(), StorageError> {
        let set: Vec<_> = self.state.lock().timers.keys().cloned().collect();
        self.change(|layer| {
            layer.changes.follow(Changes { cleared: vec![keys::timers()], ..Changes::default() });
            let all: Vec<_> = layer.timers.keys().cloned().chain(set).collect();
            layer.timers.extend(all.into_iter().map(|timer| (timer, None)));
        })
    }

    /// The instance has what cannot be stored: it is lost.
    pub(super) fn give_up(&self, error: &StorageError) {
        if let Some(owner) = self.owner() {
            owner.reset(RpcError::new(ErrorKind::Reset, error.to_string()));
        }
    }

    /// Sets a timer, or removes it.
    pub(crate) fn set_timer(&self, timer: Timer, set: TimerRecord) -> Result<(), StorageError> {
        self.change(|layer| {
            let (due, record) = set.unzip();
            layer.changes.writes.insert(keys::of_timer(&timer), record);
            layer.timers.insert(timer, due);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Layer)) -> Result<(), StorageError> {
        let depth = self.depth();
        let mut state = self.state.lock();
        state.check()?;
        let layer = state.layers.get_mut(depth).ok_or(StorageError::Closed)?;
        change(layer);
        if depth == 0 {
            state.settle();
            drop(state);
            self.written();
        }
        Ok(())
    }

    /// Something was written that counts. Calls commit at their end; work beside them has none.
    fn written(&self) {
        let of_a_call = CallInfo::with_current(|current| current.is_some_and(|info| info.commits(self)));
        if !of_a_call && let Some(owner) = self.owner() {
            owner.wrote_outside();
        }
    }

    /// When the timer is due; `None` while its handler runs.
    pub(crate) fn timer(&self, timer: &Timer) -> Option<UnixMillis> {
        let depth = self.depth();
        let state = self.state.lock();
        let upper = state.layers.iter().take(depth + 1).rev().find_map(|layer| layer.timers.get(timer));
        upper.copied().unwrap_or_else(|| state.set_timers().get(timer).copied())
    }

    /// All timers but the one whose handler runs. (What a transaction that runs has changed is not in it.)
    pub(crate) fn timers(&self) -> BTreeMap<Timer, UnixMillis> {
        self.state.lock().set_timers()
    }

    /// The timer's handler runs from now on. Its record stays as it is meanwhile; if the instance is lost, it becomes
    /// `retry`.
    pub(crate) fn begin(&self, timer: Timer, retry: TimerRecord) {
        self.state.lock().running = Some((timer, retry));
    }

    /// The timer's handler has run. Its record becomes `next`, unless the handler has changed it.
    pub(crate) fn finish(&self, timer: &Timer, next: TimerRecord) {
        if self.state.lock().running.take().is_some() {
            // An instance that is gone has left `retry` behind.
            let _ = self.set_timer(timer.clone(), next);
        }
    }

    /// What was written for the key and is not confirmed; otherwise the committed value, if it is known.
    pub(super) fn pending(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, StorageError> {
        let depth = self.depth();
        let state = self.state.lock();
        state.check()?;
        let written = state.below_to(depth).find_map(|changes| changes.get(key));
        let loaded = || state.loaded.as_ref().map(|loaded| loaded.get(key).cloned());
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
            let writes = changes.writes.range::<Bytes, _>(range.start.clone()..);
            let writes = writes.take_while(|(key, _)| range.contains(key));
            all.follow(Changes {
                cleared: changes.cleared.clone(),
                writes: writes.map(|(key, value)| (key.clone(), value.clone())).collect(),
                wake: None,
            });
        }
        let below = state.loaded.as_ref().map(|loaded| within(loaded, range).collect());
        Ok(Overlay { cleared: all.cleared, writes: all.writes, below })
    }

    /// Runs a transaction: what `body` writes is kept if it returns `Ok`, as if it had been written then.
    pub(super) async fn transact<R, E>(
        &self,
        body: impl Future<Output = Result<R, E>>,
    ) -> Result<Result<R, E>, StorageError> {
        let depth = self.depth() + 1;
        let _only = if depth == 1 { Some(self.transaction.lock().await) } else { None };
        {
            let mut state = self.state.lock();
            state.check()?;
            if state.layers.len() != depth {
                return Err(StorageError::Transaction);
            }
            state.layers.push(Layer::default());
        }
        /// Also when the body panics, or is dropped.
        struct Undo<'a>(&'a Ledger, usize);
        impl Drop for Undo<'_> {
            fn drop(&mut self) {
                self.0.state.lock().layers.truncate(self.1);
            }
        }
        let undo = Undo(self, depth);
        let own = std::ptr::from_ref(self).addr();
        let result = TRANSACTION.scope((own, depth), body).await;
        if result.is_ok() {
            let mut state = self.state.lock();
            state.check()?;
            let layer = state.layers.pop().ok_or(StorageError::Closed)?;
            if let Some(below) = state.layers.last_mut() {
                below.follow(layer);
            }
            if depth == 1 {
                state.settle();
                drop(state);
                self.written();
            }
        }
        drop(undo);
        Ok(result)
    }

    /// Lets `output` go once everything written so far is durable: at once, if it is.
    pub(crate) fn hold(self: &Arc<Self>, output: impl FnOnce(Result<(), RpcError>) + Send + 'static) {
        self.hold_behind(self.state.lock(), output);
    }

    fn hold_behind(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        output: impl FnOnce(Result<(), RpcError>) + Send + 'static,
    ) {
        state.seal();
        if let Some(error) = &state.failed {
            let error = error.clone();
            drop(state);
            return output(Err(error));
        }
        if state.is_open() {
            drop(state);
            return output(Ok(()));
        }
        let seal = state.last_seal;
        state.held.push_back((seal, Box::new(output)));
        self.carry_on(state);
    }

    /// Whether what leaves now would have to wait. What was written so far is on its way afterwards.
    pub(crate) fn holds(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        state.seal();
        if state.is_open() && state.failed.is_none() {
            return false;
        }
        self.carry_on(state);
        let state = self.state.lock();
        !state.is_open() || state.failed.is_some()
    }

    /// Whether something is written and not durable.
    pub(crate) fn is_dirty(&self) -> bool {
        let state = self.state.lock();
        state.failed.is_none()
            && (!state.is_open() || state.layers.iter().any(|layer| !layer.changes.is_empty()))
    }

    /// Commits what was written so far, without waiting for it.
    pub(crate) fn seal(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.seal();
        self.carry_on(state);
    }

    /// Sends the next commit on its way, if there is one to send and none there.
    fn carry_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.in_flight.is_some() || state.sealed.is_empty() || state.failed.is_some() {
            return;
        }
        let Some(ownership) = &mut state.ownership else { return };
        ownership.sequence += 1;
        let (epoch, sequence) = (ownership.epoch, ownership.sequence);
        let changes = Arc::new(std::mem::take(&mut state.sealed));
        state.in_flight = Some(changes.clone());
        state.in_flight_seal = state.last_seal;
        drop(state);
        self.committer.submit(Commit { object: self.key.clone(), epoch, sequence, changes }, self.clone());
    }

    /// Lets go of what has waited long enough, in order.
    fn release_held(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::replace(&mut state.releasing, true) {
            return;
        }
        loop {
            let result = match &state.failed {
                Some(error) => Err(error.clone()),
                None => Ok(()),
            };
            let confirmed = state.confirmed;
            let may_go = |(seal, _): &mut (u64, Output)| result.is_err() || *seal <= confirmed;
            let Some((_, output)) = state.held.pop_front_if(may_go) else {
                state.releasing = false;
                return;
            };
            // It may run code of users: encodings of replies. What it says has waited: it does not do so again for
            // what is written meanwhile.
            let run = || catch_unwind(AssertUnwindSafe(|| CallInfo::in_no_call(|| output(result))));
            if MutexGuard::unlocked(&mut state, run).is_err() {
                tracing::error!(object = %self.key, "what was to leave the object panicked");
            }
        }
    }

    /// From here on nothing is written any more; what was written so far is committed.
    pub(crate) fn end(self: &Arc<Self>) {
        self.seal();
        self.close();
    }

    /// From here on nothing is written any more, and what was not sealed is lost. What was sealed is committed.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.layers = vec![Layer::default()];
        // A handler that was cut off is tried again.
        if let Some((timer, retry)) = state.running.take() {
            let (due, record) = retry.unzip();
            state.layers[0].changes.writes.insert(keys::of_timer(&timer), record);
            state.layers[0].timers.insert(timer, due);
            state.settle_timers();
            state.seal();
        }
    }

    /// Resolves when everything written so far is durable, or will never be.
    pub(crate) fn durable(self: &Arc<Self>) -> impl Future<Output = Result<(), RpcError>> + Send + use<> {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.hold(move |result| {
            let _ = done.send(result);
        });
        let gone = |_| Err(RpcError::new(ErrorKind::Reset, "the object's instance is gone"));
        async move { wait.await.unwrap_or_else(gone) }
    }

    /// Gives the object up, once its instance is gone and nothing is on its way.
    pub(crate) async fn release(&self) {
        let ownership = self.state.lock().ownership.take();
        if let Some(ownership) = ownership
            && let Err(error) = self.committer.engine().release(&self.key, ownership.epoch).await
        {
            // The next owner claims it all the same; this only costs a record.
            tracing::warn!(object = %self.key, %error, "could not release");
        }
    }
}

impl State {
    fn check(&self) -> Result<(), StorageError> {
        if self.closed || self.failed.is_some() { Err(StorageError::Closed) } else { Ok(()) }
    }

    /// Whether everything sealed is durable, and nothing that leaves is behind it.
    fn is_open(&self) -> bool {
        self.confirmed == self.last_seal && self.held.is_empty() && !self.releasing
    }

    /// The layers that the task at that depth sees, the uppermost first.
    fn below_to(&self, depth: usize) -> impl Iterator<Item = &Changes> {
        let layers = self.layers.iter().take(depth + 1).rev().map(|layer| &layer.changes);
        layers.chain([&self.sealed]).chain(self.in_flight.as_deref())
    }

    /// All but the one whose handler runs.
    fn set_timers(&self) -> BTreeMap<Timer, UnixMillis> {
        let mut timers = self.timers.clone();
        if let Some((running, _)) = &self.running {
            timers.remove(running);
        }
        timers
    }

    fn settle(&mut self) {
        self.settle_timers();
        self.settle_messages();
    }

    /// Takes what the lowest layer says of timers for granted.
    fn settle_timers(&mut self) {
        for (timer, due) in std::mem::take(&mut self.layers[0].timers) {
            self.running.take_if(|(running, _)| *running == timer);
            match due {
                Some(due) => self.timers.insert(timer, due),
                None => self.timers.remove(&timer),
            };
        }
    }

    fn seal(&mut self) {
        if self.layers[0].changes.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut self.layers[0].changes);
        let wake = self.timers.values().min().copied();
        if wake != self.wake {
            self.wake = wake;
            changes.wake = Some(wake);
        }
        self.sealed.follow(changes);
        self.last_seal += 1;
    }
}

fn within(values: &BTreeMap<Bytes, Bytes>, range: &KeyRange) -> impl Iterator<Item = (Bytes, Bytes)> {
    let from = values.range::<Bytes, _>(range.start.clone()..);
    let end = range.end.clone();
    from.take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end))
        .map(|(key, value)| (key.clone(), value.clone()))
}

impl Committing for Ledger {
    fn committed(self: Arc<Self>, result: Result<(), CommitError>) {
        // Before anything else is on its way: it is told in order.
        let in_flight = self.state.lock().in_flight.clone();
        if let (Ok(()), Some(changes), Some(owner)) = (&result, in_flight, self.owner()) {
            owner.committed(&changes);
        }
        let mut state = self.state.lock();
        let in_flight = state.in_flight.take();
        match result {
            Ok(()) => {
                state.confirmed = state.in_flight_seal;
                if let (Some(loaded), Some(changes)) = (&mut state.loaded, in_flight) {
                    for range in &changes.cleared {
                        loaded.retain(|key, _| !range.contains(key));
                    }
                    for (key, value) in &changes.writes {
                        match value {
                            Some(value) => loaded.insert(key.clone(), value.clone()),
                            None => loaded.remove(key),
                        };
                    }
                }
                self.carry_on(state);
                self.release_held(self.state.lock());
            }
            Err(error) => {
                let error = RpcError::new(ErrorKind::Reset, format!("storage: {error}")).may_run(true);
                state.failed = Some(error.clone());
                state.sealed = Changes::default();
                drop(state);
                // Before anybody hears of it: whoever does may want a new instance at once.
                if let Some(owner) = self.owner() {
                    owner.reset(error);
                }
                self.release_held(self.state.lock());
            }
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", self.key)
    }
}
