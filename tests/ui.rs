//! The macros as their users meet them: what must compile, and what a mistake looks like.
//!
//! One case a file, named after the mistake. The expected messages are those of the oldest supported compiler,
//! and are not compared with another one's; write them again with `TRYBUILD=overwrite cargo test --test ui`, and read the difference.

use std::process::Command;

/// Whether this is the compiler whose messages are expected.
fn messages_are_known() -> bool {
    let version = Command::new("rustc").arg("--version").output().expect("rustc runs").stdout;
    String::from_utf8_lossy(&version).starts_with(concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), "."))
}

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    if messages_are_known() {
        cases.compile_fail("ui/fail/*.rs");
    }
}
