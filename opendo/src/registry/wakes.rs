//! Wakes objects when their time has come: one timer for the earliest, whoever it belongs to and however many there are.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::engine::{Engine, EngineResult, Id, UnixMillis, id};
use crate::node::WeakNode;
use crate::object::clock::Clock;
use crate::object::control::Control;
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
    /// Those in memory that keep their times themselves. The engine does not know these.
    told: BTreeMap<(UnixMillis, Id), Arc<ObjectKey>>,
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

    /// An object that keeps its times itself is to be woken at `at`, and no longer at `before`.
    pub(crate) fn tell(&self, key: &Arc<ObjectKey>, before: Option<UnixMillis>, at: Option<UnixMillis>) {
        if before == at {
            return;
        }
        {
            let told = &mut self.state.lock().told;
            before.map(|before| told.remove(&(before, id(key))));
            at.map(|at| told.insert((at, id(key)), key.clone()));
        }
        if let Some(at) = at {
            self.set(at);
        }
    }

    /// Wakes objects as long as the node is there.
    pub(crate) async fn run(self: Arc<Self>, engine: Arc<dyn Engine>, node: WeakNode) {
        while let Err(error) = self.ask(&*engine, &node).await {
            tracing::error!(%error, "could not find out which objects were in memory before");
            sleep(RETRY).await;
        }
        loop {
            let limit = BATCH + self.state.lock().in_hand.len();
            let known = match engine.wakes(UnixMillis::ZERO, limit).await {
                Ok(known) => known,
                Err(error) => {
                    tracing::error!(%error, "could not find out which objects are to be woken");
                    sleep(RETRY).await;
                    continue;
                }
            };
            let (due, next) = self.take_due(&known);
            let all = due.len() < BATCH;
            for key in due {
                if !self.wake(&node, &key) {
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

    /// Wakes those that keep their times themselves, and did not leave memory in order.
    async fn ask(self: &Arc<Self>, engine: &dyn Engine, node: &WeakNode) -> EngineResult<()> {
        for (_, key) in engine.wakes(UnixMillis::ASK, usize::MAX).await? {
            self.state.lock().in_hand.insert(key.clone(), Hand::default());
            self.wake(node, &key);
        }
        Ok(())
    }

    /// False when the node is gone.
    fn wake(self: &Arc<Self>, node: &WeakNode, key: &ObjectKey) -> bool {
        let woken = Woken { wakes: self.clone(), key: key.clone(), outcome: Outcome::Failed };
        node.wake(key, woken)
    }

    /// Who is to be woken now, and when the next one is.
    fn take_due(&self, known: &[(UnixMillis, ObjectKey)]) -> (Vec<ObjectKey>, Option<UnixMillis>) {
        let now = self.clock.now_millis();
        let mut state = self.state.lock();
        let State { in_hand, told, .. } = &mut *state;
        let (mut due, mut next) = (Vec::new(), None::<UnixMillis>);
        for (key, hand) in in_hand.iter_mut() {
            match hand.again {
                Some(again) if again <= now => {
                    hand.again = None;
                    due.push(key.clone());
                }
                Some(again) => next = Some(next.map_or(again, |next| next.min(again))),
                None => {}
            }
        }
        let mut take = |at: UnixMillis, key: &ObjectKey| {
            if in_hand.contains_key(key) {
                return ControlFlow::Continue(());
            }
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                return ControlFlow::Break(()); // the others are later
            }
            in_hand.insert(key.clone(), Hand::default());
            due.push(key.clone());
            ControlFlow::Continue(())
        };
        let _ = known.iter().try_for_each(|(at, key)| take(*at, key));
        let _ = told.iter().try_for_each(|((at, _), key)| take(*at, key));
        state.next = next;
        (due, next)
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").finish_non_exhaustive()
    }
}
