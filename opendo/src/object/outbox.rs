//! The messages of an object: recorded with its writes, delivered when those are durable.
//!
//! Those to one receiver form a lane: one is on its way at a time, so that they arrive in order and the receiver needs
//! no more than the number of the last one to know them all. A lane whose message has failed rests for a while, longer
//! each time; others go on. What is not delivered is there again with the next instance, and a timer sees to it that
//! there is one.

mod message;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;

use self::message::Message;
use crate::engine::{Changes, EngineResult, UnixMillis};
use crate::node::WeakNode;
use crate::object::clock::Clock;
use crate::object::context::{Control, Keeping};
use crate::object::id::ObjectKey;
use crate::object::inbox::Receipt;
use crate::object::storage::keys::{self, Number};
use crate::object::storage::ledger::Sent;
use crate::object::storage::{Storage, StorageError};
use crate::object::timers::backoff;
use crate::registry::retained::Keeper;
use crate::rpc::call::Call;
use crate::rpc::cap::Capability;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::stub::Stub;

/// How many messages of one object are on their way at a time.
const AT_ONCE: usize = 32;

type Id = [u8; 32];

/// Why a message was not recorded. See [`Ctx::send`](crate::Ctx::send).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stub is none of an object of this node: nothing else can be sent to after a restart.
    #[error("messages go to objects of this node only, and `{to}` is none")]
    NotHere {
        /// What it is a stub of.
        to: String,
    },
    /// The function has to make one call on the stub it is given, and to return that.
    #[error("a message is one call, made on the stub that is given for it, and returned")]
    NotOneCall,
    /// The arguments cannot be stored.
    #[error("the arguments cannot be stored: {0}")]
    Encode(String),
    /// The message is longer than may be stored.
    #[error("the message takes {size} bytes, and {limit} are the most; send it in parts")]
    TooLarge {
        /// How long it is.
        size: usize,
        /// How long it may be.
        limit: usize,
    },
    /// So many messages of this object wait to be delivered: see [`Limits::max_messages`](crate::Limits::max_messages).
    #[error("{limit} messages wait to be delivered, and more may not; try again when some have arrived")]
    Full {
        /// How many may wait.
        limit: usize,
    },
    /// The instance was thrown away.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<SendError> for String {
    fn from(error: SendError) -> Self {
        error.to_string()
    }
}

/// A message that cannot be delivered. See [`DurableObject::undelivered`](crate::DurableObject::undelivered).
#[derive(Clone)]
pub struct Undelivered {
    receiver: Arc<ObjectKey>,
    method: String,
    reason: RpcError,
    number: Number,
}

impl Undelivered {
    /// The object it was for.
    pub fn receiver(&self) -> &ObjectKey {
        &self.receiver
    }

    /// The method it was for, by its name on the wire.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Why it cannot be delivered.
    pub fn reason(&self) -> &RpcError {
        &self.reason
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("receiver", &self.receiver)
            .field("method", &self.method)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// See the module.
pub(crate) struct Outbox {
    key: Arc<ObjectKey>,
    storage: Storage,
    control: Weak<Control>,
    runtime: Handle,
    node: WeakNode,
    clock: Clock,
    limit: usize,
    keeper: Weak<dyn Keeper>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: FxHashMap<Id, Lane>,
    /// Those that can go on.
    ready: VecDeque<Id>,
    /// Those that go on at that time.
    resting: BTreeSet<(UnixMillis, Id)>,
    /// How many have a message on its way.
    busy: usize,
    /// How often it was time for another attempt, and messages were on their way still.
    delays: u32,
    /// The object is there.
    started: bool,
    /// The instance is gone.
    closed: bool,
}

/// The messages to one receiver that are durable and not delivered.
#[derive(Default)]
struct Lane {
    messages: BTreeSet<Number>,
    phase: Phase,
    /// How many attempts have failed in a row.
    failures: u32,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Phase {
    #[default]
    New,
    Ready,
    Busy,
    Resting,
}

/// What has come of an attempt.
enum End {
    /// It was delivered, or taken back meanwhile.
    Over,
    Failed(RpcError),
    Never(Undelivered),
}

impl Outbox {
    pub(crate) fn new(
        key: &Arc<ObjectKey>,
        storage: &Storage,
        control: &Arc<Control>,
        node: &WeakNode,
        clock: Clock,
        limit: usize,
        keeper: Weak<dyn Keeper>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key: key.clone(),
            storage: storage.clone(),
            control: Arc::downgrade(control),
            runtime: control.runtime().clone(),
            node: node.clone(),
            clock,
            limit,
            keeper,
            state: Mutex::default(),
        })
    }

    /// See [`Ctx::send`](crate::Ctx::send).
    pub(crate) fn send<S: Stub, T, E>(
        &self,
        to: &S,
        call: impl FnOnce(&S) -> Call<T, E>,
    ) -> Result<(), SendError> {
        let receiver = to.hosted_key(&self.node);
        let receiver = receiver.ok_or_else(|| SendError::NotHere { to: format!("{to:?}") })?;
        let record = message::record(&self.node, receiver, call)?;
        let due = self.after(0);
        let sent = Sent { receiver: *receiver.bytes(), record, due };
        if self.storage.ledger().record(sent, self.limit)? {
            Ok(())
        } else {
            Err(SendError::Full { limit: self.limit })
        }
    }

    /// Reads what earlier instances have left.
    pub(crate) async fn open(&self) -> EngineResult<()> {
        let found = self.storage.ledger().load_messages().await?;
        let now = self.clock.now_millis();
        let mut state = self.state.lock();
        for (key, value) in found {
            if let Some((receiver, number)) = keys::message(&key) {
                state.lanes.entry(receiver).or_default().messages.insert(number);
            } else if let (Some(receiver), Some(value)) = (keys::attempts(&key), value)
                && let Ok((failures, due)) = postcard::from_bytes(&value)
            {
                let lane = state.lanes.entry(receiver).or_default();
                lane.failures = failures;
                if UnixMillis(due) > now {
                    lane.phase = Phase::Resting;
                    state.resting.insert((UnixMillis(due), receiver));
                }
            }
        }
        Ok(())
    }

    /// The object is there: its messages go.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.started = true;
        let State { lanes, ready, .. } = &mut *state;
        for (receiver, lane) in lanes {
            lane.is_ready(*receiver, ready);
        }
        self.go_on(state);
    }

