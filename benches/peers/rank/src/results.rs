//! What was measured: medians of repetitions, and ratios to the floor within each.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{FLOOR, Result};

/// All lines of a run.
pub(crate) struct Results(Vec<Value>);

/// The calls of one library over one transport under one load.
#[derive(Clone, Copy)]
pub(crate) struct Calls<'a> {
    pub(crate) peer: &'a str,
    pub(crate) transport: &'a str,
    pub(crate) op: &'a str,
    pub(crate) in_flight: u64,
    pub(crate) is_pinned: bool,
}

/// The middle one counts, the outer ones tell how far to trust it.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Some(Self { min: *values.first()?, max: *values.last()?, median: values[values.len() / 2] })
    }
}

impl Results {
    pub(crate) fn read(file: &str) -> Result<Self> {
        let text = std::fs::read_to_string(file)?;
        Ok(Self(text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?))
    }

    /// Each repetition's value, by its number.
    fn values(&self, calls: Calls<'_>, counts_allocations: bool, key: &str) -> BTreeMap<u64, f64> {
        let is_it = |line: &&Value| {
            line["peer"] == calls.peer
                && line["transport"] == calls.transport
                && line["op"] == calls.op
                && line["inflight"] == calls.in_flight
                && line["pin"] == calls.is_pinned
                && line["allocs_run"] == counts_allocations
        };
        let value = |line: &Value| Some((line["rep"].as_u64()?, line[key].as_f64()?));
        self.0.iter().filter(is_it).filter_map(value).collect()
    }

    pub(crate) fn spread(&self, calls: Calls<'_>, key: &str) -> Option<Spread> {
        Spread::of(self.values(calls, false, key).into_values())
    }

    /// How many times the floor's, repetition by repetition.
    pub(crate) fn of_floor(&self, calls: Calls<'_>, key: &str) -> Option<Spread> {
        let transport = match calls.transport {
            "inproc" | "uds" => calls.transport,
            _ => "tcp",
        };
        let floor = self.values(Calls { peer: FLOOR, transport, ..calls }, false, key);
        let values = self.values(calls, false, key);
        Spread::of(values.iter().filter_map(|(rep, value)| Some(value / floor.get(rep)?)))
    }

    /// Microseconds of processor time for each call, both sides.
    pub(crate) fn cpu(&self, calls: Calls<'_>) -> Option<f64> {
        let client = self.spread(calls, "cpu_us_per_call")?.median;
        Some(client + self.spread(calls, "server_cpu_us_per_call").map_or(0.0, |server| server.median))
    }

    /// Allocations for each call, both sides.
    pub(crate) fn allocations(&self, calls: Calls<'_>) -> Option<f64> {
        let calls = Calls { is_pinned: false, ..calls };
        self.values(calls, true, "allocs_per_call").into_values().next()
    }

    /// Of that many objects.
    pub(crate) fn objects(&self, peer: &str, count: u64, key: &str) -> Option<Spread> {
        let is_it =
            |line: &&Value| line["peer"] == peer && line["op"] == "actors" && line["objects"] == count;
        Spread::of(self.0.iter().filter(is_it).filter_map(|line| line[key].as_f64()))
    }

    /// How many objects this library was measured with.
    pub(crate) fn counts(&self, peer: &str) -> Vec<u64> {
        let is_it = |line: &&Value| line["peer"] == peer && line["op"] == "actors";
        let mut counts: Vec<u64> =
            self.0.iter().filter(is_it).filter_map(|line| line["objects"].as_u64()).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    }

    pub(crate) fn version(&self, peer: &str) -> Option<&str> {
        self.0.iter().find(|line| line["peer"] == peer)?["version"].as_str()
    }
}
