//! Which objects live here, and how to name them.

pub(crate) mod class;
pub(crate) mod idle;
pub(crate) mod namespace;
pub(crate) mod retained;
pub(crate) mod wakes;
