//! What an object has written and the engine has not confirmed, and what must not leave before it has.
//!
//! Writes go into a layer. When something is about to leave the object (a reply, a call, a callback), what was
//! written so far is *sealed*: it becomes part of the next commit, and what leaves is held until that commit is
//! confirmed. One commit of an object is on its way at a time; what is sealed meanwhile goes with the next one.
//!
//! An object whose class has SQL keeps all of it in a database of its own. There, to seal is to commit, and what is on
//! its way is the flush of the disk. The engine keeps the ownership, and when to wake the object: as long as it is in
//! memory it is [to be asked](UnixMillis::ASK), so that no alarm is lost between two databases (checklist 7.8).

mod messages;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::engine::committer::{CommitError, Committer, Committing};
use crate::engine::{Changes, Commit, EngineError, EngineResult, KeyRange, Ownership, UnixMillis};
use crate::object::context::Control;
use crate::object::id::ObjectKey;
use crate::object::storage::own::Own;
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
    /// Of a class that has SQL.
    own: Option<Own>,
    state: Mutex<State>,
    /// Of the instance.
    owner: OnceLock<Weak<Control>>,
    /// One transaction at a time.
    pub(super) transaction: tokio::sync::Mutex<()>,
    /// Cancelled when the object was given up.
    released: CancellationToken,
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
    /// What waits instead, with a database of its own.
    unsynced: Option<super::own::Sealed>,
    /// Something was to be sealed while a statement or a transaction of the user's ran: it is when that has ended.
    postponed: bool,
    /// What the registry was told of its wake-up.
    told: Option<UnixMillis>,
    /// Seals are counted: the last one, the last one that is on its way, the last one that is durable.
    last_seal: u64,
    in_flight_seal: u64,
    confirmed: u64,
    /// In the order in which they leave, with the seal that each waits for.
    held: VecDeque<(u64, Output)>,
    /// Somebody lets go of what was held, and takes along what is added.
    releasing: bool,
    /// As the last seal says.
    timers: BTreeMap<Timer, UnixMillis>,
    /// The timer whose handler runs, with what is to be stored of it if the instance is lost meanwhile. Nothing once
    /// somebody has set it again, and that was sealed.
    running: Option<(Timer, Retry)>,
    messages: messages::Messages,
    /// As the last seal says.
    wake: Option<UnixMillis>,
    /// Nothing is written any more.
    closed: bool,
    /// The commits ended in an error.
    failed: Option<RpcError>,
    /// The instance was thrown away before what it had written was sealed. What is said behind that must not leave.
    dropped: Option<RpcError>,
}

/// What is stored of a timer, and when it is due; `None` if nothing is.
pub(crate) type TimerRecord = Option<(UnixMillis, Bytes)>;

/// Says what is to be stored of a timer whose handler is cut off now.
type Retry = Box<dyn FnOnce() -> TimerRecord + Send>;

#[derive(Default)]
struct Layer {
    changes: Changes,
    timers: Timers,
    /// Messages that were recorded in it, and whether all that were recorded before it are removed.
    sent: Vec<Sent>,
    forgets: bool,
}

/// What a layer says of timers.
#[derive(Default)]
struct Timers {
    /// Those that were set before are removed.
    cleared: bool,
    /// `None` removes.
    set: BTreeMap<Timer, Option<UnixMillis>>,
}

impl Timers {
    /// Adds what came later.
    fn follow(&mut self, later: Self) {
        if later.cleared {
            *self = later;
        } else {
            self.set.extend(later.set);
        }
    }

    fn apply(&self, timers: &mut BTreeMap<Timer, UnixMillis>) {
        if self.cleared {
            timers.clear();
        }
        for (timer, due) in &self.set {
            match due {
                Some(due) => timers.insert(timer.clone(), *due),
                None => timers.remove(timer),
            };
        }
    }

    /// What it says of a timer: when it is due, that it is not set, or nothing.
    fn get(&self, timer: &Timer) -> Option<Option<UnixMillis>> {
        self.set.get(timer).copied().or_else(|| self.cleared.then_some(None))
    }
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

/// Undoes a transaction of that depth: also when its body panics, or is dropped.
struct Undo<'a>(&'a Ledger, usize);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.state.lock().layers.truncate(self.1);
    }
}

impl Ledger {
    pub(crate) fn new(committer: Arc<Committer>, own: Option<Own>, key: Arc<ObjectKey>) -> Arc<Self> {
        let state = State {
            ownership: None,
            loaded: None,
            layers: vec![Layer::default()],
            sealed: Changes::default(),
            in_flight: None,
            unsynced: None,
            postponed: false,
            told: None,
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
            dropped: None,
        };
        Arc::new(Self {
            key,
            committer,
            own,
            state: Mutex::new(state),
            owner: OnceLock::new(),
            transaction: tokio::sync::Mutex::default(),
            released: CancellationToken::new(),
        })
    }

