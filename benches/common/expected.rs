//! Instructions that are expected of each case: kept in a file, so that they do not creep up unnoticed.
//!
//! Counts are nearly the same from run to run, but not from machine to machine: the C library picks its functions by the
//! processor, and allocates by its version. Therefore a case fails only when it has become more than it was both by
//! itself and beside the floor, which is counted in the same run and shifts with the machine. Of another compiler or
//! architecture the counts are shown, and nothing fails.

use std::fmt::Write as _;
use std::process::Command;

use crate::callgrind::{Case, can_count, each};
use crate::table::{Number, table};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
const RECORD: &str = "benches/instructions.sh --record";

/// How much more, or less, is the same.
const TOLERANCE: f64 = 0.05;

/// Threads that meet sooner or later make some counts differ by a few percent, always upwards: the least of so many.
const TRIES: usize = 3;

/// Counts until it is little enough, and no more often than that.
fn least(case: &str, enough: f64) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        least = each(case, false).min(least);
        if least <= enough {
            break;
        }
    }
    least
}

/// Counts each case and compares; false if one has become more.
pub(crate) fn check(cases: &[Case], floor: &str) -> bool {
    if !can_count() {
        return false;
    }
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let (theirs, ours) = (lines.next().unwrap_or_default(), built_by());
    let expected: Vec<(&str, f64)> = lines
        .filter_map(|line| line.split_once(' '))
        .map(|(case, count)| (case, count.parse().expect("a number")))
        .collect();
    if !expected.iter().map(|(case, _)| case).eq(cases.iter().map(|(case, _)| case)) {
        eprintln!("`{FILE}` has other cases than there are. To write it anew: `{RECORD}`");
        return false;
    }

    let counts: Vec<f64> =
        expected.iter().map(|(case, expected)| least(case, expected * (1.0 + TOLERANCE))).collect();
    let of_floor = cases.iter().position(|(case, _)| *case == floor).expect("the floor is a case");
    let shift = counts[of_floor] / expected[of_floor].1;
    let (mut more, mut fewer) = (Vec::new(), Vec::new());
    let rows: Vec<_> = cases
        .iter()
        .zip(&expected)
        .zip(&counts)
        .map(|(((case, name), (_, expected)), count)| {
            let (alone, beside) = (count / expected, count / expected / shift);
            if alone.min(beside) > 1.0 + TOLERANCE && *case != floor {
                more.push(*name);
            } else if alone.max(beside) < 1.0 - TOLERANCE {
                fewer.push(*name);
            }
            let numbers = [*expected, *count].map(|count| Number(count.round()).to_string());
            let changes = [alone, beside].map(|change| format!("{:+.1} %", (change - 1.0) * 100.0));
            [(*name).to_owned()].into_iter().chain(numbers).chain(changes).collect()
        })
        .collect();
    table("Instructions", &["", "expected", "counted", "change", "change beside the floor"], &rows);

    println!();
    let tolerance = TOLERANCE * 100.0;
    for name in fewer {
        println!("{name}: over {tolerance} % less than expected. Keep it so: `{RECORD}`");
    }
    if ours != theirs {
        println!(
            "NOT CHECKED: expected is what `{theirs}` makes, and this is `{ours}`. To expect that: `{RECORD}`"
        );
        return true;
    }
    for name in &more {
        println!("{name}: over {tolerance} % MORE than expected. If that is what it is worth: `{RECORD}`");
    }
    more.is_empty()
}

/// Counts each case, and expects that from now on.
pub(crate) fn record(cases: &[Case]) -> bool {
    if !can_count() {
        return false;
    }
    let mut text = format!(
        "# Instructions of each case of `instructions.rs`: what they were counted on, then one line a case.\n\
         # `benches/instructions.sh` compares, and writes this file with `--record`.\n{}\n",
        built_by()
    );
    for (case, _) in cases {
        writeln!(text, "{case} {:.0}", least(case, 0.0)).expect("strings grow");
    }
    std::fs::write(FILE, &text).expect("the sources can be written");
    print!("{text}");
    true
}

/// The compiler, what for, and how: all decide what is counted.
fn built_by() -> String {
    let version = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    let version = String::from_utf8(version.unwrap_or_default()).expect("text");
    let number = version.split_whitespace().nth(1).unwrap_or("unknown");
    let is_incremental = std::env::var("CARGO_INCREMENTAL").is_ok_and(|it| it != "0");
    let how = if is_incremental { ", incremental" } else { "" };
    format!("rustc {number}, {}-{}{how}", std::env::consts::ARCH, std::env::consts::OS)
}
