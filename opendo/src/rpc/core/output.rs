//! What is on its way out, as the driver takes it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use opendo_transport::Frames;
use opendo_transport::envelope::EnvelopeKind as Kind;
use tokio::task::yield_now;

use super::{Core, State};
use crate::rpc::error::{ErrorKind, RpcError};

impl Core {
    /// Appends a control message.
    pub(crate) fn push_control(&self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        push_control(&mut state.out, kind, body);
        let writer = self.wake_writer(&state);
        drop(state);
        wake(writer);
    }

    /// Gives a sign of life, unless the peer does not take them.
    pub(crate) fn pong(&self) -> Result<(), RpcError> {
        if self.state.lock().out.byte_len() > self.life.limits.max_unsent {
            let text = format!("{} does not read what it asks for", self.life.peer);
            return Err(RpcError::new(ErrorKind::Disconnected, text));
        }
        self.push_control(Kind::Pong, |_| ());
        Ok(())
    }

    /// The driver is at work: it looks for output before it waits again, and need not be woken for it.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Who writes what was just added, if he does not do so anyway.
    pub(super) fn wake_writer(&self, state: &State) -> Option<Waker> {
        if !self.asleep.load(Ordering::Relaxed) {
            return None;
        }
        self.awake();
        state.writer.clone()
    }

    /// Swaps what is to be written into `batch`; when there is nothing, leaves the waker. Tells what to do next.
    pub(crate) fn take_output(&self, batch: &mut Frames, waker: &Waker, gathered: bool) -> Output {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return Output::Ended;
        }
        if state.out.is_empty() {
            let quiet = state.we_drain && self.is_idle(&state);
            if quiet && state.peer_drains {
                return Output::Drained;
            }
            if !state.writer.as_ref().is_some_and(|known| known.will_wake(waker)) {
                state.writer = Some(waker.clone());
            }
            self.asleep.store(true, Ordering::Relaxed);
            return if quiet { Output::Farewell } else { Output::Nothing };
        }
        // Others are about to add to it: one turn of the scheduler, and one system call takes them all.
        if !gathered && state.pending.len() + state.incoming.len() > 1 {
            return Output::Gather;
        }
        std::mem::swap(&mut state.out, batch);
        state.begun = None;
        state.handed_over = state.tables.next_call;
        Output::Write
    }
}

/// What the writer does next.
pub(crate) enum Output {
    Write,
    /// Come back after one turn of the scheduler.
    Gather,
    Nothing,
    /// There is nothing left to do but to hear that the peer has nothing either.
    Farewell,
    /// The session was drained: nothing is left to do.
    Drained,
    Ended,
}

/// Appends a control message.
pub(crate) fn push_control(frames: &mut Frames, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
    push_message(frames, |out| {
        kind.encode(out);
        body(out);
    });
}

/// Appends a message whose encoding cannot fail.
pub(crate) fn push_message(frames: &mut Frames, message: impl FnOnce(&mut Vec<u8>)) {
    let Ok(_) = frames.push_with(|out| {
        message(out);
        Ok::<_, Infallible>(())
    });
}

/// Whose calls were answered.
#[derive(Default)]
pub(crate) struct Woken(Vec<Waker>);

impl Woken {
    pub(crate) fn extend(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    /// Wakes them. Where they are several, `driver` is woken behind them, which is told by `true`: they are about to
    /// make their next calls.
    pub(crate) fn wake(&mut self, driver: &Waker) -> bool {
        let [others @ .., last] = &self.0[..] else { return false };
        let are_several = !others.is_empty();
        if are_several {
            // What is put off last is woken first; and tokio runs first what was woken last.
            wake_later(last);
            wake_later(driver);
            others.iter().rev().for_each(wake_later);
        } else {
            last.wake_by_ref();
        }
        self.0.clear();
        are_several
    }
}

/// Also when what was to be read next panics.
impl Drop for Woken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// Wakes a task when this thread has run the others. A thread that helps out then finds all that was woken so, and takes
/// half of it. Woken one by one, each task would be a reason to wake that thread, which finds this one and sleeps again.
pub(crate) fn wake_later(waker: &Waker) {
    let _ = pin!(yield_now()).poll(&mut Context::from_waker(waker));
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

pub(super) fn wake_all(wakers: Option<Vec<Waker>>) {
    if let Some(wakers) = wakers {
        wakers.into_iter().for_each(Waker::wake);
    }
}
