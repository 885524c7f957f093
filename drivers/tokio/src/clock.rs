//! The driver's clock: monotonic, counting suspend where the system can.

use core::time::Duration;

use burdock_core::Time;

/// Counts from the moment it was made.
pub(crate) struct Clock {
    #[cfg(target_os = "linux")]
    start: Duration,
    #[cfg(not(target_os = "linux"))]
    start: std::time::Instant,
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

impl Clock {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> Self {
        Self { start: since_boot() }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + since_boot().saturating_sub(self.start)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// When the runtime's timer should fire for `due`; `None` when that is beyond what it can tell.
    pub(crate) fn instant(&self, due: Time) -> Option<tokio::time::Instant> {
        tokio::time::Instant::now().checked_add(due.saturating_since(self.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_near_zero_and_never_goes_back() {
        let clock = Clock::new();
        let times: Vec<_> = (0..100).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
        assert!(clock.instant(Time::ZERO).is_some_and(|at| at <= tokio::time::Instant::now()));
    }
}
