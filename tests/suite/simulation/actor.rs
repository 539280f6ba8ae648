//! One who holds stubs and does what comes to its mind with them.

use std::time::Duration;

use opendo::prelude::*;
use opendo::{RpcSink, RpcStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::chance::Chance;
use super::flows::{self, Item, Plan};
use super::party::{Pair, PartyStub, Unencodable, target};
use super::record::{self, Line, Tag};

/// A stub, and what its calls have to keep to.
#[derive(Clone)]
pub(crate) struct Hold {
    pub(super) stub: PartyStub,
    line: Line,
    /// The call that it is the result of, while it has not arrived.
    pub(super) parent: Option<Tag>,
    /// What it leads to may be nearer than the way to it is: calls on what it makes may overtake each other.
    winding: bool,
}

impl Hold {
    pub(crate) fn new(stub: PartyStub) -> Self {
        Self { stub, line: record::new_line(), parent: None, winding: false }
    }

    /// What came of a call on this one, as it is before it has arrived.
    pub(super) fn pipelined(&self, stub: &PartyStub, of: Tag, winding: bool) -> Self {
        Self {
            stub: stub.clone(),
            line: record::new_line(),
            parent: Some(of),
            winding: winding || self.winding,
        }
    }

    pub(super) fn made(&self, what: &'static str) -> Tag {
        record::made(what, self.line, self.parent)
    }
}

/// A call that is not answered yet.
pub(super) enum Pending {
    Number(Tag, Call<u32, String>),
    /// With the hold that was made of it before it arrived.
    Stub(Tag, Call<PartyStub, String>, Option<Hold>),
    Pair(Tag, Call<Pair, String>),
    Bad(Tag, Call<(PartyStub, Unencodable), String>),
    Stream(Tag, Call<RpcStream<Item>, String>, Plan),
    Sink(Tag, Call<RpcSink<Item>, String>, Plan),
}

pub(crate) struct Actor {
    pub(crate) chance: Chance,
    pub(crate) holds: Vec<Hold>,
    pub(super) pending: Vec<Pending>,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

/// Whoever waits longer waits in vain, whatever happens to the network.
const PATIENCE: Duration = Duration::from_secs(900);

impl Actor {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { chance, holds: vec![Hold::new(target())], pending: Vec::new(), tasks: Vec::new() }
    }

    pub(crate) async fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.step().await;
            if self.holds.len() > 12 {
                let at = self.chance.place(self.holds.len());
                self.holds.remove(at);
            }
            if self.pending.len() > 12 {
                self.settle_one().await;
            }
        }
    }

    /// Hears or drops what is under way, in any order, and lets go of everything.
    pub(crate) async fn finish(mut self) {
        while !(self.pending.is_empty() && self.holds.is_empty()) {
            match self.chance.below(3) {
                0 if !self.holds.is_empty() => {
                    let at = self.chance.place(self.holds.len());
                    self.holds.remove(at);
                }
                _ => self.settle_one().await,
            }
            if self.pending.is_empty() && self.chance.percent(30) {
                self.holds.clear();
            }
        }
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    pub(super) fn pick(&mut self) -> Option<Hold> {
        let at = self.chance.place(self.holds.len());
        self.holds.get(at).cloned()
    }

    async fn step(&mut self) {
        let Some(hold) = self.pick() else {
            self.holds.push(Hold::new(target()));
            return;
        };
        match self.chance.below(100) {
            0..22 => self.number(&hold),
            22..32 => (0..3).for_each(|_| self.note(&hold)),
            32..46 => self.stub(&hold),
            46..58 => self.pass(&hold),
            58..70 => self.flow(&hold),
            70..74 => self.combine(&hold),
            74..79 => self.let_go_of_one(),
            79..89 => self.settle_one().await,
            89..93 => {
                let at = self.chance.place(self.holds.len());
                self.holds.remove(at);
            }
            93 => self.holds.push(hold),
            94..96 => self.holds.push(Hold::new(target())),
            _ => sleep(self.chance.pause()).await,
        }
    }

    fn let_go_of_one(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let pending = self.pending.remove(self.chance.place(self.pending.len()));
        let detach = self.chance.percent(50);
        let how = if detach { record::DETACHED } else { "is dropped" };
        let go = |tag| record::let_go(tag, how);
        match pending {
            Pending::Number(tag, call) => {
                go(tag);
                if detach { Call::detach(call) } else { drop(call) }
            }
            Pending::Stub(tag, call, _) => {
                go(tag);
                if detach { Call::detach(call) } else { drop(call) }
            }
            Pending::Pair(tag, call) => {
                go(tag);
                if detach { Call::detach(call) } else { drop(call) }
            }
            Pending::Bad(tag, call) => {
                go(tag);
                drop(call);
            }
            Pending::Stream(tag, call, _) => {
                go(tag);
                drop(call);
            }
            Pending::Sink(tag, call, _) => {
                go(tag);
                drop(call);
            }
        }
    }

    async fn settle_one(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.chance.percent(10) {
            return self.let_go_of_one();
        }
        let pending = self.pending.remove(self.chance.place(self.pending.len()));
        match pending {
            Pending::Number(tag, call) => {
                let answer = patiently(tag, call).await;
                if let Ok(number) = answer
                    && number != tag.call
                {
                    record::wrong(format!("#{} got the answer to #{number}", tag.call));
                }
            }
            Pending::Stub(tag, call, early) => {
                if let Ok(stub) = patiently(tag, call).await {
                    // What was called before it arrived goes first.
                    let hold = match early {
                        Some(early) if !early.winding => {
                            Hold { stub, line: early.line, parent: None, winding: false }
                        }
                        _ => Hold { winding: true, ..Hold::new(stub) },
                    };
                    self.note(&hold);
                    self.holds.push(hold);
                }
            }
            Pending::Pair(tag, call) => {
                if let Ok(pair) = patiently(tag, call).await {
                    self.holds.push(Hold { winding: true, ..Hold::new(pair.first) });
                    self.holds.extend(pair.second.map(|stub| Hold { winding: true, ..Hold::new(stub) }));
                }
            }
            Pending::Bad(tag, call) => drop(patiently(tag, call).await),
            Pending::Stream(tag, call, reads) => {
                if let Ok(stream) = patiently(tag, call).await {
                    self.stream(stream, reads);
                }
            }
            Pending::Sink(tag, call, writes) => {
                if let Ok(sink) = patiently(tag, call).await {
                    self.sink(sink, writes);
                }
            }
        }
    }

    /// Reads it, passes it on, or drops it.
    fn stream(&mut self, stream: RpcStream<Item>, reads: Plan) {
        match (self.chance.below(5), self.pick()) {
            (0, _) => drop(stream),
            (1, Some(hold)) => {
                record::relayed(reads.stream);
                let tag = hold.made("read");
                let call = hold.stub.read(tag, stream, reads);
                self.pending.push(Pending::Number(tag, call));
            }
            _ => self.tasks.push(tokio::spawn(flows::read(stream, reads))),
        }
    }

    fn sink(&mut self, sink: RpcSink<Item>, writes: Plan) {
        match (self.chance.below(5), self.pick()) {
            (0, _) => drop(sink),
            (1, Some(hold)) => {
                record::relayed(writes.stream);
                let tag = hold.made("write");
                let call = hold.stub.write(tag, sink, writes);
                self.pending.push(Pending::Number(tag, call));
            }
            _ => self.tasks.push(tokio::spawn(flows::write(sink, writes))),
        }
    }
}

/// The answer, which comes in time or never does.
async fn patiently<T: opendo::Streamed>(tag: Tag, call: Call<T, String>) -> Result<T, CallError<String>> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => {
            record::ended(tag, &answer);
            answer
        }
        Err(_) => {
            record::wrong(format!("#{} hangs", tag.call));
            Err(CallError::App("hangs".into()))
        }
    }
}
