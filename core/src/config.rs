//! How an endpoint behaves: presets, schedules, and every limit that a peer could push on.

use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::backoff::Schedule;
use crate::sam::SessionOptions;

/// A way to carry packets, in order of rank: the lower, the better when it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams: lowest latency.
    Udp,
    /// A TCP stream: crosses firewalls.
    Tcp,
    /// A stream through a SAM bridge: anonymous.
    I2p,
}

impl Transport {
    /// Every transport, best rank first.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::I2p];

    /// The name as a person reads it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::I2p => "I2P",
        }
    }

    /// Whether packets travel in a byte stream, in order and without loss.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

impl core::fmt::Display for Transport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The most paths that a session may be allowed.
pub(crate) const MAX_PATHS: usize = 16;

/// What an endpoint may touch, for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// UDP, TCP and I2P.
    Open,
    /// I2P alone.
    Anonymous,
}

/// How the transports of one attempt follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ladder {
    /// Start with the best; when it has not completed a handshake after this delay, start the
    /// next beside it (RFC 8305). The first confirmed path wins.
    Race {
        /// The head start of each transport over the next.
        fallback_delay: Duration,
    },
    /// One after the other, each with an equal share of the attempt's deadline.
    Strict,
}

/// Settings of an endpoint. Start from a preset and change what differs.
///
/// ```
/// use burdock_core::Config;
///
/// let mut config = Config::streamer();
/// config.attempts = 20;
/// config.validate()?;
/// # Ok::<(), burdock_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What the endpoint may touch.
    pub class: Class,
    /// How the transports of one attempt follow each other.
    pub ladder: Ladder,
    /// How many attempts are made before the peer is given up; at least 1.
    pub attempts: u32,
    /// The waits between attempts. A first dial starts at once; after a loss each attempt is
    /// preceded by a wait.
    pub backoff: Schedule,
    /// The deadline of one attempt, over all transports, dial and handshake together.
    pub attempt_deadline: Duration,
    /// How long at most something that wants an answer may stay unanswered before the path is
    /// given up.
    pub silence: Duration,
    /// Whether an idle path is asked for a sign of life at a third of [`silence`](Self::silence).
    /// Without it an idle session sends nothing and notices nothing.
    pub heartbeat: bool,
    /// How long `close` goes on trying to deliver what is queued.
    pub close_deadline: Duration,
    /// How long a session that we do not redial is kept at least for its peer to come back.
    pub keep: Duration,
    /// The age at which the side that began an epoch renews its keys; the other side does at 5/4 of it. At 3/2 of it
    /// the keys seal nothing more, at 9/2 they are wiped. 1 s to 120 s, and the same on both sides: who wipes keys earlier does not open what the
    /// other still seals.
    #[serde(default = "key_life")]
    pub key_life: Duration,
    /// The I2P router; `None`: I2P is neither dialled nor listened to.
    #[serde(default)]
    pub i2p: Option<I2p>,
    /// Every bound that a peer could push on.
    pub limits: Limits,
}

/// How I2P is reached: through the SAM bridge of a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct I2p {
    /// Where the router's SAM bridge listens.
    pub bridge: SocketAddr,
    /// Allows a bridge that is not on this machine. What is said to it, the private key of the destination among it,
    /// crosses the network in the clear.
    pub remote_bridge: bool,
    /// Whether others can dial us by our destination.
    pub accept: bool,
    /// The tunnels to ask for.
    pub tunnels: SessionOptions,
    /// As [`Config::silence`], for paths over I2P, whose tunnels come and go.
    pub silence: Duration,
    /// As [`Limits::handshake_deadline`], for streams that come over I2P.
    pub handshake_deadline: Duration,
}

impl I2p {
    /// Where routers open their bridge unless told otherwise.
    pub const USUAL_BRIDGE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 7656);
}

