//! What is on its way out, as the driver takes it.

use std::convert::Infallible;
use std::task::Waker;

use opendo_transport::Frames;
use opendo_transport::envelope::EnvelopeKind as Kind;

use super::{Core, State};
use crate::rpc::error::{ErrorKind, RpcError};

impl Core {
    /// Appends a control message.
    pub(crate) fn push_control(&self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.push_control(kind, body);
        let writer = state.wake_writer();
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

    /// Swaps what is to be written into `batch`; when there is nothing, leaves the waker. Tells what to do next.
    pub(crate) fn take_output(&self, batch: &mut Frames, waker: &Waker, gathered: bool) -> Output {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return Output::Ended;
        }
        if state.out.is_empty() {
            let quiet = state.we_drain && state.pending.is_empty() && state.incoming.is_empty();
            if quiet && state.peer_drains {
                return Output::Drained;
            }
            state.writer = Some(waker.clone());
            return if quiet { Output::Farewell } else { Output::Nothing };
        }
        // Others are about to add to it: one turn of the scheduler, and one system call takes them all.
        if !gathered && state.pending.len() + state.incoming.len() > 1 {
            return Output::Gather;
        }
        std::mem::swap(&mut state.out, batch);
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

impl State {
    pub(super) fn push_control(&mut self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        push_control(&mut self.out, kind, body);
    }

    /// Whoever waits for the session to be idle, if it is.
    pub(super) fn wake_if_idle(&mut self) -> Vec<Waker> {
        let idle = self.pending.is_empty() && self.incoming.is_empty();
        if idle { std::mem::take(&mut self.idle) } else { Vec::new() }
    }

    /// The last answer of a session that is being closed lets the writer finish.
    pub(super) fn wake_writer_if_drained(&mut self) -> Option<Waker> {
        if self.we_drain { self.wake_writer() } else { None }
    }
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

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
