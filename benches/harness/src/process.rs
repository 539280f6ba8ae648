//! What the system knows of processes: processor time and memory. Zero where it does not say.

use std::fs::{read_dir, read_to_string};

/// Seconds that the threads of a process have been on a processor, to the nanosecond.
pub(crate) fn cpu_seconds(process: &str) -> f64 {
    let threads = read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1e9
}

/// Seconds that the processors of the machine were busy, and those of them that another machine had.
pub(crate) fn machine_seconds() -> [f64; 2] {
    let stat = read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft, stolen, ..] = ticks[..] else {
        return [0.0; 2];
    };
    [(user + nice + system + interrupts + soft + stolen) / 100.0, stolen / 100.0]
}

/// Bytes of memory that this process has.
pub(crate) fn resident() -> f64 {
    let kib = read_to_string("/proc/self/smaps_rollup").ok().and_then(|rollup| {
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    kib.unwrap_or(0.0) * 1024.0
}
