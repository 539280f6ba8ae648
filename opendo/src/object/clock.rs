//! The wall clock.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::engine::UnixMillis;

/// What time it is: for what outlives the process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    System,
    /// Goes with Tokio's clock, which tests can pause.
    Tokio,
}

/// When both clocks were compared: once, so that nodes in a row have one time.
static COMPARED: LazyLock<(SystemTime, std::time::Instant)> =
    LazyLock::new(|| (SystemTime::now(), std::time::Instant::now()));

impl Clock {
    pub(crate) fn now(self) -> SystemTime {
        match self {
            Self::System => SystemTime::now(),
            Self::Tokio => {
                let (time, then) = *COMPARED;
                let now = Instant::now().into_std();
                // A clock may have been paused before they were compared.
                time + now.saturating_duration_since(then) - then.saturating_duration_since(now)
            }
        }
    }

    pub(crate) fn now_millis(self) -> UnixMillis {
        UnixMillis::rounded_down(self.now())
    }

    /// When that long has passed from now, as far as a clock goes.
    pub(crate) fn in_millis(self, time: Duration) -> UnixMillis {
        self.now().checked_add(time).map_or(UnixMillis::NEVER, UnixMillis::not_before)
    }

    /// How long it is until then.
    pub(crate) fn until(self, then: UnixMillis) -> Duration {
        then.time().duration_since(self.now()).unwrap_or_default()
    }
}

impl UnixMillis {
    /// The end of time.
    const NEVER: Self = Self(u64::MAX);

    fn since_epoch(time: SystemTime) -> Duration {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn rounded_down(time: SystemTime) -> Self {
        Self(u64::try_from(Self::since_epoch(time).as_millis()).unwrap_or(u64::MAX))
    }

    /// The first millisecond that is not before `time`: what is due then is never early.
    pub(crate) fn not_before(time: SystemTime) -> Self {
        Self(u64::try_from(Self::since_epoch(time).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    pub(crate) fn time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0)
    }
}
