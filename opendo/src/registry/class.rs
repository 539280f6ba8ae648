//! One hosted class: its live objects, at most one for each id.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::engine::committer::Committer;
use crate::node::WeakNode;
use crate::object::clock::Clock;
use crate::object::control::{Common, Control};
use crate::object::event::{Event, React};
use crate::object::id::ObjectKey;
use crate::object::inbox::Receive;
use crate::object::job::Job;
use crate::object::lasting::HostedTarget;
use crate::object::lifecycle::{DurableObject, Object};
use crate::object::local::Local;
use crate::object::outbox::Undelivered;
#[cfg(feature = "sqlite")]
use crate::object::sql::Databases;
use crate::object::storage::Storage;
use crate::object::storage::ledger::Ledger;
use crate::object::storage::own::Own;
use crate::object::strand::{Activation, Birth, Cradle, Ended};
use crate::object::timers::{Handlers, run_alarm, run_due};
use crate::registry::idle::Idle;
use crate::registry::retained::{Entry as Held, Keeper, Lost, Shelf};
use crate::registry::shrink;
use crate::registry::wakes::Woken;
use crate::rpc::cap::Cap;
use crate::rpc::driver::Hosted;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::limits::Limits;
use crate::rpc::method::{Interface, MethodDesc};
use crate::rpc::stub::{Broken, ServedBy, StubCore};
#[cfg(feature = "websocket")]
use crate::websocket::{Answer, Asked, Sockets, Verdict};

mod cradle;
#[cfg(feature = "websocket")]
mod sockets;

use self::cradle::{Making, OfClass};

/// What the macro says about a class: which stub it has.
pub struct Registration<O: Send + Sync + 'static> {
    parts: Option<Parts<O>>,
}

struct Parts<O: Send + Sync + 'static> {
    interface: &'static Interface,
    /// Makes a stub, its type erased.
    cap: fn(Arc<Local<O>>) -> Cap,
    /// Makes the [`StubMaker`] of the class.
    stubs: fn(Arc<Class<O>>) -> Box<dyn Any + Send + Sync>,
}

/// Makes stubs of a class, where only the stub's type is known.
pub(crate) type StubMaker<S> = Box<dyn Fn(ObjectKey) -> S + Send + Sync>;

impl<O: Send + Sync + 'static> Registration<O> {
    /// The class is called through `S`.
    pub fn serve<S: ServedBy<O>>(&mut self) {
        self.parts = Some(Parts {
            interface: S::INTERFACE,
            cap: |local| Arc::new(S::from_core(StubCore::new(S::local(local)))),
            stubs: |class| {
                let make: StubMaker<S> = Box::new(move |key| {
                    let local = Local::of_object(class.clone(), Arc::new(key));
                    S::from_core(StubCore::new(S::local(local)))
                });
                Box::new(make)
            },
        });
    }
}

impl<O: Send + Sync + 'static> fmt::Debug for Registration<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// What a class needs of its node.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) runtime: Handle,
    pub(crate) committer: Arc<Committer>,
    #[cfg(feature = "sqlite")]
    pub(crate) databases: Arc<Databases>,
    pub(crate) limits: Limits,
    pub(crate) node: WeakNode,
    pub(crate) clock: Clock,
    /// Ends what runs for the node.
    pub(crate) closing: CancellationToken,
}

/// A hosted class.
pub(crate) struct Class<O: Send + Sync + 'static> {
    name: Arc<str>,
    interface: &'static Interface,
    cap: fn(Arc<Local<O>>) -> Cap,
    #[cfg(feature = "sqlite")]
    sql: bool,
    make: fn(Making) -> BoxFuture<'static, Result<O, RpcError>>,
    hibernate: fn(Arc<O>) -> BoxFuture<'static, ()>,
    timers: Handlers<O>,
    lost: for<'a> fn(&'a mut O, Lost) -> BoxFuture<'a, crate::Result<()>>,
    undelivered: for<'a> fn(&'a mut O, Undelivered) -> BoxFuture<'a, crate::Result<()>>,
    shelf: Shelf,
    #[cfg(feature = "websocket")]
    sockets: sockets::OfClass<O>,
    /// The class itself.
    this: Weak<Self>,
    live: Mutex<Live<O>>,
    /// `None`: its objects stay in memory, however long they are idle.
    idle: Option<Arc<Idle<O>>>,
    surroundings: Surroundings,
    common: Arc<Common>,
    cradle: Arc<dyn Cradle<O>>,
}

struct Live<O> {
    objects: FxHashMap<Arc<ObjectKey>, Arc<Activation<O>>>,
    closed: bool,
}

