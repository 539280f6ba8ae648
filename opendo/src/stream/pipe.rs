//! What lies between the writer of a stream and its reader, at the reader's side.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::{FutureExt, Stream};
use parking_lot::{Mutex, MutexGuard};

use super::{Chunk, aborted};
use crate::encoding::Form;
use crate::node::WeakNode;
use crate::object::control::KeepAlive;
use crate::rpc::cap::{Capability, Known, Reference};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, RemoteReply};
use crate::rpc::remote::Remote;
use crate::rpc::stub::Broken;
use crate::rpc::wire::decode_body;
use crate::stream::outlet::{ABORT, CLOSE, INTERFACE, WRITE, size_of};

/// Values of this process that may wait unread.
const WAITING: usize = 16;

/// A value in a pipe.
pub(super) enum Piece<T> {
    Moved(T),
    Encoded(Chunk),
}

struct Entry<T> {
    piece: Piece<T>,
    size: usize,
    /// Answered when the value is read.
    write: Option<RemoteReply>,
}

struct Shared<T> {
    queue: VecDeque<Entry<T>>,
    bytes: usize,
    max_bytes: usize,
    /// Nothing comes after what is in the queue: why.
    end: Option<Result<(), RpcError>>,
    /// Answered when the reader has come to it.
    closing: Option<RemoteReply>,
    reader: Option<Waker>,
    /// Why, if there is none any more.
    reader_gone: Option<RpcError>,
    /// Tells a writer that is elsewhere.
    on_drop: Option<Box<dyn FnOnce() + Send>>,
    writers: Vec<Waker>,
    /// Keeps the object that made the pipe in memory, as long as there is a reader.
    kept: Option<KeepAlive>,
}

/// The writing end. Dropped before its end, it ends the stream with an error.
pub(super) struct Writer<T>(Arc<Mutex<Shared<T>>>);

/// The reading end.
pub(super) struct Reader<T>(Arc<Mutex<Shared<T>>>);

pub(super) fn pipe<T>(max_bytes: usize) -> (Writer<T>, Reader<T>) {
    let shared = Arc::new(Mutex::new(Shared {
        queue: VecDeque::new(),
        bytes: 0,
        max_bytes,
        end: None,
        closing: None,
        reader: None,
        reader_gone: None,
        on_drop: None,
        writers: Vec::new(),
        kept: None,
    }));
    (Writer(shared.clone()), Reader(shared))
}

pub(crate) fn reader_gone() -> RpcError {
    aborted("the reader of the stream is gone")
}

