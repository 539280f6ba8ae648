//! Streams whose values know their place.

use std::time::Duration;

use futures::{StreamExt, stream};
use opendo::{RpcSink, RpcStream};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::chance::Chance;
use opendo::StubExt;

use super::party::{PartyStub, target};
use super::record::{self, Line, Live};

#[derive(Debug, Serialize, Deserialize)]
pub struct Item {
    stream: u32,
    index: u32,
    stub: Option<PartyStub>,
}

/// What one end of a stream does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub stream: u32,
    /// How many values it writes, or reads at most.
    values: u32,
    /// Before each value.
    millis: u32,
    end: End,
    /// Every so many values hold a stub.
    stubs: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum End {
    Close,
    Abort,
    Drop,
}

impl Plan {
    /// For one end of that stream.
    pub(crate) fn new(chance: &mut Chance, stream: u32) -> Self {
        let values = match chance.below(4) {
            0 => chance.below(3),
            1..3 => chance.below(12),
            _ => 20 + chance.below(60),
        };
        let millis = if chance.percent(60) { 0 } else { chance.below(30) };
        let end = [End::Close, End::Close, End::Abort, End::Drop][chance.place(4)];
        let stubs = if chance.percent(70) { 0 } else { 2 + chance.below(6) };
        Self { stream, values, millis, end, stubs }
    }

    /// Reads all.
    pub(crate) fn patient(mut self) -> Self {
        self.values = u32::MAX;
        self
    }

    async fn pause(&self) {
        if self.millis > 0 {
            sleep(Duration::from_millis(u64::from(self.millis))).await;
        }
    }

    fn next(&self) -> Item {
        let index = record::write(self.stream);
        let stub = (self.stubs > 0 && index % self.stubs == 1).then(target);
        Item { stream: self.stream, index, stub }
    }
}

/// A stream that is made as it is read.
pub(crate) fn source(plan: Plan) -> RpcStream<Item> {
    let values = stream::unfold((plan, 0, Live::new("source")), |(plan, done, live)| async move {
        plan.pause().await;
        if done < plan.values {
            let item = Ok(plan.next());
            return Some((item, (plan, done + 1, live)));
        }
        match plan.end {
            End::Close => {
                record::close(plan.stream);
                None
            }
            End::Abort | End::Drop if done == u32::MAX => None,
            End::Abort | End::Drop => Some((Err("enough"), (plan, u32::MAX, live))),
        }
    });
    RpcStream::try_from_stream(values)
}

/// Reads as planned, and lets go of the rest.
pub(crate) async fn read(mut stream: RpcStream<Item>, plan: Plan) {
    let _live = Live::new("reader");
    for _ in 0..plan.values {
        plan.pause().await;
        match stream.next().await {
            Some(Ok(item)) => {
                record::read(plan.stream, item.stream, item.index);
                if let Some(stub) = item.stub {
                    let tag = record::made("note", Line(0), None);
                    let answer = stub.with_timeout(Duration::from_secs(3)).note(tag).await;
                    record::ended(tag, &answer);
                }
            }
            Some(Err(error)) => return record::read_end(plan.stream, Err(&error)),
            None => return record::read_end(plan.stream, Ok(())),
        }
    }
    record::note(format_args!("~{} is read no further", plan.stream));
}

/// Writes as planned.
pub(crate) async fn write(mut sink: RpcSink<Item>, plan: Plan) {
    let _live = Live::new("writer");
    for _ in 0..plan.values {
        plan.pause().await;
        if let Err(error) = sink.send(plan.next()).await {
            record::note(format_args!("~{} is not written: {error}", plan.stream));
            return;
        }
    }
    match plan.end {
        End::Close => {
            record::close(plan.stream);
            let closed = sink.close().await;
            record::note(format_args!("~{} closed {closed:?}", plan.stream));
        }
        End::Abort => sink.abort("enough"),
        End::Drop => drop(sink),
    }
}
