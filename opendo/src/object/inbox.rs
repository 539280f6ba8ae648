//! How an object takes a message: once, however often it is delivered.
//!
//! In its turn it looks whether it has taken the message before. If not, the method runs, and what it wrote last is
//! committed together with the message's number.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::object::id::ObjectKey;
use crate::object::job::{Job, Place, Progress};
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
    number: keys::Number,
    /// The message that has to be taken before it.
    before: Option<keys::Number>,
    done: Mutex<Option<oneshot::Sender<Result<(), RpcError>>>>,
}

impl Receipt {
    pub(crate) fn new(
        sender: Arc<ObjectKey>,
        number: keys::Number,
        before: Option<keys::Number>,
    ) -> (Self, oneshot::Receiver<Result<(), RpcError>>) {
        let (done, wait) = oneshot::channel();
        (Self { sender, number, before, done: Mutex::new(Some(done)) }, wait)
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

    /// What it is to its receiver.
    async fn look(&self, storage: &Storage) -> Result<Look, StorageError> {
        let last = storage.read(keys::of_received(self.sender.bytes())).await?;
        let last = last.and_then(|last| keys::Number::read(&last));
        Ok(if Some(self.number) <= last {
            Look::Known
        } else if self.before > last {
            Look::Early
        } else {
            Look::New
        })
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

#[derive(Debug, PartialEq)]
enum Look {
    New,
    /// It was taken before.
    Known,
    /// The one before it was not.
    Early,
}

/// A message on its way through its receiver's strand. It runs alone, whatever its method says: delivered twice at the
/// same time, it would be new twice.
pub(crate) struct Receive<O: Send + Sync + 'static> {
    /// Makes a stub, its type erased.
    pub(crate) cap: fn(Arc<Local<O>>) -> Cap,
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

    fn start(self: Box<Self>, object: Arc<O>, place: Place) -> Progress<O> {
        let Self { cap, call } = *self;
        Progress::Runs(Box::pin(async move {
            let look = match (call.reply.call().receipt(), place.control.storage()) {
                (Some(message), Some(storage)) => message.look(storage).await,
                _ => Ok(Look::New),
            };
            match look {
                Ok(Look::New) => {
                    let (local, job) = Local::in_turn();
                    cap(local).deliver(call);
                    // Otherwise it was refused.
                    let Some(job) = job.lock().take() else { return Some(object) };
                    match job.start(object, place) {
                        Progress::Runs(running) => running.await,
                        Progress::Ended(object, _) => object,
                    }
                }
                Ok(Look::Known) => {
                    // That it was taken is perhaps not durable yet.
                    place.control.hold(move |durable| match durable {
                        Ok(()) => call.reply.taken(),
                        Err(error) => call.reply.fail(error),
                    });
                    Some(object)
                }
                Ok(Look::Early) => {
                    call.reply
                        .fail(RpcError::new(ErrorKind::Cancelled, "the message before it was not taken"));
                    Some(object)
                }
                Err(error) => {
                    call.reply.fail(RpcError::new(ErrorKind::Reset, error.to_string()));
                    Some(object)
                }
            }
        }))
    }

    fn fail(self: Box<Self>, error: RpcError) {
        self.call.reply.fail(error);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use tokio::runtime::Handle;

    use super::*;
    use crate::engine::committer::Committer;
    use crate::engine::memory::Memory;
    use crate::node::WeakNode;
    use crate::object::clock::Clock;
    use crate::registry::wakes::Wakes;

    /// Messages to a receiver are on their way together: one that is refused for now must not be lost behind the next.
    #[tokio::test]
    async fn a_message_is_taken_behind_the_one_before_it_and_once() {
        let committer =
            Committer::new(Arc::new(Memory::default()), Handle::current(), Wakes::new(Clock::System));
        let key = |id| Arc::new(ObjectKey::kept("Room".into(), [id; 32], None));
        let ledger = Ledger::new(committer, WeakNode::none(), None, key(1), Weak::new());
        ledger.open().await.unwrap();
        let storage = Storage::new(ledger.clone());
        let number = |n| keys::Number::new(n, 1);
        let message =
            |sender, n, before: Option<u64>| Receipt::new(key(sender), number(n), before.map(number)).0;

        assert_eq!(message(2, 6, Some(5)).look(&storage).await, Ok(Look::Early));
        assert_eq!(message(2, 5, None).look(&storage).await, Ok(Look::New));
        message(2, 5, None).take(&ledger, |durable| durable.unwrap());
        assert_eq!(message(2, 5, None).look(&storage).await, Ok(Look::Known));
        assert_eq!(message(2, 4, None).look(&storage).await, Ok(Look::Known));
        assert_eq!(message(2, 6, Some(5)).look(&storage).await, Ok(Look::New));
        assert_eq!(message(2, 8, Some(7)).look(&storage).await, Ok(Look::Early));
        assert_eq!(
            message(3, 1, None).look(&storage).await,
            Ok(Look::New),
            "senders have numbers of their own"
        );
    }

    /// Otherwise the sender would forget a message that nobody has taken.
    #[tokio::test]
    async fn an_instance_that_is_gone_takes_nothing() {
        let committer =
            Committer::new(Arc::new(Memory::default()), Handle::current(), Wakes::new(Clock::System));
        let key = Arc::new(ObjectKey::kept("Room".into(), [1; 32], None));
        let ledger = Ledger::new(committer, WeakNode::none(), None, key.clone(), Weak::new());
        ledger.open().await.unwrap();
        ledger.close();
        let (message, _) = Receipt::new(key, keys::Number::new(1, 1), None);
        let (told, mut tell) = oneshot::channel();
        message.take(&ledger, move |durable| told.send(durable).unwrap());
        assert!(tell.try_recv().unwrap().is_err());
    }
}
