//! Finds the objects that have been idle for long enough to leave memory.
//!
//! Calls leave a mark on the activation; a task looks at all marks a few times in the idle time. So a call costs no look
//! at a clock, and a class no more memory than a pointer for each live object.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::object::strand::Activation;

/// How often each object is looked at in its idle time: it leaves memory up to an eighth of that later.
pub(crate) const LOOKS: u8 = 8;

/// How many are looked at before others of the runtime get a turn.
const TURN: usize = 1024;

/// The live objects of a class.
pub(crate) struct Idle<O> {
    live: Mutex<Vec<Weak<Activation<O>>>>,
    added: Notify,
}

impl<O: Send + Sync + 'static> Idle<O> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { live: Mutex::default(), added: Notify::new() })
    }

    /// Looks at this one from now on, as long as it is there.
    pub(crate) fn add(&self, activation: &Arc<Activation<O>>) {
        let first = {
            let mut live = self.live.lock();
            live.push(Arc::downgrade(activation));
            live.len() == 1
        };
        if first {
            self.added.notify_one();
        }
    }

    /// Gives those that are idle for `time` to `retire`, for ever.
    pub(crate) async fn run(self: Arc<Self>, time: Duration, retire: impl Fn(Arc<Activation<O>>)) {
        loop {
            if self.live.lock().is_empty() {
                self.added.notified().await;
                continue;
            }
            sleep(time / u32::from(LOOKS)).await;
            let mut looked_at = std::mem::take(&mut *self.live.lock());
            for turn in looked_at.chunks_mut(TURN) {
                for weak in turn {
                    match weak.upgrade() {
                        Some(activation) if !activation.is_gone() => {
                            if activation.look_whether_idle() {
                                retire(activation);
                            }
                        }
                        _ => *weak = Weak::new(),
                    }
                }
                yield_now().await;
            }
            looked_at.retain(|weak| weak.strong_count() > 0);
            self.live.lock().append(&mut looked_at);
        }
    }
}
