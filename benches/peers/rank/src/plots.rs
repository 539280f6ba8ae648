//! The plots: one call at a time, many at a time, and how costs grow with the number of objects.

use crate::results::{Calls, Results, Spread};
use crate::svg::{Anchor, Axis, Svg};
use crate::tables::{INCREMENT, KINDS, number, of_kind, tick as label, words};
use crate::{FLOOR, OURS, PEERS};

/// All of them, each with its file's name.
pub(crate) fn all(results: &Results) -> [(&'static str, String); 3] {
    let latency = |calls: Calls<'_>| vec![results.spread(calls, "p50_us")];
    let rates = |calls: Calls<'_>| {
        [64, 1024].map(|in_flight| results.spread(Calls { in_flight, ..calls }, "calls_per_s")).to_vec()
    };
    [
        ("latency", dots("One call at a time: microseconds, client and server on one core", &[""], &latency)),
        (
            "throughput",
            dots("Calls per second, client and server on one core", &["64 in flight", "1,024"], &rates),
        ),
        ("objects", objects(results)),
    ]
}

const WIDTH: f64 = 860.0;

fn class(peer: &str) -> &'static str {
    match peer {
        OURS => "ours",
        FLOOR => "floor",
        _ => "peer",
    }
}

/// A row for each library and transport, with a dot for each of its values; the axis is logarithmic.
fn dots(title: &str, series: &[&str], values: &dyn Fn(Calls<'_>) -> Vec<Option<Spread>>) -> String {
    let rows: Vec<_> = KINDS
        .iter()
        .map(|(kind, transports)| {
            let mut rows: Vec<_> = of_kind(transports)
                .map(|(peer, transport)| (peer, transport, values(Calls { peer, transport, ..INCREMENT })))
                .filter(|(_, _, spreads)| spreads.iter().any(Option::is_some))
                .collect();
            let last =
                |spreads: &[Option<Spread>]| spreads.iter().flatten().last().map_or(0.0, |it| it.median);
            rows.sort_by(|(_, _, a), (_, _, b)| last(a).total_cmp(&last(b)));
            (*kind, transports.len() > 1, rows)
        })
        .collect();
    let each = rows.iter().flat_map(|(_, _, rows)| rows).flat_map(|(_, _, spreads)| spreads.iter().flatten());
    let axis = Axis::of(each.flat_map(|spread| [spread.min, spread.max]), [210.0, WIDTH - 110.0]);

    let mut svg = Svg::new(WIDTH);
    svg.text([12.0, 24.0], Anchor::Start, "title", title);
    let mut x = 210.0;
    let mut y = 48.0;
    for (at, name) in series.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        svg.dot([x, y - 4.0], if at == 0 { "floor" } else { "floor hollow" });
        svg.text([x + 12.0, y], Anchor::Start, "soft", name);
        x += 120.0;
    }
    if series.len() > 1 {
        y += 24.0;
    }
    let top = y + 4.0;
    let mut places = Vec::new();
    for (kind, _, rows) in &rows {
        y += 22.0;
        places.push((y, *kind));
        y += 22.0 * rows.len() as f64 + 10.0;
    }
    for tick in axis.ticks() {
        svg.line([axis.at(tick), top], [axis.at(tick), y], "grid");
        svg.text([axis.at(tick), y + 18.0], Anchor::Middle, "soft", &label(tick));
    }
    for ((mut y, kind), (_, has_many, rows)) in places.into_iter().zip(&rows) {
        svg.text([12.0, y], Anchor::Start, "soft", kind);
        for (peer, transport, spreads) in rows {
            y += 22.0;
            let name = if *has_many { format!("{peer}, {}", words(transport)) } else { (*peer).to_owned() };
            svg.text([198.0, y], Anchor::End, class(peer), &name);
            for (at, spread) in spreads.iter().enumerate().filter_map(|(at, spread)| Some((at, (*spread)?))) {
                let place = |value: f64| [axis.at(value), y - 4.0];
                svg.line(place(spread.min), place(spread.max), &format!("{} range", class(peer)));
                let hollow = if at == 0 { "" } else { " hollow" };
                svg.dot(place(spread.median), &format!("{}{hollow}", class(peer)));
            }
            let said: Vec<String> = spreads.iter().flatten().map(|spread| number(spread.median)).collect();
            svg.text([WIDTH - 12.0, y], Anchor::End, "soft", &said.join(" · "));
        }
    }
    svg.finish(title)
}

/// Two panels over the number of objects.
fn objects(results: &Results) -> String {
    let title = "Many objects in one process";
    let mut svg = Svg::new(WIDTH);
    svg.text([12.0, 24.0], Anchor::Start, "title", title);
    let call = |peer: &str, count: u64| {
        results.objects(peer, count, "scattered_calls_per_s").map(|rate| 1e6 / rate.median)
    };
    let bytes = |peer: &str, count: u64| {
        // What few objects take is lost in what the process takes.
        let spread = (count >= 10_000).then(|| results.objects(peer, count, "bytes_per_idle"))?;
        spread.map(|bytes| bytes.median)
    };
    panel(&mut svg, results, [60.0, 360.0], "microseconds a call, each to another object", &call);
    panel(&mut svg, results, [500.0, 780.0], "bytes an idle object", &bytes);
    svg.finish(title)
}

fn panel(
    svg: &mut Svg,
    results: &Results,
    [left, right]: [f64; 2],
    title: &str,
    value: &dyn Fn(&str, u64) -> Option<f64>,
) {
    const TOP: f64 = 74.0;
    const BOTTOM: f64 = 330.0;
    let curves: Vec<(&str, Vec<(f64, f64)>)> = PEERS
        .iter()
        .map(|peer| {
            let counts = results.counts(peer.name).into_iter();
            (peer.name, counts.filter_map(|count| Some((count as f64, value(peer.name, count)?))).collect())
        })
        .filter(|(_, points): &(_, Vec<_>)| !points.is_empty())
        .collect();
    let points = curves.iter().flat_map(|(_, points)| points);
    let x = Axis::of(points.clone().map(|(x, _)| *x), [left, right]);
    let y = Axis::of(points.map(|(_, y)| *y), [BOTTOM, TOP]);
    svg.text([left, TOP - 20.0], Anchor::Start, "soft", title);
    for tick in x.ticks() {
        svg.line([x.at(tick), TOP], [x.at(tick), BOTTOM], "grid");
        svg.text([x.at(tick), BOTTOM + 18.0], Anchor::Middle, "soft", &label(tick));
    }
    for tick in y.ticks() {
        svg.line([left, y.at(tick)], [right, y.at(tick)], "grid");
        svg.text([left - 8.0, y.at(tick) + 4.0], Anchor::End, "soft", &label(tick));
    }
    svg.text([(left + right) / 2.0, BOTTOM + 38.0], Anchor::Middle, "soft", "objects");
    let mut labels: Vec<(f64, f64, &str)> = Vec::new();
    for (peer, points) in &curves {
        let points: Vec<[f64; 2]> =
            points.iter().map(|(count, value)| [x.at(*count), y.at(*value)]).collect();
        svg.curve(&points, &format!("{} curve", class(peer)));
        points.iter().for_each(|point| svg.dot(*point, class(peer)));
        let [end_x, end_y] = points[points.len() - 1];
        labels.push((end_y + 4.0, end_x + 10.0, peer));
    }
    // Names that would lie on each other are moved apart.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    for at in 1..labels.len() {
        labels[at].0 = labels[at].0.max(labels[at - 1].0 + 15.0);
    }
    for (y, x, peer) in labels {
        svg.text([x, y], Anchor::Start, class(peer), peer);
    }
}
