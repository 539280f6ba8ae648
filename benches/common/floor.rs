//! The floor: the least that the same calls cost when they are written by hand, on the same runtime.
//!
//! In process: an actor task behind an mpsc channel, answers over oneshot channels. Between processes: postcard
//! messages behind their lengths, matched by number. Reader task → object task → writer task on the server; pending
//! slots, a reader and a writer on the client. Both writers gather: with several calls in flight they let the other
//! tasks append theirs first. No ids, no order between objects, no errors, no cancellation, no limits.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::subject::Subject;

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Increment(u64),
    Echo(ByteBuf),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Value(u64),
    Data(ByteBuf),
}

/// The object itself.
#[derive(Default)]
struct Counter(u64);

impl Counter {
    fn handle(&mut self, request: Request) -> Reply {
        match request {
            Request::Increment(by) => {
                self.0 += by;
                Reply::Value(self.0)
            }
            Request::Echo(data) => Reply::Data(data),
        }
    }
}

// ---- in process

/// A counter behind a mailbox.
#[derive(Clone)]
pub(crate) struct Actor(mpsc::Sender<(Request, oneshot::Sender<Reply>)>);

impl Actor {
    pub(crate) fn spawn() -> Self {
        let (mailbox, mut calls) = mpsc::channel::<(Request, oneshot::Sender<Reply>)>(1024);
        tokio::spawn(async move {
            let mut counter = Counter::default();
            while let Some((request, reply)) = calls.recv().await {
                let _ = reply.send(counter.handle(request)); // nobody waits: nobody minds
            }
        });
        Self(mailbox)
    }

    async fn call(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        self.0.send((request, reply)).await.expect("the actor runs");
        answer.await.expect("the actor answers")
    }
}

// ---- messages and streams

type Read = Box<dyn AsyncRead + Send + Unpin>;
type Write = Box<dyn AsyncWrite + Send + Unpin>;

/// Messages on their way out, and the one who waits for them.
#[derive(Default)]
struct Outbox {
    bytes: Mutex<Vec<u8>>,
    more: Notify,
    /// Calls that have begun on this side and not ended.
    in_flight: AtomicUsize,
}

impl Outbox {
    fn push(&self, message: &impl Serialize) {
        let mut bytes = self.bytes.lock().expect("no panics");
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        *bytes = postcard::to_extend(message, std::mem::take(&mut *bytes)).expect("encodable");
        let size = (bytes.len() - start - 4) as u32;
        bytes[start..start + 4].copy_from_slice(&size.to_le_bytes());
        drop(bytes);
        self.more.notify_one();
    }

    async fn write_all(self: Arc<Self>, mut to: Write) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            if self.in_flight.load(Ordering::Relaxed) > 1 {
                tokio::task::yield_now().await; // others append theirs: one system call for all
            }
            std::mem::swap(&mut *self.bytes.lock().expect("no panics"), &mut batch);
            if batch.is_empty() {
                self.more.notified().await;
            } else {
                to.write_all(&batch).await?;
                batch.clear();
            }
        }
    }
}

/// Hands every message to `each`, until the stream ends.
async fn read_all<T: for<'a> Deserialize<'a>>(mut from: Read, mut each: impl FnMut(T)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..];
        while let Some((prefix, tail)) = rest.split_first_chunk() {
            let size = u32::from_le_bytes(*prefix) as usize;
            let Some((message, tail)) = tail.split_at_checked(size) else { break };
            each(postcard::from_bytes(message).expect("the peer is this program"));
            rest = tail;
        }
        let done = buffer.len() - rest.len();
        buffer.drain(..done);
        buffer.reserve(16 * 1024);
    }
}

// ---- the server

async fn serve_connection(from: Read, to: Write) {
    let outbox = Arc::new(Outbox::default());
    tokio::spawn(outbox.clone().write_all(to));
    let (mailbox, mut calls) = mpsc::unbounded_channel();
    let replies = outbox.clone();
    tokio::spawn(async move {
        let mut counter = Counter::default();
        while let Some((id, request)) = calls.recv().await {
            replies.push(&(id, counter.handle(request)));
            replies.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    });
    let _ = read_all(from, |call: (u32, Request)| {
        outbox.in_flight.fetch_add(1, Ordering::Relaxed);
        let _ = mailbox.send(call);
    })
    .await;
}

/// Serves one counter per connection at `tcp://…` or `unix:…`; returns where.
pub(crate) async fn serve(address: &str) -> io::Result<String> {
    if let Some(path) = address.strip_prefix("unix:") {
        let listener = UnixListener::bind(path)?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (read, write) = stream.into_split();
                tokio::spawn(serve_connection(Box::new(read), Box::new(write)));
            }
        });
        return Ok(address.to_owned());
    }
    let listener = TcpListener::bind(address.trim_start_matches("tcp://")).await?;
    let address = format!("tcp://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (read, write) = stream.into_split();
            tokio::spawn(serve_connection(Box::new(read), Box::new(write)));
        }
    });
    Ok(address)
}

// ---- the client

/// One connection to a served counter.
#[derive(Clone)]
pub(crate) struct Connection {
    outbox: Arc<Outbox>,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Default)]
struct Pending {
    slots: Vec<Option<oneshot::Sender<Reply>>>,
    free: Vec<u32>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        let (read, write): (Read, Write) = if let Some(path) = address.strip_prefix("unix:") {
            let (read, write) = UnixStream::connect(path).await?.into_split();
            (Box::new(read), Box::new(write))
        } else {
            let stream = TcpStream::connect(address.trim_start_matches("tcp://")).await?;
            stream.set_nodelay(true)?;
            let (read, write) = stream.into_split();
            (Box::new(read), Box::new(write))
        };
        let this = Self { outbox: Arc::default(), pending: Arc::default() };
        tokio::spawn(this.outbox.clone().write_all(write));
        let reader = this.clone();
        tokio::spawn(read_all(read, move |(id, reply): (u32, Reply)| {
            let mut pending = reader.pending.lock().expect("no panics");
            let caller = pending.slots[id as usize].take();
            pending.free.push(id);
            drop(pending);
            reader.outbox.in_flight.fetch_sub(1, Ordering::Relaxed);
            let _ = caller.map(|caller| caller.send(reply));
        }));
        Ok(this)
    }

    async fn call(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let id = {
            let mut pending = self.pending.lock().expect("no panics");
            let id = pending.free.pop().unwrap_or_else(|| {
                pending.slots.push(None);
                pending.slots.len() as u32 - 1
            });
            pending.slots[id as usize] = Some(reply);
            id
        };
        self.outbox.in_flight.fetch_add(1, Ordering::Relaxed);
        self.outbox.push(&(id, request));
        answer.await.expect("the server answers")
    }
}

macro_rules! subject {
    ($it:ty) => {
        impl Subject for $it {
            async fn increment(&self, by: u64) -> u64 {
                match self.call(Request::Increment(by)).await {
                    Reply::Value(value) => value,
                    Reply::Data(_) => unreachable!("a number is answered by a number"),
                }
            }

            async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
                match self.call(Request::Echo(ByteBuf::from(data))).await {
                    Reply::Data(data) => data.into_vec(),
                    Reply::Value(_) => unreachable!("bytes are answered by bytes"),
                }
            }
        }
    };
}

subject!(Actor);
subject!(Connection);
