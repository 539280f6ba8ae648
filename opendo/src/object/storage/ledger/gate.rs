//! What leaves the object waits for what it has written: seals, commits, and letting go.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::layer::{Aside, Draft, Layer};
use super::lock::Guard;
use super::{Ledger, State, Work};
use crate::engine::committer::{CommitError, Committing};
use crate::engine::{Changes, Commit};
use crate::object::storage::keys;
use crate::object::storage::own::Own;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;

/// What leaves the object once what it has written is durable; told so, or why that failed.
pub(crate) type Output = Box<dyn FnOnce(Result<(), RpcError>) + Send>;

impl Ledger {
    /// Lets `output` go once everything written so far is durable: at once, if it is.
    pub(crate) fn hold(self: &Arc<Self>, output: impl FnOnce(Result<(), RpcError>) + Send + 'static) {
        if self.is_settled() {
            return output(Ok(()));
        }
        let mut state = self.sealed();
        if let Some(error) = &state.failed {
            let error = error.clone();
            drop(state);
            return output(Err(error));
        }
        // Behind what was said before, and with an error if what was written is lost.
        let dropped = state.dropped.clone();
        let Some(work) = state.work.as_mut().filter(|work| !work.is_open()) else {
            drop(state);
            return output(dropped.map_or(Ok(()), Err));
        };
        let seal = work.last_seal + u64::from(work.postponed);
        let output: Output = match dropped {
            None => Box::new(output),
            Some(error) => Box::new(move |durable| output(durable.and(Err(error)))),
        };
        work.held.push(seal, output);
        drop(self.carry_on(state));
    }

    /// Whether what leaves now would have to wait. What was written so far is on its way afterwards.
    pub(crate) fn holds(self: &Arc<Self>) -> bool {
        if self.is_settled() {
            return false;
        }
        let state = self.sealed();
        if state.lets_go() {
            return false;
        }
        !self.carry_on(state).lets_go()
    }

    /// Whether nothing was written that is not durable, and nothing is lost.
    fn is_settled(&self) -> bool {
        // What statements have written is known to the database alone.
        self.apart.is_none() && self.state.is_settled()
    }

    /// Whether something is written and not durable.
    pub(crate) fn is_dirty(&self) -> bool {
        let is_written = self.own().is_some_and(Own::is_written);
        let state = self.state.lock();
        let works = |work: &Work| !work.is_open() || work.has_unsealed();
        state.failed.is_none() && (is_written || state.work.as_deref().is_some_and(works))
    }

