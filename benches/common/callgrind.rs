//! Counts instructions: a number that does not depend on what else the machine does.
//!
//! A bench runs itself under `valgrind --tool=callgrind`, as `run CASE TIMES`, once for a number of repetitions and once
//! for twice as many; the difference has neither start-up nor tear-down in it.

use std::process::Command;

use crate::table::{Number, table};

/// A case's name on the command line, and in the table.
pub(crate) type Case = (&'static str, &'static str);

const TIMES: u32 = 1_000;

/// What to do if this process was started to be counted: the case, and how often.
pub(crate) fn is_counted(arguments: &[String]) -> Option<(&str, u32)> {
    match arguments {
        [run, case, times, ..] if run == "run" => Some((case, times.parse().expect("a number"))),
        _ => None,
    }
}

/// Whether there is valgrind; says so if not.
pub(crate) fn can_count() -> bool {
    let found = Command::new("valgrind").arg("--version").output().is_ok();
    if !found {
        eprintln!("`valgrind` counts the instructions, and is not installed");
    }
    found
}

/// Prints the instructions of each case; with `top` also which functions they are spent in. False without valgrind.
pub(crate) fn report(cases: &[Case], top: bool) -> bool {
    if !can_count() {
        return false;
    }
    let rows: Vec<_> = cases
        .iter()
        .map(|(case, name)| vec![(*name).to_owned(), Number(each(case, top)).to_string()])
        .collect();
    table("Instructions", &["", "instructions each"], &rows);
    true
}

/// Instructions of one repetition of this case.
pub(crate) fn each(case: &str, top: bool) -> f64 {
    (counted(case, 2 * TIMES, top) - counted(case, TIMES, false)) / f64::from(TIMES)
}

/// Instructions of a whole run.
fn counted(case: &str, times: u32, top: bool) -> f64 {
    let file = std::env::temp_dir().join(format!("opendo-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().expect("it runs"))
        .args(["run", case, &times.to_string()])
        .output()
        .expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let total = said.lines().find_map(|line| line.split("Collected :").nth(1)).expect("its summary");
    if top {
        let annotated =
            Command::new("callgrind_annotate").arg(&file).output().expect("it comes with valgrind");
        println!("\n### {case}, {times} times\n\n```text");
        String::from_utf8_lossy(&annotated.stdout)
            .lines()
            .skip(20)
            .take(45)
            .for_each(|line| println!("{line}"));
        println!("```");
    }
    let _ = std::fs::remove_file(file);
    total.trim().parse().expect("a number")
}
