//! What a scenario says about I2P: the routers, the way between them, and what goes wrong with them.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::span;

/// The way between any two I2P routers, while nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnels {
    /// How long bytes take in one direction.
    #[serde(with = "span")]
    pub latency: Duration,
    /// By how much longer they may take, without changing the order.
    #[serde(with = "span")]
    pub jitter: Duration,
}

impl Default for Tunnels {
    fn default() -> Self {
        Self { latency: Duration::from_secs(1), jitter: Duration::ZERO }
    }
}

impl Tunnels {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The longest time there and back.
    pub(crate) fn round_trip(&self) -> Duration {
        (self.latency + self.jitter) * 2
    }
}

/// The I2P router on the machine of a host, with its SAM bridge on loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Whose replies it gives.
    pub make: Make,
    /// How long it takes to build the tunnels of a session.
    #[serde(with = "span")]
    pub build: Duration,
    /// Whether the application gives the destination that it has kept to each endpoint; otherwise the endpoint asks for
    /// a new one. Either way it is the one of this host.
    pub keeps: bool,
    /// Whether the links to this host have its destination alone.
    pub hidden: bool,
}

impl Default for Router {
    fn default() -> Self {
        Self { make: Make::I2pd, build: Duration::ZERO, keeps: true, hidden: false }
    }
}

/// Whose replies a router gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Make {
    /// i2pd 2.45.1.
    I2pd,
    /// emissary 0.4.0: refusals have no end of line, and another word for an ID in use.
    Emissary,
}

/// What may be wrong with a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterTrouble {
    /// It does not run: all its sockets end, and connections are refused. It starts without memory when the fault is
    /// over. Whoever had a stream to it hears nothing.
    Down,
    /// It stands still: connections open, nothing is answered, no stream moves. It goes on with all of it.
    Stalled,
    /// Sessions that are asked for have to wait for their tunnels.
    SlowTunnels {
        /// For how long.
        #[serde(with = "span")]
        build: Duration,
    },
    /// Whatever is asked for is refused.
    Refuses {
        /// With which words.
        with: Refused,
    },
    /// Its lease set is nowhere to be found: its own session stands, and nobody reaches it.
    Unpublished,
    /// No byte passes through its tunnels, though streams open. What was sent meanwhile arrives later.
    Silent,
    /// Its tunnels are built anew at this moment, and every stream in them is dead from now on, without a word to either
    /// end.
    Rebuilt,
    /// Every stream in its tunnels ends at this moment, and both ends are told; what was under way is lost.
    Resets,
    /// It forgets its sessions at this moment: streams and waiting sockets end, the control sockets stay.
    Forgets,
    /// Its bridge says what is not so.
    Lies {
        /// What.
        lie: Lie,
        /// In place of how many of its answers, in thousandths.
        per_mille: u32,
    },
    /// Somebody opens streams to it at this moment, and never says a word on them.
    MuteCallers {
        /// How many.
        streams: u32,
    },
}

/// The words of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// `CANT_REACH_PEER`, to whoever wants a stream.
    CantReachPeer,
    /// `TIMEOUT`, to whoever wants a stream.
    Timeout,
    /// `I2P_ERROR`, to whoever wants a session or a stream.
    I2pError,
}

impl Refused {
    pub(crate) const fn result(self) -> &'static str {
        match self {
            Self::CantReachPeer => "CANT_REACH_PEER",
            Self::Timeout => "TIMEOUT",
            Self::I2pError => "I2P_ERROR MESSAGE=\"no tunnels, RESULT=OK later\"",
        }
    }
}

/// What a lying bridge says in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// A line of random bytes.
    Garbage,
    /// A line that does not end.
    LongLine,
    /// A refusal with `RESULT=OK` in its message.
    OkInMessage,
    /// That the session's ID is in use.
    DuplicatedId,
    /// That the session is not known.
    InvalidId,
    /// That a stream is open, which leads nowhere.
    OkThenSilence,
    /// That a stream is open, and bytes on it that are no packet.
    OkThenGarbage,
    /// Nothing: it closes the socket.
    End,
    /// The answer, with keys in another order and more of them, after a line that asks for itself back.
    Verbose,
}
