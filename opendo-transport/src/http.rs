//! HTTP batches: one POST is a whole conversation. Its body has the client's messages as lines, the response the server's.
//!
//! [`connect`] is the client; [`batch`] is what a server makes of a request's body, whichever framework it got it from.
//! Lines are joined with `\n`, with none at the end; an empty body is no message; a `\r` before `\n` is ignored.
//! [`Limits::max_message`] bounds each body as a whole.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use ::http::{Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use crate::{
    Address, CloseReason, ConnectOptions, Connection, Limits, Lines, Peer, Receiver, Sender, Sent, Transport,
    TransportError, kind, socket,
};

#[cfg(test)]
mod tests;

/// Lines on their way into one body.
struct Gathered {
    body: String,
    messages: usize,
    /// Where the last message begins.
    last: usize,
    limit: usize,
}

impl Gathered {
    fn new(limits: &Limits) -> Self {
        Self { body: String::new(), messages: 0, last: 0, limit: limits.max_message }
    }

    /// Takes all of `batch`, and tells how much that was.
    fn take(&mut self, batch: &mut Lines) -> Result<Sent, TransportError> {
        let total = batch.byte_len();
        while let Some(line) = batch.pop_front() {
            let size = self.body.len() + line.len() + usize::from(self.messages > 0);
            if size > self.limit {
                return Err(TransportError::TooLarge { size, limit: self.limit });
            }
            if line.contains('\n') {
                return Err(TransportError::LineBreak);
            }
            if self.messages > 0 {
                self.body.push('\n');
            }
            self.last = self.body.len();
            self.body.push_str(&line);
            self.messages += 1;
        }
        Ok(Sent::Size(total))
    }
}

/// The lines of a body, from the first to the last.
struct Unread {
    body: String,
    /// Where the next line begins.
    next: Option<usize>,
}

impl Unread {
    fn new(body: String) -> Self {
        Self { next: (!body.is_empty()).then_some(0), body }
    }

    fn next(&mut self) -> Option<String> {
        let rest = &self.body[self.next?..];
        let (line, after) = match rest.split_once('\n') {
            Some((line, rest)) => (line, Some(self.body.len() - rest.len())),
            None => (rest, None),
        };
        let line = line.strip_suffix('\r').unwrap_or(line).to_owned();
        self.next = after;
        Some(line)
    }
}

fn text(body: Vec<u8>) -> Result<String, TransportError> {
    String::from_utf8(body).map_err(|_| TransportError::protocol("a body is not UTF-8"))
}

/// The client's half of a batch.
///
/// What is sent is gathered. [`Sender::poll_close`] says that the batch is complete: then one request goes out, driven by
/// the receiver, which gives the lines of the response and then the end. A batch that is closed with a reason, or that
/// nobody waits for, is not sent; an empty one needs no request.
#[derive(Debug)]
pub struct HttpBatch {
    address: Address,
    options: ConnectOptions,
    peer: Peer,
}

/// A batch for an `http://` or `https://` address. Nothing is connected to before the batch is complete.
///
/// # Errors
///
/// [`TransportError::BadAddress`] for an address of another scheme.
pub fn connect(address: &Address, options: &ConnectOptions) -> Result<HttpBatch, TransportError> {
    address.host_and_port()?;
    let place = if address.is_local() { Peer::local } else { Peer::remote };
    let peer = place(address.scheme(), address.authority());
    Ok(HttpBatch { address: address.clone(), options: options.clone(), peer })
}

impl Transport for HttpBatch {
    type Kind = kind::Text;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<kind::Text>>, Box<dyn Receiver<kind::Text>>) {
        let (complete, batch) = oneshot::channel();
        let outgoing = Some((Gathered::new(&self.options.limits), complete));
        let receiver = Reply { state: State::Gathering(batch), address: self.address, options: self.options };
        (Box::new(Batch(outgoing)), Box::new(receiver))
    }
}

/// A batch until it is complete, and whom it goes to then.
struct Batch(Option<(Gathered, oneshot::Sender<String>)>);

