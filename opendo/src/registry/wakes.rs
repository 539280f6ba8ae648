//! Wakes objects when their time has come: one timer for the earliest, whoever it belongs to and however many there are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::engine::{Engine, UnixMillis};
use crate::node::WeakNode;
use crate::object::clock::Clock;
use crate::object::context::Control;
use crate::object::id::ObjectKey;
use crate::object::timers::backoff;

/// How many objects are woken at once.
const BATCH: usize = 256;

/// Between attempts to ask an engine that fails.
const RETRY: Duration = Duration::from_secs(1);

/// A wall clock may be set, and a machine may sleep, while a timer runs: it is not trusted for longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// See the module.
pub(crate) struct Wakes {
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What is slept for.
    next: Option<UnixMillis>,
    /// Those that were told to wake. What the engine says of them is old.
    in_hand: FxHashMap<ObjectKey, Hand>,
}

/// How it stands with an object that was told to wake.
#[derive(Default)]
struct Hand {
    /// How often it could not be made.
    failures: u32,
    /// When that is tried again.
    again: Option<UnixMillis>,
}

/// Held by an event that wakes an object. Dropped, it says that the object has woken, and has decided what is next.
pub(crate) struct Woken {
    wakes: Arc<Wakes>,
    key: ObjectKey,
    outcome: Outcome,
}

enum Outcome {
    Failed,
    /// In this instance.
    Ran(Arc<Control>),
    Never,
}

impl Woken {
    /// The object is there, and looks at its timers.
    pub(crate) fn runs(&mut self, instance: Arc<Control>) {
        self.outcome = Outcome::Ran(instance);
    }

    /// Nobody here can wake it.
    pub(crate) fn never(mut self) {
        self.outcome = Outcome::Never;
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        let failed = match &self.outcome {
            Outcome::Failed => true,
            Outcome::Ran(instance) => instance.storage_has_failed(),
            Outcome::Never => return,
        };
        let mut state = self.wakes.state.lock();
        if !failed {
            state.in_hand.remove(&self.key);
        } else if let Some(hand) = state.in_hand.get_mut(&self.key) {
            // It could not be made, or what it did could not be stored: that is tried again without end, as it is not the
            // handler's fault (checklist 7.11).
            let wait = backoff(hand.failures);
            hand.failures += 1;
            hand.again = Some(UnixMillis::not_before(self.wakes.clock.now() + wait));
        }
        drop(state);
        self.wakes.changed.notify_one();
    }
}

impl Wakes {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), changed: Notify::new() })
    }

    /// An object is to be woken at that time: that was just committed.
    pub(crate) fn set(&self, at: UnixMillis) {
        if self.state.lock().next.is_none_or(|next| at < next) {
            self.changed.notify_one();
        }
    }

    /// Wakes objects as long as the node is there.
    pub(crate) async fn run(self: Arc<Self>, engine: Arc<dyn Engine>, node: WeakNode) {
        loop {
            let limit = BATCH + self.state.lock().in_hand.len();
            let known = match engine.wakes(limit).await {
                Ok(known) => known,
                Err(error) => {
                    tracing::error!(%error, "could not find out which objects are to be woken");
                    sleep(RETRY).await;
                    continue;
                }
            };
            let (due, next) = self.take_due(known);
            let all = due.len() < BATCH;
            for key in due {
                let woken = Woken { wakes: self.clone(), key: key.clone(), outcome: Outcome::Failed };
                if !node.wake(&key, woken) {
                    return;
                }
            }
            if !all {
                continue; // there may be more
            }
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some(next) => {
                    let wait = self.clock.until(next).min(LONGEST_SLEEP);
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// Who is to be woken now, and when the next one is.
    fn take_due(&self, known: Vec<(UnixMillis, ObjectKey)>) -> (Vec<ObjectKey>, Option<UnixMillis>) {
        let now = self.clock.now_millis();
        let mut state = self.state.lock();
        let (mut due, mut next) = (Vec::new(), None::<UnixMillis>);
        for (key, hand) in &mut state.in_hand {
            match hand.again {
                Some(again) if again <= now => {
                    hand.again = None;
                    due.push(key.clone());
                }
                Some(again) => next = Some(next.map_or(again, |next| next.min(again))),
                None => {}
            }
        }
        for (at, key) in known {
            if state.in_hand.contains_key(&key) {
                continue;
            }
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                break; // the others are later
            }
            state.in_hand.insert(key.clone(), Hand::default());
            due.push(key);
        }
        state.next = next;
        (due, next)
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").finish_non_exhaustive()
    }
}
