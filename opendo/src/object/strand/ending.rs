//! How an instance leaves memory: it goes to sleep, or it is thrown away.

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::oneshot;

use crate::object::strand::{Activation, Ended, Hibernate, Phase, Queued, Retreat, Work};
use crate::registry::idle::LOOKS;
use crate::rpc::error::{ErrorKind, RpcError};

impl<O: Send + Sync + 'static> Activation<O> {
    /// Sends the instance to sleep: after what was given to `wait_until` has finished, and after the calls that are
    /// queued then. Resolves when it has left memory, or has gone otherwise.
    pub(crate) async fn hibernate(self: &Arc<Self>, hibernate: Hibernate<O>) {
        loop {
            self.control.finish_background().await;
            // A call before it may have begun new work: then it was refused.
            if self.retreat(hibernate, false).await {
                break;
            }
        }
        if self.is_gone() {
            self.control.left().await;
        }
    }

    /// Sends the instance to sleep, unless something keeps it in memory when its turn comes.
    pub(crate) async fn hibernate_if_idle(self: &Arc<Self>, hibernate: Hibernate<O>) {
        self.retreat(hibernate, true).await;
    }

    /// Whether it has gone.
    async fn retreat(self: &Arc<Self>, hibernate: Hibernate<O>, if_idle: bool) -> bool {
        let (done, wait) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Gone(_)) {
                return true;
            }
            let sequence = state.next_sequence();
            let work = Work::Hibernate(Retreat { hibernate, if_idle, done });
            state.busy().queue.push_back(Queued { sequence, work });
            self.kick(state);
        }
        // A reset drops the sender.
        wait.await != Ok(false)
    }

    /// The end of the instance before this one, unless it has come.
    pub(crate) fn predecessor(&self) -> Option<Ended> {
        let before = self.birth.as_ref().and_then(|birth| birth.predecessor.as_deref());
        before.filter(|ended| ended.peek().is_none()).cloned()
    }

    /// Resolves when the instance is gone, what it wrote is durable, and the same holds for all before it. `None` if
    /// so.
    pub(crate) fn watch_end(&self) -> Option<Ended> {
        let (before, watch) = (self.predecessor(), self.watch_instance());
        if watch.is_none() && before.is_none() && !self.control.lingers() {
            return None;
        }
        let control = self.control.clone();
        let ended = async move {
            if let Some(watch) = watch {
                let _ = watch.await; // its sender is dropped, not used
            }
            control.left().await;
            if let Some(before) = before {
                before.await;
            }
        };
        Some(ended.boxed().shared())
    }

    /// Resolves when the instance is gone. `None` if it is.
    pub(crate) fn watch_instance(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Gone(_)) {
            return None;
        }
        let (gone, watch) = oneshot::channel();
        state.busy().watchers.push(gone);
        Some(watch)
    }

    /// Resolves when the instance was reset, with the reason; never for one that went to sleep.
    pub(crate) async fn reset(&self) -> RpcError {
        if let Some(ended) = self.watch_end() {
            ended.await;
        }
        match self.control.is_reset().filter(|error| is_loss(error)) {
            Some(error) => error.clone(),
            None => std::future::pending().await,
        }
    }

    /// Throws the instance away, at once. What it returns resolves when it is gone.
    pub(crate) fn condemn(&self, reason: RpcError) -> impl Future<Output = ()> + Send + use<O> {
        let gone = self.watch_end();
        self.control.reset(reason);
        async move {
            if let Some(gone) = gone {
                gone.await;
            }
        }
    }

    /// Whether it was found idle each of the last few times. To be asked at even intervals.
    pub(crate) fn look_whether_idle(&self) -> bool {
        let mut state = self.state.lock();
        state.touched |= self.control.takes_visit();
        // What is at work now has not been idle until the next time.
        let active = !matches!(state.phase, Phase::Idle(_)) || self.control.is_kept_alive();
        if std::mem::replace(&mut state.touched, active) || active {
            state.quiet = 0;
            return false;
        }
        state.quiet += 1;
        if state.quiet < LOOKS {
            return false;
        }
        state.quiet = 0; // asked again only if it has not gone to sleep
        true
    }

    /// Sees to it that something can be queued, for as long as what this returns is there. `None` if the instance is
    /// gone already.
    pub(crate) fn pin(self: &Arc<Self>) -> Option<Pin<O>> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Gone(_)) {
            return None;
        }
        state.busy().pins += 1;
        Some(Pin(self.clone()))
    }

    /// Lets go of the instance if it has nothing to do. Whether it is gone.
    pub(crate) fn sleep(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Gone(_) => return true,
            Phase::Idle(_) if state.queued() == 0 => {}
            Phase::Idle(_) | Phase::Turn | Phase::Driven => return false,
        }
        // Both are dropped after the lock.
        let _instance = std::mem::replace(&mut state.phase, Phase::Gone(None));
        let _watchers = state.busy.as_mut().map(|busy| std::mem::take(&mut busy.watchers));
        drop(state);
        self.left();
        true
    }

    /// Whether the instance was thrown away, and not sent to sleep.
    #[cfg(feature = "websocket")]
    pub(crate) fn is_reset(&self) -> bool {
        self.control.is_reset().is_some()
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Gone(_))
    }

    /// Whether an instance is in memory: made, or being made.
    pub(crate) fn is_live(&self) -> bool {
        self.control.is_reset().is_none() && !matches!(self.state.lock().phase, Phase::Gone(_))
    }

    fn left(self: &Arc<Self>) {
        if let Some(birth) = &self.birth {
            birth.cradle.ended(self);
        }
    }

    /// The instance is gone, by a reset or (`None`) asleep. Calls queued behind a hibernation need a new one: then
    /// the activation goes on.
    pub(in crate::object) fn end(self: &Arc<Self>, reason: Option<&RpcError>) {
        match reason {
            // Before the phase: whoever is refused finds the registry ready for a new instance.
            Some(_) => self.left(),
            None => {
                let mut state = self.state.lock();
                if state.busy.as_ref().is_some_and(|busy| !busy.queue.is_empty() || busy.pins > 0) {
                    return;
                }
                state.phase = Phase::Gone(None);
                drop(state);
                // After the phase: whoever still finds this one sees that it sleeps, and makes another.
                self.left();
            }
        }
        let mut state = self.state.lock();
        if let Some(error) = reason {
            // What was never there is not lost: the next call has it made.
            state.phase = Phase::Gone(is_loss(error).then(|| error.clone().may_run(false)));
        }
        let busy = state.busy.as_deref_mut();
        let (queue, watchers) = busy
            .map(|busy| (std::mem::take(&mut busy.queue), std::mem::take(&mut busy.watchers)))
            .unwrap_or_default();
        drop(state);
        drop(watchers);
        for queued in queue {
            if let (Work::Call(_, job), Some(error)) = (queued.work, reason) {
                job.fail(error.clone().may_run(false));
            }
        }
    }
}

/// Whether an instance that has ended so was there: everything else is an error of making one.
fn is_loss(error: &RpcError) -> bool {
    error.is_reset() || error.kind() == ErrorKind::Closed
}

/// See [`Activation::pin`].
pub(crate) struct Pin<O>(Arc<Activation<O>>);

impl<O> Pin<O> {
    pub(crate) fn activation(&self) -> &Arc<Activation<O>> {
        &self.0
    }
}

impl<O> Drop for Pin<O> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.busy().pins -= 1;
        state.busy.take_if(|busy| busy.is_over());
    }
}
