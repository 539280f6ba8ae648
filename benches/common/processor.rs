//! Processor time of a thread.

use std::sync::OnceLock;
use std::time::Instant;

/// How long this thread has been on a processor, in seconds; where that cannot be asked for, how long it has been.
pub(crate) fn on_processor() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    std::thread::yield_now(); // has the kernel count what has passed since its last tick
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|stat| stat.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}