impl Batch {
    fn complete(&mut self) {
        if let Some((gathered, complete)) = self.0.take()
            && gathered.messages > 0
        {
            // Nobody waits for the response otherwise.
            let _ = complete.send(gathered.body);
        }
    }
}

impl Sender<kind::Text> for Batch {
    fn poll_send(&mut self, _: &mut Context<'_>, batch: &mut Lines) -> Poll<Result<Sent, TransportError>> {
        Poll::Ready(match &mut self.0 {
            Some((gathered, complete)) if !complete.is_closed() => gathered.take(batch),
            _ => Err(TransportError::Closed),
        })
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.complete();
        Poll::Ready(Ok(()))
    }

    fn poll_close_with(&mut self, _: &mut Context<'_>, _: &CloseReason) -> Poll<Result<(), TransportError>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.complete();
    }
}

struct Reply {
    state: State,
    address: Address,
    options: ConnectOptions,
}

enum State {
    Gathering(oneshot::Receiver<String>),
    Requesting(Pin<Box<dyn Future<Output = Result<String, TransportError>> + Send>>),
    Reading(Unread),
    Finished,
}

impl Receiver<kind::Text> for Reply {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<String, TransportError>>> {
        loop {
            self.state = match &mut self.state {
                State::Gathering(batch) => match ready!(Pin::new(batch).poll(cx)) {
                    Ok(body) => {
                        let request = post(self.address.clone(), self.options.clone(), body);
                        State::Requesting(Box::pin(request))
                    }
                    Err(_) => State::Finished,
                },
                State::Requesting(request) => match ready!(request.as_mut().poll(cx)) {
                    Ok(body) => State::Reading(Unread::new(body)),
                    Err(error) => {
                        self.state = State::Finished;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Reading(unread) => match unread.next() {
                    Some(line) => return Poll::Ready(Some(Ok(line))),
                    None => State::Finished,
                },
                State::Finished => return Poll::Ready(None),
            }
        }
    }
}

/// Sends one request over a connection of its own, as a batch is a session of its own.
async fn post(address: Address, options: ConnectOptions, body: String) -> Result<String, TransportError> {
    let failed = |error: hyper::Error| {
        TransportError::io(format!("send a batch to {address}"), io::Error::other(error))
    };
    let request = Request::post(address.path())
        .header(header::HOST, address.authority())
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    let request = match &options.token {
        Some(token) => request.header(header::AUTHORIZATION, token.clone()),
        None => request,
    };
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| TransportError::io(format!("ask {address}"), io::Error::other(error)))?;
    let socket = socket::connect(&address, &options).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    let exchange = async {
        let response = requests.send_request(request).await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(refused(&response));
        }
        text(collect(response, options.limits.max_message, failed).await?)
    };
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    let mut connected = true;
    poll_fn(|cx| {
        // What ends the connection ends the exchange too, with the same error.
        connected = connected && connection.as_mut().poll(cx).is_pending();
        exchange.as_mut().poll(cx)
    })
    .await
}

fn refused(response: &Response<Incoming>) -> TransportError {
    let status = response.status();
    let phrase = response.extensions().get::<ReasonPhrase>();
    let text = match phrase {
        Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
        None => status.canonical_reason().unwrap_or_default().to_owned(),
    };
    TransportError::RequestFailed { status: status.as_u16(), text }
}

