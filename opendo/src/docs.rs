//! Pages that belong to no single item.

#[doc = include_str!("docs/semantics.md")]
pub mod semantics {}

#[doc = include_str!("docs/differences.md")]
pub mod differences {}

#[doc = include_str!("docs/performance.md")]
pub mod performance {}

#[cfg(feature = "capnweb")]
#[doc = include_str!("docs/capnweb.md")]
pub mod capnweb {}
