//! A room whose doors last.

// Remote methods are `pub`, their types with them, and they take their arguments by value: that is what makes them so.
#![allow(unreachable_pub, clippy::needless_pass_by_value)]

use std::sync::atomic::{AtomicBool, Ordering};

use opendo::prelude::*;
use opendo::{NodeBuilder, Stored};
use serde::{Deserialize, Serialize};

use crate::by_name::{ByName, Gate, Log};

/// What a door is made from.
#[derive(Clone, Serialize, Deserialize)]
pub struct Params {
    pub name: String,
    pub does: Does,
}

/// What happens when it is made.
#[derive(Clone, Serialize, Deserialize)]
pub enum Does {
    Nothing,
    /// Notes it.
    Log(Log),
    /// Waits there.
    Pass(Gate),
    /// Fails unless the room is open.
    Ask,
    Panic,
    /// Calls that door, and waits for it.
    Knock(Box<DoorStub>),
    /// Writes that to the room.
    Write(String),
    /// Is the only one there.
    Alone(ByName<AtomicBool>),
}

pub struct Room {
    pub ctx: Ctx,
    open: bool,
    doors: Stored<Vec<DoorStub>>,
    written: Stored<String>,
}

#[durable_object]
impl Room {
    pub fn door(&self, name: String, does: Does) -> Result<DoorStub, String> {
        Ok(self.ctx.lasting::<Door>(&Params { name, does })?)
    }

    pub fn plain(&self, name: String) -> Result<DoorStub, String> {
        self.door(name, Does::Nothing)
    }

    pub fn window(&self) -> Result<WindowStub, String> {
        Ok(self.ctx.lasting::<Window>(&())?)
    }

    pub fn open(&mut self) {
        self.open = true;
    }

    pub fn keep(&mut self, door: DoorStub) {
        self.doors.edit().push(door);
    }

    pub fn kept(&self) -> Vec<DoorStub> {
        self.doors.clone()
    }

    pub fn written(&self) -> String {
        self.written.clone()
    }

    pub fn write(&mut self, text: String) {
        self.written.edit().push_str(&text);
    }

    pub async fn stand(&self, gate: Gate) {
        gate.pass().await;
    }

    pub async fn knock(&self, door: DoorStub) -> Result<u64, RpcError> {
        door.knock().await.map_err(rpc)
    }

    pub async fn stand_and_knock(&self, gate: Gate, door: DoorStub) -> Result<u64, RpcError> {
        gate.pass().await;
        door.knock().await.map_err(rpc)
    }

    pub async fn reasons(&self) -> String {
        format!("{:?}", self.ctx.keepalive_reasons())
    }

    pub fn abort(&self) {
        self.ctx.abort("as the test wants");
    }
}

fn rpc<E: std::fmt::Debug>(error: CallError<E>) -> RpcError {
    match error {
        CallError::Rpc(error) => error,
        CallError::App(error) => panic!("{error:?}"),
    }
}

impl DurableObject for Room {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let (doors, written) = (ctx.stored("doors").await?, ctx.stored("written").await?);
        Ok(Self { open: false, doors, written, ctx })
    }
}

/// Counts how often it was knocked at, as long as it is in memory.
pub struct Door {
    ctx: Ctx,
    name: String,
    knocks: u64,
    alone: Option<ByName<AtomicBool>>,
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(there) = &self.alone {
            there.store(false, Ordering::Relaxed);
        }
    }
}

#[rpc_target]
impl Door {
    pub fn knock(&mut self) -> u64 {
        self.knocks += 1;
        self.knocks
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    pub fn note(&mut self, log: Log, entry: u64) {
        log.push(entry);
    }

    pub async fn stand(&mut self, gate: Gate) {
        gate.pass().await;
    }

    pub fn write(&self, key: String, value: u64) -> Result<u64, String> {
        self.ctx.storage().put(&key, &value)?;
        Ok(value)
    }

    pub async fn write_in_turn(&self, text: String) -> Result<(), RpcError> {
        self.ctx.this::<RoomStub>().write(text).await.map_err(rpc)
    }

    pub fn numbers(&self, gate: Gate) -> RpcStream<u64> {
        RpcStream::from_stream(futures::stream::once(async move {
            gate.pass().await;
            7
        }))
    }

    pub fn panic(&mut self) {
        panic!("as the test wants");
    }
}

impl Lasting for Door {
    type Object = Room;
    type Stub = DoorStub;
    type Params = Params;
    const NAME: &'static str = "door";

    async fn restore(room: &mut Room, Params { name, does }: Params) -> opendo::Result<Self> {
        let mut alone = None;
        match does {
            Does::Nothing => {}
            Does::Log(log) => log.push(0),
            Does::Pass(gate) => gate.pass().await,
            Does::Ask if room.open => {}
            Does::Ask => return Err(opendo::Error::msg("the room is closed")),
            Does::Panic => panic!("as the test wants"),
            Does::Knock(door) => drop(door.knock().await?),
            Does::Write(text) => room.written.edit().push_str(&text),
            Does::Alone(there) => {
                assert!(!there.swap(true, Ordering::Relaxed), "there is another one");
                alone = Some(there);
            }
        }
        Ok(Self { ctx: room.ctx.clone(), name, knocks: 0, alone })
    }
}

/// Nobody has registered it.
pub struct Window;

#[rpc_target]
impl Window {
    pub fn look(&self) {}
}

impl Lasting for Window {
    type Object = Room;
    type Stub = WindowStub;
    type Params = ();
    const NAME: &'static str = "window";

    async fn restore(_: &mut Room, (): ()) -> opendo::Result<Self> {
        Ok(Self)
    }
}

pub(crate) fn hosted() -> NodeBuilder {
    Node::builder().object::<Room>().lasting::<Door>()
}