/// A class as its node keeps it.
pub(crate) struct HostedClass {
    pub(crate) class: Arc<dyn AnyClass>,
    /// A [`StubMaker`] of the class's stub type.
    pub(crate) stubs: Box<dyn Any + Send + Sync>,
    /// The targets that its objects can make again, by their names.
    pub(crate) lasting: FxHashMap<&'static str, HostedTarget>,
}

/// A hosted class, its type erased.
pub(crate) trait AnyClass: Hosted {
    /// The objects in memory, or on their way into it.
    fn live(&self) -> Vec<ObjectKey>;
    /// Sends an object to sleep. Resolves when it has left memory; at once when it is not there.
    fn hibernate(&self, id: &[u8; 32]) -> BoxFuture<'static, ()>;
    /// Throws the instance of an object away. Resolves when it is gone; false when there was none.
    fn reset(&self, id: &[u8; 32], reason: &str) -> BoxFuture<'static, bool>;
    /// Has the object look at its timers.
    fn wake(&self, key: &ObjectKey, woken: Woken);
    /// Has the object take a message, if it is new to it.
    fn receive(&self, key: &Arc<ObjectKey>, message: Incoming);
    /// Runs the object's alarm, due or not; false when there is none.
    fn run_alarm(&self, key: &ObjectKey) -> BoxFuture<'static, bool>;
    /// Asks the object whether a WebSocket may come in. If nothing is answered, the object was reset, or cannot be made.
    #[cfg(feature = "websocket")]
    fn open_socket(&self, key: &ObjectKey, asked: Asked) -> oneshot::Receiver<Answer>;
    /// Takes no new calls for objects that sleep, and sends all others there.
    fn close(&self) -> BoxFuture<'static, ()>;
    /// Takes no new calls, and throws all instances away. Resolves when they are gone.
    fn abandon(&self, error: &RpcError) -> BoxFuture<'static, ()>;
    fn as_hosted(self: Arc<Self>) -> Arc<dyn Hosted>;
    /// The `Arc<Class<O>>` that it is.
    fn as_any(&self) -> &dyn Any;
}

pub(crate) fn host<O: Object>(surroundings: Surroundings) -> HostedClass {
    let mut registration = Registration { parts: None };
    O::register(&mut registration);
    let parts = registration.parts.expect("the macro's `register` names a stub");
    let time = O::IDLE.unwrap_or(surroundings.limits.idle_timeout);
    let class = Arc::new_cyclic(|this| Class::<O> {
        name: O::CLASS.into(),
        interface: parts.interface,
        cap: parts.cap,
        #[cfg(feature = "sqlite")]
        sql: O::SQL,
        make: |making| making.run(O::new).boxed(),
        hibernate: |mut object| {
            async move {
                let object = Arc::get_mut(&mut object).expect("hibernation runs alone");
                DurableObject::hibernate(object).await;
            }
            .boxed()
        },
        timers: Handlers {
            alarm: |object, info| DurableObject::alarm(object, info).boxed(),
            scheduled: |object, event| DurableObject::scheduled(object, event).boxed(),
        },
        lost: |object, lost| DurableObject::lost(object, lost).boxed(),
        undelivered: |object, message| DurableObject::undelivered(object, message).boxed(),
        shelf: Shelf::default(),
        #[cfg(feature = "websocket")]
        sockets: sockets::OfClass::new(),
        this: this.clone(),
        live: Mutex::new(Live { objects: FxHashMap::default(), closed: false }),
        idle: (time != Duration::MAX).then(Idle::new),
        cradle: Arc::new(OfClass::new(this.clone())),
        common: Arc::new(Common {
            runtime: surroundings.runtime.clone(),
            node: surroundings.node.clone(),
            clock: surroundings.clock,
            max_messages: surroundings.limits.max_messages,
            max_mailbox: surroundings.limits.max_mailbox,
            keeper: this.clone(),
        }),
        surroundings,
    });
    class.watch_idle(time);
    HostedClass { stubs: (parts.stubs)(class.clone()), class: Arc::new(class), lasting: FxHashMap::default() }
}

