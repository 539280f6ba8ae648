//! Each example runs, and prints what it should.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

fn output_of(example: &str) -> String {
    let output = Command::new(example).output().expect("the example runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn counter() {
    let data = tempfile::tempdir().unwrap();
    let output = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
        let output = command.env("COUNTER_DATA", data.path()).output().expect("the example runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it prints text")
    };
    let first = output();
    let results: Vec<_> = first.lines().skip(2).collect();
    assert!(first.starts_with("server "), "{first}");
    assert_eq!(
        results,
        [
            "increment(1)  = 1",
            "increment(41) = 42",
            "ten at once   = [43, 44, 45, 46, 47, 48, 49, 50, 51, 52]",
            "increment(max): the counter is full",
            "value()       = 52",
        ]
    );
    let second = output();
    assert_eq!(second.lines().nth(2), Some("increment(1)  = 53"), "it does not go on where it was");
}

/// Checklist 4.13, 5.31, 7.19: nothing that was said is lost when the process is killed, and an alarm that was set goes
/// off in the next one.
#[test]
fn hello_durable() {
    const HELLO: &str = env!("CARGO_BIN_EXE_hello_durable");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let socket = format!("unix:{}", directory.path().join("hello.sock").display());
    let run = |args: &[&str]| {
        let output = Command::new(HELLO).arg("--data").arg(&data).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&[]), "Hello, World! You are visitor 1.\n");
    assert_eq!(run(&[]), "Hello, World! You are visitor 2.\n");

    let serve = || {
        let mut command = Command::new(HELLO);
        command.arg("--data").arg(&data).args(["serve", &socket]).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        server
    };
    for visitor in 3..6 {
        let mut server = serve();
        let said = run(&["visit", &socket, "Ann"]);
        assert!(said.starts_with(&format!("Hello, Ann! You are visitor {visitor}.\n")), "{said}");
        server.kill().unwrap(); // SIGKILL
        server.wait().unwrap();
    }
    // The alarm was set by the first process, and has gone off in one of those after it: once.
    let mut server = serve();
    let mut alarms = String::new();
    for _ in 0..100 {
        alarms = run(&["visit", &socket, "Ben"]);
        if alarms.ends_with("alarms: 1\n") {
            break;
        }
    }
    assert!(alarms.ends_with("alarms: 1\n"), "{alarms}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn cbor() {
    assert_eq!(output_of(env!("CARGO_BIN_EXE_cbor")), "pictures: 1\nthe same: true\n");
}

#[test]
fn interface() {
    let output = output_of(env!("CARGO_BIN_EXE_interface"));
    assert_eq!(output, "from the node: 20 degrees in Oslo\nfrom a mock: -40 degrees in Oslo\n");
}

#[test]
fn pipelining() {
    let output = output_of(env!("CARGO_BIN_EXE_pipelining"));
    let lines: HashMap<_, _> = output.lines().filter_map(|line| line.split_once(':')).collect();
    let trips = |line: &str| {
        lines[line].split_once("; round trips: ").expect("it counts").1.split_once(' ').unwrap().0
    };
    assert!(lines["awaiting each"].contains(" Ann;") && lines["awaiting one"].contains(" Ann;"), "{output}");
    assert_eq!((trips("awaiting each"), trips("awaiting one")), ("3", "1"), "{output}");
    assert_eq!((trips("unknown token"), lines["because"].trim()), ("1", "who are you?"), "{output}");
}

const CHAT: &str = env!("CARGO_BIN_EXE_chat");

