//! WebSockets of objects, in whatever protocol their users speak: the node has the connections, the object sleeps behind
//! them.
//!
//! An [`Entry`] is one accepted socket; a class keeps those of its objects on a [`Shelf`]. A pump for each moves what
//! comes into the strand of the object and what the object sends onto the wire.

mod entry;
mod opening;
mod pump;
mod shelf;
mod socket;

use opendo_transport::websocket::{Closed, Message};
use tokio_util::sync::CancellationToken;

pub(crate) use self::entry::{Delivery, Entry};
pub use self::opening::Opening;
pub(crate) use self::opening::{Answer, Asked, Place, Refusal, Verdict};
pub(crate) use self::shelf::Shelf;
pub use self::socket::WebSocket;
use crate::object::clock::Clock;
use crate::object::storage::StorageError;
use crate::rpc::limits::Limits;

/// The most tags of one socket (checklist 8.1).
const MAX_TAGS: usize = 10;

/// The longest tag, in characters (checklist 8.1).
const MAX_TAG: usize = 256;

/// The largest attachment, in bytes of postcard (checklist 8.6).
const MAX_ATTACHMENT: usize = 16 * 1024;

/// The longest side of an auto-response, in bytes (checklist 8.7).
const MAX_AUTO_RESPONSE: usize = 2048;

/// The longest reason of a close, in bytes (checklist 8.17).
const MAX_REASON: usize = 123;

/// While so many messages of a socket wait for the object, or so many bytes, it is not read.
const MAX_UNDELIVERED: usize = 8;
const MAX_UNDELIVERED_BYTES: usize = 1 << 20;

/// What a message that waits takes beside its bytes, about.
const OVERHEAD: usize = 64;

/// What a WebSocket cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Too many tags (checklist 8.1).
    #[error("a WebSocket has at most {MAX_TAGS} tags, and these are {count}")]
    TooManyTags {
        /// How many there are.
        count: usize,
    },
    /// A tag is too long (checklist 8.1).
    #[error("a tag of a WebSocket has at most {MAX_TAG} characters, and one has {length}")]
    TagTooLong {
        /// How many characters it has.
        length: usize,
    },
    /// The object has as many as it may have: see [`Limits::max_sockets`](crate::Limits::max_sockets).
    #[error("the object has {limit} WebSockets, which are the most")]
    TooManySockets {
        /// How many it may have.
        limit: usize,
    },
    /// The attachment is too large (checklist 8.6).
    #[error("the attachment takes {size} bytes, and {MAX_ATTACHMENT} are the most; put it into storage")]
    AttachmentTooLarge {
        /// What it takes.
        size: usize,
    },
    /// The attachment could not be encoded, or is none of the type that was asked for.
    #[error(transparent)]
    Attachment(#[from] StorageError),
    /// A side of the auto-response is too long (checklist 8.7).
    #[error("a side of an auto-response has at most {MAX_AUTO_RESPONSE} bytes, and one has {size}")]
    AutoResponseTooLong {
        /// How many it has.
        size: usize,
    },
    /// It was closed, by whichever side, or its connection is gone (checklist 8.16).
    #[error("the WebSocket is closed")]
    Closed,
    /// The peer reads too slowly: see [`Limits::max_socket_unsent`](crate::Limits::max_socket_unsent). The message is
    /// not sent; the socket stays open.
    #[error("the peer reads too slowly, {unsent} bytes wait for it; close the WebSocket, or send less")]
    Behind {
        /// What waits to be sent.
        unsent: usize,
    },
    /// No code to close with (checklist 8.17).
    #[error("a WebSocket is closed with a code from 1000 to 4999, and not with {code}")]
    CloseCode {
        /// The code.
        code: u16,
    },
    /// The reason for a close is too long (checklist 8.17).
    #[error("the reason for a close has at most {MAX_REASON} bytes, and this one has {size}")]
    ReasonTooLong {
        /// How many it has.
        size: usize,
    },
    /// The client was told already that it may not come in: `connect` has returned without accepting it.
    #[error("it is too late to accept the WebSocket: `connect` has returned")]
    TooLate,
}

impl From<SocketError> for String {
    fn from(error: SocketError) -> Self {
        error.to_string()
    }
}

/// The class of an object, as sockets know it.
pub(crate) trait Sockets: Send + Sync {
    fn shelf(&self) -> &Shelf;
    fn surroundings(&self) -> Surroundings<'_>;
    /// Gives the object a message.
    fn message(&self, delivery: Delivery, message: Message);
    /// Tells the object that a socket is gone.
    fn disconnected(&self, entry: std::sync::Arc<Entry>, closed: Closed);
}

/// What a class lets its sockets know of the node.
pub(crate) struct Surroundings<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) clock: Clock,
    pub(crate) closing: &'a CancellationToken,
}
