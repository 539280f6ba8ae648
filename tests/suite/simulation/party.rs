//! What is called: one interface, as durable objects and as targets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opendo::prelude::*;
use opendo::{Arg, RpcSink, RpcStream};
use serde::{Deserialize, Serialize, Serializer, ser};
use tokio::time::{sleep, timeout};

use super::flows::{self, Item, Plan};
use super::record::{self, Line, Live, Tag};

/// Its arguments never get into a message.
#[derive(Clone, Debug, Deserialize)]
pub struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("this cannot be encoded"))
    }
}

#[derive(Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Pair {
    pub first: PartyStub,
    pub second: Option<PartyStub>,
    pub count: u32,
}

/// A stub that was kept, and the line of the calls made on it.
#[derive(Clone)]
pub(crate) struct Kept {
    stub: PartyStub,
    line: Line,
}

/// What every party has.
pub struct Common {
    number: u32,
    pub(crate) kept: Mutex<Vec<Kept>>,
    _live: Live,
}

impl Common {
    fn new(what: &'static str) -> Arc<Self> {
        Arc::new_cyclic(|common| {
            let number = record::register(common.clone());
            Self { number, kept: Mutex::default(), _live: Live::new(what) }
        })
    }

    fn kept(&self, at: u32) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (!kept.is_empty()).then(|| kept[at as usize % kept.len()].clone())
    }
}

const HURRY: Duration = Duration::from_secs(3);

/// Longer than it takes to notice that a connection is gone.
const LONELY: Duration = Duration::from_secs(120);

/// Calls `note`, in that line, and waits for the answer.
async fn tell(stub: &PartyStub, line: Line) -> Result<u32, String> {
    let tag = record::made("note", line, None);
    let answer = stub.with_timeout(HURRY).note(tag).await;
    record::ended(tag, &answer);
    answer.map_err(|error| error.to_string())
}

#[opendo::interface]
pub trait Party {
    #[method(skip)]
    fn common(&self) -> &Common;

