//! Both ends in one process: what tests and in-process sessions run on.
//!
//! [`pair`] makes two connected ends of either kind. [`listen`] and [`connect`] do the same by name, for
//! `memory:name` addresses. Batches are moved from one end to the other, never copied.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::coop;

use crate::kind::{self, Batch, Kind};
use crate::{Limits, Peer, Receiver, Sender, Sent, Transport, TransportError};

/// How many batches wait in each direction of a connection made by name.
const CAPACITY: usize = 32;

/// How many connections wait to be accepted; the next one waits in `connect`.
const BACKLOG: usize = 128;

/// Two connected ends. Each direction holds at most `capacity` batches (at least one); then sending waits.
///
/// ```
/// use opendo_transport::{Lines, Transport, kind, memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), opendo_transport::TransportError> {
/// let (left, right) = memory::pair::<kind::Text>(1);
/// let (mut sender, _) = left.split();
/// let (_, mut receiver) = right.split();
///
/// let mut batch = Lines::default();
/// batch.push("hello".to_owned());
/// sender.send(&mut batch).await?;
/// assert_eq!(receiver.receive().await.unwrap()?, "hello");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn pair<K: Kind>(capacity: usize) -> (Memory<K>, Memory<K>) {
    named_pair("pair", capacity, &Limits { max_message: usize::MAX })
}

fn named_pair<K: Kind>(name: &str, capacity: usize, limits: &Limits) -> (Memory<K>, Memory<K>) {
    let (there, back) = (Arc::new(Pipe::new(capacity)), Arc::new(Pipe::new(capacity)));
    let end = |outgoing: &Arc<_>, incoming: &Arc<_>| Memory {
        writer: Writer { pipe: Arc::clone(outgoing), closed: false },
        reader: Reader {
            pipe: Arc::clone(incoming),
            messages: K::Batch::default().into_messages(),
            limit: limits.max_message,
            finished: false,
        },
        peer: Peer::local("memory", name),
    };
    (end(&there, &back), end(&back, &there))
}

/// One end of an in-memory connection.
pub struct Memory<K: Kind> {
    writer: Writer<K>,
    reader: Reader<K>,
    peer: Peer,
}

impl<K: Kind> Memory<K> {
    /// The same end with `limits` on what it receives. The ends of a [`pair`] have none, since whoever holds both has
    /// nothing to fear; those made by name have the limits they were made with.
    #[must_use]
    pub fn with_limits(mut self, limits: &Limits) -> Self {
        self.reader.limit = limits.max_message;
        self
    }
}

impl<K: Kind> Transport for Memory<K> {
    type Kind = K;

    fn peer(&self) -> Peer {
        self.peer.clone()
    }

    fn split(self) -> (Box<dyn Sender<K>>, Box<dyn Receiver<K>>) {
        (Box::new(self.writer), Box::new(self.reader))
    }
}

impl<K: Kind> fmt::Debug for Memory<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// One direction: a bounded queue with one writer and one reader.
struct Pipe<B> {
    queue: Mutex<Queue<B>>,
}

struct Queue<B> {
    batches: VecDeque<B>,
    capacity: usize,
    /// The writer will send no more.
    ended: bool,
    /// The reader will take no more.
    abandoned: bool,
    /// Whoever waits: the reader for a batch or the writer for room, and never both at once.
    waiting: Option<Waker>,
}

impl<B> Pipe<B> {
    fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let batches = VecDeque::new();
        Self { queue: Mutex::new(Queue { batches, capacity, ended: false, abandoned: false, waiting: None }) }
    }

    /// Changes the queue, then wakes the other side outside of the lock.
    #[inline]
    fn update<T>(&self, change: impl FnOnce(&mut Queue<B>) -> T) -> T {
        let mut queue = self.queue.lock();
        let result = change(&mut queue);
        let waiting = queue.waiting.take();
        drop(queue);
        if let Some(waker) = waiting {
            waker.wake();
        }
        result
    }
}

