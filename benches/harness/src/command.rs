//! How a program is called, and what it says.

use std::fmt;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// What a program is to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve the counter here.
    Serve {
        /// Over what.
        transport: String,
        /// A host and port, or a path.
        address: String,
    },
    /// Measure calls.
    Bench {
        /// Over what.
        transport: String,
        /// Where the counter is served; none for one in this process.
        address: Option<String>,
    },
    /// Measure objects in this process.
    Objects {
        /// How many.
        count: usize,
    },
}

/// How a program was called.
#[derive(Clone, Debug)]
pub struct Args {
    peer: &'static str,
    version: String,
    runtime: String,
    /// What it is to do.
    pub command: Command,
}

impl Args {
    /// Of this process, whose program shows what `peer` in this version can do. Ends the process if they are wrong.
    pub fn parse(peer: &'static str, version: impl Into<String>) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let command = match words[..] {
            ["serve", transport, address] => {
                Command::Serve { transport: transport.to_owned(), address: address.to_owned() }
            }
            ["bench", transport] => Command::Bench { transport: transport.to_owned(), address: None },
            ["bench", transport, address] => {
                Command::Bench { transport: transport.to_owned(), address: Some(address.to_owned()) }
            }
            ["actors"] => Command::Objects { count: 100_000 },
            ["actors", count] => Command::Objects { count: count.parse().unwrap_or_else(|_| usage(peer)) },
            _ => usage(peer),
        };
        let runtime = std::env::var("PEERS_RT").unwrap_or_else(|_| "multi".to_owned());
        Self { peer, version: version.into(), runtime, command }
    }

    /// Whatever the environment says: for what can run on one thread only.
    pub fn on_one_thread(&mut self) {
        "current".clone_into(&mut self.runtime);
    }

    /// The runtime that was asked for.
    pub fn runtime(&self) -> Runtime {
        let built = match self.runtime.as_str() {
            "current" => Builder::new_current_thread().enable_all().build(),
            _ => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        };
        built.expect("a runtime")
    }

    /// Prints a measurement: what every line has, and this.
    pub(crate) fn print(&self, measured: Value) {
        let transport = match &self.command {
            Command::Serve { transport, .. } | Command::Bench { transport, .. } => transport,
            Command::Objects { .. } => "inproc",
        };
        let mut line = json!({
            "peer": self.peer, "version": self.version, "transport": transport, "rt": self.runtime,
            "rep": set("PEERS_REP").unwrap_or(0),
        });
        let (Some(line), Value::Object(measured)) = (line.as_object_mut(), measured) else {
            unreachable!("both are objects");
        };
        line.extend(measured);
        println!("{}", Value::Object(line.clone()));
    }
}

fn usage(peer: &str) -> ! {
    eprintln!("{peer} serve TRANSPORT ADDRESS | bench TRANSPORT [ADDRESS] | actors [COUNT]");
    std::process::exit(2)
}

/// A number in the environment.
pub(crate) fn set(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Says that the counter is served.
pub fn ready() {
    crate::allocations::serve();
    println!("READY");
}

/// The version of a package that this text of a `Cargo.lock` names.
pub fn version_in(lock: &str, package: impl fmt::Display) -> String {
    let after = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).map(|(_, after)| after);
    after.and_then(|it| it.split('"').next()).unwrap_or("unknown").to_owned()
}
