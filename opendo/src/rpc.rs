//! Calls: made on stubs, carried by sessions, answered once.

pub(crate) mod arg;
pub(crate) mod backoff;
pub(crate) mod call;
pub(crate) mod callback;
pub(crate) mod cap;
pub(crate) mod chain;
pub(crate) mod core;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod gone;
pub(crate) mod group;
pub(crate) mod incoming;
pub(crate) mod info;
pub(crate) mod limits;
pub(crate) mod method;
pub(crate) mod outgoing;
pub(crate) mod peer_side;
pub(crate) mod pipeline;
pub(crate) mod promise;
pub(crate) mod remote;
pub(crate) mod session;
pub(crate) mod slot;
pub(crate) mod stub;
pub(crate) mod tables;
pub(crate) mod translate;
pub(crate) mod wire;
