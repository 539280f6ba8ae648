//! Runs the programs: all of them once, then all again, so that what disturbs the machine disturbs each.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::{FLOOR, OURS, PEERS, Peer, Result};

/// How one run of a program differs from another.
#[derive(Clone, Copy)]
struct Way {
    /// Server and client on one core: what is measured is work, and not how long a core takes to wake up.
    is_pinned: bool,
    /// Allocations are counted; times mean nothing.
    counts_allocations: bool,
    secs: f64,
    ops: &'static str,
    in_flight: &'static str,
}

/// Measures all, and writes a line for each measurement.
pub(crate) fn run(results: &str, is_quick: bool) -> Result {
    let mut runner = Runner { out: File::create(results)?, number: 0 };
    let (rounds, secs) = if is_quick { (1, 0.15) } else { (3, 0.5) };
    let apart = Way {
        is_pinned: false,
        counts_allocations: false,
        secs,
        ops: "increment,echo64k,echo64k_bytes",
        in_flight: "1,64,1024",
    };
    let together = Way { is_pinned: true, ..apart };
    let counted = Way { counts_allocations: true, secs: 0.2, ops: "increment", in_flight: "1,64", ..apart };

    for round in 1..=rounds {
        for way in [together, apart] {
            runner.each(round, way)?;
        }
    }
    if !is_quick {
        runner.each(1, counted)?;
    }
    for round in 1..=rounds.min(3) {
        for peer in PEERS.iter().filter(|peer| peer.has_objects) {
            let reaches_far = !is_quick && (peer.name == FLOOR || peer.name == OURS);
            let counts: &[_] =
                if is_quick { &[1, 100, 10_000] } else { &[1, 100, 10_000, 100_000, 1_000_000] };
            for count in counts.iter().filter(|count| reaches_far || **count <= 100_000) {
                eprintln!("round {round}: {} {count} objects", peer.name);
                let mut command = program(peer.name, apart);
                command.args(["actors", &count.to_string()]).env("PEERS_REP", round.to_string());
                runner.lines(&mut command, apart)?;
            }
        }
    }
    Ok(())
}

struct Runner {
    out: File,
    number: u32,
}

impl Runner {
    fn each(&mut self, round: u32, way: Way) -> Result {
        let words = match way {
            Way { counts_allocations: true, .. } => "allocations",
            Way { is_pinned: true, .. } => "one core",
            _ => "all cores",
        };
        for peer in &PEERS {
            for transport in peer.transports {
                eprintln!("round {round}, {words}: {} {transport}", peer.name);
                self.bench(peer, transport, round, way)?;
            }
        }
        Ok(())
    }

    fn bench(&mut self, peer: &Peer, transport: &str, round: u32, way: Way) -> Result {
        self.number += 1;
        let path = |kind: &str| -> PathBuf {
            std::env::temp_dir().join(format!("rank-{}-{}.{kind}", std::process::id(), self.number))
        };
        let (socket, allocations) = (path("socket"), path("allocations"));
        let with = |mut command: Command| {
            command.env("PEERS_SECS", way.secs.to_string()).env("PEERS_REP", round.to_string());
            command.env("PEERS_OPS", way.ops).env("PEERS_FLIGHTS", way.in_flight);
            if way.counts_allocations {
                command.env("PEERS_ALLOC_FILE", &allocations);
            }
            command
        };
        let mut client = with(program(peer.name, way));
        client.args(["bench", transport]);
        let mut server = None;
        if transport != "inproc" {
            let address = match transport {
                "uds" => socket.display().to_string(),
                _ => TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string(), // free, and let go of here
            };
            let mut serve = with(program(peer.name, way));
            let serving = Server::start(serve.args(["serve", transport, &address]))?;
            client.arg(&address).env("PEERS_SERVER_PID", serving.0.id().to_string());
            server = Some(serving);
        }
        let done = self.lines(&mut client, way);
        drop(server);
        for left in [&socket, &allocations.with_extension("server")] {
            let _ = std::fs::remove_file(left); // of some there are none
        }
        done
    }

    /// Runs a program to its end and takes its lines. One that fails or hangs is told of, and leaves what it has said.
    fn lines(&mut self, command: &mut Command, way: Way) -> Result {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut stdout = process.stdout.take().expect("it is piped");
        let (end, ended) = mpsc::channel::<()>();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let read = stdout.read_to_string(&mut text);
            drop(end);
            read.map(|_| text)
        });
        if ended.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
            process.kill()?;
        }
        let status = process.wait()?;
        if !status.success() {
            eprintln!("{command:?}: {status}");
        }
        for line in reader.join().expect("no panics")?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            line["pin"] = way.is_pinned.into();
            line["allocs_run"] = way.counts_allocations.into();
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }
}

fn program(name: &str, way: Way) -> Command {
    let here = std::env::current_exe().expect("it runs");
    let mut directory = here.parent().map(Path::to_owned).expect("it is in a directory");
    if way.counts_allocations {
        directory.push("allocations");
    }
    let program = directory.join(name);
    if !way.is_pinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command
}

/// A process that serves, until it is dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let mut server = Self(command.stdout(Stdio::piped()).spawn()?);
        let mut said = String::new();
        BufReader::new(server.0.stdout.take().expect("it is piped")).read_line(&mut said)?;
        if said == "READY\n" { Ok(server) } else { Err(format!("{command:?} does not serve").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
