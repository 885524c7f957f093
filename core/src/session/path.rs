//! One live way to carry packets: its keys, its numbers, its losses, its silence.

use core::net::SocketAddr;
use core::time::Duration;

use super::address::{Address, Heard};
use super::health::Meter;
use super::renew::EpochKeys;
use crate::config::{Class, Config, Transport};
use crate::io::StreamId;
use crate::recovery::{AckTracker, Carrier, FixedWindow, MAX_ACK_DELAY, Recovery, Rtt};
use crate::rng::Randomness;
use crate::seal::{Opener, Order, Sealer};
use crate::time::Time;
use crate::wire::packet::UDP_HANDSHAKE_LEN;
use crate::wire::payload::PeerLimits;

/// What we seal into one packet on a stream: large enough to be cheap, small enough for a
/// keystroke not to wait behind it.
const STREAM_PACKET: usize = 8 * 1024;

/// What carries a path or a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Datagrams to and from this address.
    Udp(SocketAddr),
    /// A byte stream.
    Stream(StreamId),
}

/// Whether what we send is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Liveness {
    /// Everything that wants an answer is answered in time.
    Alive,
    /// An answer is overdue: another path is preferred, and sought.
    Suspect,
}

/// A finished handshake.
pub(crate) struct Established {
    /// Our receiver index: the name of the path here.
    pub(crate) index: u32,
    pub(crate) peer_index: u32,
    pub(crate) transport: Transport,
    pub(crate) via: Via,
    pub(crate) initiator: bool,
    /// What the peer is, when it said so: its own handshakes do.
    pub(crate) peer_class: Option<Class>,
    pub(crate) dial_no: u32,
    /// Our index of the path whose keys it renews; 0 for none.
    pub(crate) renews: u32,
    pub(crate) peer_half: u64,
    pub(crate) limits: PeerLimits,
    /// For how long the peer redials after a loss, when it dialled.
    pub(crate) keep: Duration,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    /// The handshake's hash, for channel binding.
    pub(crate) hash: [u8; 32],
    /// When its INIT was first sent, or came.
    pub(crate) begun: Time,
    /// The handshake's own round trip, when it was not resent.
    pub(crate) rtt: Option<Duration>,
}

pub(crate) struct Path {
    pub(crate) index: u32,
    pub(crate) peer_index: u32,
    pub(crate) transport: Transport,
    pub(crate) via: Via,
    pub(crate) initiator: bool,
    pub(crate) since: Time,
    pub(crate) keys: EpochKeys,
    pub(crate) recovery: Recovery,
    pub(crate) acks: AckTracker,
    pub(crate) meter: Meter,
    pub(crate) liveness: Liveness,
    /// The longest packet that we seal.
    pub(crate) packet_max: usize,
    /// When something that wants an answer was last sent.
    pub(crate) asked: Time,
    /// Close the path then, as another has taken over.
    pub(crate) retire_at: Option<Time>,
    /// The path that has renewed this one's keys and taken its place.
    pub(crate) successor: Option<u32>,
    pub(crate) confirm_due: bool,
    pub(crate) ping_due: bool,
    pub(crate) response_due: Option<[u8; 8]>,
    /// Whether the peer's address changes.
    pub(crate) address: Address,
    /// Packets to be sent now whatever the window says (RFC 9002 §6.2.4).
    pub(crate) probes: u8,
}

impl Path {
    /// The longest packet that may go out now. The first one on a stream is short, as the responder takes no more from
    /// a stranger.
    pub(crate) fn packet_max(&self) -> usize {
        let first = self.initiator && self.keys.next_number() == Some(0);
        if first { self.packet_max.min(UDP_HANDSHAKE_LEN) } else { self.packet_max }
    }

