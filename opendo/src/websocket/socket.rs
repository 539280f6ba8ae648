//! What an object has of its sockets.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use opendo_transport::websocket::Message;
use serde::{Serialize, de::DeserializeOwned};

use super::entry::Entry;
use super::{MAX_ATTACHMENT, MAX_AUTO_RESPONSE, MAX_REASON, MAX_TAG, MAX_TAGS, SocketError};
use crate::object::context::Ctx;
use crate::object::control::Control;
use crate::object::storage::StorageError;

/// A WebSocket that the object has [accepted](crate::Opening::accept). The node has the connection: it stays while the
/// object sleeps, and is there again, with its attachment and its tags, in [`Ctx::web_sockets`] after a wake.
///
/// Clones are the same socket; they are equal.
#[derive(Clone)]
pub struct WebSocket {
    entry: Arc<Entry>,
    control: Arc<Control>,
}

impl WebSocket {
    pub(crate) fn new(entry: Arc<Entry>, control: Arc<Control>) -> Self {
        Self { entry, control }
    }

    /// Sends a text or bytes. It leaves when everything that the object has written before is durable, in the order of
    /// the calls. Nothing waits for it here.
    ///
    /// # Errors
    /// [`SocketError::Closed`] after a close of either side, [`SocketError::Behind`] when the peer does not read.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SocketError> {
        self.entry.send(message.into(), &self.control)
    }

    /// Closes it, behind everything that was sent. From now on nothing that comes is delivered;
    /// [`disconnected`](crate::DurableObject::disconnected) runs when the peer has agreed, or after
    /// [some time](crate::Limits::hello_timeout). One that is closed already stays so.
    ///
    /// # Errors
    /// [`SocketError::CloseCode`] unless the code is one of 1000 to 4999 and none of 1004, 1005, 1006, 1015;
    /// [`SocketError::ReasonTooLong`] beyond 123 bytes (checklist 8.17).
    pub fn close(&self, code: u16, reason: &str) -> Result<(), SocketError> {
        if !(1000..5000).contains(&code) || matches!(code, 1004..=1006 | 1015) {
            return Err(SocketError::CloseCode { code });
        }
        if reason.len() > MAX_REASON {
            return Err(SocketError::ReasonTooLong { size: reason.len() });
        }
        self.entry.close(code, reason, &self.control);
        Ok(())
    }

    /// Whether neither side has closed it.
    pub fn is_open(&self) -> bool {
        self.entry.is_open()
    }

    /// What is attached to it.
    ///
    /// # Errors
    /// [`SocketError::Attachment`] when that is of another type.
    pub fn attachment<T: DeserializeOwned>(&self) -> Result<T, SocketError> {
        let storage = self.control.storage().ok_or(StorageError::Closed)?;
        Ok(storage.decode("attachment", &self.entry.attachment())?)
    }

    /// Attaches something else: 16 KiB in postcard at most. It counts at once, whatever becomes of the call.
    ///
    /// # Errors
    /// [`SocketError::AttachmentTooLarge`], [`SocketError::Attachment`].
    pub fn set_attachment<T: Serialize + ?Sized>(&self, attachment: &T) -> Result<(), SocketError> {
        self.entry.attach(attached(&self.control, attachment)?);
        Ok(())
    }

    /// Its tags, without duplicates.
    pub fn tags(&self) -> Vec<String> {
        self.entry.tags().iter().map(|tag| (**tag).to_owned()).collect()
    }

    /// Gives it other tags: 10 of 256 characters at most.
    ///
    /// # Errors
    /// [`SocketError::TooManyTags`], [`SocketError::TagTooLong`].
    pub fn set_tags(&self, tags: &[&str]) -> Result<(), SocketError> {
        let tags = checked_tags(tags)?;
        match self.entry.class.upgrade() {
            Some(class) => class.shelf().set_tags(&self.entry, tags),
            None => self.entry.set_tags(tags),
        }
        Ok(())
    }

    /// When the [auto-response](Ctx::set_auto_response) was last given on it.
    pub fn auto_responded_at(&self) -> Option<SystemTime> {
        self.entry.auto_responded_at()
    }
}

pub(super) fn attached<T: Serialize + ?Sized>(
    control: &Control,
    attachment: &T,
) -> Result<bytes::Bytes, SocketError> {
    let storage = control.storage().ok_or(StorageError::Closed)?;
    let bytes = storage.encoded("attachment", attachment)?;
    match bytes.len() {
        size if size > MAX_ATTACHMENT => Err(SocketError::AttachmentTooLarge { size }),
        _ => Ok(bytes.into()),
    }
}

pub(super) fn checked_tags(tags: &[&str]) -> Result<Arc<[Arc<str>]>, SocketError> {
    let mut unique: Vec<Arc<str>> = Vec::with_capacity(tags.len().min(MAX_TAGS));
    for tag in tags {
        let length = tag.chars().count();
        if length > MAX_TAG {
            return Err(SocketError::TagTooLong { length });
        }
        if !unique.iter().any(|known| **known == **tag) {
            unique.push((*tag).into());
        }
        if unique.len() > MAX_TAGS {
            return Err(SocketError::TooManyTags { count: tags.len() });
        }
    }
    Ok(unique.into())
}

impl PartialEq for WebSocket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }
}

impl Eq for WebSocket {}

impl Hash for WebSocket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.number.hash(state);
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("number", &self.entry.number)
            .field("object", &self.entry.object)
            .field("tags", &self.entry.tags())
            .finish_non_exhaustive()
    }
}

/// Only with the feature `websocket`.
impl Ctx {
    /// The WebSockets that this object has [accepted](crate::Opening::accept) and that are connected, the oldest first.
    /// One that this side has closed is among them until the peer agrees.
    pub fn web_sockets(&self) -> Vec<WebSocket> {
        self.sockets(None)
    }

    /// Those of them that have that tag.
    pub fn web_sockets_tagged(&self, tag: &str) -> Vec<WebSocket> {
        self.sockets(Some(tag))
    }

    fn sockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        let Some(class) = self.socket_class() else { return Vec::new() };
        let found = class.shelf().of(self.key(), tag).into_iter();
        found.map(|entry| WebSocket::new(entry, self.control().clone())).collect()
    }

    /// What this object's WebSockets answer by themselves: to a text that is exactly the first one, the second one,
    /// without waking the object and without telling it. Each has at most 2,048 bytes; `None` for no answer. It is kept as
    /// long as the object is in memory or has WebSockets (checklist 8.7).
    ///
    /// # Errors
    /// [`SocketError::AutoResponseTooLong`].
    ///
    /// ```
    /// # fn constructor(ctx: opendo::Ctx) -> Result<(), opendo::SocketError> {
    /// ctx.set_auto_response(Some(("ping", "pong")))?;
    /// # Ok(()) }
    /// ```
    pub fn set_auto_response(&self, pair: Option<(&str, &str)>) -> Result<(), SocketError> {
        if let Some((request, response)) = pair {
            let size = request.len().max(response.len());
            if size > MAX_AUTO_RESPONSE {
                return Err(SocketError::AutoResponseTooLong { size });
            }
        }
        if let Some(class) = self.socket_class() {
            let pair = pair.map(|(request, response)| (request.into(), response.into()));
            class.shelf().set_auto_response(self.key(), pair);
        }
        Ok(())
    }

    /// The pair that was [set](Self::set_auto_response).
    pub fn auto_response(&self) -> Option<(String, String)> {
        let (request, response) = self.socket_class()?.shelf().auto_response(self.key())?;
        Some((request.as_ref().to_owned(), response.as_ref().to_owned()))
    }
}
