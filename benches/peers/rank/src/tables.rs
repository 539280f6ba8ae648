//! Markdown.

use std::fmt::Write as _;

use crate::results::{Calls, Results, Spread};
use crate::{OURS, PEERS, Result};

/// How transports are called where people read.
pub(crate) fn words(transport: &str) -> &str {
    match transport {
        "inproc" => "in process",
        "uds" => "Unix socket",
        "tcp" => "TCP",
        "ws" => "WebSocket",
        "ws-text" => "WebSocket, text",
        "quic" => "QUIC",
        other => other,
    }
}

/// Kinds of transports that are compared with each other.
pub(crate) const KINDS: [(&str, &[&str]); 3] = [
    ("in process", &["inproc"]),
    ("over a Unix socket", &["uds"]),
    ("over TCP", &["tcp", "ws", "ws-text", "quic"]),
];

/// Three digits: `0.512`, `37.7`, `512 k`, `1.02 M`.
pub(crate) fn number(value: f64) -> String {
    match value {
        n if n >= 999_500.0 => format!("{} M", number(n / 1e6)),
        n if n >= 9_995.0 => format!("{} k", number(n / 1e3)),
        n if n >= 999.5 => {
            let n = n.round() as u64;
            format!("{},{:03}", n / 1000, n % 1000)
        }
        n if n >= 99.95 || n == 0.0 => format!("{n:.0}"),
        n if n >= 9.995 => format!("{n:.1}"),
        n if n >= 0.995 => format!("{n:.2}"),
        n => format!("{n:.3}"),
    }
}

/// A power of ten: `0.1`, `1`, `10 k`.
pub(crate) fn tick(power: f64) -> String {
    match power {
        n if n >= 1e6 => format!("{} M", n / 1e6),
        n if n >= 1e3 => format!("{} k", n / 1e3),
        n => format!("{}", (n * 1e9).round() / 1e9),
    }
}

/// A number of things: `1`, `64`, `1,024`, `1,000,000`.
fn count(things: u64) -> String {
    match things {
        0..1000 => things.to_string(),
        _ => format!("{},{:03}", count(things / 1000), things % 1000),
    }
}

fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| number(spread.median))
}

fn range(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |Spread { median, min, max }| {
            let outer = format!(" ({}–{})", number(min), number(max));
            number(median) + if min < max { &outer } else { "" }
        },
    )
}

fn row(out: &mut String, cells: &[String]) {
    writeln!(out, "| {} |", cells.join(" | ")).expect("strings grow");
}

fn head(out: &mut String, cells: &[&str]) {
    writeln!(out, "| {} |\n|{}", cells.join(" | "), " --- |".repeat(cells.len())).expect("strings grow");
}

