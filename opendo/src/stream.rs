//! Streams: many values, one after the other, at the pace of their reader.
//!
//! A stream that travels is a writer and a pipe: the side that has the values writes them, one call each, into a pipe
//! at the side that reads. A write is answered when its value was read, and how many bytes may be unanswered is the
//! [flow controller's](flow) business; so a slow reader slows the writer, wherever they are.

pub(crate) mod feed;
mod flow;
mod outlet;
mod pipe;
mod relay;
pub(crate) mod resume;
mod said;
mod sink;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{self, Serialize, Serializer};
use tokio::sync::watch;

use crate::encoding::{self, Encoded, Form, Shape};
use crate::rpc::any_core::AnyCore;
use crate::rpc::cap::{Cap, Passed, complain, pass, passed};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::limits::Limits;
use outlet::Outlet;
pub(crate) use pipe::reader_gone;
use pipe::{Piece, Reader, SinkTarget};
use said::{keep_alive, said};
pub use sink::RpcSink;
#[cfg(feature = "capnweb")]
pub(crate) use sink::SINK;
use sink::Target;

/// An encoded value of a stream: the argument of a write.
pub(crate) type Chunk = Encoded;

type ChunkStream = BoxStream<'static, Result<Chunk, RpcError>>;

/// The values of a stream on their way into a message.
pub(crate) struct Chunks {
    /// Gives them in an encoding, if it knows their type.
    open: Box<dyn FnOnce(Form) -> ChunkStream + Send>,
    /// Only the newest value counts: one at a time is under way.
    latest: bool,
}

impl Chunks {
    fn new(latest: bool, open: impl FnOnce(Form) -> ChunkStream + Send + 'static) -> Self {
        Self { open: Box::new(open), latest }
    }

    /// Pieces of something that is all there.
    #[cfg(feature = "capnweb")]
    pub(crate) fn of_bytes(pieces: impl Iterator<Item = bytes::Bytes> + Send + 'static) -> Self {
        Self::new(false, move |form| stream::iter(pieces).map(move |piece| encode(form, &piece)).boxed())
    }

    pub(crate) fn open(self, form: Form) -> ChunkStream {
        (self.open)(form)
    }
}

/// What can be in a stream: the types that can be arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in a stream",
    label = "not `Serialize + DeserializeOwned + Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait Streamed: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Streamed for T {}

/// A stream of values, as an argument or result of a remote method, or a value inside one.
///
/// It is a [`Stream`] of `Result<T, RpcError>`: after an error it ends. Within a process the values move; over a
/// session they are encoded and written at the reader's pace. The source is asked for the next value only when there
/// is room for it, so what waits anywhere is bounded; see [`Limits::max_stream_buffer`]. Values may be or hold stubs
/// and streams.
///
/// Dropping it tells the writer: a source is dropped, and the next write to a sink fails. A stream that was passed on is no
/// longer here: reading or passing it again is an error.
///
/// ```
/// use futures::StreamExt;
/// use opendo::{RpcStream, prelude::*};
///
/// pub struct Numbers;
///
/// #[rpc_target]
/// impl Numbers {
///     pub fn up_to(&self, last: u64) -> RpcStream<u64> { RpcStream::from_iter(1..=last) }
///     pub async fn sum(&self, mut numbers: RpcStream<u64>) -> u64 {
///         let mut sum = 0;
///         while let Some(Ok(number)) = numbers.next().await { sum += number; }
///         sum
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let numbers: NumbersStub = opendo::serve(Numbers);
/// let stream = numbers.up_to(4).await?;
/// assert_eq!(numbers.sum(stream).await?, 10);
/// # Ok(()) }
/// ```
#[must_use = "a stream that is dropped tells its writer to stop"]
pub struct RpcStream<T>(Mutex<Source<T>>);

enum Source<T> {
    Pipe(Reader<T>),
    Own(BoxStream<'static, Result<T, RpcError>>, bool),
    Encoded(ChunkStream, bool),
    /// Passed on, or at its end.
    Over,
}

impl<T: Streamed> RpcStream<T> {
    /// The values of an iterator. It is advanced as the reader reads.
    #[allow(clippy::should_implement_trait)] // the iterator has to be `Send`
    pub fn from_iter<I>(values: I) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        Self::from_stream(stream::iter(values))
    }

    /// The values of a stream. It is polled as the reader reads, and dropped when the reader is gone.
    pub fn from_stream(values: impl Stream<Item = T> + Send + 'static) -> Self {
        Self::own(values.map(Ok).boxed(), false)
    }