impl<T> Writer<T> {
    /// Ready when a value of this process may be written.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        self.poll_until(cx, |shared| shared.queue.len() < WAITING)
    }

    /// Ready when everything was read.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), RpcError>> {
        self.poll_until(cx, |shared| shared.queue.is_empty())
    }

    fn poll_until(
        &self,
        cx: &mut Context<'_>,
        reached: impl Fn(&Shared<T>) -> bool,
    ) -> Poll<Result<(), RpcError>> {
        let mut shared = self.0.lock();
        if let Some(gone) = &shared.reader_gone {
            return Poll::Ready(Err(gone.clone()));
        }
        if reached(&shared) {
            return Poll::Ready(Ok(()));
        }
        if !shared.writers.iter().any(|known| known.will_wake(cx.waker())) {
            shared.writers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn push(&self, value: T) -> Result<(), RpcError> {
        let shared = self.0.lock();
        if let Some(gone) = &shared.reader_gone {
            return Err(gone.clone());
        }
        if let Some(end) = &shared.end {
            return end.clone().and(Err(aborted("the stream was closed")));
        }
        add(shared, Entry { piece: Piece::Moved(value), size: 0, write: None });
        Ok(())
    }

    /// Nothing more is written; the first end counts.
    pub(super) fn end(&self, end: Result<(), RpcError>) {
        let mut shared = self.0.lock();
        shared.end.get_or_insert(end);
        let reader = shared.reader.take();
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The end, for a writer that is told when the reader has come to it.
    fn close(&self, reply: RemoteReply) {
        let mut shared = self.0.lock();
        if let Some(gone) = &shared.reader_gone {
            // As it is told in this process, whether it comes before this or behind it.
            let gone = gone.clone();
            drop(shared);
            return reply.fail(gone);
        }
        let reply = if shared.end.is_some() { Some(reply) } else { shared.closing.replace(reply) };
        drop(shared);
        self.end(Ok(()));
        if let Some(reply) = reply {
            answer(reply);
        }
    }

    fn accept(&self, call: Incoming) {
        let Incoming { reply, args, .. } = call;
        let mut shared = self.0.lock();
        let size = size_of(&args.bytes);
        let refusal = if let Some(gone) = &shared.reader_gone {
            Some(gone.clone())
        } else if let Some(end) = &shared.end {
            Some(end.clone().err().unwrap_or_else(|| aborted("the stream was closed")))
        } else if shared.bytes > shared.max_bytes {
            // It had room for one more than that: whoever writes this does not wait for answers.
            let text = format!("{} bytes of a stream wait for their reader", shared.bytes);
            let error = RpcError::new(ErrorKind::Overloaded, text);
            shared.end = Some(Err(error.clone()));
            Some(error)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(shared);
            return reply.fail(refusal);
        }
        add(shared, Entry { piece: Piece::Encoded(args), size, write: Some(reply) });
    }
}

fn add<T>(mut shared: MutexGuard<'_, Shared<T>>, entry: Entry<T>) {
    shared.bytes += entry.size;
    shared.queue.push_back(entry);
    let reader = shared.reader.take();
    drop(shared);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.end(Err(aborted("the stream was dropped without being closed")));
    }
}

impl<T> Reader<T> {
    /// Reads no more: whoever writes learns why.
    pub(super) fn cancel(self, why: RpcError) {
        self.0.lock().reader_gone = Some(why);
    }

    /// Has this dropped with the reader.
    pub(super) fn keep(&self, kept: Option<KeepAlive>) {
        self.0.lock().kept = kept;
    }

    /// Has `tell` called when the reader is dropped before the stream's end.
    pub(super) fn on_drop(&mut self, tell: impl FnOnce() + Send + 'static) {
        self.0.lock().on_drop = Some(Box::new(tell));
    }
}

pub(super) fn answer(reply: RemoteReply) {
    reply.done("write");
}

impl<T> Stream for Reader<T> {
    type Item = Result<Piece<T>, RpcError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.0.lock();
        if let Some(Entry { piece, size, write }) = shared.queue.pop_front() {
            shared.bytes -= size;
            let writers = std::mem::take(&mut shared.writers);
            drop(shared);
            writers.into_iter().for_each(Waker::wake);
            if let Some(write) = write {
                answer(write);
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match &mut shared.end {
            Some(end) => {
                let end = std::mem::replace(end, Ok(()));
                let closing = shared.closing.take();
                drop(shared);
                if let Some(closing) = closing {
                    answer(closing);
                }
                Poll::Ready(end.err().map(Err))
            }
            None => {
                shared.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        let is_content = shared.reader_gone.is_none();
        let gone = shared.reader_gone.get_or_insert_with(reader_gone).clone();
        let queue = std::mem::take(&mut shared.queue);
        let closing = shared.closing.take();
        let _kept = shared.kept.take();
        let was_read = is_content && queue.is_empty();
        shared.bytes = 0;
        let writers = std::mem::take(&mut shared.writers);
        let on_drop = shared.on_drop.take().filter(|_| shared.end.is_none());
        drop(shared);
        writers.into_iter().for_each(Waker::wake);
        if let Some(on_drop) = on_drop {
            on_drop();
        }
        for entry in queue {
            if let Some(write) = entry.write {
                write.fail(gone.clone());
            }
        }
        match closing {
            Some(closing) if was_read => answer(closing),
            Some(closing) => closing.fail(gone),
            None => {}
        }
    }
}

/// Which method of a sink is called.
#[cfg_attr(not(feature = "capnweb"), allow(clippy::unnecessary_wraps))]
pub(super) fn method_of(call: &mut Incoming) -> Result<u32, RpcError> {
    match call.member.take() {
        #[cfg(feature = "capnweb")]
        Some(member) => crate::rpc::capnweb::method_of_sink(&member, &INTERFACE),
        _ => Ok(call.method),
    }
}

/// Why the writer aborts.
pub(super) fn reason_of(call: &Incoming) -> RpcError {
    match call.args.form {
        Form::Postcard => {
            let reason: Result<String, _> = decode_body(&call.args.bytes, "the reason of an abort");
            reason.map_or_else(|error| error, aborted)
        }
        #[cfg(feature = "capnweb")]
        Form::CapnWeb => crate::rpc::capnweb::reason_of(&call.args),
    }
}

/// The writing end of a pipe, as others call it.
pub(super) struct SinkTarget<T>(pub(super) Arc<Writer<T>>);

impl<T: Send + 'static> Capability for SinkTarget<T> {
    fn deliver(&self, mut call: Incoming) {
        match method_of(&mut call) {
            Ok(method) => call.method = method,
            Err(error) => return call.reply.fail(error),
        }
        if call.method == WRITE.id {
            return self.0.accept(call);
        }
        if call.method == CLOSE.id {
            return self.0.close(call.reply);
        }
        if call.method == ABORT.id {
            self.0.end(Err(reason_of(&call)));
        } else {
            return call.no_such_method();
        }
        answer(call.reply);
    }

    fn remote(&self) -> Option<&Remote> {
        None
    }

    fn interface(&self) -> Known {
        Known::Here(const { &INTERFACE })
    }

    fn hosted(&self, _: &WeakNode) -> Option<Reference<'_>> {
        None
    }

    fn broken(&self) -> Broken {
        let shared = Arc::downgrade(&self.0.0);
        std::future::poll_fn(move |cx| {
            let Some(shared) = shared.upgrade() else { return Poll::Ready(reader_gone()) };
            let mut shared = shared.lock();
            if let Some(gone) = &shared.reader_gone {
                return Poll::Ready(gone.clone());
            }
            if !shared.writers.iter().any(|known| known.will_wake(cx.waker())) {
                shared.writers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .boxed()
    }

    fn missed(&self, error: &RpcError) {
        // A value is missing: what comes later is not read.
        self.0.end(Err(error.clone()));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
