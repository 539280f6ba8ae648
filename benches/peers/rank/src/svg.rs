//! Drawings that are read on light and on dark ground.

use std::fmt::Write as _;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.soft { fill: #59636e; font-size: 12px }
.grid { stroke: #d1d9e0 }
.ours { fill: #0969da; stroke: #0969da }
.floor { fill: #59636e; stroke: #59636e }
.peer { fill: #bc4c00; stroke: #bc4c00 }
.hollow { fill: #ffffff; stroke-width: 2 }
.range { stroke-width: 2; stroke-opacity: .45 }
.curve { fill: none; stroke-width: 2 }
text.ours, text.floor, text.peer { stroke: none }
text.ours { font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.soft { fill: #9198a1 }
.grid { stroke: #3d444d }
.ours { fill: #4493f8; stroke: #4493f8 }
.floor { fill: #9198a1; stroke: #9198a1 }
.peer { fill: #f0883e; stroke: #f0883e }
.hollow { fill: #0d1117 }
}";

/// Where a text ends up beside its place.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(crate) fn new(width: f64) -> Self {
        Self { width, height: 0.0, body: String::new() }
    }

    fn add(&mut self, bottom: f64, element: std::fmt::Arguments<'_>) {
        self.height = self.height.max(bottom + 12.0);
        writeln!(self.body, "{element}").expect("strings grow");
    }

    pub(crate) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(
            y,
            format_args!(
                r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
            ),
        );
    }

    pub(crate) fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], class: &str) {
        let element =
            format_args!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
        self.add(y1.max(y2), element);
    }

    pub(crate) fn dot(&mut self, [x, y]: [f64; 2], class: &str) {
        self.add(y, format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.5" class="{class}"/>"#));
    }

    pub(crate) fn curve(&mut self, points: &[[f64; 2]], class: &str) {
        let path: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        self.add(0.0, format_args!(r#"<polyline points="{}" class="{class}"/>"#, path.join(" ")));
    }

    pub(crate) fn finish(self, what: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{what}</title>\n<style>\n{STYLE}\n</style>\n{body}</svg>\n"
        )
    }
}

/// A logarithmic axis: values to places.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    values: [f64; 2],
    places: [f64; 2],
}

impl Axis {
    /// That holds all of these, from a power of ten to another.
    pub(crate) fn of(values: impl IntoIterator<Item = f64> + Clone, places: [f64; 2]) -> Self {
        let exponent = |value: f64| value.max(1e-9).log10();
        let min = values.clone().into_iter().map(exponent).fold(f64::INFINITY, f64::min).floor();
        let max = values.into_iter().map(exponent).fold(f64::NEG_INFINITY, f64::max).ceil();
        Self { values: [min, max.max(min + 1.0)], places }
    }

    pub(crate) fn at(self, value: f64) -> f64 {
        let [min, max] = self.values;
        let [from, to] = self.places;
        from + (value.max(1e-9).log10() - min) / (max - min) * (to - from)
    }

    /// Powers of ten.
    pub(crate) fn ticks(self) -> impl Iterator<Item = f64> {
        let [min, max] = self.values.map(|exponent| exponent as i32);
        (min..=max).map(|exponent| 10_f64.powi(exponent))
    }
}