    /// The values of a stream up to its first error, whose text the reader gets as
    /// [`Aborted`](ErrorKind::Aborted).
    pub fn try_from_stream<E: fmt::Display>(
        values: impl Stream<Item = Result<T, E>> + Send + 'static,
    ) -> Self {
        let values = values.map(|value| value.map_err(|error| aborted(error.to_string())));
        Self::own(values.boxed(), false)
    }

    /// The current value of a state and then, each time the reader has taken one, the newest if it has changed:
    /// what changes faster than it is read is skipped, not queued. It ends when the sender is dropped.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use opendo::RpcStream;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// let (state, changes) = tokio::sync::watch::channel(1_u64);
    /// let mut states = RpcStream::latest(changes);
    /// assert_eq!(states.next().await.unwrap()?, 1);
    /// state.send_replace(2);
    /// state.send_replace(3);
    /// assert_eq!(states.next().await.unwrap()?, 3);
    /// # Ok(()) }
    /// ```
    pub fn latest(mut states: watch::Receiver<T>) -> Self
    where
        T: Clone + Sync,
    {
        states.mark_changed();
        let values = stream::unfold(states, |mut states| async {
            states.changed().await.ok()?;
            let state = states.borrow_and_update().clone();
            Some((Ok(state), states))
        });
        Self::own(values.boxed(), true)
    }

    /// Reads no more, and tells the writer why: its next write fails with [`Aborted`](ErrorKind::Aborted) and this reason.
    pub fn cancel(self, reason: impl Into<String>) {
        if let Source::Pipe(reader) = self.0.into_inner() {
            reader.cancel(aborted(reason));
        }
    }

    fn own(values: BoxStream<'static, Result<T, RpcError>>, latest: bool) -> Self {
        Self(Mutex::new(Source::Own(said(values), latest)))
    }

    /// The values, encoded as they are asked for.
    fn take_chunks(&self) -> Option<Chunks> {
        match std::mem::replace(&mut *self.0.lock(), Source::Over) {
            Source::Over => None,
            Source::Encoded(chunks, latest) => Some(Chunks::new(latest, move |form| {
                chunks.map(move |chunk| translate::<T>(chunk?, form)).boxed()
            })),
            Source::Own(values, latest) => {
                Some(Chunks::new(latest, move |form| values.map(move |value| encode(form, &value?)).boxed()))
            }
            Source::Pipe(reader) => Some(Chunks::new(false, move |form| {
                let stream = stream::unfold(reader, move |mut reader| async move {
                    let piece = reader.next().await?;
                    let chunk = piece.and_then(|piece| match piece {
                        Piece::Moved(value) => encode(form, &value),
                        Piece::Encoded(chunk) => translate::<T>(chunk, form),
                    });
                    Some((chunk, reader))
                });
                stream.boxed()
            })),
        }
    }
}

fn aborted(reason: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Aborted, reason)
}

fn encode<T: Serialize + 'static>(form: Form, value: &T) -> Result<Chunk, RpcError> {
    encoding::encoded(form, Shape::Arguments, |out| out.append(value))
        .map_err(|error| RpcError::new(ErrorKind::Encode, format!("a value of a stream: {error}")))
}

fn translate<T: Streamed>(chunk: Chunk, form: Form) -> Result<Chunk, RpcError> {
    if chunk.form == form { Ok(chunk) } else { encode(form, &decode::<T>(chunk)?) }
}

pub(crate) fn decode<T: DeserializeOwned + 'static>(chunk: Chunk) -> Result<T, RpcError> {
    chunk
        .decode(&Shape::Arguments, |input| input.take())
        .map_err(|error| RpcError::new(ErrorKind::Decode, format!("a value of a stream: {error}")))
}

impl<T: Streamed> Stream for RpcStream<T> {
    type Item = Result<T, RpcError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let source = self.get_mut().0.get_mut();
        let next = match source {
            Source::Over => None,
            Source::Own(values, _) => ready!(values.poll_next_unpin(cx)),
            Source::Encoded(chunks, _) => {
                ready!(chunks.poll_next_unpin(cx)).map(|chunk| chunk.and_then(decode))
            }
            Source::Pipe(reader) => ready!(reader.poll_next_unpin(cx)).map(|piece| match piece? {
                Piece::Moved(value) => Ok(value),
                Piece::Encoded(chunk) => decode(chunk),
            }),
        };
        if !matches!(next, Some(Ok(_))) {
            *source = Source::Over;
        }
        Poll::Ready(next)
    }
}

impl<T> Unpin for RpcStream<T> {}