    /// Whether a commit has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed.is_some()
    }

    /// Commits what was written so far, without waiting for it.
    pub(crate) fn seal(self: &Arc<Self>) {
        if !self.is_settled() {
            drop(self.carry_on(self.sealed()));
        }
    }

    /// Seals what could not be sealed because a statement or a transaction of the user's ran.
    #[cfg(feature = "sqlite")]
    pub(crate) fn seal_postponed(self: &Arc<Self>) {
        if self.state.lock().work.as_ref().is_some_and(|work| work.postponed) {
            self.seal();
            // Nothing may be left to wait for.
            self.release_held(self.state.lock());
        }
    }

    /// Seals what was written so far.
    pub(super) fn sealed(&self) -> Guard<'_> {
        let Some(own) = self.own() else {
            let mut state = self.state.lock();
            state.seal();
            return state;
        };
        let alone = own.alone();
        let mut state = self.state.lock();
        let has_layer = state.work.as_ref().is_some_and(|work| !work.layer.is_empty());
        let is_written = own.is_written() || has_layer;
        if state.failed.is_some() || state.closed {
            return state;
        }
        if own.is_busy() {
            if is_written {
                state.work.get_or_insert_default().postponed = true;
            }
            return state;
        }
        let was_postponed = state.work.as_mut().is_some_and(|work| std::mem::take(&mut work.postponed));
        if !was_postponed && !is_written {
            return state;
        }
        let Err(error) = state.seal_in(own) else { return state };
        drop(state);
        drop(alone);
        self.fail(&error);
        self.state.lock()
    }

    /// Sends the next commit on its way, if there is one to send and none there. Without the lock meanwhile.
    pub(super) fn carry_on<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let State { ownership, work: Some(work), failed: None, .. } = &mut *state else { return state };
        if work.in_flight.is_some() {
            return state;
        }
        if self.apart.is_some() {
            let Some(unsynced) = work.unsynced.take() else {
                work.confirmed = work.last_seal;
                return state;
            };
            work.in_flight = Some(work.sealed.take());
            work.in_flight_seal = work.last_seal;
            drop(state);
            let ledger = self.clone();
            let done =
                move |result: Result<(), String>| ledger.committed(result.map_err(CommitError::Failed));
            unsynced.sync_beside(self.committer.runtime(), done);
            return self.state.lock();
        }
        let (Some(ownership), false) = (ownership, work.sealed.is_empty()) else { return state };
        ownership.sequence += 1;
        let (epoch, sequence) = (ownership.epoch, ownership.sequence);
        let changes = work.sealed.take();
        work.in_flight = Some(changes.clone());
        work.in_flight_seal = work.last_seal;
        drop(state);
        self.committer.submit(Commit { object: self.key.clone(), epoch, sequence, changes }, self.clone());
        self.state.lock()
    }

    /// Nothing more becomes durable.
    pub(super) fn fail(&self, error: &impl fmt::Display) {
        let error = RpcError::new(ErrorKind::Reset, format!("storage: {error}")).may_run(true);
        let mut state = self.state.lock();
        state.failed = Some(error.clone());
        if let Some(work) = &mut state.work {
            work.sealed = Draft::default();
            work.unsynced = None;
        }
        drop(state);
        // Before anybody hears of it: whoever does may want a new instance at once.
        if let Some(owner) = self.owner() {
            owner.reset(error);
        }
        self.release_held(self.state.lock());
    }

    /// Lets go of what has waited long enough, in order.
    pub(super) fn release_held(&self, mut state: Guard<'_>) {
        match &mut state.work {
            Some(work) if !work.releasing => work.releasing = true,
            _ => return state.tidy(),
        }
        loop {
            let result = match &state.failed {
                Some(error) => Err(error.clone()),
                None => Ok(()),
            };
            let Some(work) = &mut state.work else { return };
            let confirmed = if result.is_ok() { work.confirmed } else { u64::MAX };
            let Some(output) = work.held.pop(confirmed) else {
                work.releasing = false;
                return state.tidy();
            };
            // It may run code of users: encodings of replies. What it says has waited: it does not do so again for
            // what is written meanwhile.
            let run = || catch_unwind(AssertUnwindSafe(|| CallInfo::in_no_call(|| output(result))));
            if state.unlocked(run).is_err() {
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
        let _alone = self.own().and_then(Own::alone);
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let is_written = self.own().is_some_and(Own::is_written);
        if is_written || state.work.as_ref().is_some_and(|work| work.has_unsealed()) {
            let text = "the instance was thrown away before what it wrote was durable";
            state.dropped = Some(RpcError::new(ErrorKind::Reset, text).may_run(true));
        }
        if let Some(work) = &mut state.work {
            work.layer = Layer::default();
            work.transactions.clear();
            work.postponed = false;
        }
        if let Some(own) = self.own() {
            own.roll_back();
        }
        // A handler that was cut off is tried again.
        if let Some((timer, retry)) = state.facts.as_mut().and_then(|facts| facts.running.take()) {
            let (due, record) = retry().unzip();
            let layer = &mut state.work.get_or_insert_default().layer;
            layer.changes.edit().writes.insert((keys::of_timer(&timer), record));
            layer.aside().timers.set.insert(timer, due);
            match self.own() {
                None => state.seal(),
                // In the middle of a statement nothing can be written: then it is tried again at once.
                Some(own) => drop(state.seal_in(own)),
            }
        }
        if let Some(own) = self.own() {
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
}

impl Work {
    /// Whether everything sealed is durable, and nothing that leaves is behind it.
    pub(super) fn is_open(&self) -> bool {
        !self.postponed && self.confirmed == self.last_seal && self.held.is_empty() && !self.releasing
    }
}

impl State {
    /// Whether what leaves now has nothing to do with what was written.
    pub(super) fn is_settled(&self) -> bool {
        self.work.is_none() && self.failed.is_none() && self.dropped.is_none()
    }

    /// Whether what leaves now need not wait, and may leave at all.
    pub(super) fn lets_go(&self) -> bool {
        let is_open = self.work.as_ref().is_none_or(|work| work.is_open());
        is_open && self.failed.is_none() && self.dropped.is_none()
    }

    pub(super) fn seal(&mut self) {
        let Some(changes) = self.unsealed() else { return };
        let work = self.work.get_or_insert_default();
        work.sealed.follow(changes);
        work.last_seal += 1;
    }

    pub(super) fn seal_in(&mut self, own: &Own) -> Result<(), String> {
        let changes = self.unsealed().unwrap_or_default();
        let nothing = Changes::default();
        let sealed = own.seal(changes.get().unwrap_or(&nothing)).map_err(|error| error.to_string())?;
        let work = self.work.get_or_insert_default();
        if sealed.is_some() {
            work.unsynced = sealed;
        }
        work.sealed.follow(changes);
        work.last_seal += 1;
        Ok(())
    }

    /// Takes what was written, if anything was.
    fn unsealed(&mut self) -> Option<Draft> {
        let layer = &mut self.work.as_mut()?.layer;
        if layer.is_empty() {
            return None;
        }
        let Layer { mut changes, aside } = std::mem::take(layer);
        if let Some(Aside { timers, sent, forgets }) = aside.map(|aside| *aside) {
            // Whoever sets the timer whose handler runs has decided what becomes of it.
            let facts = self.facts.get_or_insert_default();
            facts.running.take_if(|(running, _)| timers.get(running).is_some());
            timers.apply(&mut facts.timers);
            let epoch = self.ownership.as_ref().map_or(0, |ownership| ownership.epoch.0);
            facts.number_messages(sent, forgets, epoch, &mut changes);
            let wake = facts.timers.values().min().copied();
            if wake != facts.wake {
                facts.wake = wake;
                changes.edit().wake = Some(wake);
            }
        }
        Some(changes)
    }
}

impl Committing for Ledger {
    fn committed(self: Arc<Self>, result: Result<(), CommitError>) {
        let mut state = self.state.lock();
        if result.is_ok() && state.facts.as_ref().is_some_and(|facts| !facts.messages.are_none()) {
            // Before anything else is on its way: it is told in order.
            let in_flight = state.work.as_ref().and_then(|work| work.in_flight.clone());
            drop(state);
            if let (Some(changes), Some(owner)) = (in_flight, self.owner()) {
                owner.committed(&changes);
            }
            state = self.state.lock();
        }
        if std::mem::take(&mut state.found_nothing) {
            state.facts().loaded = Some(BTreeMap::new());
        }
        let State { work: Some(work), facts, .. } = &mut *state else { return };
        let in_flight = work.in_flight.take();
        match result {
            Ok(()) => {
                work.confirmed = work.in_flight_seal;
                let loaded = facts.as_mut().and_then(|facts| facts.loaded.as_mut());
                if let (Some(loaded), Some(changes)) = (loaded, in_flight) {
                    for range in &changes.cleared {
                        loaded.retain(|key, _| !range.contains(key));
                    }
                    for (key, value) in changes.writes.iter() {
                        match value {
                            Some(value) => loaded.insert(key.to_bytes(), value.to_bytes()),
                            None => loaded.remove(&*key),
                        };
                    }
                }
                self.tell_registry(&mut state);
                self.release_held(self.carry_on(state));
            }
            Err(error) => {
                drop(state);
                self.fail(&error);
            }
        }
    }
}