impl Default for I2p {
    fn default() -> Self {
        Self {
            bridge: Self::USUAL_BRIDGE,
            remote_bridge: false,
            accept: true,
            tunnels: SessionOptions::default(),
            silence: Duration::from_secs(120),
            handshake_deadline: Duration::from_secs(60),
        }
    }
}

/// WireGuard's (whitepaper §6.1).
const fn key_life() -> Duration {
    Duration::from_secs(120)
}

/// Every bound that a peer could push on, and those that keep the application in bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The largest message, in bytes, that we take or send.
    pub max_message: u32,
    /// Bytes that a peer may have under way to us on all channels together.
    pub session_credit: u32,
    /// Bytes that a peer may have under way to us on one channel.
    pub channel_credit: u32,
    /// Gaps that out-of-order data may leave on one channel; four times as many on all together.
    pub gaps: usize,
    /// Bytes that `send` queues before it says that the session is full.
    pub send_buffer: usize,
    /// Messages without an outcome before `send` says that the session is full.
    pub pending_messages: usize,
    /// Inbound handshakes that are not yet confirmed, in all. A quarter is kept for peers that the accept policy names or
    /// that have a session, another for strangers. Beyond half of this, peers have to prove their address first.
    pub half_open: usize,
    /// Of these, those from one source: an IPv4 address, or the /64 of an IPv6 address.
    pub half_open_per_source: usize,
    /// Inbound handshakes a second from one source; beyond that they are dropped. Whoever has not proved its address,
    /// by a cookie or a TCP stream, is only told to.
    pub source_rate: u32,
    /// Of these, so many at once.
    pub source_burst: u32,
    /// Sources whose rate is known one by one, those with a proven address and the others each; more share one rate.
    pub sources: usize,
    /// Inbound handshakes a second without a proven address, over all sources; beyond that peers have to prove theirs
    /// first, which costs them a round trip.
    pub unproven_rate: u32,
    /// Of these, so many at once.
    pub unproven_burst: u32,
    /// How long an inbound handshake may stay unconfirmed, from its first byte; over I2P [`I2p::handshake_deadline`].
    pub handshake_deadline: Duration,
    /// Inbound streams without a confirmed handshake, in all.
    pub unproven_streams: usize,
    /// Of these, those from one source. In either case the oldest is closed for a new one.
    pub unproven_streams_per_source: usize,
    /// How long a stream with a confirmed handshake may stand in the middle of a packet.
    pub frame_deadline: Duration,
    /// Sessions, in all.
    pub sessions: usize,
    /// Confirmed paths of one session.
    pub paths: usize,
    /// Closed sessions that are remembered, in all.
    pub tombstones: usize,
    /// How long a closed session is remembered.
    pub tombstone_life: Duration,
    /// Addresses of one host name that are tried.
    pub addresses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 256 * 1024,
            session_credit: 4 * 1024 * 1024,
            channel_credit: 1024 * 1024,
            gaps: 1024,
            send_buffer: 8 * 1024 * 1024,
            pending_messages: 65_536,
            half_open: 256,
            half_open_per_source: 16,
            source_rate: 20,
            source_burst: 5,
            sources: 4096,
            unproven_rate: 200,
            unproven_burst: 100,
            handshake_deadline: Duration::from_secs(10),
            unproven_streams: 256,
            unproven_streams_per_source: 16,
            frame_deadline: Duration::from_secs(30),
            sessions: 16_384,
            paths: 8,
            tombstones: 1024,
            tombstone_life: Duration::from_secs(600),
            addresses: 4,
        }
    }
}

/// Why a [`Config`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number outside its range.
    #[error("{field} must be {range}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
}

impl Config {
    /// For a stream of frames and input: fast redials that back off to 30 s, ten attempts of 5 s.
    ///
    /// The ten waits before redials of a lost session come to 81.1 s before jitter.
    #[must_use]
    pub fn streamer() -> Self {
        Self {
            class: Class::Open,
            ladder: Ladder::Race { fallback_delay: Duration::from_millis(300) },
            attempts: 10,
            backoff: Schedule::exponential(Duration::from_millis(100), Duration::from_secs(30)),
            attempt_deadline: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            heartbeat: true,
            close_deadline: Duration::from_secs(5),
            keep: Duration::from_secs(600),
            key_life: key_life(),
            i2p: None,
            limits: Limits::default(),
        }
    }

