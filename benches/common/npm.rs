//! What is compared with that npm has.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a directory of benches, below the target directory, with the packages that `package-lock.json` names.
pub(crate) fn install(name: &str, files: &[&str]) -> io::Result<PathBuf> {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::create_dir_all(&work)?;
    let lock = std::fs::read(sources.join("package-lock.json"))?;
    // Written when all is there.
    let installed = work.join("installed-package-lock.json");
    let is_installed = std::fs::read(&installed).is_ok_and(|found| found == lock);
    for file in ["package.json", "package-lock.json"].iter().chain(files) {
        std::fs::copy(sources.join(file), work.join(file))?;
    }
    if !is_installed {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&work);
        let status = npm.status()?;
        if !status.success() {
            return Err(io::Error::other(format!("`npm ci`: {status}")));
        }
        std::fs::write(&installed, lock)?;
    }
    Ok(work)
}
