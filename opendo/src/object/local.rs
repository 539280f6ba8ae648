//! The way of a call to an object or target of this process: its arguments move, nothing is encoded.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;

use crate::node::WeakNode;
use crate::object::connected::Connected;
use crate::object::id::ObjectKey;
use crate::object::job::{Job, LocalReply, MethodJob, Reply, ResultOf};
use crate::object::lasting::{LastingName, Origin};
use crate::object::strand::{Activation, Begun, short_type_name};
use crate::object::turn::{Found, Started, Turn};
use crate::registry::class::Class;
use crate::rpc::call::{Call, Named, deadline_after};
use crate::rpc::error::RpcError;
use crate::rpc::incoming::Incoming;
use crate::rpc::info::{CallInfo, Caller, Facts};
use crate::rpc::method::{Called, Method, Run};
use crate::rpc::outgoing::OutgoingCall;
use crate::rpc::remote::{Binding, Place, Remote, RemoteObject, Uplink};
use crate::rpc::slot::Slot;
use crate::rpc::stub::{Broken, CallOptions, Calls};

/// An object or target of this process, as a stub reaches it.
pub struct Local<O: Send + Sync + 'static> {
    this: Weak<Self>,
    home: Home<O>,
}

enum Home<O: Send + Sync + 'static> {
    /// There is only this instance.
    Target(Arc<Activation<O>>),
    /// It is found again.
    Found { by: By<O>, connected: Connected<O> },
    /// The object itself, which has its turn already: it starts the job.
    InTurn(InTurn<O>),
}

enum By<O: Send + Sync + 'static> {
    Object(Arc<Class<O>>, Arc<ObjectKey>),
    Lasting(Arc<dyn Origin<O>>),
}

impl<O: Send + Sync + 'static> By<O> {
    fn activation(&self) -> Result<Arc<Activation<O>>, RpcError> {
        match self {
            Self::Object(class, key) => class.activation(key),
            Self::Lasting(origin) => origin.activation(),
        }
    }
}

/// Where a job waits for whoever has the object.
type InTurn<O> = Arc<Mutex<Option<Box<dyn Job<O>>>>>;

type SlotOf<M> = Slot<ResultOf<M>>;
type ReplyOf<M> = Reply<<M as Method>::Ok, <M as Method>::Err>;

/// The two sides of an answer that stays in this process.
fn local_reply<M: Method>() -> (ReplyOf<M>, Arc<SlotOf<M>>) {
    let slot = Arc::new(Slot::new());
    (Reply::Local(LocalReply::new(slot.clone())), slot)
}