    pub(crate) fn new(now: Time, key_life: Duration, established: Established) -> Self {
        let Established { index, peer_index, transport, via, initiator, limits, sealer, opener, rtt, .. } = established;
        let carrier = Carrier::of(transport);
        let packet_max = if transport.is_stream() { STREAM_PACKET } else { UDP_HANDSHAKE_LEN };
        let mut recovery = Recovery::new(carrier, Box::new(FixedWindow::new(carrier)));
        if let Some(rtt) = rtt {
            recovery.seed_rtt(rtt);
        }
        Self {
            index,
            peer_index,
            transport,
            via,
            initiator,
            since: now,
            keys: EpochKeys::new(now, key_life, sealer, opener),
            recovery,
            acks: AckTracker::new(carrier),
            meter: Meter::new(now),
            liveness: Liveness::Alive,
            packet_max: packet_max.min(usize::from(limits.max_packet).max(MIN_PACKET)),
            asked: now,
            retire_at: None,
            successor: None,
            confirm_due: initiator,
            ping_due: false,
            response_due: None,
            address: Address::Settled,
            probes: 0,
        }
    }

    /// Whether this stream carries the path.
    pub(super) fn is_on_stream(&self, via: Via) -> bool {
        matches!(via, Via::Stream(_)) && self.via == via
    }

    /// An authentic datagram came: perhaps from where the peer is now.
    pub(crate) fn heard(&mut self, now: Time, heard: Heard, random: &mut Randomness) {
        if let Via::Udp(current) = self.via {
            // What is new may be slower than what is known: RFC 9000 §8.2.4.
            let patience = self.recovery.pto_period().max(Rtt::new().pto(MAX_ACK_DELAY));
            self.address.heard(now, current, heard, patience, || random.challenge());
        }
    }

    /// An answer to a challenge of ours came: when it proves the peer's new address, everything
    /// goes there from now on.
    ///
    /// Round trip and window stay. Most such changes are a NAT's, which leaves the way as it was
    /// (RFC 9000 §9.4 allows it then); where it is another way, samples and losses soon say so.
    pub(crate) fn answered(&mut self, now: Time, from: SocketAddr, answer: [u8; 8]) {
        if let Some(addr) = self.address.answered(now, from, answer) {
            self.via = Via::Udp(addr);
            self.recovery.moved();
        }
    }

    /// How long an answer may be overdue before another path is sought: about three probe
    /// timeouts (1 + 2 + 4 periods).
    fn suspect_after(&self, config: &Config) -> Duration {
        let floor = Duration::from_millis(match self.transport {
            Transport::Udp => 500,
            Transport::Tcp => 2_000,
            Transport::I2p => 20_000,
        });
        (self.recovery.pto_period() * 7).max(floor).min(config.silence_of(self.transport) / 2)
    }

    /// How long an answer may be overdue before the path is given up: about five probe timeouts
    /// (31 periods), but no shorter than a blink of the Wi-Fi, or of tunnels, and no longer than the configured
    /// silence.
    fn dead_after(&self, config: &Config) -> Duration {
        let floor = Duration::from_secs(match self.transport {
            Transport::Udp => 3,
            Transport::Tcp => 6,
            Transport::I2p => 60,
        });
        (self.recovery.pto_period() * 31).max(floor).min(config.silence_of(self.transport))
    }

    /// When the path becomes suspect or dead, while something is unanswered. One that is replaced
    /// goes anyway.
    pub(crate) fn silence_at(&self, config: &Config) -> Option<Time> {
        if self.successor.is_some() {
            return None;
        }
        let since = self.recovery.unanswered_since()?;
        Some(match self.liveness {
            Liveness::Alive => since + self.suspect_after(config),
            Liveness::Suspect => since + self.dead_after(config).max(self.suspect_after(config)),
        })
    }

    /// When an idle path is to be asked for a sign of life.
    pub(crate) fn heartbeat_at(&self, config: &Config) -> Option<Time> {
        (config.heartbeat && !self.ping_due).then(|| self.asked + config.silence_of(self.transport) / 3)
    }
}

/// A peer cannot make us send packets smaller than this.
const MIN_PACKET: usize = UDP_HANDSHAKE_LEN;

/// Which packet numbers a transport's paths accept.
pub(crate) fn order_of(transport: Transport) -> Order {
    if transport.is_stream() { Order::Strict } else { Order::Window }
}
