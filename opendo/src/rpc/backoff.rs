//! How long to pause between attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow, with jitter, and without an end. A seed makes them the same in every run.
pub(crate) fn pauses(seed: Option<u64>) -> ExponentialBackoff {
    let pauses = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times();
    match seed {
        Some(seed) => pauses.with_jitter_seed(seed).build(),
        None => pauses.build(),
    }
}
