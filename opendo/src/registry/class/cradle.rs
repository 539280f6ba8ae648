//! How the objects of a class come into memory, and what is left to do when they have left it.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::sleep;

use super::Class;
use crate::object::context::Ctx;
use crate::object::pace::Pace;
use crate::object::strand::{Activation, Cradle, Ended};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;

fn not_made(why: impl fmt::Display) -> RpcError {
    RpcError::new(ErrorKind::Reset, format!("the constructor failed: {why}"))
}

/// An instance that is to be made.
pub(super) struct Making {
    ctx: Ctx,
    info: CallInfo,
    before: Option<Ended>,
    limit: Duration,
}

impl Making {
    pub(super) async fn run<O, F>(self, new: impl FnOnce(Ctx) -> F) -> Result<O, RpcError>
    where
        F: Future<Output = crate::Result<O>>,
    {
        let Self { ctx, info, before, limit } = self;
        if let Some(before) = before {
            before.await;
        }
        let ledger = ctx.storage().ledger();
        if ledger.open().await.map_err(not_made)?.has_messages
            && let Some(outbox) = ctx.control().make_outbox()
        {
            // In a box, like all that few objects have to wait for.
            Box::pin(outbox.open()).await.map_err(not_made)?;
        }
        let made = within(limit, info.scope(async { new(ctx.clone()).await })).await;
        let too_long = || not_made(format!("it took longer than {limit:?}; the object waits for something"));
        let object = made.ok_or_else(too_long)?.map_err(not_made)?;
        ledger.forget_loaded();
        ledger.seal();
        ctx.control().has_made();
        Ok(object)
    }
}

/// What the future gives, unless it takes longer. One that does not wait costs no timer.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut timer) = (pin!(future), pin!(None));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if timer.is_none() {
            timer.set(Some(sleep(limit)));
        }
        timer.as_mut().as_pin_mut().expect("it is set").poll(cx).map(|()| None)
    })
    .await
}

/// The class, which does not keep itself.
pub(super) struct OfClass<O: Send + Sync + 'static> {
    class: Weak<Class<O>>,
    /// Of the constructor.
    pace: Pace,
}

impl<O: Send + Sync + 'static> OfClass<O> {
    pub(super) fn new(class: Weak<Class<O>>) -> Self {
        Self { class, pace: Pace::new() }
    }
}

impl<O: Send + Sync + 'static> Cradle<O> for OfClass<O> {
    fn make(
        &self,
        activation: &Arc<Activation<O>>,
        info: CallInfo,
    ) -> BoxFuture<'static, Result<O, RpcError>> {
        let Some(class) = self.class.upgrade() else {
            return ready(Err(RpcError::new(ErrorKind::Closed, "the node is gone"))).boxed();
        };
        (class.make)(Making {
            ctx: Ctx::new(activation.control.clone()),
            info,
            before: activation.predecessor(),
            limit: class.limits().construction_timeout,
        })
    }

    fn pace(&self) -> Option<&Pace> {
        Some(&self.pace)
    }

    fn ended(&self, ended: &Arc<Activation<O>>) {
        let Some(class) = self.class.upgrade() else { return };
        let Some(ledger) = ended.control.ledger().cloned() else { return };
        let (runtime, ended) = (class.surroundings.runtime.clone(), ended.clone());
        // It keeps its place as long as an older one is still there, or its commits are on their way, so that a newer one
        // waits for that.
        ledger.end();
        #[cfg(feature = "websocket")]
        class.sockets_after(&ended);
        let before = ended.predecessor();
        let lingers = before.is_some() || ledger.lingers();
        if !lingers {
            class.remove(&ended);
        }
        runtime.spawn(async move {
            let _ = ledger.durable().await;
            ledger.release().await;
            if let Some(before) = before {
                before.await;
            }
            if lingers {
                class.remove(&ended);
            }
        });
    }
}
