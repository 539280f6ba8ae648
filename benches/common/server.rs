//! Servers in processes of their own, and what they take of the processor.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

/// A process that says first where it listens, and ends with its standard input.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be run");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut line).expect("text");
        Self { process, address: line.trim().to_owned() }
    }

    pub(crate) fn id(&self) -> String {
        self.process.id().to_string()
    }

    /// See [`cpu_seconds`].
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&self.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
    }
}

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