impl<B> Queue<B> {
    /// Leaves a waker for the other side to find.
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.waiting {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

struct Writer<K: Kind> {
    pipe: Arc<Pipe<K::Batch>>,
    closed: bool,
}

impl<K: Kind> Writer<K> {
    fn end(&mut self) {
        self.closed = true;
        self.pipe.update(|queue| queue.ended = true);
    }
}

impl<K: Kind> Sender<K> for Writer<K> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut K::Batch,
    ) -> Poll<Result<Sent, TransportError>> {
        let mut queue = self.pipe.queue.lock();
        if self.closed || queue.abandoned {
            return Poll::Ready(Err(TransportError::Closed));
        }
        if batch.is_empty() {
            return Poll::Ready(Ok(Sent::Size(0)));
        }
        if queue.batches.len() == queue.capacity {
            return queue.wait(cx);
        }
        drop(queue);
        // Only this side fills the queue, so there still is room; and the batch is moved outside of the lock.
        let size = batch.byte_len();
        let moved = batch.take();
        self.pipe.update(|queue| queue.batches.push_back(moved));
        Poll::Ready(Ok(Sent::Size(size)))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if !self.closed {
            self.end();
        }
        Poll::Ready(Ok(()))
    }
}

impl<K: Kind> Drop for Writer<K> {
    fn drop(&mut self) {
        self.end();
    }
}

struct Reader<K: Kind> {
    pipe: Arc<Pipe<K::Batch>>,
    /// What is left of the batch that was taken last.
    messages: <K::Batch as Batch>::Messages,
    limit: usize,
    finished: bool,
}

impl<K: Kind> Receiver<K> for Reader<K> {
    #[inline]
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<K::Message, TransportError>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        loop {
            if let Some(message) = self.messages.next() {
                let size = K::Batch::message_len(&message);
                if size <= self.limit {
                    return Poll::Ready(Some(Ok(message)));
                }
                self.abandon();
                return Poll::Ready(Some(Err(TransportError::TooLarge { size, limit: self.limit })));
            }
            // A queue that is never empty must yield to other tasks now and then, as a socket does.
            let budget = ready!(coop::poll_proceed(cx));
            let mut queue = self.pipe.queue.lock();
            let Some(batch) = queue.batches.pop_front() else {
                if queue.ended {
                    self.finished = true;
                    return Poll::Ready(None);
                }
                return queue.wait(cx);
            };
            let waiting = queue.waiting.take();
            drop(queue);
            if let Some(waker) = waiting {
                waker.wake();
            }
            budget.made_progress();
            self.messages = batch.into_messages();
        }
    }
}

impl<K: Kind> Reader<K> {
    fn abandon(&mut self) {
        self.finished = true;
        self.messages = K::Batch::default().into_messages();
        let unread = self.pipe.update(|queue| {
            queue.abandoned = true;
            std::mem::take(&mut queue.batches)
        });
        drop(unread);
    }
}

impl<K: Kind> Drop for Reader<K> {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Who listens in this process, by name.
static LISTENERS: Mutex<BTreeMap<String, mpsc::Sender<Memory<kind::Bytes>>>> = Mutex::new(BTreeMap::new());

/// Takes connections made to a name; the name is free again when this is dropped.
#[derive(Debug)]
pub struct Listener {
    name: String,
    incoming: mpsc::Receiver<Memory<kind::Bytes>>,
    limits: Limits,
}

/// Listens on `name`, in this process only.
///
/// # Errors
///
/// [`TransportError::AddressInUse`] while another listener has the name.
pub fn listen(name: &str, limits: &Limits) -> Result<Listener, TransportError> {
    let (sender, incoming) = mpsc::channel(BACKLOG);
    let mut listeners = LISTENERS.lock();
    if listeners.contains_key(name) {
        return Err(TransportError::AddressInUse { address: format!("memory:{name}") });
    }
    listeners.insert(name.to_owned(), sender);
    Ok(Listener { name: name.to_owned(), incoming, limits: *limits })
}

/// Connects to the listener on `name`; waits while its backlog is full.
///
/// # Errors
///
/// [`TransportError::NotFound`] when nobody listens.
pub async fn connect(name: &str, limits: &Limits) -> Result<Memory<kind::Bytes>, TransportError> {
    let listener = LISTENERS.lock().get(name).cloned();
    let (ours, theirs) = named_pair(name, CAPACITY, limits);
    match listener {
        Some(listener) if listener.send(theirs).await.is_ok() => Ok(ours),
        _ => Err(TransportError::NotFound { address: format!("memory:{name}") }),
    }
}

impl Listener {
    /// The next connection. Never fails, since this listener keeps its own name alive.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Memory<kind::Bytes>> {
        match ready!(self.incoming.poll_recv(cx)) {
            Some(connection) => Poll::Ready(connection.with_limits(&self.limits)),
            // The map holds a sender for as long as this listener lives.
            None => Poll::Pending,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENERS.lock().remove(&self.name);
    }
}
