//! The messages of an object: recorded with its writes, delivered when those are durable.
//!
//! Those to one receiver form a lane. They arrive in order, so the receiver needs no more than the number of the last
//! one to know them all. A lane whose message has failed rests for a while, longer each time; others go on. What is not
//! delivered is there again with the next instance, and a timer sees to it that there is one.

mod lanes;
mod message;

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use self::lanes::{Id, Lanes};
use self::message::Message;
pub use self::message::{SendError, Undelivered};
use crate::engine::{Changes, EngineResult, UnixMillis};
use crate::object::control::{Common, Control, Keeping};
use crate::object::id::ObjectKey;
use crate::object::inbox::Receipt;
use crate::object::storage::Storage;
use crate::object::storage::keys::{self, Number};
use crate::object::storage::ledger::Sent;
use crate::object::timers::backoff;
use crate::rpc::call::Call;
use crate::rpc::cap::{Capability, Reference};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::stub::Stub;

/// When so many bytes of messages to one receiver are on their way, no more are read.
const TOGETHER_BYTES: usize = 256 << 10;

/// See the module. An object has one from its first message on.
pub(crate) struct Outbox {
    key: Arc<ObjectKey>,
    storage: Storage,
    control: Weak<Control>,
    common: Arc<Common>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: Lanes,
    /// How often it was time for another attempt, and messages were on their way still.
    delays: u32,
    /// The object is there.
    started: bool,
    /// The instance is gone.
    closed: bool,
}

/// What has come of an attempt.
enum End {
    /// All were delivered, or taken back meanwhile.
    Over,
    /// The next one was not.
    Failed(RpcError),
    /// The next one never will be.
    Never(Undelivered),
}

impl Outbox {
    pub(crate) fn new(storage: &Storage, control: &Arc<Control>, common: &Arc<Common>) -> Arc<Self> {
        Arc::new(Self {
            key: storage.ledger().key().clone(),
            storage: storage.clone(),
            control: Arc::downgrade(control),
            common: common.clone(),
            state: Mutex::default(),
        })
    }

    /// See [`Ctx::send`](crate::Ctx::send).
    pub(crate) fn send<S: Stub, T, E>(
        &self,
        to: &S,
        call: impl FnOnce(&S) -> Call<T, E>,
    ) -> Result<(), SendError> {
        let Some(Reference::Object(receiver)) = to.hosted(&self.common.node) else {
            return Err(SendError::NotHere { to: format!("{to:?}") });
        };
        let record = message::record(&self.common.node, receiver, call)?;
        let due = self.after(0);
        let sent = Sent { receiver: *receiver.bytes(), record, due };
        if self.storage.ledger().record(sent, self.common.max_messages)? {
            Ok(())
        } else {
            Err(SendError::Full { limit: self.common.max_messages })
        }
    }

    /// Reads what earlier instances have left.
    pub(crate) async fn open(&self) -> EngineResult<()> {
        let found = self.storage.ledger().load_messages().await?;
        let mut state = self.state.lock();
        for (key, value) in found {
            if let Some((receiver, number)) = keys::message(&key) {
                state.lanes.add(receiver, number);
            } else if let (Some(receiver), Some(value)) = (keys::attempts(&key), value)
                && let Ok((failures, until)) = postcard::from_bytes(&value)
            {
                state.lanes.still_rests(receiver, failures, UnixMillis(until));
            }
        }
        state.lanes.wake(self.common.clock.now_millis());
        Ok(())
    }

