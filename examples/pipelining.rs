//! Calls on results that have not arrived: three calls, each on the result of the one before, in one round trip.
//!
//! The messages of a real connection are counted: how many go each way, and how often the client had to wait for the
//! server before it could go on.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use opendo::prelude::*;
use opendo::transport::{Address, Connection, Frames, Peer, Sent, Transport, TransportError, kind};
use opendo::transport::{Limits, Receiver, Sender};

/// What a stranger can call.
struct Api;

#[rpc_target]
impl Api {
    pub async fn authenticate(&self, token: String) -> Result<UserStub, String> {
        match &*token {
            "sesame" => Ok(opendo::serve(User)),
            _ => Err("who are you?".into()),
        }
    }
}

/// What somebody who has logged in can call.
struct User;

#[rpc_target]
impl User {
    pub fn profile(&self) -> ProfileStub {
        opendo::serve(Profile { name: "Ann".into() })
    }
}

struct Profile {
    name: String,
}

#[rpc_target]
impl Profile {
    pub fn name(&self) -> String {
        self.name.clone()
    }
}

// One thread, so that what is sent together does not depend on who is quicker.
#[tokio::main(flavor = "current_thread")]
async fn main() -> opendo::Result<()> {
    let node = Node::builder().accept(|_| Ok(opendo::serve::<ApiStub, _>(Api))).start().await?;
    let address = node.listen("tcp://127.0.0.1:0").await?;

    let (client, traffic) = connect(&address).await?;
    let api: ApiStub = client.root();
    let user = api.authenticate("sesame".into()).await?;
    let profile = user.profile().await?;
    println!("awaiting each:  {}; {}", profile.name().await?, traffic.so_far());

    let (client, traffic) = connect(&address).await?;
    let api: ApiStub = client.root();
    let name = api.authenticate("sesame".into()).profile().name();
    println!("awaiting one:   {}; {}", name.await?, traffic.so_far());

    // When one fails, so do those that needed its result, in the same round trip.
    let (client, traffic) = connect(&address).await?;
    let api: ApiStub = client.root();
    let user = api.authenticate("guess".into());
    let name = user.profile().name();
    println!("unknown token:  {}; {}", name.await.unwrap_err(), traffic.so_far());
    println!("because:        {}", user.await.unwrap_err());
    Ok(())
}

/// A client on a connection of its own, with a tap on it.
async fn connect(address: &Address) -> opendo::Result<(Client, Tap)> {
    let (tap, address) = (Tap::default(), address.clone());
    let client = Client::over({
        let tap = tap.clone();
        move || {
            let (tap, address) = (tap.clone(), address.clone());
            async move {
                let connection = address.connect(&Limits::default()).await?;
                Ok(Connection::new(Tapped { connection, tap }))
            }
        }
    });
    let client = client.connect().await?;
    *tap.0.lock().unwrap() = Traffic::default(); // not the hellos
    Ok((client, tap))
}

/// Sees the messages of a connection.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Traffic>>);

#[derive(Default)]
struct Traffic {
    sent: usize,
    received: usize,
    /// How often something was sent and then something received.
    round_trips: usize,
    sent_last: bool,
}

impl Tap {
    fn sent(&self, messages: usize) {
        let mut traffic = self.0.lock().unwrap();
        traffic.sent += messages;
        traffic.sent_last |= messages > 0;
    }

    fn received(&self) {
        let mut traffic = self.0.lock().unwrap();
        traffic.received += 1;
        traffic.round_trips += usize::from(std::mem::take(&mut traffic.sent_last));
    }

    fn so_far(&self) -> String {
        let Traffic { sent, received, round_trips, .. } = &*self.0.lock().unwrap();
        format!("round trips: {round_trips} (messages: {sent} out, {received} in)")
    }
}

/// A connection with a tap on it: a transport around a transport.
struct Tapped {
    connection: Connection<kind::Bytes>,
    tap: Tap,
}

impl Transport for Tapped {
    type Kind = kind::Bytes;

    fn peer(&self) -> Peer {
        self.connection.peer()
    }

    fn split(self) -> (Box<dyn Sender<kind::Bytes>>, Box<dyn Receiver<kind::Bytes>>) {
        let (sender, receiver) = self.connection.split();
        (Box::new(TappedSender(sender, self.tap.clone())), Box::new(TappedReceiver(receiver, self.tap)))
    }
}

struct TappedSender(Box<dyn Sender<kind::Bytes>>, Tap);

impl Sender<kind::Bytes> for TappedSender {
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut Frames) -> Poll<Result<Sent, TransportError>> {
        let waiting = batch.len();
        let polled = self.0.poll_send(cx, batch);
        self.1.sent(waiting - batch.len());
        polled
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_close(cx)
    }
}

struct TappedReceiver(Box<dyn Receiver<kind::Bytes>>, Tap);

impl Receiver<kind::Bytes> for TappedReceiver {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<bytes::Bytes, TransportError>>> {
        let polled = self.0.poll_receive(cx);
        if let Poll::Ready(Some(Ok(_))) = polled {
            self.1.received();
        }
        polled
    }
}
