//! An object that takes, keeps, gives and calls what is passed to it, and a target to pass.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Mutex;

use futures::StreamExt;
use opendo::prelude::*;
use opendo::{Arg, RpcSink, RpcStream};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::world::Payload;

thread_local! {
    static LISTENERS: Cell<i64> = const { Cell::new(0) };
    static HEARD: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static BROKEN: Cell<usize> = const { Cell::new(0) };
}

/// How many listeners of this thread are in memory.
pub(super) fn listeners() -> i64 {
    LISTENERS.get()
}

/// What listeners of this thread were told, in order, since this was asked last.
pub(super) fn heard() -> Vec<u32> {
    HEARD.take()
}

/// How often [`Broker::watch`] has seen a stub break.
pub(super) fn broken() -> usize {
    BROKEN.get()
}

pub(super) struct Listener;

impl Listener {
    pub(super) fn stub() -> ListenerStub {
        LISTENERS.set(LISTENERS.get() + 1);
        opendo::serve(Self)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENERS.set(LISTENERS.get() - 1);
    }
}

#[rpc_target]
impl Listener {
    pub fn hear(&mut self, what: u32) -> u32 {
        HEARD.with_borrow_mut(|heard| heard.push(what));
        what
    }

    /// Another one.
    pub fn next(&self) -> ListenerStub {
        Self::stub()
    }
}

/// Has a method of the same name as [`Listener`], with another signature.
pub(super) struct Other;

#[rpc_target]
impl Other {
    pub fn hear(&self, what: String) -> String {
        what
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub(super) struct Pair {
    pub(super) first: ListenerStub,
    pub(super) second: Option<ListenerStub>,
    pub(super) count: u32,
}

/// As many lists in one another as somebody likes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Nest(pub(super) Vec<Nest>);

#[derive(Default)]
pub(super) struct Broker {
    kept: Vec<ListenerStub>,
    streams: Vec<RpcStream<Payload>>,
    wanted: Mutex<VecDeque<oneshot::Sender<ListenerStub>>>,
}

#[durable_object]
impl Broker {
    pub async fn keep(&mut self, listener: ListenerStub) -> u32 {
        self.kept.push(listener);
        self.kept.len() as u32
    }

    pub async fn keep_all(&mut self, listeners: Vec<ListenerStub>) -> u32 {
        self.kept.extend(listeners);
        self.kept.len() as u32
    }

    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Calls back.
    #[method(concurrent)]
    pub async fn tell(&self, listener: ListenerStub, what: u32) -> Result<u32, String> {
        listener.hear(what).await.map_err(|error| error.to_string())
    }

    pub async fn echo(&self, listener: ListenerStub) -> ListenerStub {
        listener
    }

    #[method(concurrent)]
    pub async fn give(&self) -> ListenerStub {
        Listener::stub()
    }

    pub async fn give_many(&self, count: u32) -> Vec<ListenerStub> {
        (0..count).map(|_| Listener::stub()).collect()
    }

    pub async fn give_other(&self) -> OtherStub {
        opendo::serve(Other)
    }

    pub async fn pair(&self) -> Pair {
        let first = Listener::stub();
        Pair { first: first.clone(), second: None, count: 7 }
    }

    pub async fn refuse(&self) -> Result<ListenerStub, u32> {
        Err(3)
    }

    /// Ends when its caller goes away.
    #[method(concurrent)]
    pub async fn give_later(&self, #[call] call: &CallInfo) -> Result<ListenerStub, u32> {
        call.cancelled().await;
        Err(4)
    }

    /// What [`offer`](Self::offer) will bring.
    #[method(concurrent)]
    pub async fn want(&self, #[call] call: &CallInfo) -> Result<ListenerStub, u32> {
        let (sender, offered) = oneshot::channel();
        self.wanted.lock().unwrap().push_back(sender);
        tokio::select! {
            offered = offered => offered.map_err(|_| 5),
            () = call.cancelled() => Err(6),
        }
    }

    /// To the first who wanted one.
    #[method(concurrent)]
    pub async fn offer(&self, listener: ListenerStub) -> bool {
        let wanted = self.wanted.lock().unwrap().pop_front();
        wanted.is_some_and(|wanted| wanted.send(listener).is_ok())
    }

    /// Waits in the background for the end of what it is given.
    #[method(concurrent)]
    pub async fn watch(&self, listener: ListenerStub) {
        tokio::spawn(async move {
            listener.broken().await;
            BROKEN.set(BROKEN.get() + 1);
        });
    }

    pub async fn square(&self, n: Arg<u32>) -> u32 {
        *n * *n
    }

    pub async fn number(&self, n: u32) -> u32 {
        n
    }

    pub async fn nest(&self, nest: Nest) -> u32 {
        nest.0.len() as u32
    }

    /// Reads a stream to its end, or to its error.
    #[method(concurrent)]
    pub async fn read(&self, mut stream: RpcStream<Payload>) -> (u32, Option<String>) {
        let mut bytes = 0;
        while let Some(payload) = stream.next().await {
            match payload {
                Ok(payload) => bytes += payload.0.len() as u32,
                Err(error) => return (bytes, Some(error.to_string())),
            }
        }
        (bytes, None)
    }

    /// Keeps a stream and reads nothing of it.
    pub async fn ignore(&mut self, stream: RpcStream<Payload>) {
        self.streams.push(stream);
    }

    pub async fn write(&self, count: u32, size: u32) -> RpcStream<Payload> {
        RpcStream::from_iter((0..count).map(move |_| Payload::new(vec![7; size as usize])))
    }

    /// Gives the writing end; the reading end counts what it gets as heard.
    pub async fn sink(&self) -> RpcSink<u32> {
        let (sink, mut stream) = opendo::pipe::<u32>();
        tokio::spawn(async move {
            while let Some(Ok(value)) = stream.next().await {
                HEARD.with_borrow_mut(|heard| heard.push(value));
            }
        });
        sink
    }

    pub async fn fill(&self, mut sink: RpcSink<u32>) -> Result<(), String> {
        sink.send(1).await.map_err(|error| error.to_string())
    }
}

impl DurableObject for Broker {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self::default())
    }
}
