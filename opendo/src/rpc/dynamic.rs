//! Stubs whose methods only the other side knows.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{self, Serialize, Serializer};

use crate::rpc::cap::{CAP, Cap, Passed, complain, pass};
use crate::stream::place;

/// A stub of something of which no interface is known here: what a peer without types passes.
///
/// It is a value like every other stub: it can be passed on, and whoever gets it where a typed stub is asked for has
/// that. A clone is a second hold. Two are equal if one is a clone of the other.
#[derive(Clone)]
pub struct DynStub(pub(crate) Cap);

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