    /// For a conversation: four patient attempts of up to 60 s, 5, 10 and 15 s apart.
    #[must_use]
    pub fn chat() -> Self {
        Self {
            attempts: 4,
            backoff: Schedule::list(&[5, 10, 15].map(Duration::from_secs)),
            attempt_deadline: Duration::from_secs(60),
            ..Self::streamer()
        }
    }

    /// How long at most something unanswered keeps a path of this transport.
    pub(crate) fn silence_of(&self, transport: Transport) -> Duration {
        match (&self.i2p, transport) {
            (Some(i2p), Transport::I2p) => i2p.silence,
            _ => self.silence,
        }
    }

    /// How long an inbound handshake on this transport may stay unconfirmed.
    pub(crate) fn handshake_deadline_of(&self, transport: Transport) -> Duration {
        match (&self.i2p, transport) {
            (Some(i2p), Transport::I2p) => i2p.handshake_deadline,
            _ => self.limits.handshake_deadline,
        }
    }

    /// Whether every number is in its range.
    ///
    /// # Errors
    /// Names the first field that is not, and its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let whole_message = u64::from(limits.max_message) + 8;
        let i2p = self.i2p.as_ref();
        let rules: [(bool, &'static str, &'static str); 15] = [
            (
                self.class == Class::Open || i2p.is_some(),
                "i2p",
                "set for an anonymous endpoint: it has no other transport",
            ),
            (
                i2p.is_none_or(|i2p| i2p.remote_bridge || i2p.bridge.ip().is_loopback()),
                "i2p.bridge",
                "a loopback address, as the bridge is told secrets; set remote_bridge to use one elsewhere",
            ),
            (
                i2p.is_none_or(|i2p| i2p.silence >= Duration::from_secs(1) && !i2p.handshake_deadline.is_zero()),
                "i2p",
                "at least 1 s for silence, and longer than zero for handshake_deadline",
            ),
            (self.attempts >= 1, "attempts", "at least 1"),
            (!self.attempt_deadline.is_zero(), "attempt_deadline", "longer than zero"),
            (self.silence >= Duration::from_secs(1), "silence", "at least 1 s"),
            ((Duration::from_secs(1)..=key_life()).contains(&self.key_life), "key_life", "1 s to 120 s"),
            (limits.max_message >= 1, "limits.max_message", "at least 1"),
            (
                u64::from(limits.channel_credit) >= whole_message,
                "limits.channel_credit",
                "at least max_message + 8, or a message could never arrive whole",
            ),
            (limits.session_credit >= limits.channel_credit, "limits.session_credit", "at least channel_credit"),
            (limits.send_buffer as u64 >= whole_message, "limits.send_buffer", "at least max_message + 8"),
            (
                limits.half_open >= 1 && limits.sessions >= 1 && (2..=MAX_PATHS).contains(&limits.paths),
                "limits",
                "1 or more, and 2 to 16 for paths",
            ),
            (limits.addresses >= 1, "limits.addresses", "at least 1"),
            (
                [limits.source_rate, limits.source_burst, limits.unproven_rate, limits.unproven_burst]
                    .iter()
                    .all(|rate| (1..=1_000_000).contains(rate)),
                "limits",
                "1 to 1,000,000 for rates and bursts",
            ),
            (
                limits.half_open_per_source >= 1
                    && limits.unproven_streams >= 1
                    && limits.unproven_streams_per_source >= 1,
                "limits",
                "1 or more for what one source may have, and for unproven_streams",
            ),
        ];
        for (holds, field, range) in rules {
            if !holds {
                return Err(ConfigError::OutOfRange { field, range });
            }
        }
        self.backoff.validate()
    }
}
