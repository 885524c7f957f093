//! How long to wait between attempts: a schedule, a cap, then jitter inside the cap.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// The waits between attempts.
///
/// The wait before retry `n` (from 0) is drawn evenly from `[(1 - jitter) * w, w]`, where `w` is
/// the schedule's `n`-th wait, at most the cap: jitter never carries a wait over the cap, and
/// never re-synchronises those who have reached it.
///
/// ```
/// use burdock_core::Schedule;
/// use core::time::Duration;
///
/// let schedule = Schedule::exponential(Duration::from_millis(100), Duration::from_secs(30));
/// assert_eq!(schedule.wait(3), Duration::from_millis(800));
/// assert_eq!(schedule.total(10), Duration::from_millis(81_100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    waits: Waits,
    cap: Duration,
    /// In thousandths of the wait, 0 to 1000.
    jitter_per_mille: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Waits {
    /// Doubles from here.
    Exponential(Duration),
    /// One by one; the last is repeated.
    List(Vec<Duration>),
}

impl Schedule {
    /// Doubles from `first` up to `cap`; half of each wait is jitter.
    #[must_use]
    pub const fn exponential(first: Duration, cap: Duration) -> Self {
        Self { waits: Waits::Exponential(first), cap, jitter_per_mille: 500 }
    }

    /// The waits of the list in turn, the last one repeated; half of each is jitter.
    #[must_use]
    pub fn list(waits: &[Duration]) -> Self {
        let cap = waits.iter().max().copied().unwrap_or_default();
        Self { waits: Waits::List(waits.to_vec()), cap, jitter_per_mille: 500 }
    }

    /// The same schedule with this share of each wait left to chance, in thousandths.
    #[must_use]
    pub const fn with_jitter(mut self, per_mille: u16) -> Self {
        self.jitter_per_mille = per_mille;
        self
    }

    /// The longest wait before retry `n` (from 0): what the schedule says, at most the cap.
    #[must_use]
    pub fn wait(&self, n: u32) -> Duration {
        let wait = match &self.waits {
            Waits::Exponential(first) => first.saturating_mul(1u32.checked_shl(n).unwrap_or(u32::MAX)),
            Waits::List(list) => {
                let index = usize::try_from(n).unwrap_or(usize::MAX).min(list.len().saturating_sub(1));
                list.get(index).copied().unwrap_or_default()
            }
        };
        wait.min(self.cap)
    }

    /// The sum of the first `n` waits.
    #[must_use]
    pub fn total(&self, n: u32) -> Duration {
        (0..n).fold(Duration::ZERO, |sum, n| sum.saturating_add(self.wait(n)))
    }

    /// The wait before retry `n`, with `draw` as its luck: 0 gives the shortest, `u32::MAX` the
    /// longest.
    #[must_use]
    pub fn jittered(&self, n: u32, draw: u32) -> Duration {
        let wait = u64::try_from(self.wait(n).as_micros()).unwrap_or(u64::MAX);
        let spread = u128::from(wait) * u128::from(self.jitter_per_mille) / 1000;
        let luck = spread * u128::from(draw) / u128::from(u32::MAX);
        let micros = u128::from(wait) - spread + luck;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let empty = matches!(&self.waits, Waits::List(list) if list.is_empty());
        if empty || self.cap > Duration::from_secs(24 * 3600) {
            return Err(ConfigError::OutOfRange { field: "backoff", range: "one wait or more, none over a day" });
        }
        if self.jitter_per_mille > 1000 {
            return Err(ConfigError::OutOfRange { field: "backoff jitter", range: "0 to 1000 per mille" });
        }
        Ok(())
    }
}