/// A process that is talked to line by line, and killed in the end.
struct Talk {
    process: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Talk {
    fn chat(args: &[&str]) -> Self {
        let mut process = Command::new(CHAT)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, output) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, input, output }
    }

    fn says(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line, whenever it comes.
    fn hears(&self, line: &str) {
        assert_eq!(self.next(), line);
    }

    fn next(&self) -> String {
        self.line().expect("another line")
    }

    /// `None` when there will be no more.
    fn line(&self) -> Option<String> {
        match self.output.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing is said for a minute"),
        }
    }

    fn skips_to(&self, begin: &str) -> String {
        std::iter::repeat_with(|| self.next()).find(|line| line.starts_with(begin)).unwrap()
    }

    /// Ends by itself when its input ends.
    fn leaves(mut self) {
        drop(self.input.take());
        while self.line().is_some() {}
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Talk {
    /// SIGKILL: nothing is said to anybody.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A socket file that goes with the test, which kills the process that would have removed it.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn socket(name: &str) -> (Socket, String) {
    let path = std::env::temp_dir().join(format!("opendo-{name}-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    (Socket(path), address)
}

fn serve_chat(address: &str) -> Talk {
    let server = Talk::chat(&["serve", address]);
    server.skips_to("listening on ");
    server
}

fn join_chat(address: &str, name: &str) -> Talk {
    Talk::chat(&["join", address, "lobby", name])
}

#[test]
fn members_of_a_chat_talk_and_are_missed() {
    let (_socket, address) = socket("chat");
    let _server = serve_chat(&address);
    let mut ann = join_chat(&address, "ann");
    ann.hears("* you are in lobby with nobody");
    let mut bob = join_chat(&address, "bob");
    bob.hears("* you are in lobby with ann");
    ann.hears("* bob has joined");
    bob.says("hi");
    ann.hears("bob: hi");
    ann.says("hello");
    bob.hears("ann: hello");

    // What was said, and two who leave: in order, and not.
    let carl = join_chat(&address, "carl");
    carl.hears("bob: hi");
    carl.hears("ann: hello");
    carl.hears("* you are in lobby with ann, bob");
    carl.leaves();
    drop(bob);
    ann.hears("* carl has joined");
    ann.hears("* carl has left");
    ann.hears("* bob was lost");

    let taken =
        Command::new(CHAT).args(["join", &address, "lobby", "ann"]).stdin(Stdio::null()).output().unwrap();
    assert!(!taken.status.success());
    assert_eq!(String::from_utf8_lossy(&taken.stderr), "Error: somebody called ann is there already\n");
    // His name is free again.
    let mut bob = join_chat(&address, "bob");
    ann.hears("* bob has joined");
    bob.says("again");
    ann.hears("bob: again");
    ann.leaves();
}

#[test]
fn members_of_a_chat_come_back_with_their_server() {
    let (_socket, address) = socket("chat-restart");
    let server = serve_chat(&address);
    let mut ann = join_chat(&address, "ann");
    ann.hears("* you are in lobby with nobody");
    let mut bob = join_chat(&address, "bob");
    bob.hears("* you are in lobby with ann");

    // Both have their seats.
    ann.hears("* bob has joined");
    bob.says("hi");
    ann.hears("bob: hi");
    ann.says("hello");
    bob.hears("ann: hello");

    drop(server);
    ann.skips_to("* you were lost: ");
    bob.skips_to("* you were lost: ");
    // That waits until she is in the room again.
    ann.says("where were we?");
    let _server = serve_chat(&address);
    ann.skips_to("* you are in lobby with ");
    assert_eq!(bob.skips_to("ann: "), "ann: where were we?");
    bob.says("here");
    assert_eq!(ann.skips_to("bob: "), "bob: here");
    ann.leaves();
    bob.skips_to("* ann has left");
}

/// Lets connections through to `server`, and can cut them.
struct Cable {
    address: String,
    ends: Receiver<TcpStream>,
}

impl Cable {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let (sender, ends) = channel();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(&server).unwrap();
                for (mut from, mut to) in [(&near, &far), (&far, &near)].map(|(a, b)| (clone(a), clone(b))) {
                    thread::spawn(move || io::copy(&mut from, &mut to));
                }
                let _ = sender.send(near).and_then(|()| sender.send(far));
            }
        });
        Self { address, ends }
    }

    fn cut(&self) {
        for end in self.ends.try_iter() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().unwrap()
}

#[test]
fn a_member_of_a_chat_comes_back_when_its_connection_was_cut() {
    let server = Talk::chat(&["serve", "tcp://127.0.0.1:0"]);
    let address = server.skips_to("listening on ")["listening on ".len()..].to_owned();
    let cable = Cable::to(address["tcp://".len()..].to_owned());
    let mut ann = join_chat(&cable.address, "ann");
    let mut bob = join_chat(&address, "bob");
    bob.skips_to("* you are in lobby with ");
    ann.says("hello");
    bob.skips_to("ann: hello");

    cable.cut();
    ann.skips_to("* you were lost: ");
    bob.hears("* ann was lost");
    bob.hears("* ann has joined");
    bob.says("wait, that was you?");
    ann.skips_to("bob: wait");
    ann.leaves();
    bob.hears("* ann has left");
    bob.leaves();
}
