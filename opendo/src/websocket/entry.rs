//! One socket of an object, as the node keeps it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use opendo_transport::websocket::{Closed, Message};
use parking_lot::Mutex;

use super::shelf::AutoResponse;
use super::{MAX_UNDELIVERED, MAX_UNDELIVERED_BYTES, OVERHEAD, SocketError, Sockets};
use crate::object::clock::Clock;
use crate::object::control::Control;
use crate::object::id::ObjectKey;

/// See the module.
pub(crate) struct Entry {
    pub(super) number: u64,
    pub(super) object: Arc<ObjectKey>,
    pub(super) class: Weak<dyn Sockets>,
    pub(super) auto_response: Arc<AutoResponse>,
    pub(super) clock: Clock,
    pub(super) max_unsent: usize,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    tags: Arc<[Arc<str>]>,
    attachment: Bytes,
    auto_responded_at: Option<SystemTime>,
    phase: Phase,
    /// The object wants nothing more of it, nor what has come already.
    deaf: bool,
    /// What is to be written, in order, and the number of the first of it.
    queue: VecDeque<Queued>,
    first: u64,
    unsent: usize,
    /// Messages that the object has not handled, and auto-responses that have not left.
    undelivered: usize,
    undelivered_bytes: usize,
    pump: Option<Waker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Closed at this end: nothing is sent behind that, and what comes is thrown away.
    Closing,
    /// Taken from the object at once. With nothing to say, the peer is not told.
    Cut(Option<Closed>),
    Over,
}

struct Queued {
    what: Outgoing,
    /// It waits until what the object has written before it is durable.
    held: bool,
}

pub(super) enum Outgoing {
    Message(Message),
    /// An auto-response: it counts as undelivered until it leaves, so that who asks too quickly has to wait.
    Answer(Arc<str>),
    Close(u16, String),
}

impl Outgoing {
    fn cost(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Message(message) => message.len(),
                Self::Answer(text) => text.len(),
                Self::Close(_, reason) => reason.len(),
            }
    }
}

impl State {
    pub(super) fn new(tags: Arc<[Arc<str>]>, attachment: Bytes) -> Self {
        Self {
            tags,
            attachment,
            auto_responded_at: None,
            phase: Phase::Open,
            deaf: false,
            queue: VecDeque::new(),
            first: 0,
            unsent: 0,
            undelivered: 0,
            undelivered_bytes: 0,
            pump: None,
        }
    }

    /// Its number.
    fn push(&mut self, what: Outgoing, held: bool) -> u64 {
        self.unsent += what.cost();
        self.queue.push_back(Queued { what, held });
        self.first + self.queue.len() as u64 - 1
    }

    #[must_use = "whoever waits is to be woken without the lock"]
    fn woken(&mut self) -> Woken {
        Woken(self.pump.take())
    }
}

/// Wakes the pump when it is dropped.
struct Woken(Option<Waker>);

impl Drop for Woken {
    fn drop(&mut self) {
        if let Some(pump) = self.0.take() {
            pump.wake();
        }
    }
}

impl Entry {
    pub(crate) fn object(&self) -> &Arc<ObjectKey> {
        &self.object
    }

    pub(super) fn tags(&self) -> Arc<[Arc<str>]> {
        self.state.lock().tags.clone()
    }

    pub(super) fn set_tags(&self, tags: Arc<[Arc<str>]>) {
        self.state.lock().tags = tags;
    }

    pub(super) fn attachment(&self) -> Bytes {
        self.state.lock().attachment.clone()
    }

    pub(super) fn attach(&self, attachment: Bytes) {
        self.state.lock().attachment = attachment;
    }

    pub(super) fn auto_responded_at(&self) -> Option<SystemTime> {
        self.state.lock().auto_responded_at
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().phase == Phase::Open
    }

    /// Sends a message, behind the gate of the object: when everything that it has written is durable.
    pub(super) fn send(self: &Arc<Self>, message: Message, control: &Control) -> Result<(), SocketError> {
        self.queue(Outgoing::Message(message), control)
    }

    /// Closes, likewise. Once: later closes change nothing (checklist 8.16).
    pub(super) fn close(self: &Arc<Self>, code: u16, reason: &str, control: &Control) {
        let _ = self.queue(Outgoing::Close(code, reason.to_owned()), control);
    }

