//! What processes take of the processor, and of how much of it.

use std::process::{Command, ExitCode};

/// Processor time of a process so far, in seconds; 0 where that cannot be asked for.
pub(crate) fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name in parentheses; Linux counts in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs this program again, on one core.
pub(crate) fn pinned(arguments: &[String]) -> ExitCode {
    let exe = std::env::current_exe().expect("it runs");
    let rest = arguments.iter().filter(|argument| *argument != "--pinned");
    match Command::new("taskset").args(["--cpu-list", "0"]).arg(exe).args(rest).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("`taskset` pins processes to a core, and cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}
