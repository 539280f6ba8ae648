//! Targets that their object makes again, from parameters that their stubs carry.

mod name;
mod restore;

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::object::lifecycle::Object;
use crate::object::strand::Activation;
use crate::rpc::error::{Result, RpcError};
use crate::rpc::stub::ServedBy;

pub(crate) use self::name::{LastingName, Secret};
pub(crate) use self::restore::{HostTarget, HostedTarget, Origin, StubMaker, host_target};

/// The longest parameters, in bytes.
pub(crate) const MAX_PARAMS: usize = 16 * 1024;

/// A target that its object can make again: its stubs outlive it, and the process.
///
/// [`Ctx::lasting`](crate::Ctx::lasting) hands out a stub, which carries the parameters. When it is called and the target
/// is not there, the object is made live and [`restore`](Self::restore) makes the target, in the object's turn; then the
/// call runs on the target, as on any other. There is at most one of the same object, name and parameters. It leaves
/// memory with its object, and may do so before when it has nothing to do: what it has to remember is in its parameters, or
/// in the object's storage.
///
/// The stub is passed like any other and can be stored by all objects of the node. Clients that reconnect go on with it,
/// also after a restart of the node, and also where they may not name objects: the node recognises what it has handed out.
///
/// ```
/// use opendo::{Stored, prelude::*};
///
/// pub struct Room { ctx: Ctx, lines: Stored<Vec<String>> }
///
/// #[durable_object]
/// impl Room {
///     /// The only way to say something: in one's own name.
///     pub fn enter(&self, name: String) -> Result<SeatStub, String> { Ok(self.ctx.lasting::<Seat>(&name)?) }
///     pub fn say(&mut self, line: String) { self.lines.edit().push(line); }
///     pub fn lines(&self) -> Vec<String> { self.lines.clone() }
/// }
///
/// impl DurableObject for Room {
///     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Room { lines: ctx.stored("lines").await?, ctx }) }
/// }
///
/// /// What a member of the room holds.
/// pub struct Seat { room: RoomStub, name: String }
///
/// #[rpc_target]
/// impl Seat {
///     pub async fn say(&self, text: String) -> Result<(), RpcError> {
///         Ok(self.room.say(format!("{}: {text}", self.name)).await?)
///     }
/// }
///
/// impl Lasting for Seat {
///     type Object = Room;
///     type Stub = SeatStub;
///     type Params = String;
///     const NAME: &'static str = "seat";
///
///     async fn restore(room: &mut Room, name: String) -> opendo::Result<Self> {
///         Ok(Seat { room: room.ctx.this(), name })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let node = Node::builder().object::<Room>().lasting::<Seat>().start().await?;
/// let room: RoomStub = node.get("lobby");
/// let seat = room.enter("ann".into()).await?;
/// seat.say("hello".into()).await?;
///
/// opendo::testing::hibernate(&node, &room).await; // the room sleeps, and the seat is gone
/// seat.say("still here".into()).await?;
/// assert_eq!(room.lines().await?, ["ann: hello", "ann: still here"]);
/// # Ok(()) }
/// ```
pub trait Lasting: Send + Sync + Sized + 'static {
    /// Whose target it is.
    type Object: Object;

    /// How it is called: its own stub, or that of an interface that it implements.
    type Stub: ServedBy<Self>;

    /// What it is made from.
    type Params: Serialize + DeserializeOwned + Send + 'static;

    /// What it is called in storage and on the wire: another one for each target of the object, and always the same.
    const NAME: &'static str;

    /// Makes it. This runs in the turn of the object, alone, like one of its methods; calls of the target wait.
    ///
    /// When it returns an error they fail with [`NotRestored`](crate::ErrorKind::NotRestored), and the next one has it tried
    /// again. So this is the place to refuse what was handed out and does not hold any more. A panic resets the object.
    ///
    /// It is asked once for all calls that wait. Parameters that were stored by an older program come as they were.
    fn restore(object: &mut Self::Object, params: Self::Params) -> impl Future<Output = Result<Self>> + Send;
}

/// Beyond so many targets of one object those leave memory that have nothing to do.
const MANY: usize = 1024;

/// The targets of an object that are in memory. Most have none.
#[derive(Default)]
pub(crate) struct Targets(Mutex<Option<Box<Live>>>);

#[derive(Default)]
struct Live {
    targets: FxHashMap<Arc<LastingName>, Arc<dyn Target>>,
    /// Above [`MANY`] when many have something to do.
    many: usize,
}

/// Resolves (to nothing of interest) when a target is gone.
pub(super) type Ended = oneshot::Receiver<()>;

/// A target in memory, or on its way there.
trait Target: Send + Sync {
    /// Lets go of it, if it has nothing to do. Whether it is gone.
    fn sleep(self: Arc<Self>) -> bool;
    fn reset(&self, reason: RpcError);
    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

impl<T: Send + Sync + 'static> Target for Activation<T> {
    fn sleep(self: Arc<Self>) -> bool {
        Self::sleep(&self)
    }

    fn reset(&self, reason: RpcError) {
        self.control.reset(reason);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl Targets {
    /// The target of that name: the live one, or what `make` makes, given the end of the one before if that is to come.
    pub(crate) fn find_or<T: Send + Sync + 'static>(
        &self,
        name: &Arc<LastingName>,
        make: impl FnOnce(Option<Ended>) -> Arc<Activation<T>>,
    ) -> Arc<Activation<T>> {
        if self.are_many() {
            self.sleep();
            if let Some(live) = &mut *self.0.lock() {
                live.many = 2 * live.targets.len();
            }
        }
        let _reset; // dropped after the lock
        let mut live = self.0.lock();
        let live = live.get_or_insert_default();
        let mut before = None;
        if let Some(target) = live.targets.get(name) {
            let found = target.clone().as_any().downcast::<Activation<T>>();
            let found = found.expect("one type has the name in its class");
            if found.is_live() {
                return found;
            }
            before = found.watch_instance();
        }
        let target = make(before);
        _reset = live.targets.insert(name.clone(), target.clone());
        target
    }

    fn are_many(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|live| live.targets.len() >= live.many.max(MANY))
    }

    /// Lets go of those that have nothing to do. Whether that is all.
    pub(crate) fn sleep(&self) -> bool {
        // Each takes itself out.
        self.all().into_iter().filter(|target| !target.clone().sleep()).count() == 0
    }

    /// The object's instance is lost, and so are they.
    pub(crate) fn reset(&self, reason: &RpcError) {
        for target in self.all() {
            target.reset(reason.clone());
        }
    }

    fn all(&self) -> Vec<Arc<dyn Target>> {
        self.0.lock().iter().flat_map(|live| live.targets.values().cloned()).collect()
    }

    fn remove<T: Send + Sync + 'static>(&self, name: &LastingName, ended: &Arc<Activation<T>>) {
        let mut live = self.0.lock();
        let Some(live) = &mut *live else { return };
        let same = |found: &Arc<dyn Target>| std::ptr::addr_eq(Arc::as_ptr(found), Arc::as_ptr(ended));
        if live.targets.get(name).is_some_and(same) {
            // Not the last hold: nothing is dropped under the lock.
            live.targets.remove(name);
        }
    }
}
