//! The writing end of a stream, as users hold it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{FutureExt, Sink, SinkExt};
use parking_lot::Mutex;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{self, Serialize, Serializer};

use super::outlet::Outlet;
use super::pipe::{self, SinkTarget, Writer};
use super::relay::Relay;
use super::{Streamed, aborted, encode, place};
use crate::rpc::cap::{Cap, Passed, complain, pass};
#[cfg(doc)]
use crate::rpc::error::ErrorKind;
use crate::rpc::error::RpcError;
use crate::rpc::info::CallInfo;

/// The writing end of a stream, as an argument or result of a remote method, or a value inside one.
///
/// It is a [`Sink`]: `send` waits while too much is unread. Close it when all is said: one that is dropped before
/// that ends the stream with [`Aborted`](ErrorKind::Aborted). When the reader is gone, writing fails.
#[must_use = "a sink that is dropped without being closed ends its stream with an error"]
pub struct RpcSink<T>(Mutex<Inner<T>>);

struct Inner<T> {
    target: Target<T>,
    /// What the next write waits for: the object that writes has kept something that is not durable.
    held: Option<BoxFuture<'static, Result<(), RpcError>>>,
}

pub(super) enum Target<T> {
    Pipe(Arc<Writer<T>>),
    /// Boxed, lest everything that may hold a sink is large.
    Outlet(Box<Outlet>),
    /// Passed on, or closed.
    Over,
}

impl<T> RpcSink<T> {
    pub(super) fn new(target: Target<T>) -> Self {
        Self(Mutex::new(Inner { target, held: None }))
    }
}

impl<T> Inner<T> {
    /// Ready when what the object that runs here has written is durable.
    fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        if self.held.is_none() {
            self.held = CallInfo::gate().map(|gate| gate.durable().boxed());
        }
        let result = match &mut self.held {
            Some(held) => ready!(held.poll_unpin(cx)),
            None => Ok(()),
        };
        self.held = None;
        Poll::Ready(result)
    }
}

impl<T: Streamed> RpcSink<T> {
    /// Writes a value, when there is room for it.
    ///
    /// # Errors
    /// [`Aborted`](ErrorKind::Aborted) when the reader is gone; the session's error when that has ended.
    pub async fn send(&mut self, value: T) -> Result<(), RpcError> {
        SinkExt::feed(self, value).await
    }

    /// Ends the stream in order, after everything written was read.
    ///
    /// # Errors
    /// The first one that a write had.
    pub async fn close(&mut self) -> Result<(), RpcError> {
        SinkExt::<T>::close(self).await
    }

    /// Ends the stream with an error: its reader gets [`Aborted`](ErrorKind::Aborted) with this reason, after what
    /// was written.
    pub fn abort(self, reason: impl Into<String>) {
        let (target, reason) = (self.0.into_inner().target, aborted(reason));
        let abort = move || match target {
            Target::Pipe(writer) => writer.end(Err(reason)),
            Target::Outlet(outlet) => outlet.abort(&reason),
            Target::Over => {}
        };
        match CallInfo::gate() {
            None => abort(),
            // If that fails, the sink is dropped unclosed.
            Some(gate) => gate.hold(move |durable| {
                if durable.is_ok() {
                    abort();
                }
            }),
        }
    }
}

impl<T: Streamed> Sink<T> for RpcSink<T> {
    type Error = RpcError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        let inner = self.get_mut().0.get_mut();
        ready!(inner.poll_durable(cx))?;
        match &mut inner.target {
            Target::Pipe(writer) => writer.poll_ready(cx),
            Target::Outlet(outlet) => outlet.poll_ready(cx),
            Target::Over => Poll::Ready(Err(aborted("the sink was closed or passed on"))),
        }
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), RpcError> {
        match &mut self.get_mut().0.get_mut().target {
            Target::Pipe(writer) => writer.push(value),
            Target::Outlet(outlet) => {
                outlet.write(encode(outlet.form(), &value)?);
                Ok(())
            }
            Target::Over => Err(aborted("the sink was closed or passed on")),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        match &mut self.get_mut().0.get_mut().target {
            Target::Pipe(writer) => writer.poll_flush(cx),
            Target::Outlet(outlet) => outlet.poll_flush(cx),
            Target::Over => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        let inner = self.get_mut().0.get_mut();
        ready!(inner.poll_durable(cx))?;
        let closed = match &mut inner.target {
            Target::Pipe(writer) => {
                let flushed = ready!(writer.poll_flush(cx));
                writer.end(Ok(()));
                flushed
            }
            Target::Outlet(outlet) => ready!(outlet.poll_close(cx)),
            Target::Over => Ok(()),
        };
        inner.target = Target::Over;
        Poll::Ready(closed)
    }
}

impl<T> Unpin for RpcSink<T> {}

/// By this name an encoding that has a form of its own for sinks recognises one.
pub(crate) const SINK: &str = "$opendo::sink";

impl<T: Streamed> Serialize for RpcSink<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut passed_on = false;
        let place = pass(|| {
            let cap: Cap = match std::mem::replace(&mut self.0.lock().target, Target::Over) {
                Target::Pipe(writer) => Arc::new(SinkTarget(writer)),
                Target::Outlet(outlet) => Arc::new(Relay::<T>::new(outlet.into_remote())),
                Target::Over => {
                    passed_on = true;
                    Arc::new(SinkTarget::<T>(Arc::new(pipe::pipe(0).0)))
                }
            };
            Passed::Cap(cap)
        });
        if passed_on {
            return Err(ser::Error::custom(complain("the sink was closed or passed on before")));
        }
        serializer.serialize_newtype_struct(SINK, &place.map_err(|why| ser::Error::custom(complain(why)))?)
    }
}

impl<'de, T: Streamed> Deserialize<'de> for RpcSink<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Passed::Cap(cap) = place::<D>(deserializer, SINK)? else {
            return Err(de::Error::custom(complain("something else where a sink was expected")));
        };
        if let Some(SinkTarget(writer)) = cap.as_any().downcast_ref::<SinkTarget<T>>() {
            return Ok(Self::new(Target::Pipe(writer.clone())));
        }
        let remote = cap
            .remote()
            .ok_or_else(|| de::Error::custom(complain("another stub where a sink was expected")))?;
        Ok(Self::new(Target::Outlet(Box::new(Outlet::new(remote.clone(), false)))))
    }
}

impl<T> fmt::Debug for RpcSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcSink").finish_non_exhaustive()
    }
}
