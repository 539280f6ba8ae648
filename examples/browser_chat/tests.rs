//! The chat in two windows of a real browser.
//!
//! It takes Node 20, npm and Chromium (on Debian: `apt install nodejs npm chromium`); npm fetches what drives the browser
//! into the target directory. `OPENDO_CHROMIUM` names a browser of another name, `OPENDO_SKIP_BROWSER=1` goes without.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser_chat");
const OTHERWISE: &str =
    "install it (on Debian: `apt install nodejs npm chromium`), or set OPENDO_SKIP_BROWSER=1";

#[test]
fn people_talk_in_browsers() {
    if env::var_os("OPENDO_SKIP_BROWSER").is_some_and(|value| value == "1") {
        eprintln!("skipped, as OPENDO_SKIP_BROWSER says");
        return;
    }
    let chromium = chromium();
    let modules = modules();
    let status = Command::new("node")
        .args(["--test", "--test-reporter=spec", "--test-timeout=120000", "browser.test.mjs"])
        .current_dir(modules)
        .env("SERVER", env!("CARGO_BIN_EXE_browser_chat"))
        .env("VENDORED", Path::new(HERE).join("page/vendor/capnweb-0.12.0.js"))
        .env("CHROMIUM", chromium)
        .status()
        .unwrap_or_else(|error| panic!("node does not start ({error}): {OTHERWISE}"));
    assert!(status.success(), "see above for what people did not get");
}

fn chromium() -> PathBuf {
    if let Some(chosen) = env::var_os("OPENDO_CHROMIUM") {
        return chosen.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = env::split_paths(&path).flat_map(|place| names.map(|name| place.join(name)));
    places
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("there is no Chromium: {OTHERWISE}"))
}

/// The tests beside what they import, of exactly the versions in the lock file.
fn modules() -> PathBuf {
    let (from, to) =
        (Path::new(HERE).join("browser"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser_chat"));
    fs::create_dir_all(&to).unwrap();
    for file in ["package.json", "package-lock.json", "browser.test.mjs"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let (wanted, installed) = (fs::read(from.join("package-lock.json")).unwrap(), to.join("installed"));
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return to;
    }
    let status = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&to)
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("npm does not start ({error}): {OTHERWISE}"));
    assert!(
        status.success(),
        "npm cannot fetch what drives the browser: go online, or set OPENDO_SKIP_BROWSER=1"
    );
    fs::write(installed, wanted).unwrap();
    to
}
