//! The calls that actors make.

use std::time::Duration;

use opendo::Arg;
use opendo::prelude::*;

use super::actor::{Actor, Hold, Pending};
use super::flows::{self, Plan};
use super::party::{PartyStub, Unencodable};
use super::record::{self, UNORDERED};

impl Actor {
    fn patient(&mut self, hold: &Hold) -> PartyStub {
        let millis = if self.chance.percent(10) { u64::from(self.chance.below(2000)) } else { 90_000 };
        hold.stub.with_timeout(Duration::from_millis(millis))
    }

    pub(super) fn note(&mut self, hold: &Hold) {
        let tag = hold.made("note");
        self.pending.push(Pending::Number(tag, hold.stub.note(tag)));
    }

    pub(super) fn number(&mut self, hold: &Hold) {
        let stub = self.patient(hold);
        let millis = self.chance.below(100);
        let at = self.chance.below(4);
        let (tag, call) = match self.chance.below(16) {
            0 => {
                let tag = hold.made("refuse");
                (tag, stub.refuse(tag))
            }
            1..3 => {
                let tag = hold.made("slow");
                (tag, stub.slow(tag, millis))
            }
            3 => {
                let tag = hold.made("hold");
                (tag, hold.stub.with_timeout(Duration::from_millis(u64::from(millis * 20))).hold(tag))
            }
            4 => {
                let tag = hold.made("forget");
                (tag, stub.forget(tag))
            }
            5..8 => {
                let tag = hold.made("tell_kept");
                (tag, stub.tell_kept(tag, at))
            }
            8..10 => {
                let tag = hold.made("call_home");
                (tag, stub.call_home(tag, millis < 50))
            }
            10 => {
                // Made again after a reconnect, so in no line.
                let tag = record::made("again", UNORDERED, hold.parent);
                (tag, stub.again(tag))
            }
            _ => {
                let tag = hold.made("note");
                (tag, stub.note(tag))
            }
        };
        self.pending.push(Pending::Number(tag, call));
    }

    /// A call that returns a stub, used or not before it has arrived.
    pub(super) fn stub(&mut self, hold: &Hold) {
        let stub = self.patient(hold);
        let (at, millis) = (self.chance.below(4), self.chance.below(100));
        let (tag, call, winding) = match self.chance.below(10) {
            0..3 => {
                let tag = hold.made("make");
                (tag, stub.make(tag), false)
            }
            3 => {
                let tag = hold.made("make_slowly");
                (tag, stub.make_slowly(tag, millis), false)
            }
            4 => {
                let tag = hold.made("fail");
                (tag, stub.fail(tag, millis), false)
            }
            5..7 => {
                let tag = hold.made("give");
                (tag, stub.give(tag, at), true)
            }
            7..9 => return self.pair(hold),
            _ => {
                let Some(passed) = self.pick() else { return };
                let tag = hold.made("echo");
                (tag, stub.echo(tag, passed.stub), true)
            }
        };
        let early = self.chance.percent(50).then(|| hold.pipelined(&call, tag, winding));
        if let Some(early) = &early {
            self.use_early(early);
        }
        self.pending.push(Pending::Stub(tag, call, early));
    }

    fn pair(&mut self, hold: &Hold) {
        let tag = hold.made("pair");
        let call = hold.stub.pair(tag);
        for _ in 0..self.chance.below(3) {
            let field = if self.chance.percent(50) { &call.first } else { &call.second };
            let field = hold.pipelined(field, tag, true);
            self.use_early(&field);
        }
        self.pending.push(Pending::Pair(tag, call));
    }

    /// Calls what has not arrived, and what these calls return, and keeps it for later.
    fn use_early(&mut self, early: &Hold) {
        for _ in 0..1 + self.chance.below(3) {
            match self.chance.below(8) {
                0..4 => self.note(early),
                4 => self.number(early),
                5 => self.pass(early),
                6 => self.stub(early),
                _ => self.holds.push(early.clone()),
            }
        }
    }

    /// Passes a stub on: it is called there, kept, or just dropped.
    pub(super) fn pass(&mut self, to: &Hold) {
        let Some(passed) = self.pick() else { return };
        let stub = self.patient(to);
        let (tag, call) = match self.chance.below(10) {
            0..5 => {
                let tag = to.made("keep");
                (tag, stub.keep(tag, passed.stub))
            }
            5..8 => {
                let tag = to.made("tell");
                (tag, stub.tell(tag, passed.stub))
            }
            8 => {
                let tag = to.made("bad");
                let more = self.chance.percent(70).then_some(Unencodable);
                (tag, stub.bad(tag, passed.stub, more))
            }
            _ => {
                let tag = to.made("make_bad");
                return self.pending.push(Pending::Bad(tag, stub.make_bad(tag)));
            }
        };
        self.pending.push(Pending::Number(tag, call));
    }

    /// A call whose arguments are the results of others: it may be overtaken, so it is in no line.
    pub(super) fn combine(&mut self, hold: &Hold) {
        let Some(other) = self.pick() else { return };
        let mut arg = |hold: &Hold| -> Arg<u32> {
            let stub = match self.chance.below(4) {
                0 => return Arg::new(1),
                1 => hold.stub.clone(),
                _ => hold.stub.promised(),
            };
            let refuse = self.chance.percent(15);
            let tag = hold.made(if refuse { "refuse" } else { "note" });
            let call = if refuse { stub.refuse(tag) } else { stub.note(tag) };
            record::let_go(tag, "is an argument");
            call.into()
        };
        let (one, other) = (arg(hold), arg(&other));
        let tag = record::made("add", UNORDERED, hold.parent);
        let call = self.patient(hold).add(tag, one, other);
        self.pending.push(Pending::Number(tag, call));
    }

    pub(super) fn flow(&mut self, hold: &Hold) {
        let stub = self.patient(hold);
        let id = record::new_stream();
        let (writes, mut reads) = (Plan::new(&mut self.chance, id), Plan::new(&mut self.chance, id));
        if self.chance.percent(60) {
            reads = reads.patient();
        }
        match self.chance.below(6) {
            0..2 => {
                let tag = hold.made("stream");
                self.pending.push(Pending::Stream(tag, stub.stream(tag, writes), reads));
            }
            2 => {
                record::relayed(id);
                let tag = hold.made("relay");
                self.pending.push(Pending::Stream(tag, stub.relay(tag, flows::source(writes)), reads));
            }
            3 => {
                let tag = hold.made("read");
                let call = stub.read(tag, flows::source(writes), reads);
                self.pending.push(Pending::Number(tag, call));
            }
            4 => {
                let tag = hold.made("sink");
                self.pending.push(Pending::Sink(tag, stub.sink(tag, reads), writes));
            }
            _ => {
                let (sink, stream) = opendo::pipe();
                let tag = hold.made("write");
                let call = stub.write(tag, sink, writes);
                self.pending.push(Pending::Number(tag, call));
                self.tasks.push(tokio::spawn(flows::read(stream, reads)));
            }
        }
    }
}
