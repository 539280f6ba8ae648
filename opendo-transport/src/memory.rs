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

#[cfg(test)]
mod tests {
    use futures_test::task::new_count_waker;

    use super::*;
    use crate::{Frames, Lines};

    fn lines(text: &str) -> Lines {
        let mut lines = Lines::default();
        text.split(' ').for_each(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn a_full_pipe_makes_the_writer_wait_for_the_reader() {
        let (left, right) = pair::<kind::Text>(0);
        let (mut sender, mut receiver) = (left.writer, right.reader);
        let ((write_waker, writing), (read_waker, reading)) = (new_count_waker(), new_count_waker());
        let mut write_cx = Context::from_waker(&write_waker);
        let mut read_cx = Context::from_waker(&read_waker);

        assert!(receiver.poll_receive(&mut read_cx).is_pending());
        let mut batch = lines("a b");
        assert!(matches!(sender.poll_send(&mut write_cx, &mut batch), Poll::Ready(Ok(Sent::Size(2)))));
        assert_eq!(reading.get(), 1);

        batch.push("c".to_owned());
        assert!(sender.poll_send(&mut write_cx, &mut batch).is_pending());
        assert_eq!(batch.len(), 1);
        for (expected, woken) in [("a", 1), ("b", 1)] {
            let message = receiver.poll_receive(&mut read_cx);
            assert!(matches!(message, Poll::Ready(Some(Ok(ref got))) if got == expected), "{message:?}");
            assert_eq!(writing.get(), woken);
        }
        assert!(sender.poll_send(&mut write_cx, &mut batch).is_ready());
        assert!(matches!(receiver.poll_receive(&mut read_cx), Poll::Ready(Some(Ok(ref got))) if got == "c"));

        assert!(receiver.poll_receive(&mut read_cx).is_pending());
        drop(sender);
        assert_eq!(reading.get(), 2);
        assert!(matches!(receiver.poll_receive(&mut read_cx), Poll::Ready(None)));
    }

    #[test]
    fn a_reader_that_goes_wakes_the_writer() {
        let (left, right) = pair::<kind::Text>(1);
        let mut sender = left.writer;
        let (waker, count) = new_count_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(sender.poll_send(&mut cx, &mut lines("a")).is_ready());
        let mut batch = lines("b");
        assert!(sender.poll_send(&mut cx, &mut batch).is_pending());
        drop(right);
        assert_eq!(count.get(), 1);
        assert!(matches!(sender.poll_send(&mut cx, &mut batch), Poll::Ready(Err(TransportError::Closed))));
    }

    #[tokio::test]
    async fn batches_are_moved_not_copied() {
        let (left, right) = pair::<kind::Bytes>(1);
        let (mut sender, _) = left.split();
        let (_, mut receiver) = right.split();
        let mut batch = Frames::default();
        batch.push(&[7; 1000]);
        let place = batch.front().unwrap().as_ptr();
        sender.send(&mut batch).await.unwrap();
        assert_eq!(receiver.receive().await.unwrap().unwrap().as_ptr(), place);
    }

    #[tokio::test]
    async fn a_busy_pipe_yields_to_other_tasks() {
        let (left, right) = pair::<kind::Bytes>(1);
        let (mut sender, _left) = left.split();
        let (_right, mut receiver) = right.split();
        // Neither half ever has a reason to wait.
        let busy = tokio::spawn(async move {
            let mut batch = Frames::default();
            loop {
                batch.push(b"again");
                sender.send(&mut batch).await.unwrap();
                receiver.receive().await.unwrap().unwrap();
            }
        });
        tokio::task::yield_now().await;
        busy.abort();
        assert!(busy.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn names_are_taken_and_freed() {
        let limits = Limits { max_message: 3 };
        let name = "names_are_taken_and_freed";
        assert!(matches!(connect(name, &limits).await, Err(TransportError::NotFound { .. })));
        let mut listener = listen(name, &limits).unwrap();
        assert!(matches!(listen(name, &limits), Err(TransportError::AddressInUse { .. })));

        let left = connect(name, &Limits::default()).await.unwrap();
        let right = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
        assert_eq!(right.peer().to_string(), format!("memory {name}"));
        drop(listener);
        assert!(matches!(connect(name, &limits).await, Err(TransportError::NotFound { .. })));
        drop(listen(name, &limits).unwrap());

        // Connections outlive their listener, each side with its own limits.
        let ((mut left, _), (_, mut right)) = (left.split(), right.split());
        let mut batch = Frames::default();
        batch.push(b"yes");
        batch.push(b"much");
        left.send(&mut batch).await.unwrap();
        assert_eq!(right.receive().await.unwrap().unwrap(), "yes");
        let error = right.receive().await.unwrap().unwrap_err();
        assert!(matches!(error, TransportError::TooLarge { size: 4, limit: 3 }));
        assert!(right.receive().await.is_none());
        batch.push(b"no");
        assert!(matches!(left.send(&mut batch).await, Err(TransportError::Closed)));
    }

    #[tokio::test]
    async fn the_backlog_is_bounded() {
        let limits = Limits::default();
        let mut listener = listen("the_backlog_is_bounded", &limits).unwrap();
        let mut waiting = Vec::new();
        for _ in 0..BACKLOG {
            waiting.push(connect("the_backlog_is_bounded", &limits).await.unwrap());
        }
        let one_more = tokio::spawn(async move { connect("the_backlog_is_bounded", &limits).await.is_ok() });
        tokio::task::yield_now().await;
        assert!(!one_more.is_finished());
        std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
        assert!(one_more.await.unwrap());
    }
}
