//! Values that an object says: each waits until what the object had written by then is durable, and the object stays in
//! memory until there are no more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};

use crate::object::control::{Control, KeepAlive, Keeping};
use crate::rpc::error::RpcError;
use crate::rpc::info::CallInfo;

/// What a stream that is made here keeps in memory: the object whose method (or background work) this is.
pub(super) fn keep_alive() -> Option<KeepAlive> {
    CallInfo::with_current(|current| Some(current?.control().keep_alive(Keeping::Stream)))
}

/// The values of a stream, as whoever makes it may say them.
pub(super) fn said<T: Send + 'static>(
    values: BoxStream<'static, Result<T, RpcError>>,
) -> BoxStream<'static, Result<T, RpcError>> {
    let Some(control) = CallInfo::with_current(|current| Some(current?.control().clone())) else {
        return values;
    };
    let kept = control.keep_alive(Keeping::Stream);
    Said { values, control, held: None, _kept: kept }.boxed()
}

struct Said<T> {
    values: BoxStream<'static, Result<T, RpcError>>,
    control: Arc<Control>,
    held: Option<Held<T>>,
    _kept: KeepAlive,
}

/// The next value (or the end), and what it waits for.
type Held<T> = (Option<Result<T, RpcError>>, BoxFuture<'static, Result<(), RpcError>>);

impl<T> Unpin for Said<T> {}

impl<T> Stream for Said<T> {
    type Item = Result<T, RpcError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.held.is_none() {
            let next = ready!(this.values.poll_next_unpin(cx));
            if !this.control.holds() {
                return Poll::Ready(next);
            }
            this.held = Some((next, this.control.durable().boxed()));
        }
        let durable = this.held.as_mut().map(|(_, durable)| durable.poll_unpin(cx));
        let result = ready!(durable.expect("just put there"));
        let next = this.held.take().and_then(|(next, _)| next);
        Poll::Ready(result.map_or_else(|error| Some(Err(error)), |()| next))
    }
}
