//! How long the methods of a program run before they first wait: what decides where a call starts.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Calls of a method that takes longer than this before it first waits start in a task of their own: several times
/// what such a task costs.
const LONG: u32 = 5_000;

/// A single run counts for no more than this, so that one that was interrupted is soon forgotten.
const LONGEST: u32 = 64 * LONG;

/// One in so many calls on a thread is timed: looking at the clock takes half as long as a short call.
const SAMPLED: u32 = 32;

/// How long one method runs before it first waits, as far as it is known: a mean in which older runs count less.
///
/// A method is `short` until it is known not to be; and again when it has become so.
#[derive(Debug)]
pub struct Pace(
    /// Nanoseconds; 0 if it has never run.
    AtomicU32,
);

impl Pace {
    /// Of a method that has never run.
    #[expect(clippy::new_without_default, reason = "for statics of generated code")]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether its calls may start on the thread that makes them.
    pub(crate) fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= LONG
    }

    /// When a run began that is to be timed: one in many, or each while the method is not known to be short.
    fn starts(&self) -> Option<Instant> {
        thread_local! {
            static RUNS: Cell<u32> = const { Cell::new(0) };
        }
        let runs = RUNS.get().wrapping_add(1);
        RUNS.set(runs);
        let known = self.0.load(Ordering::Relaxed);
        (runs.is_multiple_of(SAMPLED) || known == 0 || known > LONG).then(Instant::now)
    }

    /// Runs `poll`, a method until it first waits, and times it if it is to be timed.
    pub(super) fn poll<R>(pace: Option<&Self>, poll: impl FnOnce() -> R) -> R {
        let timed = pace.and_then(|pace| Some((pace, pace.starts()?)));
        let polled = poll();
        if let Some((pace, started)) = timed {
            pace.took(started.elapsed());
        }
        polled
    }

    /// It ran for so long before it waited or ended.
    fn took(&self, time: Duration) {
        let time = u32::try_from(time.as_nanos()).unwrap_or(u32::MAX).clamp(1, LONGEST);
        // Racing threads lose a sample.
        let known = match self.0.load(Ordering::Relaxed) {
            0 => time,
            known => known - known / 4 + time / 4,
        };
        self.0.store(known.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_nanos(100);
    const HEAVY: Duration = Duration::from_millis(20);

    fn after(runs: impl IntoIterator<Item = Duration>) -> Pace {
        let pace = Pace::new();
        runs.into_iter().for_each(|time| pace.took(time));
        pace
    }

    #[test]
    fn a_method_that_has_never_run_is_tried() {
        assert!(Pace::new().is_short());
    }

    #[test]
    fn one_heavy_run_is_enough_to_send_the_next_ones_away() {
        assert!(!after([HEAVY]).is_short());
        assert!(!after([SHORT, SHORT, SHORT, HEAVY]).is_short());
    }

    #[test]
    fn one_that_has_become_short_comes_back() {
        let pace = after([HEAVY]);
        let runs = (1..100).take_while(|_| {
            pace.took(SHORT);
            !pace.is_short()
        });
        assert!((5..30).contains(&runs.count()), "neither at once nor never");
        assert!(after(std::iter::repeat_n(HEAVY, 1000).chain(std::iter::repeat_n(SHORT, 30))).is_short());
    }

    #[test]
    fn what_is_not_known_to_be_short_is_always_timed_and_the_rest_sometimes() {
        assert!(Pace::new().starts().is_some());
        let heavy = after([HEAVY]);
        assert!((0..100).all(|_| heavy.starts().is_some()));
        let short = after([SHORT]);
        let timed = (0..10 * SAMPLED).filter(|_| short.starts().is_some()).count();
        assert_eq!(timed, 10);
    }
}
