//! A transport with an encoding of its own: Cap'n Web in CBOR, where bytes are bytes and not base64 in JSON.
//!
//! A session that is given a transport of values hands it trees. All that is left to do is to write them down.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use opendo::prelude::*;
use opendo::transport::{
    ByteStream, Connection, Frames, Limits, Peer, Receiver, Sender, Sent, Transport, TransportError, Tree,
    Trees, kind,
};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

/// Values over any transport of bytes.
struct Cbor<T>(T);

struct Encoding {
    frames: Frames,
    sender: Box<dyn Sender<kind::Bytes>>,
}

struct Decoding(Box<dyn Receiver<kind::Bytes>>);

impl<T: Transport<Kind = kind::Bytes>> Transport for Cbor<T> {
    type Kind = kind::Value;

    fn peer(&self) -> Peer {
        self.0.peer()
    }

    fn split(self) -> (Box<dyn Sender<kind::Value>>, Box<dyn Receiver<kind::Value>>) {
        let (sender, receiver) = self.0.split();
        (Box::new(Encoding { frames: Frames::default(), sender }), Box::new(Decoding(receiver)))
    }
}

impl Sender<kind::Value> for Encoding {
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut Trees) -> Poll<Result<Sent, TransportError>> {
        while let Some(tree) = batch.pop_front() {
            let mut message = Vec::new();
            ciborium::into_writer(&tree, &mut message).map_err(protocol)?;
            self.frames.push(&message);
        }
        self.sender.poll_send(cx, &mut self.frames)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sender.poll_close(cx)
    }
}

impl Receiver<kind::Value> for Decoding {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Tree, TransportError>>> {
        Poll::Ready(ready!(self.0.poll_receive(cx)).map(|message| decode(&message?)))
    }
}

fn decode(message: &Bytes) -> Result<Tree, TransportError> {
    /// Of a tree's own limit, and a level for each array and its elements.
    const DEEPEST: usize = 1024;
    ciborium::de::from_reader_with_recursion_limit(&message[..], DEEPEST).map_err(protocol)
}

fn protocol(error: impl std::fmt::Display) -> TransportError {
    TransportError::Protocol { what: format!("no CBOR: {error}") }
}

/// What is on the other end of a pipe, a serial line, a tunnel, …
fn over<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Connection<kind::Value> {
    let (read, write) = tokio::io::split(stream);
    Connection::new(Cbor(ByteStream::new(read, write, Peer::local("pipe", "cbor"), &Limits::default())))
}

struct Album {
    pictures: Vec<ByteBuf>,
}

#[durable_object]
impl Album {
    pub fn add(&mut self, picture: ByteBuf) -> usize {
        self.pictures.push(picture);
        self.pictures.len()
    }

    pub fn last(&self) -> Option<ByteBuf> {
        self.pictures.last().cloned()
    }
}

impl DurableObject for Album {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { pictures: Vec::new() })
    }
}

#[tokio::main]
async fn main() -> opendo::Result<()> {
    let node = Node::builder().object::<Album>().start().await?;
    let client = Client::over(move || {
        let node = node.clone();
        async move {
            let (ours, theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move { node.serve_connection(over(theirs)).await });
            Ok(over(ours))
        }
    })
    .connect()
    .await?;

    let album: AlbumStub = client.get("summer");
    let picture = ByteBuf::from(vec![0xff; 100_000]);
    println!("pictures: {}", album.add(picture.clone()).await?);
    println!("the same: {}", album.last().await?.as_ref() == Some(&picture));
    client.close().await;
    Ok(())
}
