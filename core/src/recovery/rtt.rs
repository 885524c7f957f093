//! The round-trip time (RFC 9002 §5).

use core::time::Duration;

use super::{GRANULARITY, MAX_ACK_DELAY};

/// The guess before the first sample: RFC 9002 §6.2.2, `kInitialRtt`.
const INITIAL: u64 = 333_000;

/// A longer sample tells that a machine slept, not how far away the peer is. In microseconds.
const LONGEST: u64 = 60_000_000;

/// The round-trip time of one path, estimated in whole microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    latest: u64,
    smoothed: u64,
    var: u64,
    min: u64,
    has_sample: bool,
}

impl Rtt {
    pub(crate) const fn new() -> Self {
        Self { latest: INITIAL, smoothed: INITIAL, var: INITIAL / 2, min: INITIAL, has_sample: false }
    }

    /// Takes in a sample, of which the peer held the acknowledgement back for `ack_delay`.
    ///
    /// The delay is the peer's word, so it counts at most the maximum, and never so much that the
    /// round trip would fall below the shortest one seen (RFC 9002 §5.3).
    pub(crate) fn update(&mut self, sample: Duration, ack_delay: Duration) {
        let sample = micros(sample).min(LONGEST);
        self.latest = sample;
        if !self.has_sample {
            *self = Self { latest: sample, smoothed: sample, var: sample / 2, min: sample, has_sample: true };
            return;
        }
        self.min = self.min.min(sample);
        let delay = micros(ack_delay.min(MAX_ACK_DELAY));
        let adjusted = if sample >= self.min + delay { sample - delay } else { sample };
        self.var = (3 * self.var + self.smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = (7 * self.smoothed + adjusted) / 8;
    }

    /// The newest sample.
    #[cfg(test)]
    pub(crate) const fn latest(&self) -> Duration {
        Duration::from_micros(self.latest)
    }

    /// The moving average.
    pub(crate) const fn smoothed(&self) -> Duration {
        Duration::from_micros(self.smoothed)
    }

    /// The mean deviation from the average.
    pub(crate) const fn var(&self) -> Duration {
        Duration::from_micros(self.var)
    }

    /// The shortest sample.
    #[cfg(test)]
    pub(crate) const fn min(&self) -> Duration {
        Duration::from_micros(self.min)
    }

    /// Whether the figures are measured and not guessed.
    pub(crate) const fn has_sample(&self) -> bool {
        self.has_sample
    }

    /// How long an acknowledgement may take before the peer is probed (RFC 9002 §6.2.1).
    pub(crate) fn pto(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed() + (4 * self.var()).max(GRANULARITY) + max_ack_delay
    }

    /// How long after its sending a packet is lost, when a later one was acknowledged: 9/8 of a
    /// round trip (RFC 9002 §6.1.2).
    pub(super) fn loss_delay(&self) -> Duration {
        Duration::from_micros(self.latest.max(self.smoothed) * 9 / 8).max(GRANULARITY)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
