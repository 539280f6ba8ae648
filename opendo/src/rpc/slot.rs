//! Where a call and its answer meet: one allocation that caller and callee share.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::gone::Gone;

/// The answer to one call, or its absence so far.
#[derive(Debug)]
pub(crate) struct Slot<V> {
    state: Mutex<State<V>>,
}

#[derive(Debug)]
struct State<V> {
    phase: Phase<V>,
    /// The caller is gone and wants no answer.
    gone: Gone,
    caller: Option<Waker>,
    hook: Option<Told<V>>,
}

/// Told of the answer before the caller is.
pub(crate) type Hook<V> = Box<dyn FnOnce(Result<&V, &RpcError>) + Send>;

struct Told<V>(Hook<V>);

impl<V> std::fmt::Debug for Told<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

#[derive(Debug)]
enum Phase<V> {
    /// Queued: the method has not started.
    Queued,
    Running,
    Done(Result<V, RpcError>),
    Taken,
}

impl<V> State<V> {
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done(_) | Phase::Taken) || self.gone.is()
    }
}

impl<V> Slot<V> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Queued,
                gone: Gone::default(),
                caller: None,
                hook: None,
            }),
        }
    }

    // ---- the callee's side

    /// Marks the start of the method; false when the caller is gone and it must not start.
    pub(crate) fn start(&self) -> bool {
        let mut state = self.state.lock();
        if state.gone.is() || !matches!(state.phase, Phase::Queued) {
            return false;
        }
        state.phase = Phase::Running;
        true
    }

    /// Gives the answer; only the first one counts.
    pub(crate) fn complete(&self, answer: Result<V, RpcError>) {
        if let Some(caller) = self.fill(answer) {
            caller.wake();
        }
    }

    /// The same, and leaves it to others to wake the caller.
    #[must_use]
    pub(crate) fn fill(&self, answer: Result<V, RpcError>) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.is_over() {
            // The value's `Drop` is foreign code: not under the lock.
            drop(state);
            drop(answer);
            return None;
        }
        while let Some(Told(hook)) = state.hook.take() {
            drop(state);
            hook(answer.as_ref());
            state = self.state.lock();
            if state.is_over() {
                drop(state);
                drop(answer);
                return None;
            }
        }
        state.phase = Phase::Done(answer);
        state.caller.take()
    }

    /// Ready when the caller is gone.
    pub(crate) fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.lock().gone.poll(cx)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().gone.is()
    }

    // ---- the caller's side

    pub(crate) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<V, RpcError>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.phase, Phase::Taken) {
            Phase::Done(answer) => Poll::Ready(answer),
            Phase::Taken => Poll::Ready(Err(RpcError::new(
                ErrorKind::Closed,
                "the call was awaited again after its answer",
            ))),
            waiting => {
                state.phase = waiting;
                if !state.caller.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    state.caller = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Withdraws interest. Returns whether the method may have run.
    pub(crate) fn abandon(&self) -> bool {
        let mut state = self.state.lock();
        let watchers = state.gone.set();
        let may_have_run = !matches!(state.phase, Phase::Queued);
        let answer = match state.phase {
            Phase::Done(_) => Some(std::mem::replace(&mut state.phase, Phase::Taken)),
            _ => None,
        };
        state.caller = None;
        let hook = state.hook.take();
        drop(state);
        drop((answer, hook));
        watchers.into_iter().for_each(Waker::wake);
        may_have_run
    }
}

impl<V: 'static> Slot<V> {
    /// Has `hook` told of the answer, before it can be awaited: now, if it is there.
    pub(crate) fn on_done(&self, hook: Hook<V>) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.phase, Phase::Taken) {
            // Only the caller takes the answer, and it is here: nobody misses it meanwhile.
            Phase::Done(answer) => {
                drop(state);
                hook(answer.as_ref());
                self.state.lock().phase = Phase::Done(answer);
            }
            Phase::Taken => {
                drop(state);
                hook(Err(&RpcError::new(ErrorKind::Closed, "the call's answer was taken")));
            }
            waiting => {
                state.phase = waiting;
                state.hook = Some(match state.hook.take() {
                    None => Told(hook),
                    // A result may be called and be an argument, too.
                    Some(Told(first)) => Told(Box::new(move |answer| {
                        first(answer);
                        hook(answer);
                    })),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;

    fn poll<V>(slot: &Slot<V>) -> Poll<Result<V, RpcError>> {
        slot.poll_answer(&mut Context::from_waker(noop_waker_ref()))
    }

    #[test]
    fn the_first_answer_counts() {
        let slot = Slot::new();
        assert!(poll::<u8>(&slot).is_pending());
        assert!(slot.start());
        slot.complete(Ok(1));
        slot.complete(Ok(2));
        assert_eq!(poll(&slot), Poll::Ready(Ok(1)));
        assert!(matches!(poll(&slot), Poll::Ready(Err(_))));
    }

    #[test]
    fn an_abandoned_call_does_not_start_and_a_started_one_says_so() {
        let queued = Slot::<u8>::new();
        assert!(!queued.abandon());
        assert!(!queued.start());
        let running = Slot::<u8>::new();
        assert!(running.start());
        assert!(running.abandon());
        assert!(running.is_abandoned());
    }
}
