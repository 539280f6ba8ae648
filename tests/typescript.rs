//! The TypeScript declarations of interfaces, checked by the real compiler against the real client library.
//!
//! Needs Node and npm, which fetch `typescript/package-lock.json` once into the target directory. Where they are not to be
//! had, `OPENDO_SKIP_NPM=1` leaves out what needs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use opendo::typescript::{Declarations, declarations};

#[path = "typescript/interfaces.rs"]
mod interfaces;

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

/// A command that npm or Node runs, and what it said if it failed.
fn run(command: &mut Command) {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| {
        panic!("{shown}: {error}; this test needs Node and npm (OPENDO_SKIP_NPM=1 leaves it out)")
    });
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{out}{err}");
}

#[test]
fn a_client_is_typed() {
    if std::env::var_os("OPENDO_SKIP_NPM").is_some_and(|value| value == "1") {
        return;
    }
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("typescript");
    std::fs::create_dir_all(&work).unwrap();
    let lock = std::fs::read(sources().join("package-lock.json")).unwrap();
    // Written when all is there.
    let installed = work.join("installed-package-lock.json");
    let is_installed = std::fs::read(&installed).is_ok_and(|found| found == lock);
    for file in ["package.json", "package-lock.json", "tsconfig.json", "api.ts", "client.ts"] {
        std::fs::copy(sources().join(file), work.join(file)).unwrap();
    }
    if !is_installed {
        run(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&work));
        std::fs::write(&installed, lock).unwrap();
    }
    run(Command::new("node").args(["node_modules/typescript/bin/tsc", "--project", "."]).current_dir(&work));
}