    /// A commit is durable: what it holds for others goes.
    pub(crate) fn committed(self: &Arc<Self>, changes: &Changes) {
        let range = keys::messages();
        let cleared = changes.cleared.iter().any(|cleared| cleared.contains(&range.start));
        let written = changes.writes.range(range.start.clone()..);
        let mut written = written.take_while(|(key, _)| range.contains(key)).peekable();
        if !cleared && written.peek().is_none() {
            return;
        }
        let mut state = self.state.lock();
        let State { lanes, ready, resting, .. } = &mut *state;
        if cleared {
            // A message that is on its way is not waited for by others any more.
            lanes.values_mut().for_each(|lane| lane.messages.clear());
            lanes.retain(|_, lane| lane.phase == Phase::Busy);
            ready.clear();
            resting.clear();
        }
        for (key, value) in written {
            if let (Some((receiver, number)), Some(_)) = (keys::message(key), value) {
                let lane = lanes.entry(receiver).or_default();
                lane.messages.insert(number);
                lane.is_ready(receiver, ready);
            }
        }
        self.go_on(state);
    }

    /// It is time for another attempt.
    pub(crate) fn is_due(self: &Arc<Self>) {
        let now = self.clock.now_millis();
        let mut state = self.state.lock();
        let State { lanes, ready, resting, .. } = &mut *state;
        while let Some((due, receiver)) = resting.first().copied()
            && due <= now
        {
            resting.pop_first();
            if let Some(lane) = lanes.get_mut(&receiver) {
                lane.phase = Phase::New;
                lane.is_ready(receiver, ready);
            }
        }
        if !state.is_at_rest() {
            state.delays += 1;
        }
        let due = self.next_due(&state);
        self.go_on(state);
        // An instance that is gone is woken anew.
        let _ = self.storage.ledger().set_messages_due(due);
    }

    /// When it is to be woken if nothing else happens.
    fn next_due(&self, state: &State) -> UnixMillis {
        let others = self.after(state.delays);
        match state.resting.first() {
            Some((due, _)) if state.is_at_rest() => *due,
            Some((due, _)) => others.min(*due),
            None => others,
        }
    }

    fn after(&self, failures: u32) -> UnixMillis {
        UnixMillis::not_before(self.clock.now() + backoff(failures))
    }

