//! Many objects in one process.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::command::{Args, Command};
use crate::process::resident;

/// Calls of a loop that is to say something.
const ENOUGH: usize = 200_000;

/// Measures what many objects take, and calls to them: `make` makes a counter, `increment` adds 1 to it and gives its
/// value. To be run in a task: where the runtime blocks on it each call would wake a thread twice.
pub async fn objects<S, M, I>(args: &Args, make: impl Fn(usize) -> M, increment: impl Fn(S) -> I)
where
    S: Clone,
    M: Future<Output = S>,
    I: Future<Output = u64>,
{
    let Command::Objects { count } = args.command else {
        unreachable!("it is for objects that this is called")
    };
    let mut all = Vec::with_capacity(count);
    let empty = resident();
    let start = Instant::now();
    for number in 0..count {
        all.push(make(number).await);
    }
    let making = start.elapsed();
    let made = settled().await;

    let start = Instant::now();
    for object in &all {
        assert_eq!(increment(object.clone()).await, 1, "a new counter begins");
    }
    let first = start.elapsed();
    let idle = settled().await;

    // All of them again and again, in an order that no cache foresees.
    let passes = ENOUGH.div_ceil(count.max(1));
    let stride = (0x9e37_79b1 % count.max(1)).max(1);
    let stride = (stride..).find(|stride| gcd(*stride, count) == 1).expect("there are prime numbers");
    let start = Instant::now();
    let mut at = 0;
    for _ in 0..passes * count {
        assert!(increment(all[at].clone()).await > 1, "a counter grows");
        at = (at + stride) % count;
    }
    let scattered = start.elapsed();

    // What a call to an object costs that is not there: made and called, one after the other.
    let more = (count / 10).max(1);
    let start = Instant::now();
    for number in count..count + more {
        assert_eq!(increment(make(number).await).await, 1, "a new counter begins");
    }
    let activating = start.elapsed();

    let per_s = |count: usize, took: Duration| (count as f64 / took.as_secs_f64()).round();
    let each = |bytes: f64| bytes / count as f64;
    args.print(json!({
        "op": "actors", "inflight": 1, "objects": count,
        "bytes_per_spawned": each(made - empty), "bytes_per_idle": each(idle - empty),
        "objects_per_gib": (f64::from(1 << 30) / each(idle - empty)).round(),
        "spawns_per_s": per_s(count, making), "first_calls_per_s": per_s(count, first),
        "scattered_calls_per_s": per_s(passes * count, scattered),
        "activations_per_s": per_s(more, activating),
    }));
}

/// Memory when everything that was started has come to rest.
async fn settled() -> f64 {
    tokio::time::sleep(Duration::from_millis(500)).await;
    resident()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