    /// The object is there: its messages go.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.started = true;
        self.go_on(state);
    }

    /// A commit is durable: what it holds for others goes.
    pub(crate) fn committed(self: &Arc<Self>, changes: &Changes) {
        let range = keys::messages();
        let cleared = changes.cleared.iter().any(|cleared| cleared.contains(&range.start));
        let written = changes.writes.starting(&range.start);
        let mut written = written.take_while(|(key, _)| range.contains(key)).peekable();
        if !cleared && written.peek().is_none() {
            return;
        }
        let mut state = self.state.lock();
        if cleared {
            state.lanes.clear();
        }
        for (key, value) in written {
            if let (Some((receiver, number)), Some(_)) = (keys::message(&key), value) {
                state.lanes.add(receiver, number);
            }
        }
        self.go_on(state);
    }

    /// It is time for another attempt.
    pub(crate) fn is_due(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if !state.lanes.is_at_rest() {
            state.delays += 1;
        }
        state.lanes.wake(self.common.clock.now_millis());
        // An instance that is gone is woken anew.
        let _ = self.storage.ledger().set_messages_due(self.next_due(&state));
        self.go_on(state);
    }

    /// When it is to be woken if nothing else happens.
    fn next_due(&self, state: &State) -> UnixMillis {
        let others = self.after(state.delays);
        match state.lanes.resting() {
            Some(due) if state.lanes.is_at_rest() => due,
            Some(due) => due.min(others),
            None => others,
        }
    }

    fn after(&self, failures: u32) -> UnixMillis {
        UnixMillis::not_before(self.common.clock.now() + backoff(failures))
    }

    /// Sends what can go.
    fn go_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !state.started || state.closed {
            return;
        }
        while let Some((receiver, numbers)) = state.lanes.next() {
            let this = self.clone();
            self.common.runtime.spawn(async move {
                let control = this.control.upgrade();
                let keep = |control: &Arc<Control>| control.keep_alive(Keeping::Message);
                let _kept: Vec<_> = numbers.iter().filter_map(|_| control.as_ref().map(keep)).collect();
                let (over, end) = this.deliver(&receiver, numbers).await;
                this.ended(receiver, &over, end);
            });
        }
    }

    /// Delivers messages to one receiver. Each tells it which one is before it: if that was not taken, it is not either.
    /// Returns those that are over with.
    async fn deliver(&self, receiver: &Id, numbers: Vec<Number>) -> (Vec<Number>, End) {
        let (mut sent, mut size, mut before) = (Vec::new(), 0, None);
        for number in numbers {
            let record = match self.storage.read(keys::of_message(receiver, number)).await {
                Ok(record) => record,
                Err(error) if sent.is_empty() => {
                    return (Vec::new(), End::Failed(RpcError::new(ErrorKind::Reset, error.to_string())));
                }
                Err(_) => break,
            };
            size += record.as_ref().map_or(0, Bytes::len);
            let message = record.and_then(|record| {
                let message = Message::read(receiver, &record);
                if message.is_none() {
                    tracing::error!(object = %self.key, "a message that cannot be read is dropped");
                }
                message
            });
            let on_its_way = message.map(|message| {
                let (receipt, taken) = Receipt::new(self.key.clone(), number, before.replace(number));
                self.common.node.receive(&message.receiver, message.call(&self.common.node, receipt));
                (message, taken)
            });
            sent.push((number, on_its_way));
            if size > TOGETHER_BYTES {
                break;
            }
        }
        let mut over = Vec::new();
        for (number, on_its_way) in sent {
            if let Some((message, taken)) = on_its_way {
                let gone = |_| Err(RpcError::new(ErrorKind::Closed, "the runtime was shut down"));
                match taken.await.unwrap_or_else(gone) {
                    Ok(()) => {}
                    Err(reason) if is_for_ever(reason.kind()) => {
                        return (over, End::Never(message.undelivered(number, reason)));
                    }
                    Err(error) => return (over, End::Failed(error)),
                }
            }
            over.push(number);
        }
        (over, End::Over)
    }

    fn ended(self: &Arc<Self>, receiver: Id, over: &[Number], end: End) {
        let mut state = self.state.lock();
        for number in over {
            state.delays = 0;
            self.forget(&mut state, receiver, *number);
        }
        let undelivered = match end {
            End::Over => {
                state.lanes.has_ended(receiver);
                None
            }
            End::Failed(error) => {
                tracing::debug!(object = %self.key, %error, "a message was not delivered, and is tried again");
                self.rest(&mut state, receiver);
                None
            }
            // The lane rests until the object has heard of it.
            End::Never(undelivered) => {
                undelivered.log(&self.key);
                self.rest(&mut state, receiver);
                Some(undelivered)
            }
        };
        self.go_on(state);
        if let (Some(undelivered), Some(keeper)) = (undelivered, self.common.keeper.upgrade()) {
            keeper.tell_undelivered(&self.key, undelivered);
        }
    }

    /// Nobody waits for this message any more.
    fn forget(&self, state: &mut State, receiver: Id, number: Number) {
        let ledger = self.storage.ledger();
        let forgotten = match state.lanes.remove(receiver, number) {
            true => ledger.keep_attempts(&receiver, None),
            false => Ok(()),
        };
        if forgotten.and_then(|()| ledger.forget_message(&receiver, number)).is_err() {
            state.closed = true;
        }
    }

    /// The lane is tried again later.
    fn rest(&self, state: &mut State, receiver: Id) {
        let failures = state.lanes.failures(&receiver);
        let until = self.after(failures);
        if !state.lanes.rest(receiver, failures + 1, until) {
            return; // everything was taken back
        }
        let record = postcard::to_allocvec(&(failures + 1, until.0)).expect("numbers can be encoded");
        let ledger = self.storage.ledger();
        let kept = ledger.keep_attempts(&receiver, Some(record.into()));
        if kept.and_then(|()| ledger.set_messages_due(self.next_due(state))).is_err() {
            state.closed = true;
        }
    }

    /// Whether the message is still to be delivered: the object may have been told of it before.
    pub(crate) fn holds(&self, message: &Undelivered) -> bool {
        self.state.lock().lanes.contains(message.receiver().bytes(), message.number())
    }

    /// The object knows that the message cannot be delivered.
    pub(crate) fn give_up(self: &Arc<Self>, message: &Undelivered) {
        let mut state = self.state.lock();
        self.forget(&mut state, *message.receiver().bytes(), message.number());
        self.go_on(state);
    }
}

/// Whether it will be refused each time.
fn is_for_ever(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NoSuchClass | ErrorKind::NoSuchMethod | ErrorKind::SignatureMismatch | ErrorKind::Decode
    )
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({})", self.key)
    }
}
