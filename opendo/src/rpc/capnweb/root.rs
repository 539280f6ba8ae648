//! What a node offers a peer that has no other main interface: its objects, by name.

use std::any::Any;
use std::sync::Arc;

use futures::FutureExt;

use crate::node::WeakNode;
use crate::object::id::ObjectKey;
use crate::rpc::cap::{Cap, Capabilities, Capability, Known, Passed, Reference};
use crate::rpc::driver::Host;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::member::Part;
use crate::rpc::method::Interface;
use crate::rpc::remote::Remote;
use crate::rpc::stub::Broken;

/// Gives out objects by class and name.
const BY_NAME: &str = "object";
/// The same by class and id.
const BY_ID: &str = "objectById";

static INTERFACE: Interface = Interface::untyped("opendo.Root");

/// The method of a node's root by which an object is found.
pub(super) fn method_for(key: &ObjectKey) -> &'static str {
    if key.known_name().is_some() { BY_NAME } else { BY_ID }
}

pub(crate) struct Root(pub(crate) Arc<dyn Host>);

impl Root {
    fn find(&self, method: &str, class: &str, object: &str) -> Result<Cap, RpcError> {
        let hosted = self.0.class(class).ok_or_else(|| {
            RpcError::new(ErrorKind::NoSuchClass, format!("this node hosts no class `{class}`"))
        })?;
        let key = if method == BY_NAME {
            Ok(ObjectKey::of_name(class, object))
        } else {
            ObjectKey::parse(class, object)
        };
        let key = key.map_err(|error| RpcError::new(ErrorKind::NoSuchClass, error.to_string()))?;
        hosted.serve(*key.bytes(), key.known_name()).ok_or_else(|| {
            RpcError::new(ErrorKind::NoSuchClass, format!("the id is not valid for class `{class}`"))
        })
    }
}

impl Capability for Root {
    fn deliver(&self, mut call: Incoming) {
        let method = match call.member.as_deref() {
            Some(member) => match member.rest() {
                [Part::Name(name)] if member.is_call && (name == BY_NAME || name == BY_ID) => name.clone(),
                _ => return super::deliver::nothing_there(call),
            },
            None => return call.no_such_method(),
        };
        let args = std::mem::replace(&mut call.args, crate::encoding::Encoded::NOTHING);
        let named = args.decode(&crate::encoding::Shape::Arguments, |input| {
            Ok((input.take::<String>()?, input.take::<String>()?))
        });
        let found = named
            .map_err(|error| RpcError::new(ErrorKind::Decode, format!("the arguments: {error}")))
            .and_then(|(class, object)| self.find(&method, &class, &object));
        match found {
            Ok(cap) => {
                let passed = Passed::Cap(cap).into();
                call.reply
                    .answer("object", true, crate::encoding::capnweb::ALONE, passed, || Capabilities::None);
            }
            Err(error) => call.reply.fail(error),
        }
    }

    fn remote(&self) -> Option<&Remote> {
        None
    }

    fn interface(&self) -> Known {
        Known::Here(&INTERFACE)
    }

    fn hosted(&self, _: &WeakNode) -> Option<Reference<'_>> {
        None
    }

    fn broken(&self) -> Broken {
        std::future::pending().boxed()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