async fn collect(
    response: Response<Incoming>,
    limit: usize,
    failed: impl Fn(hyper::Error) -> TransportError,
) -> Result<Vec<u8>, TransportError> {
    let (mut incoming, mut body) = (response.into_body(), Vec::new());
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(&failed)?.into_data() {
            let size = body.len() + data.len();
            if size > limit {
                return Err(TransportError::TooLarge { size, limit });
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(body)
}

/// What a server answers to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchReply {
    /// All that was sent. Status 200.
    Complete(String),
    /// The session was closed with a reason: the last message, which says so to the peer, or else the reason. Status 400.
    Aborted(String),
    /// More was sent than the limit allows. Status 500.
    TooLarge,
}

/// The server's half of a batch: a connection that receives the lines of `body` and then the end, and the reply with what
/// was sent on it, once its sender is closed or dropped.
///
/// A body over the limit, or one that is not UTF-8, is the connection's first error. When the reply is dropped, sending
/// fails.
///
/// ```
/// use opendo_transport::http::{BatchReply, batch};
/// use opendo_transport::{Limits, Lines, Peer, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), opendo_transport::TransportError> {
/// let peer = Peer::remote("http", "192.0.2.7:50000");
/// let (connection, reply) = batch("one\ntwo".into(), &Limits::default(), peer);
/// let (mut sender, mut receiver) = connection.split();
/// let mut lines = Lines::default();
/// while let Some(line) = receiver.receive().await {
///     lines.push(line?.to_uppercase());
/// }
/// sender.send(&mut lines).await?;
/// drop(sender);
/// assert_eq!(reply.await, BatchReply::Complete("ONE\nTWO".into()));
/// # Ok(())
/// # }
/// ```
pub fn batch(
    body: Bytes,
    limits: &Limits,
    peer: Peer,
) -> (Connection<kind::Text>, impl Future<Output = BatchReply> + Send + use<>) {
    let limit = limits.max_message;
    let lines = match body.len() {
        size if size > limit => Err(TransportError::TooLarge { size, limit }),
        _ => text(body.into()),
    };
    let (reply, replied) = oneshot::channel();
    let incoming = Received { lines: Some(lines.map(Unread::new)) };
    let outgoing = Replying(Some((Gathered::new(limits), reply)));
    let connection = Connection::new(Served { incoming, outgoing, peer });
    // The sender says something before it goes, always.
    (connection, async { replied.await.unwrap_or(BatchReply::Complete(String::new())) })
}

struct Served {
    incoming: Received,
    outgoing: Replying,
    peer: Peer,
}

impl Transport for Served {
    type Kind = kind::Text;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<kind::Text>>, Box<dyn Receiver<kind::Text>>) {
        (Box::new(self.outgoing), Box::new(self.incoming))
    }
}

struct Received {
    lines: Option<Result<Unread, TransportError>>,
}

impl Receiver<kind::Text> for Received {
    fn poll_receive(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<String, TransportError>>> {
        let next = match self.lines.take() {
            Some(Ok(mut lines)) => lines.next().map(|line| {
                self.lines = Some(Ok(lines));
                Ok(line)
            }),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        };
        Poll::Ready(next)
    }
}

/// A reply until it is complete, and whom it goes to then.
struct Replying(Option<(Gathered, oneshot::Sender<BatchReply>)>);

impl Replying {
    fn end(&mut self, reply: impl FnOnce(Gathered) -> BatchReply) {
        if let Some((gathered, replied)) = self.0.take() {
            // Whoever asked may be gone.
            let _ = replied.send(reply(gathered));
        }
    }
}

impl Sender<kind::Text> for Replying {
    fn poll_send(&mut self, _: &mut Context<'_>, batch: &mut Lines) -> Poll<Result<Sent, TransportError>> {
        let sent = match &mut self.0 {
            Some((gathered, replied)) if !replied.is_closed() => gathered.take(batch),
            _ => Err(TransportError::Closed),
        };
        if let Err(TransportError::TooLarge { .. }) = sent {
            self.end(|_| BatchReply::TooLarge);
        }
        Poll::Ready(sent)
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.end(|gathered| BatchReply::Complete(gathered.body));
        Poll::Ready(Ok(()))
    }

    fn poll_close_with(
        &mut self,
        _: &mut Context<'_>,
        reason: &CloseReason,
    ) -> Poll<Result<(), TransportError>> {
        self.end(|mut gathered| {
            BatchReply::Aborted(match gathered.messages {
                0 => reason.text.clone(),
                _ => gathered.body.split_off(gathered.last),
            })
        });
        Poll::Ready(Ok(()))
    }
}

impl Drop for Replying {
    fn drop(&mut self) {
        self.end(|gathered| BatchReply::Complete(gathered.body));
    }
}
