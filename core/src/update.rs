//! What the application is told: numbered updates, and a snapshot for whoever comes late.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::config::Transport;
use crate::io::MessageId;
use crate::key::PublicKey;

/// One thing that happened to a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Rises by one with each update of the session, from 1; [`Status::seq`] says how far a
    /// snapshot reaches.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: UpdateKind,
}

/// What an [`Update`] tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpdateKind {
    /// How dialling goes: the first time or after a loss.
    Progress(Progress),
    /// The session is up for the first time, or afresh after [`PeerRestarted`](Self::PeerRestarted).
    /// The first update of a session that the peer opened.
    Connected {
        /// Who is at the other end.
        peer: PublicKey,
        /// By which transport.
        transport: Transport,
        /// Whether the peer dialled.
        inbound: bool,
        /// The hash of the handshake that came first here, for channel binding (Noise §11.2). When
        /// both sides dialled at once, each may have seen its own first: then they differ.
        #[serde(with = "hex")]
        handshake_hash: [u8; 32],
    },
    /// Messages are waiting to be taken, where none were before.
    Message,
    /// A message of ours met its end.
    Outcome {
        /// Which one.
        message: MessageId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Packets now take another transport.
    PathChanged {
        /// The transport before.
        from: Transport,
        /// The transport now.
        to: Transport,
        /// Why the old path was left.
        code: Code,
    },
    /// A measurement of the current path.
    Quality(Quality),
    /// All paths are gone; the session is kept and waits or redials.
    Lost {
        /// Why the last path was given up.
        code: Code,
    },
    /// The session is back, and nothing was lost.
    Resumed {
        /// By which transport.
        transport: Transport,
        /// How long it had been lost, in milliseconds.
        after_ms: u64,
    },
    /// The peer came back without memory of the session: what it had not taken is decided by the
    /// outcomes that went before.
    PeerRestarted,
    /// More than three times within a minute the peer came back without memory of the session: its
    /// identity is in use in several places, which push each other out. Told at most once a minute.
    IdentityInUse {
        /// The text for a person.
        message: String,
        /// What a person can do.
        hint: String,
    },
    /// The peer was the first to use this invite: from now on nobody else can. To let it in by the invite after a
    /// restart, keep this, and use [`invite_for`](crate::AcceptPolicy::invite_for).
    InviteBound {
        /// The id of the invite; as text it is the one in the link.
        #[serde(with = "base32")]
        invite: [u8; 8],
    },
    /// `send` takes messages again after it said that the session is full.
    Writable,
    /// The end. Every message has had its outcome.
    Closed {
        /// Why.
        code: Code,
        /// Whether the peer closed it.
        by_peer: bool,
        /// What the closing side said, empty when it said nothing.
        reason: String,
        /// How many of our messages the peer took, of all that were sent in this session.
        delivered: u64,
        /// How many it never got whole.
        undelivered: u64,
        /// How many it may or may not have taken.
        unknown: u64,
        /// The text for a person.
        message: String,
        /// What a person can do.
        hint: String,
    },
}

impl UpdateKind {
    pub(crate) fn identity_in_use() -> Self {
        Self::IdentityInUse {
            message: "The peer's identity seems to be in use in several places at once".to_owned(),
            hint:
                "Use one identity in one place at a time; ask the peer whether another of their programs or machines \
                   has it, or whether it restarts again and again."
                    .to_owned(),
        }
    }
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The peer's application took it.
    Delivered,
    /// Some byte of it was never sealed: the peer cannot have it.
    Undelivered,
    /// It was sealed and never acknowledged.
    Unknown,
}

/// Where dialling stands, in the shape of a `connection_progress` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The attempt that runs, or the next one while it is waited for; from 1.
    pub attempt: u32,
    /// How many there will be.
    pub max_attempts: u32,
    /// What the attempt is doing.
    pub status: ProgressStatus,
    /// The transport that is being tried, or that won.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transport: Option<Transport>,
    /// How far that transport has come.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<Stage>,
    /// Milliseconds until the next attempt, while waiting for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_in_ms: Option<u64>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Code>,
    /// The text for a person.
    pub message: String,
    /// What a person can do; empty while nothing is wrong.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub hint: String,
}