impl<O: Send + Sync + 'static> Class<O> {
    /// Sends objects to sleep that have nothing to do for so long.
    fn watch_idle(&self, time: Duration) {
        let Some(idle) = &self.idle else { return };
        let (runtime, hibernate) = (self.surroundings.runtime.clone(), self.hibernate);
        let watching = idle.clone().run(time, move |activation| {
            runtime.spawn(async move { activation.hibernate_if_idle(hibernate).await });
        });
        let closing = self.surroundings.closing.clone();
        self.surroundings.runtime.spawn(async move { closing.run_until_cancelled(watching).await });
    }

    /// The object's activation: the live one, or a new one that starts when it is first called.
    ///
    /// Racing callers get the same one (checklist 2.4).
    pub(crate) fn activation(self: &Arc<Self>, key: &Arc<ObjectKey>) -> Result<Arc<Activation<O>>, RpcError> {
        let mut live = self.live.lock();
        if live.closed {
            return Err(RpcError::new(ErrorKind::Closed, "the node was shut down"));
        }
        let entry = match live.objects.entry(key.for_object()) {
            Entry::Vacant(free) => {
                let key = free.key().clone();
                return Ok(free.insert(self.activate(key, None)).clone());
            }
            Entry::Occupied(entry) if entry.get().is_live() => return Ok(entry.get().clone()),
            Entry::Occupied(entry) => entry,
        };
        // It is on its way out: the new one waits until it has left, and has a key of its own.
        let predecessor = entry.remove().watch_end();
        let key = key.for_object();
        let activation = self.activate(key.clone(), predecessor);
        live.objects.insert(key, activation.clone());
        Ok(activation)
    }

    fn activate(self: &Arc<Self>, key: Arc<ObjectKey>, predecessor: Option<Ended>) -> Arc<Activation<O>> {
        let Surroundings { committer, node, .. } = &self.surroundings;
        let birth = Birth { cradle: self.cradle.clone(), predecessor: predecessor.map(Box::new) };
        let activation = Activation::to_be_made(birth, |watch| {
            Control::new(self.common.clone(), watch, |control| {
                Storage::new(Ledger::new(committer.clone(), node.clone(), self.own(), key, control))
            })
        });
        if let Some(idle) = &self.idle {
            idle.add(&activation);
        }
        activation
    }

    /// Where an instance keeps its state, if not with the engine.
    #[cfg(feature = "sqlite")]
    fn own(&self) -> Option<Own> {
        self.sql.then(|| Own::new(self.surroundings.databases.clone()))
    }

    #[cfg(not(feature = "sqlite"))]
    #[expect(clippy::unused_self, reason = "as where there is one")]
    fn own(&self) -> Option<Own> {
        None
    }

    /// Queues an event, on the instance that is there or a new one.
    fn submit(self: &Arc<Self>, key: &Arc<ObjectKey>, event: impl Job<O> + 'static) {
        let mut job: Box<dyn Job<O>> = Box::new(event);
        loop {
            match self.activation(key) {
                Ok(activation) => match activation.submit(job) {
                    Ok(()) => return,
                    Err(back) => job = back, // it has gone to sleep meanwhile
                },
                Err(error) => return job.fail(error),
            }
        }
    }

    pub(crate) fn node(&self) -> &WeakNode {
        &self.surroundings.node
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.surroundings.limits
    }

    /// All there are; there will be no others.
    fn last_activations(&self) -> Vec<Arc<Activation<O>>> {
        let mut live = self.live.lock();
        live.closed = true;
        live.objects.values().cloned().collect()
    }

    fn remove(&self, ended: &Arc<Activation<O>>) {
        let Some(key) = ended.key() else { return };
        let mut live = self.live.lock();
        if let Entry::Occupied(entry) = live.objects.entry(key.clone())
            && Arc::ptr_eq(entry.get(), ended)
        {
            entry.remove();
            shrink(&mut live.objects);
        }
    }

    fn find(&self, id: &[u8; 32]) -> Option<Arc<Activation<O>>> {
        let key = ObjectKey::kept(self.name.clone(), *id, None);
        self.live.lock().objects.get(&key).cloned()
    }
}

impl<O: Send + Sync + 'static> Keeper for Class<O> {
    fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn tell_undelivered(&self, object: &Arc<ObjectKey>, undelivered: Undelivered) {
        let Some(class) = self.this.upgrade() else { return };
        let (handler, key_of_log) = (self.undelivered, object.clone());
        let react: React<O> = Box::new(move |object, control| {
            async move {
                let Some(outbox) = control.outbox().filter(|outbox| outbox.holds(&undelivered)) else {
                    return;
                };
                // The next attempt is put off, should this one cost the instance.
                control.seal();
                if let Err(error) = handler(object, undelivered.clone()).await {
                    tracing::warn!(object = %key_of_log, %error, "the `undelivered` handler failed");
                }
                outbox.give_up(&undelivered);
            }
            .boxed()
        });
        class.submit(object, Event { what: const { &MethodDesc::of_own_work("undelivered") }, react });
    }

    fn watch(&self, object: &Arc<ObjectKey>, entry: &Held, broken: Broken) {
        let (class, key, number) = (self.this.clone(), object.clone(), entry.number());
        let closing = self.surroundings.closing.clone();
        let watching = self.surroundings.runtime.spawn(async move {
            broken.await;
            // A node that shuts down does not wake objects to tell them.
            if let Some(class) = class.upgrade().filter(|_| !closing.is_cancelled()) {
                class.tell_lost(&key, number);
            }
        });
        entry.watched_by(watching.abort_handle());
    }

    #[cfg(feature = "websocket")]
    fn sockets(self: Arc<Self>) -> Arc<dyn Sockets> {
        self
    }
}

