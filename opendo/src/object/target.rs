//! Targets: callable values without an id.

use tokio::runtime::Handle;

use crate::object::control::Control;
use crate::object::local::Local;
use crate::object::strand::Activation;
use crate::rpc::stub::{ServedBy, StubCore};

/// A stub of `target`: the way to call a value as if it were somewhere else.
///
/// The target lives as long as its stubs. Its `&self` methods overlap, its `&mut self` methods run alone, and all
/// start in the order in which they were called. A panic in one of them resets it for good: it has nothing to be
/// made from again (a [lasting](crate::Lasting) one has). What it says waits like what the object says in whose method it was served, until what that object
/// has written is durable. A mock of an object is a target that implements the object's interface.
///
/// # Panics
/// Outside of a Tokio runtime.
///
/// ```
/// use opendo::prelude::*;
///
/// #[opendo::interface]
/// pub trait Clock {
///     async fn now(&self) -> u64;
/// }
///
/// struct Stopped;
///
/// #[rpc_target]
/// impl Clock for Stopped {
///     async fn now(&self) -> u64 { 12 }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let clock: ClockStub = opendo::serve(Stopped);
/// assert_eq!(clock.now().await?, 12);
/// # Ok(()) }
/// ```
pub fn serve<S, O>(target: O) -> S
where
    O: Send + Sync + 'static,
    S: ServedBy<O>,
{
    let activation = Activation::of_target(target, |watch| Control::of_target(Handle::current(), watch));
    S::from_core(StubCore::new(S::local(Local::of_target(activation))))
}
