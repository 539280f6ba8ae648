//! What the programs that are compared have agreed on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn opendo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opendo"));
    command.args(arguments).env("PEERS_SECS", "0.01").env("PEERS_REP", "3");
    command
}

fn lines(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

#[test]
fn every_measurement_is_a_line_with_the_same_keys() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket").display().to_string();
    let mut server = opendo(&["serve", "uds", &path]);
    let mut server = Server(server.stdout(Stdio::piped()).spawn().expect("it runs"));
    let mut said = String::new();
    BufReader::new(server.0.stdout.take().expect("it is piped")).read_line(&mut said).expect("text");
    assert_eq!(said, "READY\n");

    let process = server.0.id().to_string();
    let apart = lines(opendo(&["bench", "uds", &path]).env("PEERS_SERVER_PID", process));
    let here = lines(&mut opendo(&["bench", "inproc"]));
    for line in apart.iter().chain(&here) {
        for key in ["version", "p50_us", "p99_us", "allocs_per_call", "alloc_bytes_per_call", "steal"] {
            assert!(line.get(key).is_some(), "{key}: {line}");
        }
        for key in ["secs", "calls", "calls_per_s", "cpu_us_per_call", "other_cpu"] {
            assert!(line[key].is_number(), "{key}: {line}");
        }
        assert_eq!((&line["peer"], &line["rep"]), (&"opendo".into(), &3.into()));
    }
    assert!(
        apart.iter().all(|line| line["transport"] == "uds" && line["server_cpu_us_per_call"].is_number())
    );
    assert!(
        here.iter().all(|line| line["transport"] == "inproc" && line["server_cpu_us_per_call"].is_null())
    );
    let loads: Vec<_> = apart.iter().map(|line| format!("{} {}", line["op"], line["inflight"])).collect();
    let expected = [
        r#""increment" 1"#,
        r#""increment" 64"#,
        r#""increment" 1024"#,
        r#""echo1k" 1"#,
        r#""echo1k" 64"#,
        r#""echo64k" 1"#,
        r#""echo64k" 64"#,
    ];
    assert_eq!(loads, expected);
}

#[test]
fn what_the_environment_leaves_out_is_not_measured() {
    let mut bench = opendo(&["bench", "inproc"]);
    let lines = lines(bench.env("PEERS_OPS", "increment,echo1k").env("PEERS_FLIGHTS", "64"));
    assert_eq!(lines.iter().map(|line| &line["op"]).collect::<Vec<_>>(), ["increment", "echo1k"]);
}

#[test]
fn objects_are_measured_in_one_line() {
    let [line] = &lines(&mut opendo(&["actors", "10"]))[..] else { panic!("one line") };
    assert_eq!((&line["op"], &line["objects"]), (&"actors".into(), &10.into()));
    assert!(line["activations_per_s"].as_f64() > Some(0.0), "{line}");
}
