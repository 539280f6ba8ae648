//! What is compared with that npm has.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// These files of a directory of benches, below the target directory, with the packages that its `package.json` names by
/// their exact versions.
pub(crate) fn install(name: &str, files: &[&str]) -> io::Result<PathBuf> {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::create_dir_all(&work)?;
    for file in ["package.json"].iter().chain(files) {
        std::fs::copy(sources.join(file), work.join(file))?;
    }
    let wanted = std::fs::read(work.join("package.json"))?;
    // Written when all is there.
    let installed = work.join("installed-package.json");
    if !std::fs::read(&installed).is_ok_and(|found| found == wanted) {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]);
        let status = npm.current_dir(&work).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("`npm install`: {status}")));
        }
        std::fs::write(&installed, wanted)?;
    }
    Ok(work)
}
