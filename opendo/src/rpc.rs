//! Calls: made on stubs, carried by sessions, answered once.

pub(crate) mod call;
pub(crate) mod chain;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod gone;
pub(crate) mod incoming;
pub(crate) mod info;
pub(crate) mod limits;
pub(crate) mod method;
pub(crate) mod remote;
pub(crate) mod session;
pub(crate) mod slot;
pub(crate) mod stub;
pub(crate) mod wire;
