//! The core's own time: microseconds since a moment that the driver chose.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in microseconds since the driver's epoch.
///
/// The core never reads a clock: every call that needs the time is given one. The epoch is
/// whatever the driver likes, as long as it stays the same for the endpoint's life and the clock
/// counts the time that the machine was suspended.
///
/// ```
/// use burdock_core::Time;
/// use core::time::Duration;
///
/// let start = Time::ZERO + Duration::from_millis(1_500);
/// assert_eq!(start.as_micros(), 1_500_000);
/// assert_eq!(start.to_string(), "1.500000s");
/// assert_eq!(Time::ZERO.saturating_since(start), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    /// The driver's epoch.
    pub const ZERO: Self = Self(0);
    /// The end of time: later than every timer.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long `earlier` is past, or zero when it lies ahead.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::MAX`].
    fn add(self, by: Duration) -> Self {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
