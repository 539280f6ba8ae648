//! Points in time, as JavaScript counts them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: milliseconds since 1970, also fractional or negative. NaN is the date that is none.
///
/// ```
/// use opendo::value::Date;
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let date = Date::from(UNIX_EPOCH + Duration::from_millis(1500));
/// assert_eq!(date.millis(), 1500.0);
/// assert_eq!(Date::from_millis(-1.0).time(), Some(UNIX_EPOCH - Duration::from_millis(1)));
/// assert_eq!(Date::INVALID.time(), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Date(f64);

impl Date {
    /// The date that is none.
    pub const INVALID: Self = Self(f64::NAN);

    /// That many milliseconds after 1970 began.
    pub fn from_millis(millis: f64) -> Self {
        Self(if millis.is_finite() { millis } else { f64::NAN })
    }

    /// Milliseconds since 1970 began.
    pub fn millis(self) -> f64 {
        self.0
    }

    /// The time; `None` if it is none, or further away than the system can say.
    pub fn time(self) -> Option<SystemTime> {
        let distance = Duration::try_from_secs_f64(self.0.abs() / 1e3).ok()?;
        if self.0 < 0.0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }
}

/// As values of a message: the invalid date is the invalid date.
impl PartialEq for Date {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.0.is_nan() && other.0.is_nan()
    }
}

impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        let millis =
            |distance: Duration| distance.as_secs() as f64 * 1e3 + f64::from(distance.subsec_nanos()) / 1e6;
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        })
    }
}
