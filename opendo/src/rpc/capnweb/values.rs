//! Transports that carry values: their messages are made into text, and text into values, where the session ends.

use std::task::{Context, Poll, ready};

use opendo_transport::kind::Batch;
use opendo_transport::{
    CloseReason, Connection, Lines, Peer, Receiver, Sender, Sent, Transport, TransportError, Trees, kind,
};

use crate::encoding::capnweb::{from_tree, to_tree};

/// The same connection, with the messages as text.
pub(crate) fn as_text(connection: Connection<kind::Value>) -> Connection<kind::Text> {
    Connection::new(AsText(connection))
}

struct AsText(Connection<kind::Value>);

impl Transport for AsText {
    type Kind = kind::Text;

    fn peer(&self) -> Peer {
        self.0.peer()
    }

    fn split(self) -> (Box<dyn Sender<kind::Text>>, Box<dyn Receiver<kind::Text>>) {
        let (sender, receiver) = self.0.split();
        (Box::new(Sending { sender, batch: Trees::default() }), Box::new(Receiving(receiver)))
    }
}

struct Sending {
    sender: Box<dyn Sender<kind::Value>>,
    batch: Trees,
}

impl Sender<kind::Text> for Sending {
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut Lines) -> Poll<Result<Sent, TransportError>> {
        loop {
            while let Some(message) = batch.pop_front() {
                let tree = to_tree(&message)
                    .map_err(|error| TransportError::Protocol { what: error.to_string() })?;
                self.batch.append(tree);
            }
            let sent = ready!(self.sender.poll_send(cx, &mut self.batch));
            if batch.is_empty() || sent.is_err() {
                return Poll::Ready(sent);
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sender.poll_close(cx)
    }

    fn poll_close_with(
        &mut self,
        cx: &mut Context<'_>,
        reason: &CloseReason,
    ) -> Poll<Result<(), TransportError>> {
        self.sender.poll_close_with(cx, reason)
    }
}

struct Receiving(Box<dyn Receiver<kind::Value>>);

impl Receiver<kind::Text> for Receiving {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<String, TransportError>>> {
        self.0.poll_receive(cx).map(|message| {
            message.map(|message| {
                from_tree(&message?).map_err(|error| TransportError::Protocol { what: error.to_string() })
            })
        })
    }
}
