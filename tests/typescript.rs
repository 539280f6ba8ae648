//! The TypeScript declarations of interfaces, checked by the real compiler against the real client library.
//!
//! Needs Node and npm, which fetch `typescript/package-lock.json` once into the target directory. Where they are not to be
//! had, `OPENDO_SKIP_NPM=1` leaves out what needs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use opendo::typescript::{Declarations, declarations};

#[path = "typescript/interfaces.rs"]
mod interfaces;
#[path = "npm.rs"]
mod npm;

use interfaces::{ApiStub, PassportStub};

fn api() -> Declarations {
    declarations().interface::<ApiStub>()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("typescript")
}

#[test]
fn the_declarations_are_those_that_the_client_is_checked_against() {
    api().assert_current(sources().join("api.ts"));
}

#[test]
fn what_is_added_twice_is_declared_once() {
    let twice = api().interface::<PassportStub>().interface::<ApiStub>();
    assert_eq!(twice.to_string(), api().to_string());
}

#[test]
fn a_file_is_written_when_it_differs_and_the_difference_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.ts");
    api().write(&path).unwrap();
    api().assert_current(&path);
    std::fs::write(&path, api().to_string().replace("add(", "subtract(")).unwrap();
    let told = std::panic::catch_unwind(|| api().assert_current(&path)).unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("is not current") && told.contains("subtract(") && told.contains("add("), "{told}");
}

#[test]
fn a_client_is_typed() {
    if npm::is_left_out() {
        return;
    }
    let work = npm::directory("typescript", &["tsconfig.json", "api.ts", "client.ts"]);
    let mut compiler = Command::new("node");
    npm::succeeds(compiler.args(["node_modules/typescript/bin/tsc", "--project", "."]).current_dir(work));
}
