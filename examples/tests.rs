//! Each example runs, and prints what it should.

use std::process::Command;

fn output_of(example: &str) -> String {
    let output = Command::new(example).output().expect("the example runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn counter() {
    let output = output_of(env!("CARGO_BIN_EXE_counter"));
    let results: Vec<_> = output.lines().skip(2).collect();
    assert!(output.starts_with("server "), "{output}");
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
}

#[test]
fn interface() {
    let output = output_of(env!("CARGO_BIN_EXE_interface"));
    assert_eq!(output, "from the node: 20 degrees in Oslo\nfrom a mock: -40 degrees in Oslo\n");
}
