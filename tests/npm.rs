//! Packages of npm, for tests against programs that are not ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Whether tests that need Node and npm are left out, where they are not to be had.
pub(crate) fn is_left_out() -> bool {
    std::env::var_os("OPENDO_SKIP_NODE").is_some_and(|value| value == "1")
}

/// A directory below the target directory, with these files of `tests/{name}/`, and with the packages that
/// `package-lock.json` names, which are fetched once.
pub(crate) fn directory(name: &str, files: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&work).unwrap();
    let lock = std::fs::read(sources.join("package-lock.json")).unwrap();
    for file in ["package.json", "package-lock.json"].iter().chain(files) {
        // Not written again where it is the same: a program that was started before may be reading it.
        let content = std::fs::read(sources.join(file)).unwrap();
        if !std::fs::read(work.join(file)).is_ok_and(|found| found == content) {
            std::fs::write(work.join(file), content).unwrap();
        }
    }
    // Written when all is there.
    let installed = work.join("installed-package-lock.json");
    if !std::fs::read(&installed).is_ok_and(|found| found == lock) {
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&work);
        succeeds(&mut install);
        std::fs::write(&installed, lock).unwrap();
    }
    work
}

/// What a command of Node or npm said.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {NEEDED}"))
}

pub(crate) const NEEDED: &str = "this test needs Node and npm (OPENDO_SKIP_NODE=1 leaves it out)";

/// Runs a command that has to succeed.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) {
    let output = run(command);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
}
