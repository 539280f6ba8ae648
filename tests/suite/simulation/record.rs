//! What happened in a run, and what of it may not.
//!
//! A run stays on its thread, so the record is the thread's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Weak;

use opendo::prelude::*;
use opendo::{ErrorKind, RpcError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::party::Common;

thread_local! {
    static RECORD: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// Each call's own: the method that is called gives it back to the record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    pub call: u32,
}

/// Calls that must start in the order in which they are made. None: [`UNORDERED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line(pub u32);

pub(crate) const UNORDERED: Line = Line(0);

/// What a caller knows of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Open,
    Ok,
    Refused,
    Failed(ErrorKind, bool),
    /// Dropped, detached or given away: the caller never knows.
    LetGo,
}

struct Made {
    what: &'static str,
    line: Line,
    /// Its number in its line.
    at: u32,
    /// The call on whose result it was made.
    parent: Option<u32>,
    outcome: Outcome,
    runs: u32,
    detached: bool,
}

#[derive(Default)]
struct Streamed {
    written: u32,
    read: u32,
    closed: bool,
    relayed: bool,
}

struct Record {
    begun: Instant,
    tight: bool,
    calls: Vec<Made>,
    /// By line: how many calls were made, and the number of the last that ran.
    lines: Vec<(u32, Option<u32>)>,
    streams: Vec<Streamed>,
    live: BTreeMap<&'static str, i64>,
    commons: Vec<Weak<Common>>,
    trace: Vec<String>,
    wrong: Vec<String>,
}

/// What a run leaves.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) trace: Vec<String>,
    pub(crate) wrong: Vec<String>,
    pub(crate) calls: usize,
    pub(crate) ran: usize,
}

fn with<R>(f: impl FnOnce(&mut Record) -> R) -> R {
    RECORD.with_borrow_mut(|record| f(record.as_mut().expect("a run is being recorded")))
}

/// Begins a record: with small bounds, if `tight`.
pub(crate) fn begin(tight: bool) {
    RECORD.set(Some(Record {
        begun: Instant::now(),
        tight,
        calls: Vec::new(),
        lines: vec![(0, None)],
        streams: Vec::new(),
        live: BTreeMap::new(),
        commons: Vec::new(),
        trace: Vec::new(),
        wrong: Vec::new(),
    }));
}

/// Ends it. What was begun and not ended is there all the same.
pub(crate) fn end() -> Story {
    let Some(mut record) = RECORD.take() else { return Story::default() };
    record.judge();
    let ran = record.calls.iter().filter(|call| call.runs > 0).count();
    Story { trace: record.trace, wrong: record.wrong, calls: record.calls.len(), ran }
}

pub(crate) fn note(what: fmt::Arguments<'_>) {
    with(|record| record.note(what));
}

pub(crate) fn wrong(what: String) {
    with(|record| record.wrong(what));
}

// ---- calls

pub(crate) fn new_line() -> Line {
    with(|record| {
        record.lines.push((0, None));
        Line(u32::try_from(record.lines.len() - 1).unwrap())
    })
}

/// A call is about to be made.
pub(crate) fn made(what: &'static str, line: Line, parent: Option<Tag>) -> Tag {
    with(|record| {
        let call = u32::try_from(record.calls.len()).unwrap();
        let (made, _) = &mut record.lines[line.0 as usize];
        *made += 1;
        let at = *made;
        let parent = parent.map(|parent| parent.call);
        record.calls.push(Made { what, line, at, parent, outcome: Outcome::Open, runs: 0, detached: false });
        record.note(format_args!("#{call} {what} in {}.{at} on {parent:?}", line.0));
        Tag { call }
    })
}

/// Its method has started, at that target.
pub(crate) fn ran(tag: Tag, place: u32) {
    with(|record| {
        record.note(format_args!("#{} runs at {place}", tag.call));
        let call = &mut record.calls[tag.call as usize];
        call.runs += 1;
        let (what, line, at, runs) = (call.what, call.line, call.at, call.runs);
        if line == UNORDERED {
            return;
        }
        if runs > 1 {
            return record.wrong(format!("#{} {what} ran {runs} times", tag.call));
        }
        let last = record.lines[line.0 as usize].1.replace(at);
        if last.is_some_and(|last| last > at) {
            record.wrong(format!("#{} {what}, {}.{at}, ran after {last:?} of its line", tag.call, line.0));
        }
    });
}

/// Its caller knows what came of it.
pub(crate) fn ended<T>(tag: Tag, answer: &Result<T, CallError<String>>) {
    let outcome = match answer {
        Ok(_) => Outcome::Ok,
        Err(CallError::App(_)) => Outcome::Refused,
        Err(CallError::Rpc(error)) => Outcome::Failed(error.kind(), error.may_have_run()),
    };
    let why = match answer {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    };
    with(|record| {
        record.note(format_args!("#{} is {outcome:?} {why}", tag.call));
        record.calls[tag.call as usize].outcome = outcome;
    });
}

pub(crate) fn let_go(tag: Tag, how: &str) {
    with(|record| {
        record.note(format_args!("#{} {how}", tag.call));
        let call = &mut record.calls[tag.call as usize];
        call.outcome = Outcome::LetGo;
        call.detached = how == DETACHED;
    });
}

pub(crate) const DETACHED: &str = "is detached";