impl<O: Send + Sync + 'static> Class<O> {
    fn tell_lost(self: &Arc<Self>, key: &Arc<ObjectKey>, number: u64) {
        let Some(entry) = self.shelf.take(key, number) else { return };
        let (handler, key_of_log) = (self.lost, key.clone());
        let react: React<O> = Box::new(move |object, control| {
            async move {
                let Some(storage) = control.storage() else { return };
                if let Err(error) = handler(object, entry.lost(storage)).await {
                    tracing::warn!(object = %key_of_log, %error, "the `lost` handler failed");
                }
            }
            .boxed()
        });
        self.submit(key, Event { what: const { &MethodDesc::of_own_work("lost") }, react });
    }
}

impl<O: Send + Sync + 'static> Hosted for Arc<Class<O>> {
    fn interface(&self) -> &'static Interface {
        self.interface
    }

    #[cfg(feature = "capnweb")]
    fn of_name(&self, name: &str) -> Cap {
        (self.cap)(Local::of_object(self.clone(), Arc::new(ObjectKey::of_name(&self.name, name))))
    }

    fn serve(&self, id: [u8; 32], name: Option<&str>) -> Option<Cap> {
        let key = ObjectKey::verified(&self.name, id, name)?;
        Some((self.cap)(Local::of_object(self.clone(), Arc::new(key))))
    }
}

impl<O: Send + Sync + 'static> AnyClass for Arc<Class<O>> {
    fn live(&self) -> Vec<ObjectKey> {
        let live = self.live.lock();
        let live = live.objects.values().filter(|activation| activation.is_live());
        live.filter_map(|activation| activation.key().map(|key| (**key).clone())).collect()
    }

    fn hibernate(&self, id: &[u8; 32]) -> BoxFuture<'static, ()> {
        let (activation, hibernate) = (self.find(id), self.hibernate);
        async move {
            if let Some(activation) = activation {
                activation.hibernate(hibernate).await;
            }
        }
        .boxed()
    }

    fn reset(&self, id: &[u8; 32], reason: &str) -> BoxFuture<'static, bool> {
        let activation = self.find(id);
        let error = RpcError::new(ErrorKind::Reset, reason);
        async move {
            let Some(activation) = activation else { return false };
            activation.condemn(error).await;
            true
        }
        .boxed()
    }

    fn wake(&self, key: &ObjectKey, mut woken: Woken) {
        let (clock, handlers) = (self.surroundings.clock, self.timers);
        let react: React<O> = Box::new(move |object, control| {
            async move {
                woken.runs(control.clone());
                run_due(object, &control, clock, handlers).await;
                // Not before it is durable: what the engine says is old until then.
                control.hold(move |_| drop(woken));
            }
            .boxed()
        });
        self.submit(
            &Arc::new(key.clone()),
            Event { what: const { &MethodDesc::of_own_work("alarm") }, react },
        );
    }

    fn receive(&self, key: &Arc<ObjectKey>, message: Incoming) {
        self.submit(key, Receive { cap: self.cap, call: message });
    }

    fn run_alarm(&self, key: &ObjectKey) -> BoxFuture<'static, bool> {
        let (clock, handlers) = (self.surroundings.clock, self.timers);
        let (done, ran) = oneshot::channel();
        let react: React<O> = Box::new(move |object, control| {
            async move {
                let ran = run_alarm(object, &control, clock, handlers).await;
                control.hold(move |_| {
                    let _ = done.send(ran);
                });
            }
            .boxed()
        });
        self.submit(
            &Arc::new(key.clone()),
            Event { what: const { &MethodDesc::of_own_work("alarm") }, react },
        );
        // A reset drops the sender: it has run, and failed.
        async move { ran.await.unwrap_or(true) }.boxed()
    }

    #[cfg(feature = "websocket")]
    fn open_socket(&self, key: &ObjectKey, asked: Asked) -> oneshot::Receiver<Answer> {
        let (verdict, answer) = Verdict::new();
        self.ask(&Arc::new(key.clone()), asked, verdict);
        answer
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let class = self.clone();
        async move {
            for activation in class.last_activations() {
                activation.hibernate(class.hibernate).await;
            }
            #[cfg(feature = "websocket")]
            class.sockets.have_ended().await;
        }
        .boxed()
    }

    fn abandon(&self, error: &RpcError) -> BoxFuture<'static, ()> {
        #[cfg(feature = "websocket")]
        self.sockets.cut();
        let ends: Vec<_> =
            self.last_activations().into_iter().map(|activation| activation.condemn(error.clone())).collect();
        async move { drop(join_all(ends).await) }.boxed()
    }

    fn as_hosted(self: Arc<Self>) -> Arc<dyn Hosted> {
        self
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
