//! Moves the frames of one socket, both ways.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use opendo_transport::websocket::{Closed, Heard, Message, RawWebSocket, Role};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::entry::{Entry, Outgoing};
use crate::node::transport_limits;
use crate::rpc::limits::Limits;

/// See the module.
pub(super) struct Pump<S> {
    entry: Arc<Entry>,
    socket: RawWebSocket<S>,
    interval: Duration,
    patience: Duration,
    goodbye: Duration,
    /// `None` once the node closes.
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    timer: Pin<Box<Sleep>>,
    last_heard: Instant,
    /// The peer was asked for a sign of life, and nothing was heard since.
    asked: bool,
    /// A close is out, or on its way.
    closed: bool,
    unflushed: bool,
    /// Nothing can be written any more. What the peer has said may still be read.
    mute: bool,
}

/// How it is ended.
enum Goodbye {
    /// There is nothing more to say than what is on its way.
    Said,
    /// With that code and reason.
    Say(u16, String),
    /// Nothing is to be said.
    Silent,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<S> {
    pub(super) async fn new(
        entry: Arc<Entry>,
        stream: S,
        limits: &Limits,
        closing: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self {
            entry,
            socket: RawWebSocket::new(stream, Role::Server, &transport_limits(limits)).await,
            interval: limits.keepalive_interval,
            patience: limits.keepalive_timeout,
            goodbye: limits.hello_timeout,
            closing: Some(Box::pin(closing.cancelled_owned())),
            timer: Box::pin(sleep_until(after(now, limits.keepalive_interval))),
            last_heard: now,
            asked: false,
            closed: false,
            unflushed: false,
            mute: false,
        }
    }

    pub(super) async fn run(mut self) {
        let (closed, goodbye) = poll_fn(|cx| self.poll(cx)).await;
        // The object does not wait for the goodbye.
        self.entry.finish(closed);
        let patience = self.goodbye;
        if !matches!(goodbye, Goodbye::Silent) {
            let _ = timeout(patience, self.say_goodbye(goodbye)).await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Closed, Goodbye)> {
        loop {
            // Before anything is looked at: what comes later wakes.
            match self.entry.watch(cx) {
                None => {}
                Some(None) => return Poll::Ready((Closed::vanished(), Goodbye::Silent)),
                Some(Some(closed)) => {
                    let goodbye = Goodbye::Say(closed.code, closed.reason.clone());
                    return Poll::Ready((closed, goodbye));
                }
            }
            if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
                self.closing = None;
                self.entry.close_behind(1001, "the node was shut down");
                self.timer.as_mut().reset(after(Instant::now(), self.goodbye));
            }
            if self.write(cx).is_err() {
                self.mute = true;
            }
            let reads = self.closed || self.entry.has_room();
            if reads {
                match self.socket.poll_heard(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Heard::Closed(closed)) => return Poll::Ready((closed, Goodbye::Said)),
                    Poll::Ready(Heard::Fault(closed)) => {
                        let goodbye = Goodbye::Say(closed.code, closed.reason.clone());
                        return Poll::Ready((closed, goodbye));
                    }
                    Poll::Ready(heard) => {
                        self.last_heard = Instant::now();
                        self.asked = false;
                        match heard {
                            Heard::Message(message) => self.entry.heard(message),
                            // It may have been a ping, whose answer has to leave.
                            _ => self.unflushed = true,
                        }
                        continue;
                    }
                }
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.time_has_passed(reads) {
                return Poll::Ready((Closed::vanished(), Goodbye::Silent));
            }
        }
    }

    /// Writes what there is to write and room for.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        if self.mute {
            return Ok(());
        }
        while !self.closed && self.socket.poll_ready(cx)?.is_ready() {
            let Some(next) = self.entry.next() else { break };
            self.start(next)?;
        }
        if self.unflushed && self.socket.poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    fn start(&mut self, next: Outgoing) -> Result<(), Closed> {
        self.unflushed = true;
        match next {
            Outgoing::Message(message) => self.socket.start_send(message),
            Outgoing::Answer(text) => self.socket.start_send(Message::from(&*text)),
            Outgoing::Close(code, reason) => {
                self.closed = true;
                self.timer.as_mut().reset(after(Instant::now(), self.goodbye));
                self.socket.start_close(code, &reason)
            }
        }
    }

    /// The timer has rung: sets it anew, unless the peer is lost.
    fn time_has_passed(&mut self, reads: bool) -> bool {
        let now = Instant::now();
        if self.closed || self.closing.is_none() {
            return true;
        }
        let next = if !reads {
            // Nobody listens for a sign of life.
            self.asked = false;
            after(now, self.interval)
        } else if now < after(self.last_heard, self.interval) {
            after(self.last_heard, self.interval)
        } else if self.asked {
            return true;
        } else {
            self.asked = true;
            self.mute |= self.socket.start_ping().is_err();
            self.unflushed = true;
            after(now, self.patience)
        };
        self.timer.as_mut().reset(next);
        false
    }

    async fn say_goodbye(&mut self, goodbye: Goodbye) -> Result<(), Closed> {
        let says = matches!(goodbye, Goodbye::Say(..));
        if let Goodbye::Say(code, reason) = goodbye
            && !self.closed
        {
            while let Some(next) = self.entry.next() {
                poll_fn(|cx| self.socket.poll_ready(cx)).await?;
                self.start(next)?;
            }
            if !self.closed {
                poll_fn(|cx| self.socket.poll_ready(cx)).await?;
                self.socket.start_close(code, &reason)?;
            }
        }
        poll_fn(|cx| self.socket.poll_flush(cx)).await?;
        poll_fn(|cx| self.socket.poll_shutdown(cx)).await;
        if says {
            // A connection that is dropped with something unread may take along what was sent last.
            poll_fn(|cx| self.socket.poll_hung_up(cx)).await;
        }
        Ok(())
    }
}

fn after(start: Instant, time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365);
    start + time.min(FAR)
}