/// A method that waits for its caller to go away was told, or not.
pub(crate) fn lonely(tag: Tag, told: bool) {
    with(|record| {
        record.note(format_args!("#{} is alone: {told}", tag.call));
        let call = &record.calls[tag.call as usize];
        // A call that nobody awaits yet is still wanted, also after its deadline.
        if !told && !call.detached && call.outcome != Outcome::Open {
            let text = format!("#{} was not told that its caller is gone: {:?}", tag.call, call.outcome);
            record.wrong(text);
        }
    });
}

// ---- streams

pub(crate) fn new_stream() -> u32 {
    with(|record| {
        record.streams.push(Streamed::default());
        u32::try_from(record.streams.len() - 1).unwrap()
    })
}

/// It may go over more than one session.
pub(crate) fn relayed(stream: u32) {
    with(|record| record.streams[stream as usize].relayed = true);
}

/// The number of the next value.
pub(crate) fn write(stream: u32) -> u32 {
    /// What may be unread over one session when bounds are tight: so many values fill its window, and a few wait in
    /// the process that they come from.
    const UNREAD: u32 = 30;
    with(|record| {
        let tight = record.tight;
        let it = &mut record.streams[stream as usize];
        let index = it.written;
        it.written += 1;
        let unread = it.written - it.read;
        if tight && !it.relayed && unread > UNREAD {
            record.wrong(format!("{unread} values of stream {stream} are unread"));
        }
        index
    })
}

pub(crate) fn close(stream: u32) {
    with(|record| {
        record.note(format_args!("~{stream} is closed"));
        record.streams[stream as usize].closed = true;
    });
}

pub(crate) fn read(stream: u32, of: u32, index: u32) {
    with(|record| {
        record.note(format_args!("~{stream} gives {of}.{index}"));
        let it = &mut record.streams[stream as usize];
        let expected = it.read;
        it.read += 1;
        if of != stream || index != expected || index >= it.written {
            record.wrong(format!("stream {stream} gave {of}.{index} instead of {expected}"));
        }
    });
}

pub(crate) fn read_end(stream: u32, end: Result<(), &RpcError>) {
    with(|record| {
        record.note(format_args!("~{stream} ends {end:?}"));
        let it = &record.streams[stream as usize];
        match end {
            Ok(()) if !it.closed || it.read != it.written => {
                let text = format!(
                    "stream {stream} ended in order after {} of {} values, closed: {}",
                    it.read, it.written, it.closed
                );
                record.wrong(text);
            }
            Ok(()) => {}
            Err(error) => record.check_kind(error.kind(), &format!("stream {stream}: {error}")),
        }
    });
}

// ---- what is alive

/// Counted while it is there.
pub(crate) struct Live(&'static str);

impl Live {
    pub(crate) fn new(what: &'static str) -> Self {
        with(|record| *record.live.entry(what).or_default() += 1);
        Self(what)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A runtime that ends drops what is left after the record.
        RECORD.with_borrow_mut(|record| {
            if let Some(record) = record {
                *record.live.entry(self.0).or_default() -= 1;
            }
        });
    }
}

pub(crate) fn living() -> Vec<(&'static str, i64)> {
    with(|record| {
        record.live.iter().map(|(what, count)| (*what, *count)).filter(|(_, it)| *it != 0).collect()
    })
}

pub(crate) fn register(common: Weak<Common>) -> u32 {
    with(|record| {
        record.commons.push(common);
        u32::try_from(record.commons.len() - 1).unwrap()
    })
}

/// Every target and object there has been.
pub(crate) fn commons() -> Vec<Weak<Common>> {
    with(|record| record.commons.clone())
}

// ---- judgement

impl Record {
    fn note(&mut self, what: fmt::Arguments<'_>) {
        let mut line = format!("{:>7} ", self.begun.elapsed().as_millis());
        let _ = line.write_fmt(what);
        self.trace.push(line);
    }

    fn wrong(&mut self, what: String) {
        self.note(format_args!("WRONG: {what}"));
        self.wrong.push(what);
    }

    fn check_kind(&mut self, kind: ErrorKind, what: &str) {
        use ErrorKind::*;
        let allowed = match kind {
            Disconnected | Broken | Failed | Deadline | Cancelled | Closed | Reentrant | Aborted => true,
            // What the programs provoke.
            Encode | NoSuchClass | Reset => true,
            Overloaded => self.tight,
            _ => false,
        };
        if !allowed {
            self.wrong(format!("{what}: not an error that can be"));
        }
    }

    fn judge(&mut self) {
        for number in 0..self.calls.len() {
            let Made { what, line, parent, outcome, runs, .. } = self.calls[number];
            let again = what == "again";
            let fits = match outcome {
                Outcome::Ok | Outcome::Refused => runs == 1 || again && runs > 0,
                Outcome::Failed(_, false) => runs == 0,
                Outcome::Failed(..) | Outcome::LetGo => runs <= 1 || again,
                Outcome::Open => false,
            };
            if !fits {
                self.wrong(format!("#{number} {what} in {line:?} is {outcome:?} and ran {runs} times"));
            }
            if let Outcome::Failed(kind, _) = outcome {
                self.check_kind(kind, &format!("#{number} {what}: {outcome:?}"));
            }
            let parent = parent.map(|parent| self.calls[parent as usize].outcome);
            // A caller that stops waiting does not stop what it waits for.
            let barren = match parent {
                Some(Outcome::Refused) => true,
                Some(Outcome::Failed(kind, _)) => {
                    !matches!(kind, ErrorKind::Deadline | ErrorKind::Overloaded)
                }
                _ => false,
            };
            if barren && matches!(outcome, Outcome::Ok | Outcome::Refused) {
                self.wrong(format!("#{number} {what} is {outcome:?}, and its parent was {parent:?}"));
            }
        }
    }
}