    pub(crate) fn key(&self) -> &Arc<ObjectKey> {
        &self.key
    }

    /// Its database, if its class has SQL.
    #[cfg(feature = "sqlite")]
    pub(crate) fn own(&self) -> Option<&Own> {
        self.own.as_ref()
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
        let claim = self.committer.engine().claim(&self.key).await?;
        self.state.lock().ownership = Some(claim.ownership);
        let values = match &self.own {
            None => claim.values,
            Some(own) => {
                let here = [(keys::own(), Some(Bytes::new()))];
                let asked =
                    Changes { wake: Some(Some(UnixMillis::ASK)), writes: here.into(), ..Changes::default() };
                let (told, opened) = tokio::join!(self.tell_engine(asked), own.open(&self.key));
                told.and(opened)?;
                own.load()?
            }
        };
        let timers: Vec<(Bytes, Bytes)> = match &values {
            Some(values) => within(values, &keys::timers()).collect(),
            None => self.list(keys::timers(), false, usize::MAX).await?,
        };
        let mut state = self.state.lock();
        state.messages.epoch = state.ownership.as_ref().map_or(0, |ownership| ownership.epoch.0);
        state.loaded = values.filter(|_| self.own.is_none());
        state.timers = timers.iter().filter_map(|(key, value)| keys::timer(key, value)).collect();
        state.wake = state.timers.values().min().copied();
        self.tell_registry(&mut state);
        Ok(())
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
        if self.own.is_some() {
            let before = std::mem::replace(&mut state.told, state.wake);
            self.committer.wakes().tell(&self.key, before, state.wake);
        }
    }

