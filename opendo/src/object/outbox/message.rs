//! A message: a call as it is recorded, and as it is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use opendo_transport::envelope::TraceContext;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::encoding::{Encoded, Form};
use crate::node::WeakNode;
use crate::object::id::ObjectKey;
use crate::object::inbox::Receipt;
use crate::object::name::Name;
use crate::object::storage::keys::Number;
use crate::object::storage::{MAX_ENTRY, StorageError};
use crate::object::turn::queued;
use crate::rpc::call::Call;
use crate::rpc::cap::{Passed, StoredStub};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::outgoing::OutgoingCall;
use crate::rpc::remote::{Binding, Place, Remote, RemoteObject, Uplink, of_remote};
use crate::rpc::stub::{Broken, Stub};

/// Why a message was not recorded. See [`Ctx::send`](crate::Ctx::send).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stub is none of an object of this node: nothing else can be sent to after a restart.
    #[error("messages go to objects of this node only, and `{to}` is none")]
    NotHere {
        /// What it is a stub of.
        to: String,
    },
    /// The function has to make one call on the stub it is given, and to return that.
    #[error("a message is one call, made on the stub that is given for it, and returned")]
    NotOneCall,
    /// The arguments cannot be stored.
    #[error("the arguments cannot be stored: {0}")]
    Encode(String),
    /// The message is longer than may be stored.
    #[error("the message takes {size} bytes, and {limit} are the most; send it in parts")]
    TooLarge {
        /// How long it is.
        size: usize,
        /// How long it may be.
        limit: usize,
    },
    /// So many messages of this object wait to be delivered: see [`Limits::max_messages`](crate::Limits::max_messages).
    #[error("{limit} messages wait to be delivered, and more may not; try again when some have arrived")]
    Full {
        /// How many may wait.
        limit: usize,
    },
    /// The instance was thrown away.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<SendError> for String {
    fn from(error: SendError) -> Self {
        error.to_string()
    }
}

/// A message that cannot be delivered. See [`DurableObject::undelivered`](crate::DurableObject::undelivered).
#[derive(Clone)]
pub struct Undelivered {
    receiver: Arc<ObjectKey>,
    method: String,
    reason: RpcError,
    number: Number,
}

impl Undelivered {
    pub(super) fn log(&self, sender: &ObjectKey) {
        let Self { receiver, method, reason, .. } = self;
        tracing::error!(object = %sender, %receiver, method, error = %reason, "a message cannot be delivered");
    }

    pub(super) fn number(&self) -> Number {
        self.number
    }

    /// The object it was for.
    pub fn receiver(&self) -> &ObjectKey {
        &self.receiver
    }

