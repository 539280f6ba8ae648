//! The WebSockets of a class's objects: what happens on them takes its turn in the object, which it wakes.

use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use opendo_transport::websocket::{Closed, Message};
use tokio::time::sleep;

use super::Class;
use crate::object::event::{Event, React};
use crate::object::id::ObjectKey;
use crate::object::lifecycle::DurableObject;
use crate::object::strand::Activation;
use crate::object::timers::backoff;
use crate::rpc::error::Result;
use crate::rpc::method::MethodDesc;
use crate::websocket::{
    Asked, Delivery, Entry, Opening, Place, Refusal, Shelf, SocketError, Sockets, Surroundings, Verdict,
    WebSocket,
};

/// What a class has of sockets.
pub(super) struct OfClass<O> {
    shelf: Shelf,
    connect: for<'a> fn(&'a mut O, Opening) -> BoxFuture<'a, Result<()>>,
    message: for<'a> fn(&'a mut O, WebSocket, Message) -> BoxFuture<'a, Result<()>>,
    disconnected: for<'a> fn(&'a mut O, WebSocket, Closed) -> BoxFuture<'a, Result<()>>,
}

impl<O: DurableObject> OfClass<O> {
    pub(super) fn new() -> Self {
        Self {
            shelf: Shelf::default(),
            connect: |object, opening| DurableObject::connect(object, opening).boxed(),
            message: |object, socket, message| DurableObject::message(object, socket, message).boxed(),
            disconnected: |object, socket, closed| {
                DurableObject::disconnected(object, socket, closed).boxed()
            },
        }
    }
}

impl<O> OfClass<O> {
    /// Resolves when all sockets have ended, after the node has begun to close.
    pub(super) async fn have_ended(&self) {
        self.shelf.pumps.close();
        self.shelf.pumps.wait().await;
    }

    /// Drops all connections as they are.
    pub(super) fn cut(&self) {
        self.shelf.cut_all();
    }
}

impl<O: Send + Sync + 'static> Class<O> {
    /// Asks the object whether a WebSocket may come in.
    pub(super) fn ask(self: &Arc<Self>, object: &Arc<ObjectKey>, asked: Asked, verdict: Arc<Verdict>) {
        let (connect, class, key) = (self.sockets.connect, self.this.clone(), object.clone());
        let react: React<O> = Box::new(move |object, control| {
            async move {
                if verdict.is_unwanted() {
                    return;
                }
                let place = Place { class, object: key.clone(), control: control.clone() };
                let refusal = match connect(object, Opening::new(asked, verdict.clone(), place)).await {
                    Ok(()) => Refusal::new(403, "the object did not accept the WebSocket"),
                    Err(error) => {
                        tracing::warn!(object = %key, %error, "the `connect` handler failed");
                        let full = matches!(error.downcast_ref(), Some(SocketError::TooManySockets { .. }));
                        let status = if full { 503 } else { 500 };
                        Refusal::new(status, "the object could not accept the WebSocket")
                    }
                };
                verdict.refuse(refusal, &control);
            }
            .boxed()
        });
        self.submit(object, Event { what: const { &MethodDesc::of_own_work("connect") }, react });
    }

    /// What becomes of an object's sockets when an instance has gone: they stay while it sleeps, and end with a reset
    /// (checklist 8.20).
    pub(super) fn sockets_after(&self, ended: &Arc<Activation<O>>) {
        let Some(key) = ended.key() else { return };
        if ended.is_reset() {
            self.sockets.shelf.cut(key, &Closed::here(1012, "the object was reset"));
            return;
        }
        // One that has come after it would have to keep what it has set.
        let live = self.live.lock();
        if live.objects.get(key).is_none_or(|last| Arc::ptr_eq(last, ended)) {
            self.sockets.shelf.left(key);
        }
    }

    fn tell_disconnected(self: &Arc<Self>, mut telling: Telling<O>) {
        let handler = self.sockets.disconnected;
        let object = telling.entry.object().clone();
        let key = object.clone();
        let react: React<O> = Box::new(move |object, control| {
            async move {
                telling.told = true;
                let socket = WebSocket::new(telling.entry.clone(), control.clone());
                if let Err(error) = handler(object, socket, telling.closed.clone()).await {
                    tracing::warn!(object = %key, %error, "the `disconnected` handler failed");
                }
            }
            .boxed()
        });
        self.submit(&object, Event { what: const { &MethodDesc::of_own_work("disconnected") }, react });
    }
}

impl<O: Send + Sync + 'static> Sockets for Class<O> {
    fn shelf(&self) -> &Shelf {
        &self.sockets.shelf
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let around = &self.surroundings;
        Surroundings { limits: &around.limits, clock: around.clock, closing: &around.closing }
    }

    fn message(&self, mut delivery: Delivery, message: Message) {
        let Some(class) = self.this.upgrade() else { return };
        let handler = self.sockets.message;
        let object = delivery.entry().object().clone();
        let key = object.clone();
        let react: React<O> = Box::new(move |object, control| {
            async move {
                if !delivery.begins() {
                    return;
                }
                let socket = WebSocket::new(delivery.entry().clone(), control.clone());
                if let Err(error) = handler(object, socket, message).await {
                    tracing::warn!(object = %key, %error, "the `message` handler failed");
                }
            }
            .boxed()
        });
        class.submit(&object, Event { what: const { &MethodDesc::of_own_work("message") }, react });
    }

    fn disconnected(&self, entry: Arc<Entry>, closed: Closed) {
        // A node that shuts down does not wake objects to tell them.
        if let Some(class) = self.this.upgrade().filter(|_| !self.surroundings.closing.is_cancelled()) {
            let class_of_telling = self.this.clone();
            class.tell_disconnected(Telling {
                class: class_of_telling,
                entry,
                closed,
                attempts: 0,
                told: false,
            });
        }
    }
}

/// An object is to be told that a socket is gone. If that does not reach it (the object cannot be made, or is reset before
/// its turn comes), it is tried again, as it is for alarms.
struct Telling<O: Send + Sync + 'static> {
    class: Weak<Class<O>>,
    entry: Arc<Entry>,
    closed: Closed,
    attempts: u32,
    told: bool,
}

impl<O: Send + Sync + 'static> Drop for Telling<O> {
    fn drop(&mut self) {
        let Some(class) = self.class.upgrade().filter(|_| !self.told) else { return };
        let (runtime, closing) = (&class.surroundings.runtime, class.surroundings.closing.clone());
        let (class, attempts) = (self.class.clone(), self.attempts + 1);
        let (entry, closed, wait) = (self.entry.clone(), self.closed.clone(), backoff(self.attempts));
        runtime.spawn(async move {
            if closing.run_until_cancelled(sleep(wait)).await.is_some()
                && let Some(strong) = class.upgrade()
            {
                strong.tell_disconnected(Telling { class, entry, closed, attempts, told: false });
            }
        });
    }
}
