//! The crates of `fixtures/`: what the macros do depends on the manifest of the crate that uses them.

use std::path::Path;
use std::process::{Command, Output};

/// Builds a fixture as its user would.
fn check(package: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--package", package, "--manifest-path"])
        .arg(root.join("fixtures/Cargo.toml"))
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs")
}

#[track_caller]
fn assert_builds(package: &str) {
    let output = check(package);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn renamed_dependency_and_no_serde_dependency() {
    assert_builds("renamed");
}

#[test]
fn reexported_dependency() {
    assert_builds("reexported");
}

#[test]
fn missing_dependency() {
    let output = check("missing");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("`opendo` is not a dependency of this crate"), "{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 2, "the error, and that it failed: {stderr}");
}
