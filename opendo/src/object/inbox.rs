//! How an object takes a message: once, however often it is delivered.
//!
//! In its turn it looks whether it has taken the message before. If not, the method runs, and what it wrote last is
//! committed together with the message's number.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::object::id::ObjectKey;
use crate::object::job::{Job, Place, Running};
use crate::object::local::Local;
use crate::object::storage::ledger::Ledger;
use crate::object::storage::{Storage, StorageError, keys};
use crate::rpc::cap::Cap;
use crate::rpc::chain::Link;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::method::MethodFlags;

/// By what a message is known, and who is told what has come of it.
pub(crate) struct Receipt {
    pub(crate) sender: Arc<ObjectKey>,
    pub(crate) number: keys::Number,
    done: Mutex<Option<oneshot::Sender<Result<(), RpcError>>>>,
}

impl Receipt {
    pub(crate) fn new(
        sender: Arc<ObjectKey>,
        number: keys::Number,
    ) -> (Self, oneshot::Receiver<Result<(), RpcError>>) {
        let (done, wait) = oneshot::channel();
        (Self { sender, number, done: Mutex::new(Some(done)) }, wait)
    }

    /// It was taken, or why not.
    pub(crate) fn tell(&self, result: Result<(), RpcError>) {
        let done = self.done.lock().take();
        // The sender may be gone: it asks again.
        let _ = done.map(|done| done.send(result));
    }

    /// What the method said, to nobody.
    pub(crate) fn ignore(&self, method: &str, error: Option<String>) {
        let error = error.unwrap_or_default();
        tracing::debug!(sender = %self.sender, method, error, "a message was answered with an error");
    }

    /// Whether it has not been taken yet.
    async fn is_new(&self, storage: &Storage) -> Result<bool, StorageError> {
        let last = storage.read(keys::of_received(self.sender.bytes())).await?;
        Ok(last.and_then(|last| keys::Number::read(&last)).is_none_or(|last| self.number > last))
    }

    /// It is taken when `output` goes.
    pub(crate) fn take(
        &self,
        ledger: &Arc<Ledger>,
        output: impl FnOnce(Result<(), RpcError>) + Send + 'static,
    ) {
        ledger.hold_received(self.sender.bytes(), self.number, output);
    }
}

/// A message on its way through its receiver's strand. It runs alone, whatever its method says: delivered twice at the
/// same time, it would be new twice.
pub(crate) struct Receive<O: Send + Sync + 'static> {
    /// Makes a stub, its type erased.
    pub(crate) cap: fn(Local<O>) -> Cap,
    pub(crate) call: Incoming,
}

impl<O: Send + Sync + 'static> Job<O> for Receive<O> {
    fn flags(&self) -> MethodFlags {
        MethodFlags::default()
    }

    fn chain(&self) -> Option<&Arc<Link>> {
        None
    }

    fn is_wanted(&self) -> bool {
        true
    }

    fn start(self: Box<Self>, object: Arc<O>, place: Place) -> Result<Running<O>, Arc<O>> {
        let Self { cap, call } = *self;
        Ok(Box::pin(async move {
            let is_new = match (call.reply.call().receipt(), place.control.storage()) {
                (Some(message), Some(storage)) => message.is_new(storage).await,
                _ => Ok(true),
            };
            match is_new {
                Ok(true) => {
                    let (local, job) = Local::in_turn();
                    cap(local).deliver(call);
                    // Otherwise it was refused.
                    let Some(job) = job.lock().take() else { return object };
                    match job.start(object, place) {
                        Ok(running) => running.await,
                        Err(object) => object,
                    }
                }
                Ok(false) => {
                    // That it was taken is perhaps not durable yet.
                    place.control.hold(move |durable| match durable {
                        Ok(()) => call.reply.taken(),
                        Err(error) => call.reply.fail(error),
                    });
                    object
                }
                Err(error) => {
                    call.reply.fail(RpcError::new(ErrorKind::Reset, error.to_string()));
                    object
                }
            }
        }))
    }

    fn fail(self: Box<Self>, error: RpcError) {
        self.call.reply.fail(error);
    }
}
