//! The messages that an object has recorded for others, and that have not been delivered.
//!
//! They are keys like others, with two differences. A message gets its number when its transaction has ended, so that
//! none is committed behind a larger one: its receiver ignores what is not above what it has. And as long as there is
//! one, there is a timer that wakes the object.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::layer::Draft;
use super::{Facts, Layer, Ledger, State, Timer, within};
use crate::engine::{Changes, EngineResult, UnixMillis};
use crate::object::storage::{StorageError, keys};
use crate::rpc::error::{ErrorKind, RpcError};

/// How many are read at a time.
const PAGE: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Messages {
    /// The count of the last one that was numbered since the object was claimed.
    last: u64,
    /// The keys of all that are recorded, durable or not.
    pending: BTreeSet<Bytes>,
}

/// A message that has no number yet.
pub(crate) struct Sent {
    pub(crate) receiver: [u8; 32],
    pub(crate) record: Bytes,
    /// When the object is woken for it, if it is not delivered before.
    pub(crate) due: UnixMillis,
}

impl Messages {
    pub(super) fn are_none(&self) -> bool {
        self.last == 0 && self.pending.is_empty()
    }
}

impl Facts {
    /// Numbers messages that are sealed. What is numbered in an epoch has a larger number than all before.
    pub(super) fn number_messages(
        &mut self,
        sent: Vec<Sent>,
        forgets: bool,
        epoch: u64,
        changes: &mut Draft,
    ) {
        if forgets {
            self.messages.pending.clear();
        }
        for Sent { receiver, record, due } in sent {
            self.messages.last += 1;
            let number = keys::Number::new(epoch, self.messages.last);
            let key = keys::of_message(&receiver, number);
            self.messages.pending.insert(key.clone());
            let changes = changes.edit();
            changes.writes.insert((key, Some(record)));
            if self.timers.get(&Timer::Messages).is_none_or(|before| due < *before) {
                self.timers.insert(Timer::Messages, due);
                changes.writes.insert((keys::of_timer(&Timer::Messages), Some(keys::due(due))));
            }
        }
    }
}

impl State {
    /// When the object is to be woken for its messages: never, if there are none.
    fn set_due(&mut self, due: UnixMillis) {
        let facts = self.facts.get_or_insert_default();
        let layer = &mut self.work.get_or_insert_default().layer;
        let due = (!facts.messages.pending.is_empty()).then_some(due);
        let lowest = layer.timer(&Timer::Messages);
        let before = lowest.unwrap_or_else(|| facts.timers.get(&Timer::Messages).copied());
        if due != before {
            layer.changes.edit().writes.insert((keys::of_timer(&Timer::Messages), due.map(keys::due)));
            layer.aside().timers.set.insert(Timer::Messages, due);
        }
    }
}

impl Ledger {
    /// Reads what earlier instances have left: keys, and the values of those that are no messages. Before anything else
    /// is written.
    pub(crate) async fn load_messages(&self) -> EngineResult<Vec<(Bytes, Option<Bytes>)>> {
        let mut found = Vec::new();
        if self.timer(&Timer::Messages).is_none() {
            return Ok(found);
        }
        let mut range = keys::messages();
        let value_of = |key: &Bytes, value: Bytes| keys::message(key).is_none().then_some(value);
        let loaded = {
            let state = self.state.lock();
            state.loaded().map(|loaded| within(loaded, &range).collect::<Vec<_>>())
        };
        match loaded {
            Some(loaded) => {
                found.extend(loaded.into_iter().map(|(key, value)| (key.clone(), value_of(&key, value))));
            }
            None => loop {
                let page = self.list(range.clone(), false, PAGE).await?;
                let is_last = page.len() < PAGE;
                if let Some((key, _)) = page.last() {
                    range.start = [key, &[0][..]].concat().into();
                }
                found.extend(page.into_iter().map(|(key, value)| (key.clone(), value_of(&key, value))));
                if is_last {
                    break;
                }
            },
        }
        let messages = found.iter().filter(|(key, _)| keys::message(key).is_some());
        self.state.lock().facts().messages.pending.extend(messages.map(|(key, _)| key.clone()));
        Ok(found)
    }

    /// Records a message, with all else that is written here. False if there are `limit` already.
    pub(crate) fn record(&self, sent: Sent, limit: usize) -> Result<bool, StorageError> {
        let waiting = {
            let state = self.state.lock();
            let recorded = state.facts.as_ref().map_or(0, |facts| facts.messages.pending.len());
            let layers = state.work.iter().flat_map(|work| work.layers(usize::MAX));
            recorded + layers.map(Layer::sent).sum::<usize>()
        };
        if waiting >= limit {
            return Ok(false);
        }
        self.change(|layer| layer.aside().sent.push(sent))?;
        Ok(true)
    }

    /// A message was delivered, or will never be.
    pub(crate) fn forget_message(
        &self,
        receiver: &[u8; 32],
        number: keys::Number,
    ) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.check()?;
        let message = keys::of_message(receiver, number);
        let pending = &mut state.facts().messages.pending;
        pending.remove(&message);
        let are_none = pending.is_empty();
        state.work.get_or_insert_default().layer.changes.edit().writes.insert((message, None));
        // There is nothing to be set if there are others.
        if are_none {
            state.set_due(UnixMillis(0));
        }
        drop(state);
        self.written();
        Ok(())
    }

    /// Keeps how it stands with a receiver; `None` for as well as ever.
    pub(crate) fn keep_attempts(
        &self,
        receiver: &[u8; 32],
        record: Option<Bytes>,
    ) -> Result<(), StorageError> {
        self.write((keys::of_attempts(receiver), record))
    }

    /// Has the object woken for its messages at that time, if there are any.
    pub(crate) fn set_messages_due(&self, due: UnixMillis) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.check()?;
        state.set_due(due);
        drop(state);
        self.written();
        Ok(())
    }

    /// Notes that a message of that sender was taken, and lets `output` go once that is durable, with all that was
    /// written before. An instance that is gone notes nothing: then it was not taken.
    pub(crate) fn hold_received(
        self: &Arc<Self>,
        sender: &[u8; 32],
        number: keys::Number,
        output: impl FnOnce(Result<(), RpcError>) + Send + 'static,
    ) {
        let mut state = self.state.lock();
        if let Err(error) = state.check() {
            drop(state);
            return output(Err(RpcError::new(ErrorKind::Reset, error.to_string()).may_run(true)));
        }
        let layer = &mut state.work.get_or_insert_default().layer;
        layer.changes.edit().writes.insert((keys::of_received(sender), Some(number.record())));
        drop(state);
        // If the instance is thrown away in between, it says so.
        self.hold(output);
    }

    /// Removes every message.
    pub(in crate::object::storage) fn clear_messages(&self) -> Result<(), StorageError> {
        self.change(|layer| {
            let aside = layer.aside();
            aside.forgets = true;
            aside.sent.clear();
            layer.changes.edit().follow(Changes { cleared: vec![keys::messages()], ..Changes::default() });
        })
    }
}
