//! Rows `doc_comments`, `deprecated`, `must_use`, `allow`, `deny_missing_docs`, `visibility`: generated code is clean.
#![deny(
    missing_docs,
    warnings,
    unused,
    unreachable_pub,
    missing_debug_implementations,
    unused_qualifications,
    non_local_definitions,
    rust_2018_idioms,
    elided_lifetimes_in_paths,
    single_use_lifetimes,
    trivial_casts,
    unused_results,
    let_underscore_drop
)]
use opendo::prelude::*;

/// An object.
#[derive(Debug)]
pub struct Store;

/// A value.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Value;

#[rpc_target]
impl Store {
    /// Adds.
    ///
    /// See [`Self::old`].
    #[must_use]
    #[allow(clippy::unused_self)]
    pub fn add(&self, by: u64) -> u64 {
        by
    }

    #[doc = "Old."]
    #[deprecated(note = "use `add`")]
    pub async fn old(&self, value: Value) -> Value {
        value
    }

    /// Hidden.
    #[doc(hidden)]
    #[inline]
    #[expect(non_snake_case)]
    pub fn notSnake(&self) {}
}

mod inner {
    use opendo::prelude::*;

    struct Private;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Secret;

    #[rpc_target]
    impl Private {
        /// A private type in the method of a private object.
        pub fn get(&self) -> Secret {
            Secret
        }

        /// As an argument.
        pub async fn set(&self, secret: Secret) -> Result<(), Secret> {
            Err(secret)
        }
    }

    pub(crate) struct Narrow;

    #[rpc_target(vis = "pub(crate)")]
    impl Narrow {
        /// Get.
        pub fn get(&self) -> u8 {
            1
        }
    }

    pub(super) struct Hidden;

    #[rpc_target(vis = "")]
    impl Hidden {
        /// Get.
        pub fn get(&self) -> u8 {
            1
        }

        pub(crate) fn internal(&self) {}
    }

    #[opendo::interface]
    pub(crate) trait Small {
        /// Get.
        async fn get(&self) -> u8;

        /// With a body.
        async fn twice(&self) -> u8 {
            self.get().await * 2
        }
    }

    pub(crate) struct Impl;

    #[rpc_target]
    impl Small for Impl {
        async fn get(&self) -> u8 {
            1
        }
    }

    pub(crate) fn use_all() {
        let _ = (Private, Hidden.internal(), Narrow.get(), Impl);
        let _ = |stub: &NarrowStub, small: &SmallStub| (stub.get(), small.twice());
    }
}

fn main() {
    inner::use_all();
}
