//! Acknowledgements, round trips, loss and congestion of one path (RFC 9002).
//!
//! [`Recovery`] looks after what was sent, [`AckTracker`] after what was received. Packets are
//! never sent again: what becomes of a packet is told frame by frame ([`Fate`]), and the path
//! writes lost frames into new packets.

mod ack;
mod congestion;
mod loss;
mod rtt;
#[cfg(test)]
mod tests;

use core::time::Duration;

use thiserror::Error;

use crate::config::Transport;

pub(crate) use self::ack::AckTracker;
pub(crate) use self::congestion::{Controller, FixedWindow};
pub(crate) use self::loss::Recovery;
pub(crate) use self::rtt::Rtt;

/// The longest that an acknowledgement is held back on purpose: RFC 9000 §18.2, `max_ack_delay`.
pub(crate) const MAX_ACK_DELAY: Duration = Duration::from_millis(25);

/// The finest step of a timer: RFC 9002 §6.1.2, `kGranularity`.
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// What brings the packets of a path to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Datagrams, which get lost and overtake each other.
    Datagrams,
    /// A byte stream, which repairs its own losses: there is no loss detection and no probe
    /// timeout, and what is in flight is lost only when the path is abandoned.
    Stream,
}

impl Carrier {
    pub(crate) const fn of(transport: Transport) -> Self {
        if transport.is_stream() { Self::Stream } else { Self::Datagrams }
    }

    /// The size of the largest packet, in bytes.
    pub(crate) const fn full_packet(self) -> usize {
        match self {
            Self::Datagrams => 1200,
            Self::Stream => 16_384,
        }
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its packet arrived.
    Acked,
    /// Its packet is taken for lost: if what it said still matters, it must be said again.
    Lost,
}

/// What an acknowledgement brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckResult {
    /// Whether an ack-eliciting packet was acknowledged for the first time: proof of life.
    pub(crate) newly_acked: bool,
    /// The bytes of those packets.
    pub(crate) newly_acked_bytes: u64,
    /// The round trip that was measured, if one was.
    pub(crate) rtt_sample: Option<Duration>,
}

/// What a timer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// It was not due.
    Nothing,
    /// Packets were declared lost: there are frames to send again.
    LossDetected,
    /// No answer for too long: send this many ack-eliciting packets, whatever the window says.
    Probe {
        /// How many.
        packets: u8,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Ack-eliciting packets sent.
    pub(crate) sent: u64,
    /// Of those, how many were declared lost.
    pub(crate) lost: u64,
    /// Of the lost, how many were acknowledged after all. Only the latest losses are watched.
    pub(crate) spurious: u64,
    /// Bytes of ack-eliciting packets that were acknowledged in time.
    pub(crate) acked_bytes: u64,
}

/// The peer acknowledged a packet that does not exist, perhaps to be sent more than the path
/// carries (RFC 9000 §21.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the peer acknowledged packet {number}, but only packets below {next} were sent: close the session")]
pub(crate) struct OptimisticAck {
    /// The number it acknowledged.
    pub(crate) number: u64,
    /// The number of the next packet.
    pub(crate) next: u64,
}
