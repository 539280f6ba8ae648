//! Runs opendo and what it is compared with in turn (`rank run RESULTS [quick]`), and makes the README's table and the
//! plots of what they say (`rank report RESULTS`). `run.sh` builds what this runs.

use std::process::ExitCode;

mod plots;
mod results;
mod run;
mod svg;
mod tables;

/// A program, by its name beside this one, and over what it makes calls; whether it has objects that can be counted.
struct Peer {
    name: &'static str,
    transports: &'static [&'static str],
    has_objects: bool,
}

const fn peer(name: &'static str, transports: &'static [&'static str], has_objects: bool) -> Peer {
    Peer { name, transports, has_objects }
}

const FLOOR: &str = "floor";
const OURS: &str = "opendo";

const PEERS: [Peer; 10] = [
    peer(FLOOR, &["inproc", "uds", "tcp"], true),
    peer(OURS, &["inproc", "uds", "tcp", "ws", "ws-text"], true),
    peer("kameo", &["inproc"], true),
    peer("ractor", &["inproc"], true),
    peer("tarpc", &["inproc", "uds", "tcp"], false),
    peer("tonic", &["uds", "tcp"], false),
    peer("remoc", &["inproc", "uds", "tcp"], false),
    peer("jsonrpsee", &["ws"], false),
    peer("irpc", &["inproc", "quic"], false),
    peer("capnp-rpc", &["inproc", "uds", "tcp"], false),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["run", results] => run::run(results, false),
        ["run", results, "quick"] => run::run(results, true),
        ["report", results] => report(results),
        _ => Err("rank run RESULTS [quick] | rank report RESULTS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn report(file: &str) -> Result {
    let results = results::Results::read(file)?;
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for (name, plot) in plots::all(&results) {
        std::fs::write(format!("{here}/plots/{name}.svg"), plot)?;
    }
    std::fs::write(format!("{here}/results.md"), tables::whole(&results))?;
    tables::replace_in(&format!("{here}/../../README.md"), &tables::short(&results))
}
