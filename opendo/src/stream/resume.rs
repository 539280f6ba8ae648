//! A subscription that outlives its connections.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use backon::ExponentialBackoff;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::time::sleep;

use super::feed::{Cursor, FeedEvent};
use super::{RpcStream, Streamed};
use crate::rpc::backoff::{self, LONGEST};
use crate::rpc::call::Call;
use crate::rpc::error::{CallError, ErrorKind, RpcError};

/// Follows a [`Feed`](crate::Feed) across lost connections, resets and hibernations of the object that has it: it
/// subscribes again where it was, as often as needed, and tells of events that could not be had any more. So an event
/// is either seen, once and in its order, or part of a gap.
///
/// It is a [`Stream`] of `Result<Update<T>, RpcError>`, which ends when the feed was closed, and after an error that
/// subscribing again cannot mend. Between attempts it pauses, up to 5 s. Drop it to stop.
///
/// ```
/// use futures::StreamExt;
/// use opendo::{Cursor, Feed, FeedEvent, Resumable, RpcStream, Update, prelude::*};
///
/// pub struct Room { news: Feed<String> }
///
/// #[durable_object]
/// impl Room {
///     pub fn say(&self, text: String) { self.news.publish(text); }
///     pub fn news(&self, from: Option<Cursor>) -> RpcStream<FeedEvent<String>> { self.news.subscribe(from) }
/// }
///
/// impl DurableObject for Room {
///     async fn new(_: Ctx) -> opendo::Result<Self> { Ok(Room { news: Feed::new(1000) }) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// # let node = Node::builder().object::<Room>().start().await?;
/// # node.listen("memory:news").await?;
/// # let client = opendo::connect("memory:news").await?;
/// let room: RoomStub = client.get("lobby");
/// let follow = room.clone();
/// let mut news = Resumable::new(move |from| follow.fresh().news(from));
/// assert_eq!(news.next().await.unwrap()?, Update::Began);
/// room.say("hello".into()).await?;
/// assert_eq!(news.next().await.unwrap()?, Update::Event("hello".into()));
/// # Ok(()) }
/// ```
#[must_use = "nothing is subscribed before it is polled"]
pub struct Resumable<T>(BoxStream<'static, Result<Update<T>, RpcError>>);

/// What a [`Resumable`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update<T> {
    /// From here on nothing is missed without a notice. Always first, and only once.
    Began,
    /// An event.
    Event(T),
    /// Events were missed here; how many, if that is known. Whatever was derived from events is to be fetched anew.
    Gap {
        /// How many.
        missed: Option<u64>,
    },
}

struct Following<T, F> {
    subscribe: F,
    current: Option<RpcStream<FeedEvent<T>>>,
    cursor: Option<Cursor>,
    pauses: Option<ExponentialBackoff>,
    over: bool,
}

impl<T: Streamed> Resumable<T> {
    /// Follows what `subscribe` calls: at once, and again when that has ended other than in order. It gets the place
    /// to go on from. Have it call a [`fresh`](crate::StubExt::fresh) stub, so that it reaches the object's new
    /// instance after a reset.
    pub fn new<E, F>(subscribe: F) -> Self
    where
        E: fmt::Display + Send + 'static,
        F: Fn(Option<Cursor>) -> Call<RpcStream<FeedEvent<T>>, E> + Send + 'static,
    {
        let following = Following { subscribe, current: None, cursor: None, pauses: None, over: false };
        let updates = stream::unfold(following, |mut following| async {
            let update = following.next().await?;
            Some((update, following))
        });
        Self(updates.boxed())
    }
}

impl<T: Streamed, F> Following<T, F> {
    async fn next<E>(&mut self) -> Option<Result<Update<T>, RpcError>>
    where
        E: fmt::Display + Send + 'static,
        F: Fn(Option<Cursor>) -> Call<RpcStream<FeedEvent<T>>, E>,
    {
        while !self.over {
            let Some(current) = &mut self.current else {
                let call = (self.subscribe)(self.cursor);
                match call.await {
                    Ok(stream) => self.current = Some(stream),
                    Err(CallError::Rpc(error)) if is_passing(&error) => self.pause().await,
                    Err(CallError::Rpc(error)) => {
                        self.over = true;
                        return Some(Err(error));
                    }
                    Err(CallError::App(error)) => {
                        self.over = true;
                        return Some(Err(super::aborted(error.to_string())));
                    }
                }
                continue;
            };
            let event = match current.next().await {
                Some(Ok(event)) => event,
                Some(Err(error)) if is_passing(&error) => {
                    self.current = None;
                    self.pause().await;
                    continue;
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                None => {
                    self.over = true;
                    return None;
                }
            };
            self.pauses = None;
            let (cursor, update) = match event {
                FeedEvent::Began(cursor) if self.cursor.is_none() => (cursor, Update::Began),
                // The place it was asked for, or the one a gap leads to, which is told next.
                FeedEvent::Began(_) => continue,
                FeedEvent::Gap { missed, cursor } => (cursor, Update::Gap { missed }),
                FeedEvent::Event { event, cursor } => (cursor, Update::Event(event)),
            };
            self.cursor = Some(cursor);
            return Some(Ok(update));
        }
        None
    }

    /// The first attempt is made at once.
    async fn pause(&mut self) {
        match &mut self.pauses {
            Some(pauses) => sleep(pauses.next().unwrap_or(LONGEST)).await,
            at_once => *at_once = Some(backoff::pauses(None)),
        }
    }
}

/// Whether subscribing again may help: the connection, the object's instance or its feed was lost.
fn is_passing(error: &RpcError) -> bool {
    error.is_retryable()
        || matches!(error.kind(), ErrorKind::Broken | ErrorKind::Aborted | ErrorKind::Overloaded)
}

impl<T> Stream for Resumable<T> {
    type Item = Result<Update<T>, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<T> fmt::Debug for Resumable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumable").finish_non_exhaustive()
    }
}