impl<O: Send + Sync + 'static> Local<O> {
    fn new(home: Home<O>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { this: this.clone(), home })
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("it is only made behind an `Arc`")
    }

    pub(crate) fn of_target(activation: Arc<Activation<O>>) -> Arc<Self> {
        Self::new(Home::Target(activation))
    }

    pub(crate) fn of_object(class: Arc<Class<O>>, key: Arc<ObjectKey>) -> Arc<Self> {
        Self::found(By::Object(class, key))
    }

    pub(crate) fn of_lasting(origin: Arc<dyn Origin<O>>) -> Arc<Self> {
        Self::found(By::Lasting(origin))
    }

    fn found(by: By<O>) -> Arc<Self> {
        Self::new(Home::Found { by, connected: Connected::default() })
    }

    /// The way to an object that has its turn, for one call: and where that call is then.
    pub(crate) fn in_turn() -> (Arc<Self>, InTurn<O>) {
        let job = InTurn::default();
        (Self::new(Home::InTurn(job.clone())), job)
    }

    /// The same object in an order of its own, not broken.
    #[must_use]
    pub fn fresh(&self) -> Arc<Self> {
        match &self.home {
            Home::Found { by: By::Object(class, key), .. } => Self::of_object(class.clone(), key.clone()),
            Home::Found { by: By::Lasting(origin), .. } => Self::of_lasting(origin.clone()),
            Home::Target(_) | Home::InTurn(_) => self.this(),
        }
    }

    /// Queues a call of this process.
    pub fn call<M: Run<O>>(&self, options: &CallOptions, args: M::Args) -> Call<M::Ok, M::Err> {
        if M::has_promises(&args) {
            let here = Arc::new(Here { local: self.this(), accept: Self::accept::<M> });
            let remote = Remote::new(here, Place::Promise(Arc::new([])));
            return remote.call::<M>(options, args).named(self.this(), M::DESC.name);
        }
        let deadline = deadline_after(options.timeout);
        let (facts, gate) = CallInfo::for_call_out(deadline, options.trace);
        let chain = facts.chain.clone();
        let slot = match gate {
            None => match self.begin::<M>(args, facts) {
                // A result has nothing to say of where it comes from.
                Ok(result @ Ok(_)) => return Call::ended(result),
                Ok(error) => return Call::ended(error).named(self.this(), M::DESC.name),
                Err(slot) => slot,
            },
            Some(gate) => {
                let (reply, slot) = local_reply::<M>();
                let (local, job) = (self.this(), MethodJob::<M> { args, reply, facts });
                gate.hold(move |durable| match durable {
                    Ok(()) => local.submit(Box::new(job)),
                    Err(error) => job.reply.fail(error.may_run(false)),
                });
                slot
            }
        };
        Call::local(slot, chain, deadline).named(self.this(), M::DESC.name)
    }

    /// Starts a call, or queues it: its result, or where that will be.
    fn begin<M: Run<O>>(&self, args: M::Args, facts: Facts) -> Result<ResultOf<M>, Arc<SlotOf<M>>> {
        let turn = match self.turn::<M>(&facts) {
            Ok(turn) => turn,
            Err(_begun) => {
                let (reply, slot) = local_reply::<M>();
                self.submit(Box::new(MethodJob::<M> { args, reply, facts }));
                return Err(slot);
            }
        };
        // Only what asks for its caller needs it from the start.
        let early = M::WATCHES.then(local_reply::<M>);
        let waiting = early.as_ref().map(|(reply, _)| reply.waiting());
        match turn.start::<M>(args, facts, waiting) {
            Started::Ended(ended, Ok(Some(result))) if early.is_none() && !ended.control().holds() => {
                ended.leave();
                Ok(result)
            }
            Started::Ended(ended, end) => {
                let (reply, slot) = early.unwrap_or_else(local_reply::<M>);
                reply.answer::<M>(ended.control(), end);
                ended.leave();
                Err(slot)
            }
            Started::Waits(waits) => {
                let (reply, slot) = early.unwrap_or_else(local_reply::<M>);
                reply.start();
                waits.go_on(reply);
                Err(slot)
            }
        }
    }

    /// The turn of a call that may start here and now. Others are queued, before what this returns is dropped.
    #[inline(always)]
    fn turn<M: Run<O>>(&self, facts: &Facts) -> Result<Turn<'_, O>, Option<Begun<O>>> {
        if M::pace().is_none() || facts.is_too_late() {
            return Err(None);
        }
        let activation = match &self.home {
            Home::Target(activation) => Found::Always(activation),
            Home::Found { by, connected } => connected.or_else(|| by.activation()).map_err(|_| None)?,
            Home::InTurn(_) => return Err(None),
        };
        let access = activation.access(M::DESC.flags);
        Turn::take(activation, M::pace(), access, facts.chain.as_ref())
    }

    /// Starts or queues a call that came encoded: the only place where its arguments are decoded.
    pub fn accept<M: Run<O>>(&self, mut call: Incoming) {
        let args = match call.decode::<M>() {
            Err(error) => return call.reply.fail(error),
            Ok(args) => args,
        };
        // Only what sees its call can tell who makes it.
        let caller = if M::Call::IS_SEEN { call.caller() } else { Caller::Local };
        let Incoming { reply, deadline, trace, chain, .. } = call;
        let (reply, facts) = (Reply::Remote(reply), Facts::new(caller, deadline, trace, chain));
        let turn = if reply.start() { self.turn::<M>(&facts) } else { Err(None) };
        let turn = match turn {
            Ok(turn) => turn,
            Err(_begun) => return self.submit(Box::new(MethodJob::<M> { args, reply, facts })),
        };
        let waiting = M::WATCHES.then(|| reply.waiting());
        match turn.start::<M>(args, facts, waiting) {
            Started::Ended(ended, end) => {
                reply.answer::<M>(ended.control(), end);
                ended.leave();
            }
            Started::Waits(waits) => waits.go_on(reply),
        }
    }

    fn submit(&self, mut job: Box<dyn Job<O>>) {
        match &self.home {
            Home::Target(activation) => {
                if activation.submit(job).is_err() {
                    unreachable!("targets do not go to sleep");
                }
            }
            Home::InTurn(place) => *place.lock() = Some(job),
            Home::Found { by, connected } => loop {
                let activation = match connected.or_else(|| by.activation()) {
                    Ok(activation) => activation,
                    Err(error) => return job.fail(error),
                };
                match activation.submit(job) {
                    Ok(()) => return,
                    Err(back) => {
                        job = back;
                        connected.disconnect(&activation);
                    }
                }
            },
        }
    }
}