    fn note(&self, tag: Tag) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        Ok(tag.call)
    }

    #[method(idempotent)]
    fn again(&self, tag: Tag) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        Ok(tag.call)
    }

    fn refuse(&self, tag: Tag) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        Err("no".into())
    }

    async fn slow(&mut self, tag: Tag, millis: u32) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        sleep(Duration::from_millis(u64::from(millis))).await;
        Ok(tag.call)
    }

    /// Until the caller is gone: one that was detached never is.
    async fn hold(&self, tag: Tag, #[call] call: &CallInfo) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let gone = timeout(LONELY, call.cancelled()).await.is_ok();
        record::lonely(tag, gone);
        Ok(tag.call)
    }

    fn make(&self, tag: Tag) -> Result<PartyStub, String> {
        record::ran(tag, self.common().number);
        Ok(target())
    }

    async fn make_slowly(&self, tag: Tag, millis: u32) -> Result<PartyStub, String> {
        record::ran(tag, self.common().number);
        sleep(Duration::from_millis(u64::from(millis))).await;
        Ok(target())
    }

    fn pair(&self, tag: Tag) -> Result<Pair, String> {
        record::ran(tag, self.common().number);
        let first = target();
        let second = tag.call.is_multiple_of(2).then(|| first.clone());
        Ok(Pair { first, second, count: 2 })
    }

    async fn fail(&self, tag: Tag, millis: u32) -> Result<PartyStub, String> {
        record::ran(tag, self.common().number);
        sleep(Duration::from_millis(u64::from(millis))).await;
        Err("not today".into())
    }

    fn echo(&self, tag: Tag, stub: PartyStub) -> Result<PartyStub, String> {
        record::ran(tag, self.common().number);
        Ok(stub)
    }

    /// Keeps it, beside the last few.
    fn keep(&mut self, tag: Tag, stub: PartyStub) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let mut kept = self.common().kept.lock().unwrap_or_else(PoisonError::into_inner);
        let old = (kept.len() > 4).then(|| kept.remove(0));
        kept.push(Kept { stub, line: record::new_line() });
        drop(kept);
        drop(old);
        Ok(tag.call)
    }

    fn forget(&mut self, tag: Tag) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let kept = std::mem::take(&mut *self.common().kept.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
        Ok(tag.call)
    }

    fn give(&self, tag: Tag, at: u32) -> Result<PartyStub, String> {
        record::ran(tag, self.common().number);
        self.common().kept(at).map(|kept| kept.stub).ok_or_else(|| "nothing is kept".into())
    }

    /// Calls back during the call.
    async fn tell(&self, tag: Tag, stub: PartyStub) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let line = record::new_line();
        tell(&stub, line).await?;
        tell(&stub, line).await?;
        Ok(tag.call)
    }

    /// Calls what was kept: awaits the last of three calls, lets the others run.
    async fn tell_kept(&self, tag: Tag, at: u32) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let Kept { stub, line } = self.common().kept(at).ok_or("nothing is kept")?;
        for _ in 0..2 {
            let tag = record::made("note", line, None);
            Call::detach(stub.note(tag));
            record::let_go(tag, "runs alone");
        }
        tell(&stub, line).await?;
        Ok(tag.call)
    }

    /// Calls an object of the caller's, by its name, or its root.
    async fn call_home(&self, tag: Tag, root: bool, #[call] call: &CallInfo) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let session = call.session().ok_or("not over a session")?;
        let stub: PartyStub = if root { session.root() } else { session.get("home") };
        tell(&stub, record::new_line()).await?;
        Ok(tag.call)
    }

    fn add(&self, tag: Tag, one: Arg<u32>, other: Arg<u32>) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        let _ = one.wrapping_add(*other);
        Ok(tag.call)
    }

    fn bad(&self, tag: Tag, stub: PartyStub, more: Option<Unencodable>) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        drop((stub, more));
        Ok(tag.call)
    }

    fn make_bad(&self, tag: Tag) -> Result<(PartyStub, Unencodable), String> {
        record::ran(tag, self.common().number);
        Ok((target(), Unencodable))
    }

    fn stream(&self, tag: Tag, plan: Plan) -> Result<RpcStream<Item>, String> {
        record::ran(tag, self.common().number);
        Ok(flows::source(plan))
    }

    /// Gives back what it is given.
    fn relay(&self, tag: Tag, stream: RpcStream<Item>) -> Result<RpcStream<Item>, String> {
        record::ran(tag, self.common().number);
        Ok(stream)
    }

    async fn read(&self, tag: Tag, stream: RpcStream<Item>, plan: Plan) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        flows::read(stream, plan).await;
        Ok(tag.call)
    }

    /// Returns at once; what is written is read beside.
    fn sink(&self, tag: Tag, plan: Plan) -> Result<RpcSink<Item>, String> {
        record::ran(tag, self.common().number);
        let (sink, stream) = opendo::pipe();
        tokio::spawn(flows::read(stream, plan));
        Ok(sink)
    }

    async fn write(&self, tag: Tag, sink: RpcSink<Item>, plan: Plan) -> Result<u32, String> {
        record::ran(tag, self.common().number);
        flows::write(sink, plan).await;
        Ok(tag.call)
    }
}

pub struct Target(Arc<Common>);

#[rpc_target]
impl Party for Target {
    fn common(&self) -> &Common {
        &self.0
    }
}

/// A new target.
pub(crate) fn target() -> PartyStub {
    opendo::serve(Target(Common::new("target")))
}

/// The root of a session, or of a client: it stays longer.
pub(crate) fn root() -> PartyStub {
    opendo::serve(Target(Common::new("root")))
}

pub struct Room(Arc<Common>);

#[durable_object]
impl Party for Room {
    fn common(&self) -> &Common {
        &self.0
    }
}

impl DurableObject for Room {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self(Common::new("object")))
    }
}
