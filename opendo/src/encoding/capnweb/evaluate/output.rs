//! What an expression becomes: its own text, as long as nothing in it is replaced or left out.

use std::borrow::Cow;
use std::fmt::Write as _;

#[derive(Debug)]
pub(super) struct Output {
    /// What was written instead of the source up to `copied`.
    text: String,
    start: usize,
    copied: usize,
    /// What is to be left out, as places in the output, found in any order.
    cuts: Vec<(usize, usize)>,
}

impl Output {
    /// Of the source from `start` on.
    pub(super) fn from(start: usize) -> Self {
        Self { text: String::new(), start, copied: start, cuts: Vec::new() }
    }

    /// Where a place of the source, at or after the last replacement, is in the output.
    pub(super) fn place(&self, at: usize) -> usize {
        self.text.len() + at - self.copied
    }

    /// Puts the marker of `place` where the source has something from `from` to `to`.
    pub(super) fn replace(&mut self, source: &str, from: usize, to: usize, place: u32) {
        const MARKER: usize = r##"["#",4294967295]"##.len();
        self.text.reserve(from - self.copied + MARKER);
        self.text.push_str(&source[self.copied..from]);
        let _ = write!(self.text, "[\"#\",{place}]");
        self.copied = to;
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.push((from, to));
    }

    /// The source up to `end`, as it is now.
    pub(super) fn finish(mut self, source: &str, end: usize) -> Cow<'_, str> {
        if self.copied == self.start && self.cuts.is_empty() {
            return Cow::Borrowed(&source[self.start..end]);
        }
        self.text.push_str(&source[self.copied..end]);
        if self.cuts.is_empty() {
            return Cow::Owned(self.text);
        }
        self.cuts.sort_unstable();
        let mut kept = String::with_capacity(self.text.len());
        let mut at = 0;
        for (from, to) in self.cuts {
            // Some are inside others.
            if from > at {
                kept.push_str(&self.text[at..from]);
            }
            at = at.max(to);
        }
        kept.push_str(&self.text[at..]);
        Cow::Owned(kept)
    }
}
