//! How much may be in flight.

use core::fmt;

use super::{Carrier, Rtt};
use crate::time::Time;

/// Decides how many bytes may be in flight, by the events of RFC 9002 §7 and RFC 9438.
pub(crate) trait Controller: fmt::Debug + Send {
    /// The congestion window, in bytes.
    fn window(&self) -> usize;

    /// A packet went into flight.
    fn on_sent(&mut self, now: Time, bytes: usize);

    /// A packet sent at `sent_at` was acknowledged.
    fn on_ack(&mut self, now: Time, bytes: usize, sent_at: Time, rtt: &Rtt);

    /// Packets were lost, the newest of them sent at `sent_at`.
    fn on_congestion_event(&mut self, now: Time, bytes: usize, sent_at: Time);

    /// Nothing sent for three probe timeouts arrived (RFC 9002 §7.6).
    fn on_persistent_congestion(&mut self, now: Time);
}

/// A window that stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow {
    bytes: usize,
}

impl FixedWindow {
    /// On datagrams 64 full packets; on a stream, which has a congestion window of its own, 256 KiB.
    pub(crate) const fn new(carrier: Carrier) -> Self {
        let bytes = match carrier {
            Carrier::Datagrams => 64 * carrier.full_packet(),
            Carrier::Stream => 256 * 1024,
        };
        Self { bytes }
    }
}

impl Controller for FixedWindow {
    fn window(&self) -> usize {
        self.bytes
    }

    fn on_sent(&mut self, _now: Time, _bytes: usize) {}

    fn on_ack(&mut self, _now: Time, _bytes: usize, _sent_at: Time, _rtt: &Rtt) {}

    fn on_congestion_event(&mut self, _now: Time, _bytes: usize, _sent_at: Time) {}

    fn on_persistent_congestion(&mut self, _now: Time) {}
}
