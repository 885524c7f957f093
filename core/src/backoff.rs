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

    /// The share of each wait that is left to chance, in thousandths.
    #[must_use]
    pub const fn jitter(&self) -> u16 {
        self.jitter_per_mille
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
        let settled = match &self.waits {
            Waits::Exponential(_) => u32::BITS,
            Waits::List(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
        };
        let changing = n.min(settled);
        let rest = self.wait(settled).saturating_mul(n - changing);
        (0..changing).fold(rest, |sum, n| sum.saturating_add(self.wait(n)))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Each wait as its shortest, a middling and its longest.
    fn shown(schedule: &Schedule, retries: u32) -> String {
        let mut out = String::new();
        for n in 0..retries {
            let [low, middle, high] = [0, u32::MAX / 2, u32::MAX].map(|draw| schedule.jittered(n, draw));
            out.push_str(&format!("{n}: {low:?} {middle:?} {high:?}\n"));
        }
        out
    }

    fn schedule() -> impl Strategy<Value = Schedule> {
        let wait = (0u64..100_000_000).prop_map(Duration::from_micros);
        let exponential = (wait.clone(), wait.clone()).prop_map(|(first, cap)| Schedule::exponential(first, cap));
        let list = prop::collection::vec(wait, 1..6).prop_map(|waits| Schedule::list(&waits));
        (prop_oneof![exponential, list], 0u16..=1000).prop_map(|(schedule, jitter)| schedule.with_jitter(jitter))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        // Mutation: `wait + luck` instead of `wait - spread + luck` in `jittered` makes this fail.
        #[test]
        fn c1_jitter_stays_within_its_share_and_under_the_cap(
            schedule in schedule(), n in any::<u32>(), draw in any::<u32>(),
        ) {
            let wait = schedule.wait(n);
            let share = wait * u32::from(schedule.jitter_per_mille) / 1000;
            let jittered = schedule.jittered(n, draw);
            prop_assert!(wait <= schedule.cap);
            prop_assert!(jittered <= wait);
            prop_assert!(jittered + Duration::from_micros(1) >= wait - share);
            prop_assert_eq!(schedule.jittered(n, u32::MAX), wait);
        }

        // Mutation: `unwrap_or(0)` in `wait` makes this fail.
        #[test]
        fn c1_exponential_waits_never_shrink(first in 0u64..100_000, cap in 0u64..100_000, n in 0u32..100) {
            let schedule = Schedule::exponential(Duration::from_millis(first), Duration::from_millis(cap));
            prop_assert!(schedule.wait(n) <= schedule.wait(n + 1));
        }
    }

    /// Half of each wait at least is left to chance, so that those cut off together come back apart.
    // Mutation: `jitter_per_mille: 250` in `exponential` (or in `list`) makes this fail.
    #[test]
    fn c1_presets_leave_half_of_each_wait_to_chance() {
        for schedule in [Config::streamer().backoff, Config::chat().backoff] {
            for n in 0..10 {
                assert_eq!(schedule.jittered(n, 0) * 2, schedule.wait(n));
            }
        }
    }

    // Mutation: `wait` without `.min(self.cap)` makes this fail.
    #[test]
    fn c1_ten_waits_of_the_streamer_are_81_1_s() {
        let schedule = Config::streamer().backoff;
        assert_eq!(schedule.total(10), Duration::from_millis(81_100));
        assert_eq!(schedule.wait(u32::MAX), secs(30));
    }

    // Mutation: `% list.len()` in place of `.min(..)` in `wait` makes this fail.
    #[test]
    fn c1_a_list_repeats_its_last_wait() {
        let schedule = Schedule::list(&[secs(9), secs(2)]);
        assert_eq!([0, 1, 2, 1000, u32::MAX].map(|n| schedule.wait(n)), [9, 2, 2, 2, 2].map(secs));
    }

    // Mutation: `jitter_per_mille: 490` in `exponential` (or in `list`) makes this fail.
    #[test]
    fn c1_schedules_of_the_presets() {
        insta::assert_snapshot!(shown(&Config::streamer().backoff, 11), @r"
        0: 50ms 74.999ms 100ms
        1: 100ms 149.999ms 200ms
        2: 200ms 299.999ms 400ms
        3: 400ms 599.999ms 800ms
        4: 800ms 1.199999s 1.6s
        5: 1.6s 2.399999s 3.2s
        6: 3.2s 4.799999s 6.4s
        7: 6.4s 9.599999s 12.8s
        8: 12.8s 19.199999s 25.6s
        9: 15s 22.499999s 30s
        10: 15s 22.499999s 30s
        ");
        insta::assert_snapshot!(shown(&Config::chat().backoff, 5), @r"
        0: 2.5s 3.749999s 5s
        1: 5s 7.499999s 10s
        2: 7.5s 11.249999s 15s
        3: 7.5s 11.249999s 15s
        4: 7.5s 11.249999s 15s
        ");
    }

    #[test]
    fn a_schedule_keeps_what_it_is_given_and_is_refused_out_of_range() {
        assert_eq!(Schedule::list(&[secs(1)]).with_jitter(250).jitter(), 250);
        assert!(Schedule::list(&[]).validate().is_err());
        assert!(Schedule::exponential(secs(1), secs(86_401)).validate().is_err());
        assert!(Schedule::exponential(secs(1), secs(86_400)).validate().is_ok());
        assert!(Schedule::list(&[secs(1)]).with_jitter(1001).validate().is_err());
        assert!(Schedule::list(&[secs(1)]).with_jitter(1000).validate().is_ok());
    }
}