    /// The committed values of keys, in their order.
    pub(super) async fn get(&self, keys: Vec<Bytes>) -> EngineResult<Vec<Option<Bytes>>> {
        match &self.own {
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
        match &self.own {
            None => self.committer.engine().list(&self.key, range, reverse, limit).await,
            Some(own) => own.list(&range, reverse, limit),
        }
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

    /// Removes the tables that the user has made.
    pub(super) fn drop_tables(&self) -> Result<(), StorageError> {
        self.state.lock().check()?;
        match &self.own {
            None => Ok(()),
            Some(own) => Ok(own.drop_tables()?),
        }
    }

    /// Removes every timer.
    pub(super) fn clear_timers(&self) -> Result<(), StorageError> {
        self.change(|layer| {
            layer.changes.follow(Changes { cleared: vec![keys::timers()], ..Changes::default() });
            layer.timers = Timers { cleared: true, ..Timers::default() };
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
            layer.timers.set.insert(timer, due);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Layer)) -> Result<(), StorageError> {
        let depth = self.depth();
        let mut state = self.state.lock();
        state.check()?;
        let layer = state.layers.get_mut(depth).ok_or(StorageError::Transaction)?;
        change(layer);
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

    /// When the timer is due; `None` while its handler runs.
    pub(crate) fn timer(&self, timer: &Timer) -> Option<UnixMillis> {
        let depth = self.depth();
        let state = self.state.lock();
        let upper = state.layers.iter().take(depth + 1).rev().find_map(|layer| layer.timers.get(timer));
        upper.unwrap_or_else(|| state.set_timers().get(timer).copied())
    }

    /// All timers but the one whose handler runs.
    pub(crate) fn timers(&self) -> BTreeMap<Timer, UnixMillis> {
        let depth = self.depth();
        let state = self.state.lock();
        let mut timers = state.set_timers();
        for layer in state.layers.iter().take(depth + 1) {
            layer.timers.apply(&mut timers);
        }
        timers
    }

    /// The timer's handler runs from now on. Its record stays as it is meanwhile; if the instance is lost, it becomes what
    /// `retry` says then.
    pub(crate) fn begin(&self, timer: Timer, retry: impl FnOnce() -> TimerRecord + Send + 'static) {
        self.state.lock().running = Some((timer, Box::new(retry)));
    }

    /// The timer's handler has run. Its record becomes `next`, unless the handler has changed it.
    pub(crate) fn finish(&self, timer: &Timer, next: TimerRecord) {
        let undecided = {
            let mut state = self.state.lock();
            state.running.take().is_some() && state.layers[0].timers.get(timer).is_none()
        };
        if undecided {
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
        let undo = Undo(self, depth);
        let own = std::ptr::from_ref(self).addr();
        let result = TRANSACTION.scope((own, depth), body).await;
        if result.is_ok() {
            self.state.lock().check()?;
            self.keep(depth);
        }
        drop(undo);
        Ok(result)
    }

    /// The same for a body that does not wait for anything. While another transaction runs beside it, it cannot write.
    #[cfg(feature = "sqlite")]
    pub(crate) fn transact_at_once<R, E>(&self, body: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let depth = self.depth() + 1;
        let only = (depth == 1).then(|| self.transaction.try_lock());
        let is_alone = !matches!(only, Some(Err(_))) && {
            let mut state = self.state.lock();
            let fits = state.layers.len() == depth;
            if fits {
                state.layers.push(Layer::default());
            }
            fits
        };
        let own = std::ptr::from_ref(self).addr();
        if !is_alone {
            return TRANSACTION.sync_scope((own, usize::MAX - 1), body);
        }
        let undo = Undo(self, depth);
        let result = TRANSACTION.sync_scope((own, depth), body);
        if result.is_ok() {
            self.keep(depth);
        }
        drop(undo);
        result
    }

    /// What the transaction of that depth has written counts.
    fn keep(&self, depth: usize) {
        let mut state = self.state.lock();
        if state.layers.len() <= depth {
            return; // it was closed meanwhile
        }
        let Some(layer) = state.layers.pop() else { return };
        if let Some(below) = state.layers.last_mut() {
            below.follow(layer);
        }
        drop(state);
        if depth == 1 {
            self.written();
        }
    }

    /// Lets `output` go once everything written so far is durable: at once, if it is.
    pub(crate) fn hold(self: &Arc<Self>, output: impl FnOnce(Result<(), RpcError>) + Send + 'static) {
        let mut state = self.sealed();
        // Behind what was said before, and with an error if what was written is lost.
        let dropped = state.dropped.clone().map_or(Ok(()), Err);
        let output = move |durable: Result<(), RpcError>| output(durable.and(dropped));
        if let Some(error) = &state.failed {
            let error = error.clone();
            drop(state);
            return output(Err(error));
        }
        if state.is_open() {
            drop(state);
            return output(Ok(()));
        }
        let seal = state.last_seal + u64::from(state.postponed);
        state.held.push_back((seal, Box::new(output)));
        self.carry_on(state);
    }

    /// Whether what leaves now would have to wait. What was written so far is on its way afterwards.
    pub(crate) fn holds(self: &Arc<Self>) -> bool {
        let state = self.sealed();
        if state.lets_go() {
            return false;
        }
        self.carry_on(state);
        !self.state.lock().lets_go()
    }

    /// Whether something is written and not durable.
    pub(crate) fn is_dirty(&self) -> bool {
        let is_written = self.own.as_ref().is_some_and(Own::is_written);
        let state = self.state.lock();
        let unsealed = || is_written || state.layers.iter().any(|layer| !layer.is_empty());
        state.failed.is_none() && (!state.is_open() || unsealed())
    }

    /// Whether a commit has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed.is_some()
    }

    /// Commits what was written so far, without waiting for it.
    pub(crate) fn seal(self: &Arc<Self>) {
        let state = self.sealed();
        self.carry_on(state);
    }

    /// Seals what could not be sealed because a statement or a transaction of the user's ran.
    #[cfg(feature = "sqlite")]
    pub(crate) fn seal_postponed(self: &Arc<Self>) {
        if self.state.lock().postponed {
            self.seal();
            // Nothing may be left to wait for.
            self.release_held(self.state.lock());
        }
    }

    /// Seals what was written so far.
    fn sealed(&self) -> MutexGuard<'_, State> {
        let Some(own) = &self.own else {
            let mut state = self.state.lock();
            state.seal();
            return state;
        };
        let alone = own.alone();
        let mut state = self.state.lock();
        let is_written = own.is_written() || !state.layers[0].is_empty();
        if state.failed.is_some() || state.closed {
            return state;
        }
        if own.is_busy() {
            state.postponed |= is_written;
            return state;
        }
        if !std::mem::take(&mut state.postponed) && !is_written {
            return state;
        }
        let Err(error) = state.seal_in(own) else { return state };
        drop(state);
        drop(alone);
        self.fail(&error);
        self.state.lock()
    }

    /// Sends the next commit on its way, if there is one to send and none there.
    fn carry_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.in_flight.is_some() || state.failed.is_some() {
            return;
        }
        if self.own.is_some() {
            let Some(unsynced) = state.unsynced.take() else {
                state.confirmed = state.last_seal;
                return;
            };
            state.in_flight = Some(Arc::new(std::mem::take(&mut state.sealed)));
            state.in_flight_seal = state.last_seal;
            drop(state);
            let ledger = self.clone();
            let done =
                move |result: Result<(), String>| ledger.committed(result.map_err(CommitError::Failed));
            return unsynced.sync_beside(self.committer.runtime(), done);
        }
        if state.sealed.is_empty() {
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

    /// Nothing more becomes durable.
    fn fail(&self, error: &impl fmt::Display) {
        let error = RpcError::new(ErrorKind::Reset, format!("storage: {error}")).may_run(true);
        let mut state = self.state.lock();
        state.failed = Some(error.clone());
        state.sealed = Changes::default();
        state.unsynced = None;
        drop(state);
        // Before anybody hears of it: whoever does may want a new instance at once.
        if let Some(owner) = self.owner() {
            owner.reset(error);
        }
        self.release_held(self.state.lock());
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
        let _alone = self.own.as_ref().and_then(Own::alone);
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let is_written = self.own.as_ref().is_some_and(Own::is_written);
        if is_written || state.layers.iter().any(|layer| !layer.is_empty()) {
            let text = "the instance was thrown away before what it wrote was durable";
            state.dropped = Some(RpcError::new(ErrorKind::Reset, text).may_run(true));
        }
        state.layers = vec![Layer::default()];
        state.postponed = false;
        if let Some(own) = &self.own {
            own.roll_back();
        }
        // A handler that was cut off is tried again.
        if let Some((timer, retry)) = state.running.take() {
            let (due, record) = retry().unzip();
            state.layers[0].changes.writes.insert(keys::of_timer(&timer), record);
            state.layers[0].timers.set.insert(timer, due);
            match &self.own {
                None => state.seal(),
                // In the middle of a statement nothing can be written: then it is tried again at once.
                Some(own) => drop(state.seal_in(own)),
            }
        }
        if let Some(own) = &self.own {
            own.end();
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

    /// Whether another instance would have to wait for this one, which is gone.
    pub(crate) fn lingers(&self) -> bool {
        match &self.own {
            None => self.is_dirty(),
            Some(_) => !self.released.is_cancelled(),
        }
    }

    /// Resolves when another instance may have the object.
    pub(crate) async fn left(self: Arc<Self>) {
        let _ = self.durable().await;
        if self.own.is_some() {
            // Two cannot have the same file open.
            self.released.cancelled().await;
        }
    }

    /// Gives the object up, once its instance is gone and nothing is on its way.
    pub(crate) async fn release(&self) {
        if let Some(own) = &self.own {
            let closed = own.close().await;
            let wake = {
                let mut state = self.state.lock();
                // What was not flushed may be there, or not.
                let wake = if state.failed.is_some() {
                    state.wake.min(state.told).or(state.told)
                } else {
                    state.wake
                };
                let told = state.told.take();
                self.committer.wakes().tell(&self.key, told, None);
                wake.or(state.wake)
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
        self.released.cancel();
    }
}

impl State {
    fn check(&self) -> Result<(), StorageError> {
        if self.closed || self.failed.is_some() { Err(StorageError::Closed) } else { Ok(()) }
    }

    /// Whether everything sealed is durable, and nothing that leaves is behind it.
    fn is_open(&self) -> bool {
        !self.postponed && self.confirmed == self.last_seal && self.held.is_empty() && !self.releasing
    }

    /// Whether what leaves now need not wait, and may leave at all.
    fn lets_go(&self) -> bool {
        self.is_open() && self.failed.is_none() && self.dropped.is_none()
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

    fn seal(&mut self) {
        if self.layers[0].is_empty() {
            return;
        }
        let changes = self.unsealed();
        self.sealed.follow(changes);
        self.last_seal += 1;
    }

    fn seal_in(&mut self, own: &Own) -> Result<(), String> {
        let changes = self.unsealed();
        if let Some(sealed) = own.seal(&changes).map_err(|error| error.to_string())? {
            self.unsynced = Some(sealed);
        }
        self.sealed.follow(changes);
        self.last_seal += 1;
        Ok(())
    }

    fn unsealed(&mut self) -> Changes {
        let Layer { mut changes, timers, sent, forgets } = std::mem::take(&mut self.layers[0]);
        // Whoever sets the timer whose handler runs has decided what becomes of it.
        self.running.take_if(|(running, _)| timers.get(running).is_some());
        timers.apply(&mut self.timers);
        self.number_messages(sent, forgets, &mut changes);
        let wake = self.timers.values().min().copied();
        if wake != self.wake {
            self.wake = wake;
            changes.wake = Some(wake);
        }
        changes
    }
}

fn within(values: &BTreeMap<Bytes, Bytes>, range: &KeyRange) -> impl Iterator<Item = (Bytes, Bytes)> {
    let from = values.range::<Bytes, _>(range.start.clone()..);
    let end = range.end.clone();
    from.take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end))
        .map(|(key, value)| (key.clone(), value.clone()))
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
                self.tell_registry(&mut state);
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
                drop(state);
                self.fail(&error);
            }
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", self.key)
    }
}
