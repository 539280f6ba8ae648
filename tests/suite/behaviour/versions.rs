//! Callers and objects that were built against different interfaces.

use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder};

use super::errors::failure;
use super::world::{World, unique};

/// What the node hosts.
pub struct Account {
    balance: i64,
}

#[durable_object]
impl Account {
    pub fn deposit(&mut self, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    pub fn balance(&self) -> i64 {
        self.balance
    }

    #[method(name = "close-it")]
    pub fn close(&mut self) {
        self.balance = 0;
    }
}

impl DurableObject for Account {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { balance: 0 })
    }
}

/// What a caller of another version knows: fewer methods, other ones, another order, another signature.
mod v2 {
    #[opendo::interface]
    pub trait Account {
        fn balance(&self) -> i64;
        fn deposit(&mut self, amount: u32, currency: String) -> i64;
        fn withdraw(&mut self, amount: i64) -> i64;
        #[method(name = "close-it")]
        fn end(&mut self);
    }
}

/// What a caller knows that is as old as the object is: the order and the names of arguments do not matter.
mod v1 {
    #[opendo::interface]
    pub trait Account {
        fn balance(&self) -> i64;
        async fn deposit(&mut self, another_name: i64) -> i64;
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Account>()
}

every_way! {
    #[batch]
    async fn an_interface_that_agrees_will_do(world: &World) {
        let account: v1::AccountStub = world.get(unique("account"));
        if world.is_remote() {
            assert_eq!((account.deposit(5).await?, account.balance().await?), (5, 5));
        } else {
            // In process types are types: there is no other version of one.
            let error = RpcError::from(account.deposit(5).await.unwrap_err());
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::NoSuchClass, false));
            assert!(error.message().contains("is not called through"), "{error}");
        }
    }

    #[batch]
    async fn a_changed_signature_is_refused_with_both(world: &World) {
        let account: v2::AccountStub = world.get(unique("account"));
        let deposited = account.deposit(5, "EUR".into()).await;
        if world.is_text() {
            // Nothing is compared: the method takes what it knows of.
            assert_eq!(deposited?, 5);
            return Ok(());
        }
        let error = RpcError::from(deposited.unwrap_err());
        if world.is_remote() {
            assert_eq!(
                (error.kind(), error.may_have_run(), error.is_retryable()),
                (ErrorKind::SignatureMismatch, false, false)
            );
            let (callers, objects) = error.signatures().expect("both signatures");
            assert!(callers.contains("u32") && callers.contains("String"), "{callers}");
            assert!(objects.contains("i64") && !objects.contains("u32"), "{objects}");
        } else {
            assert_eq!(error.kind(), ErrorKind::NoSuchClass);
        }
    }

    #[batch]
    async fn an_unknown_method_is_refused(world: &World) {
        let account: v2::AccountStub = world.get(unique("account"));
        let expected = if world.is_remote() { ErrorKind::NoSuchMethod } else { ErrorKind::NoSuchClass };
        assert_eq!(failure(account.withdraw(1).await), (expected, false));
    }

    #[batch]
    async fn methods_that_did_not_change_go_on_working(world: &World) {
        let name = unique("account");
        let (own, other): (AccountStub, v2::AccountStub) =
            (world.get(name.as_str()), world.get(name.as_str()));
        assert_eq!(own.deposit(3).await?, 3);
        if world.is_remote() {
            assert_eq!(other.balance().await?, 3);
            if !world.is_text() {
                assert_eq!(failure(other.deposit(5, "EUR".into()).await).0, ErrorKind::SignatureMismatch);
            }
            assert_eq!(failure(other.withdraw(1).await).0, ErrorKind::NoSuchMethod);
            assert_eq!(other.balance().await?, 3); // nothing ran, nothing broke
            other.end().await?; // known by its name on the wire
            assert_eq!(own.balance().await?, 0);
        }
        assert_eq!(own.deposit(1).await?, if world.is_remote() { 1 } else { 4 });
    }
}
