//! A WebSocket that wants in.

use std::fmt;
use std::sync::{Arc, Weak};

use axum::http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use opendo_transport::Peer;
use opendo_transport::websocket::Closed;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::entry::Entry;
use super::pump::Pump;
use super::socket::{WebSocket, attached, checked_tags};
use super::{SocketError, Sockets};
use crate::object::control::Control;
use crate::object::id::ObjectKey;

/// What a client has asked for.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
}

/// What a client is answered: that it is in, or with a status and a text.
pub(crate) type Answer = Result<Accepted, Refusal>;

/// Why a client is not let in.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// The answer that a client waits for, until it is given.
pub(crate) struct Verdict(Mutex<Option<oneshot::Sender<Answer>>>);

impl Verdict {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (answer, wait) = oneshot::channel();
        (Arc::new(Self(Mutex::new(Some(answer)))), wait)
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.0.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn take(&self) -> Option<oneshot::Sender<Answer>> {
        self.0.lock().take()
    }

    /// Refuses, unless the client was answered before.
    pub(crate) fn refuse(&self, refusal: Refusal, control: &Control) {
        if let Some(answer) = self.take() {
            control.hold(move |durable| {
                // If it is dropped, the client is told that the object was reset.
                if durable.is_ok() {
                    let _ = answer.send(Err(refusal));
                }
            });
        }
    }
}

/// Whose socket it would be.
pub(crate) struct Place {
    pub(crate) class: Weak<dyn Sockets>,
    pub(crate) object: Arc<ObjectKey>,
    pub(crate) control: Arc<Control>,
}

/// A WebSocket that wants in: what its client has asked for. See [`DurableObject::connect`](crate::DurableObject::connect).
pub struct Opening {
    asked: Asked,
    chosen: Option<String>,
    verdict: Arc<Verdict>,
    place: Place,
}

impl Opening {
    pub(crate) fn new(asked: Asked, verdict: Arc<Verdict>, place: Place) -> Self {
        Self { asked, chosen: None, verdict, place }
    }

    /// What the path has behind `/{Class}/{name}/socket`, as it was sent: empty, or `/` and more. The whole path where an
    /// [application of one's own](crate::Node::web_socket) has given it to the object.
    pub fn path(&self) -> &str {
        &self.asked.path
    }

    /// What is behind the `?`, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.asked.query.as_deref()
    }

    /// The headers of the request.
    pub fn headers(&self) -> &HeaderMap {
        &self.asked.headers
    }

    /// Who asks.
    pub fn peer(&self) -> &Peer {
        &self.asked.peer
    }

    /// The subprotocols that the client offers, the one it likes best first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let headers = self.asked.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let lists = headers.filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
    }

    /// Has the client told that this one of its subprotocols is spoken. False if it does not offer that.
    pub fn choose_subprotocol(&mut self, name: &str) -> bool {
        let offered = self.subprotocols().any(|offered| offered == name);
        if offered {
            self.chosen = Some(name.to_owned());
        }
        offered
    }

    /// Lets it in, with up to 10 tags of 256 characters, and an attachment of up to 16 KiB in postcard (`&()` for none),
    /// which stay with it while the object sleeps, though not across restarts of the node. The client learns it when
    /// everything that the object has written until now is durable; what is sent on it comes behind that.
    ///
    /// # Errors
    /// [`SocketError::TooManyTags`], [`SocketError::TagTooLong`], [`SocketError::TooManySockets`],
    /// [`SocketError::AttachmentTooLarge`], [`SocketError::Attachment`]: it is not let in. [`SocketError::TooLate`] after
    /// `connect` has returned.
    pub fn accept<T: Serialize + ?Sized>(
        self,
        tags: &[&str],
        attachment: &T,
    ) -> Result<WebSocket, SocketError> {
        let Place { class, object, control } = &self.place;
        let (tags, attachment) = (checked_tags(tags)?, attached(control, attachment)?);
        let class = class.upgrade().filter(|_| control.is_reset().is_none()).ok_or(SocketError::Closed)?;
        let mut verdict = self.verdict.0.lock();
        if verdict.is_none() {
            return Err(SocketError::TooLate);
        }
        let entry = class.shelf().add(&class, object, tags, attachment)?;
        let accepted = Accepted { entry: entry.clone(), subprotocol: self.chosen };
        let answer = verdict.take();
        drop(verdict);
        control.hold(move |durable| {
            if let (Ok(()), Some(answer)) = (durable, answer) {
                // A client that is gone leaves a socket that is over.
                drop(answer.send(Ok(accepted)));
            }
        });
        Ok(WebSocket::new(entry, control.clone()))
    }

    /// Does not let it in: the client is answered with that status, of 400 to 599, and that text.
    pub fn refuse(self, status: u16, reason: impl Into<String>) {
        let status = if (400..600).contains(&status) { status } else { 500 };
        self.verdict.refuse(Refusal::new(status, reason), &self.place.control);
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("object", &self.place.object)
            .field("path", &self.asked.path)
            .field("peer", &self.asked.peer)
            .finish_non_exhaustive()
    }
}

/// A socket that was accepted. It is over when this is dropped.
pub(crate) struct Accepted {
    entry: Arc<Entry>,
    pub(crate) subprotocol: Option<String>,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.entry.finish(Closed::vanished());
    }
}

impl Accepted {
    /// Moves messages until it is over, on a connection whose handshake is over.
    pub(crate) async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(class) = self.entry.class.upgrade() else { return };
        let _running = class.shelf().pumps.token();
        let around = class.surroundings();
        let (limits, closing) = (around.limits.clone(), around.closing.clone());
        drop(class); // a socket does not keep its node
        Pump::new(self.entry.clone(), stream, &limits, closing).await.run().await;
    }
}
