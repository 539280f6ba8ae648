//! The node as its own parts hold it: finding its objects, and what sessions ask of it.

use std::sync::{Arc, Weak};

use super::{Inner, no_class};
use crate::object::id::{ObjectKey, ToObjectId};
use crate::object::lasting::StubMaker as StubMakerOf;
use crate::object::lasting::{HostedTarget, LastingName, Secret};
use crate::registry::class::StubMaker;
use crate::registry::namespace::Objects;
use crate::registry::wakes::Woken;
use crate::rpc::cap::Cap;
use crate::rpc::driver::{Access, Host, Hosted};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::remote::{nowhere, nowhere_cap};
use crate::rpc::session::Session;
use crate::rpc::stub::Stub;

/// See the module. It keeps nobody alive.
#[derive(Clone)]
pub(crate) struct WeakNode(pub(super) Weak<Inner>);

impl WeakNode {
    /// Whether both are the same node.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// No node.
    pub(crate) fn none() -> Self {
        Self(Weak::new())
    }

    /// Has the object look at its timers. False when the node is gone.
    pub(crate) fn wake(&self, key: &ObjectKey, woken: Woken) -> bool {
        let Some(node) = self.0.upgrade() else { return false };
        match node.classes.get(key.class()) {
            Some(entry) => entry.class.wake(key, woken),
            None => {
                // A node that hosts it will.
                tracing::warn!(object = %key, "its time has come, but this node does not host its class");
                woken.never();
            }
        }
        true
    }

    /// Hands a message to the object it is for.
    pub(crate) fn receive(&self, key: &Arc<ObjectKey>, call: Incoming) {
        let Some(node) = self.0.upgrade() else {
            return call.reply.fail(RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        match node.classes.get(key.class()) {
            Some(entry) => entry.class.receive(key, call),
            None => call.reply.fail(no_class(key.class())),
        }
    }

    /// The object of that key.
    pub(crate) fn cap_of(&self, key: &ObjectKey) -> Cap {
        let class = Host::class(self, key.class());
        let served = class.and_then(|class| class.serve(*key.bytes(), key.name()));
        served.unwrap_or_else(|| nowhere_cap(no_class(key.class())))
    }

    pub(crate) fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.stub(id, S::INTERFACE.name)
    }

    pub(crate) fn stub<S: Stub>(&self, id: impl ToObjectId<S>, class: &str) -> S {
        key_of(id, class).map_or_else(|nowhere| nowhere, |key| self.stub_of(key))
    }

    /// A stub of the object of that key.
    pub(crate) fn stub_of<S: Stub>(&self, key: ObjectKey) -> S {
        match self.0.upgrade() {
            Some(node) => node.stub_of(key),
            None => nowhere(key, RpcError::new(ErrorKind::Closed, "the node is gone")),
        }
    }

    /// A stub of the target that the object makes again from those parameters.
    pub(crate) fn lasting<S: Stub>(&self, object: ObjectKey, target: &str, params: Vec<u8>) -> S {
        let Some(node) = self.0.upgrade() else {
            return nowhere(object, RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        let (secret, hosted) = match node.lasting(&object, target) {
            Ok(found) => found,
            Err(error) => return nowhere(object, error),
        };
        let Some(make) = hosted.stubs.downcast_ref::<StubMakerOf<S>>() else {
            let text = format!("`{target}` is not called through `{}`", std::any::type_name::<S>());
            return nowhere(object, RpcError::new(ErrorKind::NoSuchClass, text));
        };
        make(Arc::new(secret.sealed(object, target, params)))
    }

    /// The target that the object makes again from those parameters.
    pub(crate) fn cap_of_lasting(&self, object: ObjectKey, target: &str, params: &[u8]) -> Cap {
        let Some(node) = self.0.upgrade() else {
            return nowhere_cap(RpcError::new(ErrorKind::Closed, "the node is gone"));
        };
        match node.lasting(&object, target) {
            Ok((secret, hosted)) => (hosted.cap)(Arc::new(secret.sealed(object, target, params.to_vec()))),
            Err(error) => nowhere_cap(error),
        }
    }
}

/// The key; or else a stub that says why there is none.
fn key_of<S: Stub>(id: impl ToObjectId<S>, class: &str) -> Result<ObjectKey, S> {
    id.into_key(class).map_err(|error| {
        let error = RpcError::new(ErrorKind::NoSuchClass, error.to_string());
        nowhere(ObjectKey::refused(class), error)
    })
}

impl Inner {
    pub(super) fn stub<S: Stub>(&self, id: impl ToObjectId<S>, class: &str) -> S {
        key_of(id, class).map_or_else(|nowhere| nowhere, |key| self.stub_of(key))
    }

    fn stub_of<S: Stub>(&self, key: ObjectKey) -> S {
        let Some(entry) = self.classes.get(key.class()) else {
            let error = no_class(key.class());
            return nowhere(key, error);
        };
        let Some(make) = entry.stubs.downcast_ref::<StubMaker<S>>() else {
            let (class, stub) = (key.class(), std::any::type_name::<S>());
            let error = format!("class `{class}` is not called through `{stub}`");
            return nowhere(key, RpcError::new(ErrorKind::NoSuchClass, error));
        };
        make(key)
    }

    /// How objects of that class make a target of that name.
    fn lasting(&self, object: &ObjectKey, target: &str) -> Result<(&Secret, &HostedTarget), RpcError> {
        let hosted = self.classes.get(object.class()).and_then(|class| class.lasting.get(target));
        self.secret.as_ref().zip(hosted).ok_or_else(|| {
            let class = object.class();
            let text = format!("`{class}` has no target `{target}` here; register it with `.lasting::<…>()`");
            RpcError::new(ErrorKind::NoSuchClass, text)
        })
    }
}

impl Host for WeakNode {
    fn lasting(&self, name: Arc<LastingName>) -> Result<Cap, RpcError> {
        let node = self.0.upgrade().ok_or_else(|| RpcError::new(ErrorKind::Closed, "the node is gone"))?;
        let (secret, hosted) = node.lasting(&name.object, &name.target)?;
        if !secret.knows(&name) {
            let text = format!("`{name}` was not handed out by this node");
            return Err(RpcError::new(ErrorKind::Unauthorized, text));
        }
        Ok((hosted.cap)(name))
    }

    fn class(&self, name: &str) -> Option<Arc<dyn Hosted>> {
        self.0.upgrade()?.classes.get(name).map(|entry| entry.class.clone().as_hosted())
    }

    fn objects(&self) -> Objects {
        Objects(self.clone())
    }

    fn accept(&self, session: &Session) -> Result<Access, RpcError> {
        let node = self.0.upgrade().ok_or_else(|| RpcError::new(ErrorKind::Closed, "the node is gone"))?;
        let refused = |text| RpcError::new(ErrorKind::Unauthorized, text);
        if let Some(judge) = &node.authenticate {
            judge(session).map_err(refused)?;
        }
        let root = node.accept.as_ref().map(|accept| accept(session)).transpose().map_err(refused)?;
        Ok(Access { root, names: node.allow_names })
    }
}
