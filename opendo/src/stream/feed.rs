//! Events that subscribers do not miss without knowing it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures::stream;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{RpcStream, Streamed, aborted};
use crate::rpc::error::RpcError;

/// Events in their order, the last of which are kept for subscribers that come back.
///
/// An object has one in a field, [publishes](Self::publish) to it, and gives out [`subscribe`](Self::subscribe) by a
/// remote method; a client follows it with a [`Resumable`](crate::Resumable). Nobody waits for a slow subscriber and
/// nothing is queued for it: it reads from what is kept, and is told how much it has missed when it comes too late.
///
/// When the feed is dropped (its object hibernates, or is reset), subscriptions end with an error; the cursors of an
/// earlier feed are recognised by a new one, which tells of a gap of unknown size.
pub struct Feed<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Tells feeds apart.
    epoch: u64,
    keep: usize,
    log: Mutex<Log<T>>,
    /// The number of the next event, and whether the feed goes on.
    news: watch::Sender<(u64, State)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Dropped,
}

struct Log<T> {
    /// The number of the first event that is kept.
    first: u64,
    events: VecDeque<T>,
}

/// A place in a [`Feed`]: behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    epoch: u64,
    next: u64,
}

/// What a subscription of a [`Feed`] brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeedEvent<T> {
    /// The subscription begins here. Always first.
    Began(Cursor),
    /// Events before this place were missed; how many, if that is known.
    Gap {
        /// How many.
        missed: Option<u64>,
        /// Where it goes on.
        cursor: Cursor,
    },
    /// An event.
    Event {
        /// The event.
        event: T,
        /// The place behind it.
        cursor: Cursor,
    },
}

impl<T: Streamed + Clone> Feed<T> {
    /// A feed that keeps the last `keep` events.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn new(keep: usize) -> Self {
        let shared = Shared {
            epoch: getrandom::u64().expect("the operating system gives random bytes"),
            keep,
            log: Mutex::new(Log { first: 0, events: VecDeque::new() }),
            news: watch::Sender::new((0, State::Open)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Adds an event. Never waits.
    pub fn publish(&self, event: T) -> Cursor {
        let Shared { epoch, keep, log, news } = &*self.shared;
        let (next, dropped) = {
            let mut log = log.lock();
            log.events.push_back(event);
            let dropped = (log.events.len() > *keep).then(|| log.events.pop_front());
            log.first += u64::from(dropped.is_some());
            (log.first + log.events.len() as u64, dropped)
        };
        drop(dropped);
        news.send_modify(|(known, _)| *known = next);
        Cursor { epoch: *epoch, next }
    }

    /// Everything from that place on; what comes from now on, for `None`.
    pub fn subscribe(&self, from: Option<Cursor>) -> RpcStream<FeedEvent<T>> {
        let mut news = self.shared.news.subscribe();
        let now = news.borrow_and_update().0;
        let (next, lost) = match from {
            Some(cursor) if cursor.epoch == self.shared.epoch && cursor.next <= now => (cursor.next, false),
            Some(_) => (now, true),
            None => (now, false),
        };
        let reader = Subscription { shared: self.shared.clone(), news, next, began: false, lost };
        let events = stream::unfold(reader, |mut reader| async {
            let event = reader.next().await?;
            Some((event, reader))
        });
        RpcStream::try_from_stream(events)
    }

    /// Ends all subscriptions in order, after what was published.
    pub fn close(self) {
        self.end(State::Closed);
    }
}

impl<T> Feed<T> {
    fn end(&self, state: State) {
        self.shared.news.send_modify(|(_, known)| {
            if *known == State::Open {
                *known = state;
            }
        });
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.end(State::Dropped);
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("next", &self.shared.news.borrow().0).finish_non_exhaustive()
    }
}

struct Subscription<T> {
    shared: Arc<Shared<T>>,
    news: watch::Receiver<(u64, State)>,
    next: u64,
    began: bool,
    lost: bool,
}

impl<T: Clone> Subscription<T> {
    fn cursor(&self) -> Cursor {
        Cursor { epoch: self.shared.epoch, next: self.next }
    }

    async fn next(&mut self) -> Option<Result<FeedEvent<T>, RpcError>> {
        if !self.began {
            self.began = true;
            return Some(Ok(FeedEvent::Began(self.cursor())));
        }
        if std::mem::take(&mut self.lost) {
            return Some(Ok(FeedEvent::Gap { missed: None, cursor: self.cursor() }));
        }
        loop {
            let (known, state) = *self.news.borrow_and_update();
            if self.next < known {
                return Some(Ok(self.take()));
            }
            match state {
                State::Open => {}
                State::Closed => return None,
                State::Dropped => return Some(Err(aborted("the feed is gone"))),
            }
            if self.news.changed().await.is_err() {
                return Some(Err(aborted("the feed is gone")));
            }
        }
    }

    fn take(&mut self) -> FeedEvent<T> {
        let log = self.shared.log.lock();
        if self.next < log.first {
            let missed = log.first - self.next;
            self.next = log.first;
            drop(log);
            return FeedEvent::Gap { missed: Some(missed), cursor: self.cursor() };
        }
        let event = log.events[usize::try_from(self.next - log.first).unwrap_or(usize::MAX)].clone();
        drop(log);
        self.next += 1;
        FeedEvent::Event { event, cursor: self.cursor() }
    }
}