/// By this name an encoding that has a form of its own for streams recognises one.
pub(crate) const STREAM: &str = "$opendo::stream";

impl<T: Streamed> Serialize for RpcStream<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut passed_on = false;
        let place = pass(|| {
            let chunks = self.take_chunks();
            passed_on = chunks.is_none();
            Passed::Chunks(Arc::new(Mutex::new(chunks)))
        });
        if passed_on {
            return Err(ser::Error::custom(complain("the stream was passed on before, or read to its end")));
        }
        serializer.serialize_newtype_struct(STREAM, &place.map_err(|why| ser::Error::custom(complain(why)))?)
    }
}

impl<'de, T: Streamed> Deserialize<'de> for RpcStream<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match place::<D>(deserializer, STREAM)? {
            Passed::Chunks(chunks) => match chunks.lock().take() {
                Some(chunks) => {
                    let latest = chunks.latest;
                    Ok(Self(Mutex::new(Source::Encoded(chunks.open(Form::Postcard), latest))))
                }
                None => Err(de::Error::custom(complain("a stream that was taken before"))),
            },
            _ => Err(de::Error::custom(complain("something else where a stream was expected"))),
        }
    }
}

/// What is passed at the place that is encoded here.
pub(crate) fn place<'de, D: Deserializer<'de>>(
    deserializer: D,
    name: &'static str,
) -> Result<Passed, D::Error> {
    struct Newtype;

    impl<'de> de::Visitor<'de> for Newtype {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a stream")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<u32, D::Error> {
            u32::deserialize(inner)
        }
    }

    passed(deserializer.deserialize_newtype_struct(name, Newtype)?)
        .map_err(|why| de::Error::custom(complain(why)))
}

impl<T> fmt::Debug for RpcStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcStream").finish_non_exhaustive()
    }
}

/// Both ends of a stream: what is written to the one is read from the other, in order, wherever they are passed to.
///
/// Within the process a few values may wait unread.
///
/// ```
/// use futures::StreamExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let (mut sink, mut stream) = opendo::pipe::<String>();
/// tokio::spawn(async move {
///     sink.send("hello".into()).await?;
///     sink.close().await
/// });
/// assert_eq!(stream.next().await.unwrap()?, "hello");
/// assert!(stream.next().await.is_none());
/// # Ok(()) }
/// ```
pub fn pipe<T: Streamed>() -> (RpcSink<T>, RpcStream<T>) {
    let (writer, reader) = pipe::pipe(Limits::default().max_stream_buffer);
    reader.keep(keep_alive());
    (RpcSink::new(Target::Pipe(Arc::new(writer))), RpcStream(Mutex::new(Source::Pipe(reader))))
}

pub(crate) const SINK_INTERFACE: &str = outlet::INTERFACE.name;

/// Whether that is the writing end of a stream, of which nothing may be left out.
pub(crate) fn is_sink(interface: &str) -> bool {
    interface == outlet::INTERFACE.name
}

/// A pipe that the peer will write into: what it writes to, and what is read here.
pub(crate) fn pipe_from_peer(core: &Arc<dyn AnyCore>, id: i64) -> (Cap, Chunks) {
    enum Never {}
    let (writer, mut reader) = pipe::pipe::<Never>(core.life().limits.max_stream_buffer);
    let session = Arc::downgrade(core);
    reader.on_drop(move || {
        if let Some(session) = session.upgrade() {
            session.unread(id);
        }
    });
    // A stream that is read keeps the client that it comes by, as a stub does.
    let client = core.life().client();
    let chunks = reader.map(move |piece| {
        let _client = &client;
        piece.map(|piece| match piece {
            Piece::Encoded(chunk) => chunk,
            Piece::Moved(never) => match never {},
        })
    });
    (Arc::new(SinkTarget(Arc::new(writer))), Chunks::new(false, move |_| chunks.boxed()))
}

/// Writes a stream into the peer's pipe of that number, until one of its ends is gone.
pub(crate) fn pump_over(core: &Arc<dyn AnyCore>, id: i64, chunks: &Mutex<Option<Chunks>>) {
    // It may have been encoded twice: then the first place has it, and here nothing comes.
    let Some(chunks) = chunks.lock().take() else {
        return Outlet::into_pipe(core.clone(), id, false).abort(&aborted("the stream was taken elsewhere"));
    };
    let outlet = Outlet::into_pipe(core.clone(), id, chunks.latest);
    core.writes_to(id, outlet.object());
    let form = outlet.form();
    core.life().runtime.spawn(outlet.pump(chunks.open(form)));
}