/// The `status` of a [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressStatus {
    /// An attempt runs.
    Connecting,
    /// An attempt failed and the next one is due.
    Retrying,
    /// An attempt succeeded.
    Connected,
    /// There will be no further attempt.
    Failed,
}

/// How far one transport has come within an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The host name is being resolved.
    Resolving,
    /// The I2P router is building its tunnels; the attempt's time begins when they stand.
    Tunnels,
    /// A stream is being opened.
    Opening,
    /// The handshake was sent.
    Handshake,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Dialling for the first time.
    Connecting,
    /// Up.
    Connected,
    /// Lost; we redial.
    Reconnecting,
    /// Lost; the peer redials.
    Waiting,
    /// Closing: flushing what is queued.
    Closing,
    /// Ended.
    Closed,
}

/// A snapshot of a session, for whoever starts to listen late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The number of the last update that this snapshot includes.
    pub seq: u64,
    /// Who is at the other end.
    pub peer: PublicKey,
    /// Where the session is in its life.
    pub state: State,
    /// The current path, while there is one.
    pub transport: Option<Transport>,
    /// The last progress, while dialling or after it failed.
    pub progress: Option<Progress>,
    /// Milliseconds until the next attempt, while one is waited for.
    pub retry_in_ms: Option<u64>,
    /// Why the session was lost, or closed.
    pub code: Option<Code>,
    /// The last measurement.
    pub quality: Option<Quality>,
    /// Bytes given to `send` that the peer has not received yet.
    pub queued_bytes: u64,
    /// Messages given to `send` that have no outcome yet.
    pub pending_messages: u64,
}

/// A measurement of the current path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// The transport of the current path.
    pub transport: Transport,
    /// Smoothed round trip, in microseconds (RFC 9002 §5.3).
    pub rtt_us: u64,
    /// Mean deviation of the round trip, in microseconds.
    pub jitter_us: u64,
    /// Packets lost, per thousand sent, over the last measurement.
    pub loss_per_mille: u16,
    /// Bytes acknowledged per second, over the last measurement.
    pub goodput: u64,
    /// Bytes given to `send` that the peer has not received yet.
    pub queued_bytes: u64,
    /// The grade that these amount to.
    pub grade: Grade,
}

/// Five steps from unusable to excellent. The thresholds stand at
/// [`Grade::of`](crate::update::Grade::of).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Nothing gets through.
    Unusable,
    /// Bad for anything interactive.
    Bad,
    /// Fair.
    Fair,
    /// Good.
    Good,
    /// Excellent.
    Excellent,
}

impl Grade {
    /// The grade of a path with this round trip and this loss: the worse of the two.
    ///
    /// | grade | round trip | loss |
    /// | --- | --- | --- |
    /// | excellent | under 50 ms | under 0.5 % |
    /// | good | under 150 ms | under 2 % |
    /// | fair | under 400 ms | under 5 % |
    /// | bad | under 5 s | under 30 % |
    /// | unusable | else | else |
    #[must_use]
    pub const fn of(rtt: Duration, loss_per_mille: u16) -> Self {
        let millis = rtt.as_millis();
        if millis < 50 && loss_per_mille < 5 {
            Self::Excellent
        } else if millis < 150 && loss_per_mille < 20 {
            Self::Good
        } else if millis < 400 && loss_per_mille < 50 {
            Self::Fair
        } else if millis < 5_000 && loss_per_mille < 300 {
            Self::Bad
        } else {
            Self::Unusable
        }
    }
}

mod base32 {
    use serde::Deserialize;

    use crate::key::base32;

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8; 8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base32().encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 8], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = base32().decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        bytes.try_into().map_err(|_| serde::de::Error::custom("expected 8 bytes"))
    }
}

mod hex {
    use serde::Deserialize;

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&data_encoding::HEXLOWER.encode_display(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        bytes.try_into().map_err(|_| serde::de::Error::custom("expected 32 bytes"))
    }
}