    /// Sends what can go.
    fn go_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !state.started || state.closed {
            return;
        }
        while state.busy < AT_ONCE
            && let Some(receiver) = state.ready.pop_front()
        {
            let Some(lane) = state.lanes.get_mut(&receiver) else { continue };
            let Some(number) = lane.messages.first().copied() else {
                state.lanes.remove(&receiver);
                continue;
            };
            lane.phase = Phase::Busy;
            state.busy += 1;
            let this = self.clone();
            self.runtime.spawn(async move {
                let _kept = this.control.upgrade().map(|control| control.keep_alive(Keeping::Message));
                match this.deliver(&receiver, number).await {
                    End::Over => this.is_over(receiver, number),
                    End::Failed(error) => this.has_failed(receiver, &error),
                    End::Never(undelivered) => this.tell(undelivered),
                }
            });
        }
    }

    async fn deliver(&self, receiver: &Id, number: Number) -> End {
        let record = match self.storage.read(keys::of_message(receiver, number)).await {
            Ok(Some(record)) => record,
            Ok(None) => return End::Over,
            Err(error) => return End::Failed(RpcError::new(ErrorKind::Reset, error.to_string())),
        };
        let Some(message) = Message::read(receiver, &record) else {
            tracing::error!(object = %self.key, "a message that cannot be read is dropped");
            return End::Over;
        };
        let (receipt, taken) = Receipt::new(self.key.clone(), number);
        self.node.receive(&message.receiver, message.call(&self.node, receipt));
        let gone = |_| Err(RpcError::new(ErrorKind::Closed, "the runtime was shut down"));
        match taken.await.unwrap_or_else(gone) {
            Ok(()) => End::Over,
            Err(reason) if is_for_ever(reason.kind()) => {
                let Message { receiver, method, .. } = message;
                End::Never(Undelivered { receiver, method, reason, number })
            }
            Err(error) => End::Failed(error),
        }
    }

    /// Nobody waits for this message any more.
    fn is_over(self: &Arc<Self>, receiver: Id, number: Number) {
        let mut state = self.state.lock();
        state.busy -= 1;
        state.delays = 0;
        if let Some(lane) = state.lanes.get_mut(&receiver) {
            lane.phase = Phase::New;
        }
        self.forget(state, receiver, number);
    }

    fn forget(self: &Arc<Self>, mut state: MutexGuard<'_, State>, receiver: Id, number: Number) {
        let State { lanes, ready, resting, .. } = &mut *state;
        let mut failures = 0;
        if let Some(lane) = lanes.get_mut(&receiver) {
            lane.messages.remove(&number);
            failures = std::mem::take(&mut lane.failures);
            // It may be on its way once more, if it was given up.
            if lane.phase != Phase::Busy {
                if std::mem::take(&mut lane.phase) == Phase::Resting {
                    resting.retain(|(_, resting)| *resting != receiver);
                }
                if lane.messages.is_empty() {
                    lanes.remove(&receiver);
                } else {
                    lane.is_ready(receiver, ready);
                }
            }
        }
        let ledger = self.storage.ledger();
        let forgotten = match failures {
            0 => Ok(()),
            _ => ledger.keep_attempts(&receiver, None),
        };
        if forgotten.and_then(|()| ledger.forget_message(&receiver, number)).is_err() {
            state.closed = true;
        }
        self.go_on(state);
    }

    fn has_failed(self: &Arc<Self>, receiver: Id, error: &RpcError) {
        let mut state = self.state.lock();
        state.busy -= 1;
        tracing::debug!(object = %self.key, %error, "a message was not delivered, and is tried again");
        self.rest(&mut state, receiver);
        self.go_on(state);
    }

    /// The lane is tried again later.
    fn rest(&self, state: &mut State, receiver: Id) {
        let Some(lane) = state.lanes.get_mut(&receiver) else { return };
        if lane.messages.is_empty() {
            state.lanes.remove(&receiver);
            return;
        }
        let due = self.after(lane.failures);
        lane.failures += 1;
        lane.phase = Phase::Resting;
        state.resting.insert((due, receiver));
        let record = postcard::to_allocvec(&(lane.failures, due.0)).expect("numbers can be encoded");
        let ledger = self.storage.ledger();
        let kept = ledger.keep_attempts(&receiver, Some(record.into()));
        if kept.and_then(|()| ledger.set_messages_due(self.next_due(state))).is_err() {
            state.closed = true;
        }
    }

    /// Tells the object that a message cannot be delivered. Its lane rests until it has heard.
    fn tell(self: &Arc<Self>, undelivered: Undelivered) {
        let Undelivered { receiver, method, reason, .. } = &undelivered;
        tracing::error!(object = %self.key, %receiver, method, error = %reason, "a message cannot be delivered");
        let mut state = self.state.lock();
        state.busy -= 1;
        self.rest(&mut state, *receiver.bytes());
        self.go_on(state);
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.tell_undelivered(&self.key, undelivered);
        }
    }

    /// Whether the message is still to be delivered: the object may have been told of it before.
    pub(crate) fn holds(&self, message: &Undelivered) -> bool {
        let state = self.state.lock();
        let lane = state.lanes.get(message.receiver.bytes());
        lane.is_some_and(|lane| lane.messages.contains(&message.number))
    }

    /// The object knows that the message cannot be delivered.
    pub(crate) fn give_up(self: &Arc<Self>, message: &Undelivered) {
        self.forget(self.state.lock(), *message.receiver.bytes(), message.number);
    }
}

impl State {
    /// Whether nothing happens before a lane has rested.
    fn is_at_rest(&self) -> bool {
        self.busy == 0 && self.ready.is_empty()
    }
}

impl Lane {
    fn is_ready(&mut self, receiver: Id, ready: &mut VecDeque<Id>) {
        if self.phase == Phase::New {
            self.phase = Phase::Ready;
            ready.push_back(receiver);
        }
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
