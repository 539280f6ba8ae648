//! What the real client of Cap'n Web, the npm package, finds when it is served by us, and when we dial it.
//!
//! The cases are in `conformance/run-client.mjs`; what they call is `fixtures/capnweb_fixture`.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

#[path = "npm.rs"]
mod npm;

fn driver() -> PathBuf {
    npm::directory("conformance", &["run-client.mjs", "lib.mjs"])
}

/// A program that runs until it is dropped.
struct Running(Child);

impl Running {
    /// Starts it, and reads the address out of the first line that it writes.
    fn with_address(command: &mut Command, output: fn(&mut Child) -> Box<dyn Read + Send>) -> (Self, String) {
        let mut running =
            Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; {}", npm::NEEDED)));
        let mut line = String::new();
        let mut output = BufReader::new(output(&mut running.0));
        output.read_line(&mut line).unwrap();
        // What it says after that is read, so that it can be said.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let address = line.strip_prefix("listening ").and_then(|line| line.split([';', '\n']).next());
        let address = address.unwrap_or_else(|| panic!("{command:?} said {line:?}")).to_owned();
        (running, address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fixture() -> Command {
    Command::new(env!("CARGO_BIN_EXE_capnweb_fixture"))
}

#[track_caller]
fn assert_passed(said: &str, is_success: bool) {
    let failed: Vec<_> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(is_success && said.lines().any(|line| line.starts_with("ok ")), "{}", failed.join("\n"));
}

#[test]
fn the_npm_client_finds_everything_at_a_node() {
    if npm::is_left_out() {
        return;
    }
    let mut serving = fixture();
    serving.arg("ws://127.0.0.1:0").stdout(Stdio::piped());
    let (_serving, address) =
        Running::with_address(&mut serving, |child| Box::new(child.stdout.take().unwrap()));
    let mut driving = Command::new("node");
    driving.args(["run-client.mjs", &address, &address.replacen("ws", "http", 1)]);
    let output = npm::run(driving.arg("--beyond").current_dir(driver()));
    assert_passed(&String::from_utf8_lossy(&output.stdout), output.status.success());
}

#[test]
fn the_npm_client_finds_everything_at_a_client_that_dialed_it() {
    if npm::is_left_out() {
        return;
    }
    let mut listening = Command::new("node");
    listening.args(["run-client.mjs", "--listen", "0"]).current_dir(driver());
    listening.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut listening, address) =
        Running::with_address(&mut listening, |child| Box::new(child.stderr.take().unwrap()));
    let mut dialing = fixture();
    dialing.args(["--dial", &format!("ws://{address}/")]);
    let _dialing = Running(dialing.spawn().unwrap());
    let mut said = String::new();
    listening.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_passed(&said, listening.0.wait().unwrap().success());
}
