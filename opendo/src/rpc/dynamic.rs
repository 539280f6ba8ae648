//! Stubs whose methods only the other side knows.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{self, Serialize, Serializer};

use crate::rpc::cap::{CAP, Cap, Passed, complain, pass, stub_of};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::stub::Stub;
use crate::stream::place;

/// A stub of something of which no interface is known here: what a peer without types passes.
///
/// It is a value like every other stub: it can be passed on, and whoever gets it where a typed stub is asked for has
/// that. A clone is a second hold. Two are equal if one is a clone of the other.
///
/// ```
/// use opendo::{DynStub, Value, prelude::*};
///
/// pub struct Mirror;
///
/// #[rpc_target]
/// impl Mirror {
///     pub fn stub(&self, stub: DynStub) -> DynStub { stub }
///     pub fn value(&self, value: Value) -> Value { value }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let node = Node::builder().accept(|_| Ok(opendo::serve::<MirrorStub, _>(Mirror))).start().await?;
/// let address = node.listen("memory:mirror").await?;
/// let client = opendo::connect(&address.to_string()).await?;
/// let mirror = client.root::<MirrorStub>();
///
/// let back = mirror.stub(mirror.clone().into()).await?.typed::<MirrorStub>()?;
/// assert_eq!(back.value(vec![1, 2].into()).await?.at(1), &2.into());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DynStub(pub(crate) Cap);

impl DynStub {
    /// The stub of that interface.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when it is known to be another one. What is elsewhere may turn out to be another one
    /// when it is called.
    pub fn typed<S: Stub>(&self) -> Result<S, RpcError> {
        stub_of(&self.0).map_err(|why| RpcError::new(ErrorKind::Decode, why))
    }
}

impl<S: Stub> From<S> for DynStub {
    fn from(stub: S) -> Self {
        Self(Arc::new(stub))
    }
}

impl fmt::Debug for DynStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynStub").field(&self.0.interface().name()).finish()
    }
}

impl PartialEq for DynStub {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Serialize for DynStub {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = pass(|| Passed::Cap(self.0.clone())).map_err(|why| ser::Error::custom(complain(why)))?;
        serializer.serialize_newtype_struct(CAP, &place)
    }
}

impl<'de> Deserialize<'de> for DynStub {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match place::<D>(deserializer, CAP)? {
            Passed::Cap(cap) => Ok(Self(cap)),
            _ => Err(de::Error::custom(complain("a stream or value where a stub was expected"))),
        }
    }
}
