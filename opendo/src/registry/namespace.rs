//! All objects of one class.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::client::Client;
use crate::node::WeakNode;
use crate::object::id::{ObjectId, ParseIdError, ToObjectId};
use crate::rpc::stub::Stub;

/// All objects of one class, at a node or at the other end of a client: makes ids, hands out stubs.
///
/// `node.get(id)` is short for `node.namespace().get(id)`. A namespace of its own is for a class that is not
/// called like its interface: see [`Node::class`](crate::Node::class).
///
/// ```
/// # use opendo::prelude::*;
/// # pub struct Room { ctx: Ctx }
/// # #[durable_object] impl Room { pub fn name(&self) -> Option<String> { self.ctx.key().name().map(Into::into) } }
/// # impl DurableObject for Room { async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Room { ctx }) } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let node = Node::builder().object::<Room>().start().await?;
/// let rooms = node.namespace::<RoomStub>();
/// assert_eq!(rooms.get("lobby").name().await?.as_deref(), Some("lobby"));
///
/// let id = rooms.unique_id();
/// assert_eq!(rooms.get(&id).name().await?, None);
/// assert_eq!(rooms.parse_id(&id.to_string())?, id);
/// # Ok(()) }
/// ```
pub struct Namespace<S> {
    class: Arc<str>,
    place: Place,
    stub: PhantomData<fn() -> S>,
}

#[derive(Clone)]
enum Place {
    Node(WeakNode),
    Client(Client),
}

impl<S: Stub> Namespace<S> {
    pub(crate) fn at_node(class: Arc<str>, node: WeakNode) -> Self {
        Self { class, place: Place::Node(node), stub: PhantomData }
    }

    pub(crate) fn at_client(class: Arc<str>, client: Client) -> Self {
        Self { class, place: Place::Client(client), stub: PhantomData }
    }

    /// The class.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// A stub, in an order of its own. No I/O, and nothing is started: the object is made at its first call.
    pub fn get(&self, id: impl ToObjectId<S>) -> S {
        match &self.place {
            Place::Node(node) => node.stub(id, &self.class),
            Place::Client(client) => client.stub(id, &self.class),
        }
    }

    /// The id of that name; see [`ObjectId::from_name`].
    pub fn id_from_name(&self, name: &str) -> ObjectId<S> {
        ObjectId::named_in(&self.class, name)
    }

    /// A new id that nobody else has.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn unique_id(&self) -> ObjectId<S> {
        ObjectId::unique_in(&self.class)
    }

    /// The id whose text this is.
    ///
    /// # Errors
    /// When it is not an id, or one of another class.
    pub fn parse_id(&self, text: &str) -> Result<ObjectId<S>, ParseIdError> {
        ObjectId::parse_in(&self.class, text)
    }
}

/// The objects of a node, for its own parts: it hands out stubs and does not keep the node.
///
/// See [`Session::objects`](crate::Session::objects).
#[derive(Clone)]
pub struct Objects(pub(crate) WeakNode);

impl Objects {
    /// A stub of an object of the node, as [`Node::get`](crate::Node::get) gives it.
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.0.get(id)
    }

    /// All objects whose class is called like the interface of `S`.
    pub fn namespace<S: Stub>(&self) -> Namespace<S> {
        Namespace::at_node(S::INTERFACE.name.into(), self.0.clone())
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl<S> Clone for Namespace<S> {
    fn clone(&self) -> Self {
        Self { class: self.class.clone(), place: self.place.clone(), stub: PhantomData }
    }
}

impl<S> fmt::Debug for Namespace<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.class)
    }
}