    /// The method it was for, by its name on the wire.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Why it cannot be delivered.
    pub fn reason(&self) -> &RpcError {
        &self.reason
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("receiver", &self.receiver)
            .field("method", &self.method)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// What is stored of a message before its arguments.
#[derive(Serialize, Deserialize)]
struct Head {
    class: String,
    name: Option<String>,
    method: String,
    method_id: u32,
    fingerprint: u64,
    trace: Option<([u8; 16], [u8; 8], u8)>,
    /// The stubs in the arguments.
    stubs: Vec<StoredStub>,
}

/// A message as it was stored.
pub(super) struct Message {
    pub(super) receiver: Arc<ObjectKey>,
    method: String,
    head: Head,
    args: Bytes,
}

impl Message {
    /// From its record; `None` if this version of the program cannot read it.
    pub(super) fn read(receiver: &[u8; 32], record: &Bytes) -> Option<Self> {
        let (mut head, args) = postcard::take_from_bytes::<Head>(record).ok()?;
        let args = record.slice_ref(args);
        let class = std::mem::take(&mut head.class);
        let name = head.name.take().map(|name| Name::from(&*name));
        let receiver = Arc::new(ObjectKey::kept(class.into(), *receiver, name));
        Some(Self { receiver, method: std::mem::take(&mut head.method), head, args })
    }

    /// It cannot be delivered.
    pub(super) fn undelivered(self, number: Number, reason: RpcError) -> Undelivered {
        let Self { receiver, method, .. } = self;
        Undelivered { receiver, method, reason, number }
    }

    /// The call that it is.
    pub(super) fn call(&self, node: &WeakNode, receipt: Receipt) -> Incoming {
        let head = &self.head;
        let passed = head.stubs.iter().map(|stub| Passed::Cap(stub.cap(node))).collect();
        let args = Encoded { form: Form::Postcard, bytes: self.args.clone(), passed };
        let trace = head.trace.map(|(trace, span, flags)| TraceContext { trace, span, flags });
        Incoming::of_message(head.method_id, head.fingerprint, args, trace, receipt)
    }
}

/// The record of the one call that `call` makes and returns.
pub(super) fn record<S: Stub, T, E>(
    node: &WeakNode,
    to: &ObjectKey,
    call: impl FnOnce(&S) -> Call<T, E>,
) -> Result<Bytes, SendError> {
    let recording = Arc::new(Recording { node: node.clone(), calls: Mutex::new(Some(Vec::new())) });
    let place = Place::Object(Arc::new(to.clone()));
    let stub: S = of_remote(&Remote::new(recording.clone(), place));
    // What is called on another stub is withdrawn when it is refused: it must not have begun.
    let call = queued(|| call(&stub));
    let calls = recording.calls.lock().take().unwrap_or_default();
    if let Some(refusal) = call.refusal() {
        return Err(SendError::Encode(refusal.message().to_owned()));
    }
    let returned = call.remote_call().map(|call| Arc::as_ptr(call).addr());
    match <[_; 1]>::try_from(calls) {
        Ok([(recorded, record)]) if Some(recorded) == returned => record,
        _ => Err(SendError::NotOneCall),
    }
}

/// Which call, by its address, and what it is as a message.
type Recorded = (usize, Result<Bytes, SendError>);

/// The way of calls that are written down, and not made.
struct Recording {
    node: WeakNode,
    /// `None` when it is over.
    calls: Mutex<Option<Vec<Recorded>>>,
}

impl Recording {
    fn record(&self, outgoing: &OutgoingCall<'_>) -> Result<Bytes, SendError> {
        let OutgoingCall { call, parts, body, passed } = *outgoing;
        let stub = |passed: &Passed| match passed {
            Passed::Cap(cap) => cap.hosted(&self.node).map(StoredStub::from),
            _ => None,
        };
        let stubs: Option<Vec<_>> = passed.iter().map(stub).collect();
        let to = call.object.key().ok_or(SendError::NotOneCall)?;
        let head = Head {
            class: to.class().to_owned(),
            name: to.known_name().map(str::to_owned),
            method: parts.method.name.to_owned(),
            method_id: parts.method.id,
            fingerprint: parts.method.fingerprint,
            trace: parts.trace.map(|it| (it.trace, it.span, it.flags)),
            stubs: stubs.ok_or_else(|| {
                SendError::Encode(
                    "of what is passed by reference only stubs of this node's own objects and of their lasting \
                     targets can be stored: callbacks, other targets, streams and results of calls end with the \
                     process"
                        .to_owned(),
                )
            })?,
        };
        let record = postcard::to_allocvec(&head).map_err(|error| SendError::Encode(error.to_string()))?;
        let record = [&record, body].concat();
        if record.len() > MAX_ENTRY {
            return Err(SendError::TooLarge { size: record.len(), limit: MAX_ENTRY });
        }
        Ok(record.into())
    }
}

impl Uplink for Recording {
    fn send(self: Arc<Self>, call: OutgoingCall<'_>) {
        let record = self.record(&call);
        if let Some(calls) = &mut *self.calls.lock() {
            calls.push((Arc::as_ptr(call.call).addr(), record));
        }
        call.call.complete(Err(no_result()));
    }

    fn stays(&self) -> bool {
        true
    }

    fn release(&self, _: &Binding) {}

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        None
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        async { no_result() }.boxed()
    }
}

fn no_result() -> RpcError {
    let text = "a stub for a message takes one call, which has no result: use another stub beside it";
    RpcError::new(ErrorKind::Closed, text)
}