    fn queue(self: &Arc<Self>, what: Outgoing, control: &Control) -> Result<(), SocketError> {
        if control.is_reset().is_some() {
            return Err(SocketError::Closed);
        }
        let number = {
            let mut state = self.state.lock();
            if state.phase != Phase::Open {
                return Err(SocketError::Closed);
            }
            match what {
                Outgoing::Close(..) => {
                    state.phase = Phase::Closing;
                    state.deaf = true;
                }
                // One of any size has room where nothing else is.
                _ if state.unsent > 0 && state.unsent + what.cost() > self.max_unsent => {
                    return Err(SocketError::Behind { unsent: state.unsent });
                }
                _ => {}
            }
            state.push(what, true)
        };
        let entry = self.clone();
        control.hold(move |durable| {
            // Otherwise the instance is lost, and the socket with it.
            if durable.is_ok() {
                entry.release(number);
            }
        });
        Ok(())
    }

    fn release(&self, number: u64) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Cut(_) | Phase::Over) {
            return;
        }
        // What is held does not leave, so it is there.
        let at = usize::try_from(number - state.first).ok();
        if let Some(queued) = at.and_then(|at| state.queue.get_mut(at)) {
            queued.held = false;
        }
        let woken = state.woken();
        drop(state);
        drop(woken);
    }

    /// Closes behind everything that was sent, for the node.
    pub(super) fn close_behind(&self, code: u16, reason: &str) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            state.push(Outgoing::Close(code, reason.to_owned()), false);
        }
    }

    /// Takes the socket from the object, at once. What waits for the gate is not sent.
    pub(crate) fn cut(&self, closed: Option<Closed>) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Cut(_) | Phase::Over) {
            return;
        }
        state.phase = Phase::Cut(closed);
        state.deaf = true;
        let woken = state.woken();
        drop(state);
        drop(woken);
    }

    /// It is over: the object is told, once.
    pub(super) fn finish(self: &Arc<Self>, closed: Closed) {
        let before = std::mem::replace(&mut self.state.lock().phase, Phase::Over);
        if before == Phase::Over {
            return;
        }
        let closed = if let Phase::Cut(Some(cut)) = before { cut } else { closed };
        if let Some(class) = self.class.upgrade() {
            class.shelf().remove(self);
            class.disconnected(self.clone(), closed);
        }
    }

    /// For the pump: has it woken when something changes. What the socket was cut with, if it was.
    pub(super) fn watch(&self, cx: &Context<'_>) -> Option<Option<Closed>> {
        let mut state = self.state.lock();
        if !state.pump.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.pump = Some(cx.waker().clone());
        }
        match &state.phase {
            Phase::Cut(closed) => Some(closed.clone()),
            Phase::Open | Phase::Closing | Phase::Over => None,
        }
    }

    /// For the pump: what is written next.
    pub(super) fn next(&self) -> Option<Outgoing> {
        let mut state = self.state.lock();
        let next = state.queue.pop_front_if(|next| !next.held)?;
        state.first += 1;
        state.unsent -= next.what.cost();
        if let Outgoing::Answer(text) = &next.what {
            state.undelivered -= 1;
            state.undelivered_bytes -= text.len();
        }
        Some(next.what)
    }

    /// For the pump: whether more may come.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.undelivered < MAX_UNDELIVERED && state.undelivered_bytes < MAX_UNDELIVERED_BYTES
    }

    /// For the pump: a message has come.
    pub(super) fn heard(self: &Arc<Self>, message: Message) {
        let answer = match &message {
            Message::Text(text) => self.auto_response.to(text),
            Message::Binary(_) => None,
        };
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return;
        }
        let size = answer.as_ref().map_or(message.len(), |answer| answer.len());
        state.undelivered += 1;
        state.undelivered_bytes += size;
        if let Some(answer) = answer {
            state.auto_responded_at = Some(self.clock.now());
            // Not held, yet behind what is: order on the wire is kept (checklist 8.19).
            state.push(Outgoing::Answer(answer), false);
            return;
        }
        drop(state);
        let delivery = Delivery { entry: self.clone(), size, begun: false };
        if let Some(class) = self.class.upgrade() {
            class.message(delivery, message);
        }
    }
}

/// A message on its way to the object. When it is dropped there is room for another one.
pub(crate) struct Delivery {
    entry: Arc<Entry>,
    size: usize,
    begun: bool,
}

impl Delivery {
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The object is about to handle it. False when it shall not: the socket was closed at this end meanwhile.
    pub(crate) fn begins(&mut self) -> bool {
        self.begun = true;
        !self.entry.state.lock().deaf
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let node_closes =
            || self.entry.class.upgrade().is_none_or(|class| class.surroundings().closing.is_cancelled());
        if !self.begun && !node_closes() {
            // A message that is lost is the end of its socket (checklist 8.19b).
            self.entry.cut(Some(Closed::here(1013, "the object takes no more messages now")));
        }
        let mut state = self.entry.state.lock();
        state.undelivered -= 1;
        state.undelivered_bytes -= self.size;
        let woken = state.woken();
        drop(state);
        drop(woken);
    }
}