/// Each library over each transport of a kind.
pub(crate) fn of_kind(transports: &[&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    PEERS.iter().flat_map(move |peer| {
        let these = peer.transports.iter().filter(|transport| transports.contains(transport));
        these.map(|transport| (peer.name, *transport))
    })
}

pub(crate) const INCREMENT: Calls<'_> =
    Calls { peer: "", transport: "", op: "increment", in_flight: 1, is_pinned: true };

/// The README's.
pub(crate) fn short(results: &Results) -> String {
    let mut out = String::new();
    head(
        &mut out,
        &[
            "`increment(u64) -> u64`",
            "",
            "one at a time, µs",
            "64 in flight, calls/s",
            "1,024 in flight, calls/s",
            "CPU µs a call",
            "allocations",
            "bytes an object",
        ],
    );
    for (kind, transports) in KINDS {
        let floor = format!("**{kind}**");
        let mut kind = Some(floor);
        for (peer, transport) in of_kind(transports) {
            let calls = Calls { peer, transport, ..INCREMENT };
            let Some(_) = results.spread(calls, "p50_us") else { continue };
            let beside = |value: Option<Spread>, ratio: Option<Spread>| match ratio {
                Some(ratio) if peer != crate::FLOOR => {
                    format!("{} ({})", median(value), number(ratio.median))
                }
                _ => median(value),
            };
            let rate = |in_flight| {
                let calls = Calls { in_flight, ..calls };
                beside(results.spread(calls, "calls_per_s"), results.of_floor(calls, "calls_per_s"))
            };
            let many = Calls { in_flight: 64, ..calls };
            let over = if transports.len() > 1 { format!(", {}", words(transport)) } else { String::new() };
            let name = if peer == OURS { format!("**{peer}**{over}") } else { format!("{peer}{over}") };
            let bytes = results.objects(peer, 100_000, "bytes_per_idle");
            let bytes = bytes.or_else(|| results.objects(peer, 10_000, "bytes_per_idle"));
            let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
            row(
                &mut out,
                &[
                    kind.take().unwrap_or_default(),
                    name,
                    beside(results.spread(calls, "p50_us"), results.of_floor(calls, "p50_us")),
                    rate(64),
                    rate(1024),
                    optional(results.cpu(many)),
                    optional(results.allocations(many)),
                    if transport == "inproc" { median(bytes) } else { "–".to_owned() },
                ],
            );
        }
    }
    out
}

/// Everything, with how far to trust it.
pub(crate) fn whole(results: &Results) -> String {
    let mut out = String::from(
        "# opendo and what else there is\n\nWritten by `run.sh`. Medians of repetitions, the smallest and largest in parentheses.\n",
    );
    let versions: Vec<String> = PEERS
        .iter()
        .filter_map(|peer| Some(format!("{} {}", peer.name, results.version(peer.name)?)))
        .collect();
    writeln!(out, "Versions: {} (the floor's is that of tokio).", versions.join(", ")).expect("strings grow");
    for (is_pinned, title) in [(true, "Client and server on one core"), (false, "On all cores")] {
        for (op, what) in [
            ("increment", "`increment(u64) -> u64`"),
            ("echo64k", "64 KiB there and back, as users write it first (`Vec<u8>`)"),
            ("echo64k_bytes", "64 KiB there and back, marked as bytes for serde"),
        ] {
            writeln!(out, "\n## {title}: {what}\n").expect("strings grow");
            let columns =
                ["", "", "in flight", "p50 µs", "p99 µs", "calls/s", "÷ floor's calls/s", "CPU µs a call"];
            head(&mut out, &columns);
            for (_, transports) in KINDS {
                for (peer, transport) in of_kind(transports) {
                    for in_flight in [1, 64, 1024] {
                        let calls = Calls { peer, transport, op, in_flight, is_pinned };
                        let Some(rate) = results.spread(calls, "calls_per_s") else { continue };
                        row(
                            &mut out,
                            &[
                                peer.to_owned(),
                                words(transport).to_owned(),
                                count(in_flight),
                                range(results.spread(calls, "p50_us")),
                                median(results.spread(calls, "p99_us")),
                                range(Some(rate)),
                                range(results.of_floor(calls, "calls_per_s")),
                                results.cpu(calls).map_or_else(|| "–".to_owned(), number),
                            ],
                        );
                    }
                }
            }
        }
    }
    out.push_str("\n## Objects in one process\n\n");
    let columns =
        ["", "objects", "bytes an idle one", "activations/s", "first calls/s", "calls/s, each to another"];
    head(&mut out, &columns);
    for peer in &PEERS {
        for objects in results.counts(peer.name) {
            let of = |key| range(results.objects(peer.name, objects, key));
            // What few objects take is lost in what the process takes.
            let bytes = if objects < 10_000 { "–".to_owned() } else { of("bytes_per_idle") };
            let rates = ["activations_per_s", "first_calls_per_s", "scattered_calls_per_s"].map(of);
            row(&mut out, &[&[peer.name.to_owned(), count(objects), bytes], &rates[..]].concat());
        }
    }
    out
}

/// Puts the table between its marks.
pub(crate) fn replace_in(file: &str, table: &str) -> Result {
    const MARKS: [&str; 2] = ["<!-- benches/peers/run.sh writes from here -->\n", "<!-- to here -->\n"];
    let text = std::fs::read_to_string(file)?;
    let parts =
        text.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{file} has no place for the table"))?;
    std::fs::write(file, [before, MARKS[0], "\n", table, "\n", MARKS[1], after].concat())?;
    Ok(())
}