impl<O: Send + Sync + 'static> Calls for Local<O> {
    fn key(&self) -> Option<&ObjectKey> {
        match &self.home {
            Home::Found { by: By::Object(_, key), .. } => Some(key),
            Home::Target(_) | Home::InTurn(_) | Home::Found { .. } => None,
        }
    }

    #[allow(private_interfaces)]
    fn lasting(&self) -> Option<&LastingName> {
        match &self.home {
            Home::Found { by: By::Lasting(origin), .. } => Some(origin.name()),
            Home::Target(_) | Home::InTurn(_) | Home::Found { .. } => None,
        }
    }

    #[allow(private_interfaces)]
    fn node(&self) -> Option<&WeakNode> {
        match &self.home {
            Home::Target(_) | Home::InTurn(_) => None,
            Home::Found { by: By::Object(class, _), .. } => Some(class.node()),
            Home::Found { by: By::Lasting(origin), .. } => Some(origin.node()),
        }
    }

    fn broken(&self) -> Broken {
        let activation = match &self.home {
            Home::Target(activation) => Some(activation.clone()),
            Home::Found { connected, .. } => connected.get().map(|found| found.clone()),
            Home::InTurn(_) => None,
        };
        async move {
            match activation {
                Some(activation) => activation.reset().await,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

/// The encoded way to something of this process: for arguments that have to be waited for.
///
/// The method is a pointer and no parameter: what the compiler makes of this is made once for each class.
struct Here<O: Send + Sync + 'static> {
    local: Arc<Local<O>>,
    accept: fn(&Local<O>, Incoming),
}

impl<O: Send + Sync + 'static> Uplink for Here<O> {
    fn send(self: Arc<Self>, outgoing: OutgoingCall<'_>) {
        if let Some(call) = Incoming::of_own(&outgoing) {
            call.when_complete(move |call| (self.accept)(&self.local, call));
        }
    }

    fn release(&self, _: &Binding) {}

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        None
    }

    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        Calls::broken(&*self.local)
    }
}

impl<O: Send + Sync + 'static> fmt::Debug for Local<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({})", self.name())
    }
}

impl<O: Send + Sync + 'static> Named for Local<O> {
    fn name(&self) -> String {
        match &self.home {
            // It has no id: errors name its type.
            Home::Target(_) | Home::InTurn(_) => short_type_name::<O>().to_owned(),
            Home::Found { by: By::Object(_, key), .. } => key.to_string(),
            Home::Found { by: By::Lasting(origin), .. } => origin.name().to_string(),
        }
    }
}
