//! Sinks that lead to where another encoding may be spoken than where they are written to.

use std::any::Any;
use std::marker::PhantomData;

use crate::encoding::Encoded;
use crate::node::WeakNode;
use crate::rpc::cap::{AllPassed, Capability, Known, Reference};
use crate::rpc::error::RpcError;
use crate::rpc::incoming::Incoming;
use crate::rpc::remote::Remote;
use crate::rpc::stub::Broken;
use crate::stream::outlet::{ABORT, CLOSE, Outlet, WRITE, no_arguments};
use crate::stream::pipe::{answer, method_of, reason_of};
use crate::stream::{Streamed, translate};

/// A sink elsewhere, as others call it: it knows the type of what is written, which the session does not.
pub(super) struct Relay<T> {
    remote: Remote,
    values: PhantomData<fn(T)>,
}

impl<T: Streamed> Relay<T> {
    pub(super) fn new(remote: Remote) -> Self {
        Self { remote, values: PhantomData }
    }

    /// Makes a call for the one that came, in the other encoding.
    fn write_as(remote: &Remote, mut call: Incoming) {
        let form = remote.form();
        let (method, args) = match method_of(&mut call) {
            Err(error) => return call.reply.fail(error),
            Ok(method) if method == WRITE.id => {
                let args = std::mem::replace(&mut call.args, Encoded::NOTHING);
                (WRITE, translate::<T>(args, form))
            }
            Ok(method) if method == CLOSE.id => {
                let bytes = bytes::Bytes::from_static(no_arguments(form));
                (CLOSE, Ok(Encoded { form, bytes, passed: AllPassed::NOTHING }))
            }
            Ok(method) if method == ABORT.id => {
                Outlet::new(remote.clone(), false).abort(&reason_of(&call));
                return answer(call.reply);
            }
            Ok(_) => return call.no_such_method(),
        };
        match args {
            Ok(args) => {
                let reply = call.reply;
                let written = remote.call_raw(method, &args.bytes, args.passed);
                written.when_done(Box::new(move |outcome| match outcome {
                    Ok(_) => answer(reply),
                    Err(error) => reply.fail(error.clone()),
                }));
            }
            Err(error) => {
                // A value is missing: what comes later is not to be read.
                Outlet::new(remote.clone(), false).abort(&error);
                call.reply.fail(error);
            }
        }
    }
}

impl<T: Streamed> Capability for Relay<T> {
    fn deliver(&self, call: Incoming) {
        self.remote.deliver_as(call, Self::write_as);
    }

    fn remote(&self) -> Option<&Remote> {
        Some(&self.remote)
    }

    fn interface(&self) -> Known {
        self.remote.interface()
    }

    fn hosted(&self, _: &WeakNode) -> Option<Reference<'_>> {
        None
    }

    fn broken(&self) -> Broken {
        Capability::broken(&self.remote)
    }

    fn missed(&self, error: &RpcError) {
        self.remote.missed(error);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
