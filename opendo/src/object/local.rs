//! The way of a call to an object or target of this process: its arguments move, nothing is encoded.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::object::id::ObjectKey;
use crate::object::job::{Job, LocalReply, MethodJob, Reply};
use crate::object::strand::Activation;
use crate::registry::class::Class;
use crate::rpc::call::{Call, Named, deadline_after};
use crate::rpc::chain::Link;
use crate::rpc::incoming::Incoming;
use crate::rpc::info::{CallInfo, Caller};
use crate::rpc::method::Run;
use crate::rpc::slot::Slot;
use crate::rpc::stub::{CallOptions, Calls};

/// An object or target of this process, as a stub reaches it.
pub struct Local<O: Send + Sync + 'static> {
    home: Home<O>,
    name: Arc<dyn Named>,
}

enum Home<O: Send + Sync + 'static> {
    /// There is only this instance.
    Target(Arc<Activation<O>>),
    Object {
        class: Arc<Class<O>>,
        key: Arc<ObjectKey>,
        /// The instance that took the last call. One that went to sleep is replaced; one that was reset stays,
        /// and the stub with it is broken.
        connected: Mutex<Option<Arc<Activation<O>>>>,
    },
}

impl<O: Send + Sync + 'static> Local<O> {
    pub(crate) fn of_target(activation: Arc<Activation<O>>) -> Self {
        Self { home: Home::Target(activation), name: Arc::new(TargetName(std::any::type_name::<O>())) }
    }

    pub(crate) fn of_object(class: Arc<Class<O>>, key: Arc<ObjectKey>) -> Self {
        let name = key.clone();
        Self { home: Home::Object { class, key, connected: Mutex::default() }, name }
    }

    /// The same object in an order of its own, not broken.
    #[must_use]
    pub fn fresh(&self) -> Self {
        match &self.home {
            Home::Target(activation) => Self::of_target(activation.clone()),
            Home::Object { class, key, .. } => Self::of_object(class.clone(), key.clone()),
        }
    }

    /// Queues a call of this process.
    pub fn call<M: Run<O>>(&self, options: &CallOptions, args: M::Args) -> Call<M::Ok, M::Err> {
        let deadline = deadline_after(options.timeout);
        let (caller, chain, inherited) = CallInfo::with_current(|current| match current {
            None => (Caller::Local, None, None),
            Some(info) => {
                let link = Link::new(info.activation, info.sequence, info.chain.clone());
                (info.object.clone().map_or(Caller::Local, Caller::Object), Some(link), info.trace)
            }
        });
        let slot = Arc::new(Slot::new());
        let job = MethodJob::<M> {
            args,
            reply: Reply::Local(LocalReply(slot.clone())),
            caller,
            deadline,
            trace: options.trace.or(inherited),
            chain: chain.clone(),
        };
        self.submit(Box::new(job));
        Call::local(slot, chain, deadline).named(self.name.clone(), M::DESC.name)
    }

    /// Queues a call of a peer: the only place where its arguments are decoded.
    pub fn accept<M: Run<O>>(&self, call: Incoming) {
        match call.decode::<M>() {
            Err(error) => call.reply.fail(&error),
            Ok(args) => {
                let Incoming { reply, deadline, trace, chain, .. } = call;
                let caller = Caller::Session(reply.session());
                let reply = Reply::Remote(reply);
                self.submit(Box::new(MethodJob::<M> { args, reply, caller, deadline, trace, chain }));
            }
        }
    }

    fn submit(&self, mut job: Box<dyn Job<O>>) {
        match &self.home {
            Home::Target(activation) => {
                if activation.submit(job).is_err() {
                    unreachable!("targets do not go to sleep");
                }
            }
            Home::Object { class, key, connected } => loop {
                let activation = {
                    let mut connected = connected.lock();
                    match &*connected {
                        Some(activation) => activation.clone(),
                        None => match class.activation(key) {
                            Ok(activation) => connected.insert(activation).clone(),
                            Err(error) => return job.fail(error),
                        },
                    }
                };
                match activation.submit(job) {
                    Ok(()) => return,
                    Err(back) => {
                        job = back;
                        connected.lock().take_if(|asleep| Arc::ptr_eq(asleep, &activation));
                    }
                }
            },
        }
    }
}

impl<O: Send + Sync + 'static> Calls for Local<O> {
    fn key(&self) -> Option<&ObjectKey> {
        match &self.home {
            Home::Target(_) => None,
            Home::Object { key, .. } => Some(key),
        }
    }
}

impl<O: Send + Sync + 'static> fmt::Debug for Local<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({})", self.name.name())
    }
}

/// A target has no id: errors name its type.
struct TargetName(&'static str);

impl Named for TargetName {
    fn name(&self) -> String {
        self.0.rsplit("::").next().unwrap_or(self.0).to_owned()
    }
}
