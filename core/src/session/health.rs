//! How good the current path is, measured over intervals.

use core::time::Duration;

use crate::config::Transport;
use crate::recovery::Recovery;
use crate::time::Time;
use crate::update::{Grade, Quality};

/// How long one measurement lasts at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts what a path did since the last measurement.
pub(crate) struct Meter {
    since: Time,
    sent: u64,
    lost: u64,
    acked_bytes: u64,
}

impl Meter {
    pub(crate) fn new(now: Time) -> Self {
        Self { since: now, sent: 0, lost: 0, acked_bytes: 0 }
    }

    /// A measurement, when the last is old enough.
    pub(crate) fn sample(
        &mut self,
        now: Time,
        transport: Transport,
        recovery: &Recovery,
        queued_bytes: u64,
    ) -> Option<Quality> {
        let elapsed = now.saturating_since(self.since);
        if elapsed < INTERVAL {
            return None;
        }
        let stats = recovery.stats();
        let sent = stats.sent.saturating_sub(self.sent).max(1);
        let lost = stats.lost.saturating_sub(self.lost).min(sent);
        let bytes = stats.acked_bytes.saturating_sub(self.acked_bytes);
        *self = Self { since: now, sent: stats.sent, lost: stats.lost, acked_bytes: stats.acked_bytes };
        let loss_per_mille = u16::try_from(lost.saturating_mul(1000) / sent).unwrap_or(1000);
        let rtt = recovery.rtt().smoothed();
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Some(Quality {
            transport,
            rtt_us: micros(rtt),
            jitter_us: micros(recovery.rtt().var()),
            loss_per_mille,
            goodput: bytes.saturating_mul(1_000_000) / micros(elapsed).max(1),
            queued_bytes,
            grade: Grade::of(rtt, loss_per_mille),
        })
    }
}
