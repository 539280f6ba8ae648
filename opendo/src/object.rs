//! Objects: their names, their lives, and the order in which they do things.

pub(crate) mod clock;
mod connected;
pub(crate) mod context;
pub(crate) mod control;
mod drive;
pub(crate) mod event;
pub(crate) mod id;
pub(crate) mod inbox;
pub(crate) mod job;
pub(crate) mod lasting;
pub(crate) mod lifecycle;
pub(crate) mod local;
pub(crate) mod name;
pub(crate) mod outbox;
pub(crate) mod pace;
#[cfg(feature = "sqlite")]
pub mod sql;
pub(crate) mod storage;
pub(crate) mod strand;
pub(crate) mod target;
pub(crate) mod timers;
pub(crate) mod turn;
