//! Names of lasting targets, and how a node knows that it has handed one out.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::engine::committer::Committer;
use crate::node::WeakNode;
use crate::object::id::ObjectKey;
use crate::object::storage::ledger::Ledger;
use crate::object::storage::{Storage, StorageError};

/// Names a target that its object makes again: everywhere, and as long as there is the node's [`Secret`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct LastingName {
    pub(crate) object: Arc<ObjectKey>,
    /// By which the class knows how to make it.
    pub(crate) target: Arc<str>,
    pub(crate) params: Bytes,
    /// Shows at its node that it was handed out there. Whoever could choose parameters would have every permission that
    /// such targets stand for.
    pub(crate) seal: [u8; 16],
}

impl fmt::Display for LastingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.object, self.target)
    }
}

/// What a node seals names with. It is kept where the node's objects are.
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// The node's, which is made when it is first asked for.
    pub(crate) async fn load(committer: &Arc<Committer>) -> Result<Self, StorageError> {
        let ledger = Ledger::new(
            committer.clone(),
            WeakNode::none(),
            None,
            Arc::new(ObjectKey::of_node()),
            Weak::new(),
        );
        ledger.open().await?;
        let storage = Storage::new(ledger.clone());
        let secret = match storage.get("secret").await? {
            Some(secret) => secret,
            None => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).expect("the operating system gives random bytes");
                storage.put("secret", &secret)?;
                storage.sync().await?;
                secret
            }
        };
        ledger.end();
        ledger.release().await;
        Ok(Self(secret))
    }

    fn mac(&self, object: &ObjectKey, target: &str, params: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        // Each with its length, so that nothing can move from one to the next.
        for part in [object.class().as_bytes(), object.bytes(), target.as_bytes(), params] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    /// A name that is handed out.
    pub(crate) fn sealed(&self, object: ObjectKey, target: &str, params: Vec<u8>) -> LastingName {
        let digest = self.mac(&object, target, &params).finalize().into_bytes();
        let seal = std::array::from_fn(|at| digest[at]);
        LastingName { object: Arc::new(object), target: target.into(), params: params.into(), seal }
    }

    /// Whether the name was handed out with this secret.
    pub(crate) fn knows(&self, name: &LastingName) -> bool {
        self.mac(&name.object, &name.target, &name.params).verify_truncated_left(&name.seal).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_for_one_object_target_and_parameters() {
        let secret = Secret([7; 32]);
        let named = |object: &str, target: &str, params: &[u8]| {
            secret.sealed(ObjectKey::of_name("Room", object), target, params.to_vec())
        };
        let own = named("a", "seat", b"ann");
        assert!(secret.knows(&own));
        for other in [named("b", "seat", b"ann"), named("a", "sea", b"tann"), named("a", "seat", b"bob")] {
            assert!(secret.knows(&other));
            assert!(!secret.knows(&LastingName { seal: own.seal, ..other }));
        }
        assert!(!Secret([8; 32]).knows(&own));
    }
}
