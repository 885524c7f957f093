//! What may go wrong.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{OffPath, OnPath, OnStream, Rebinding, RouterTrouble};
use crate::span;

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    #[serde(with = "span")]
    pub from: Duration,
    /// When it is over; never, if there is none. What happens at one moment has no duration.
    #[serde(with = "span::option", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Duration>,
    /// Which family of faults it was drawn from.
    pub family: Family,
    /// What it is.
    pub kind: FaultKind,
}

/// A direction: packets from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Way {
    /// The index of the sending host.
    pub from: usize,
    /// The index of the receiving host.
    pub to: usize,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The way between two hosts behaves badly.
    Path {
        /// In which direction.
        way: Way,
        /// How.
        trouble: Trouble,
    },
    /// Every TCP connection between two hosts is reset at one end; the other end learns of it when
    /// it sends.
    Reset {
        /// `to` is the host that hears of it at once.
        way: Way,
    },
    /// The state of every TCP connection between two hosts is forgotten on the way: their packets
    /// vanish from now on.
    HalfOpen {
        /// Which two.
        way: Way,
    },
    /// The process ends; it starts again, with the same identity and no memory, when the fault is
    /// over.
    Crash {
        /// The index of the host.
        host: usize,
        /// Whether its machine goes down too: then nothing says so to its peers.
        power: bool,
    },
    /// Somebody on the way meddles with datagrams.
    OnPath {
        /// In which direction.
        way: Way,
        /// How.
        tricks: OnPath,
    },
    /// Somebody on the way meddles with TCP connections.
    OnStream {
        /// In which direction.
        way: Way,
        /// How.
        tricks: OnStream,
    },
    /// Somebody who sees nothing sends forgeries.
    OffPath(OffPath),
    /// A NAT gives a host another address as others see it; for good, or until the fault is over.
    Rebind {
        /// The index of the host.
        host: usize,
        /// How.
        rebinding: Rebinding,
    },
    /// The process is stopped, and goes on when the fault is over. What arrives meanwhile waits for
    /// it in the buffers of its kernel, as far as they hold it.
    Stop {
        /// The index of the host.
        host: usize,
        /// Whether its clock stands still meanwhile, as that of a machine that sleeps.
        clock_stands: bool,
        /// Bytes of datagrams that its kernel keeps for it.
        buffer: u32,
    },
    /// The clock that the process reads jumps; when the fault is over, it jumps to where it would
    /// have been.
    ClockJump {
        /// The index of the host.
        host: usize,
        /// How far.
        #[serde(with = "span")]
        by: Duration,
        /// Whether into the past.
        back: bool,
    },
    /// The wake-ups that an endpoint asks for come otherwise.
    Wakes {
        /// The index of the host.
        host: usize,
        /// How.
        trouble: WakeTrouble,
    },
    /// Something is wrong with the I2P router of a host.
    Router {
        /// The index of the host.
        host: usize,
        /// What.
        trouble: RouterTrouble,
    },
}

/// What may be wrong with wake-ups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeTrouble {
    /// Each comes late by a random time.
    Late {
        /// By at most this.
        #[serde(with = "span")]
        up_to: Duration,
    },
    /// With this chance none comes: only what happens next shows what is due.
    Lost {
        /// In thousandths.
        per_mille: u32,
    },
    /// With this chance a second one comes: together with the first, or any time before it.
    Doubled {
        /// In thousandths.
        per_mille: u32,
    },
}

/// How a way behaves badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Each packet is lost with this chance.
    Loss {
        /// In thousandths.
        per_mille: u32,
    },
    /// The Gilbert-Elliott model: a good state without loss and a bad state.
    Burst {
        /// The chance to turn bad, per packet, in thousandths.
        enter: u32,
        /// The chance to turn good again, per packet, in thousandths.
        leave: u32,
        /// The loss while bad, in thousandths.
        loss: u32,
    },
    /// A datagram arrives twice with this chance.
    Duplicate {
        /// In thousandths.
        per_mille: u32,
    },
    /// A packet is overtaken by those behind it.
    Reorder {
        /// The chance of it, in thousandths.
        per_mille: u32,
        /// By how much it is late, at most.
        #[serde(with = "span")]
        by: Duration,
    },
    /// A datagram has a bit flipped with this chance. (TCP: the kernel drops it.)
    Corrupt {
        /// In thousandths.
        per_mille: u32,
    },
    /// The latency varies, without changing the order.
    Jitter {
        /// By at most this.
        #[serde(with = "span")]
        up_to: Duration,
    },
    /// A bottleneck with a finite buffer, which drops what does not fit.
    Rate {
        /// Bytes per second.
        bytes_per_second: u64,
        /// Bytes that may wait.
        buffer: u64,
    },
    /// Larger IP packets vanish. (TCP: segments fit.)
    Mtu {
        /// In bytes, IP and UDP headers (28) included.
        bytes: u32,
    },
    /// A firewall.
    Block {
        /// What it matches; everything, if there is none.
        protocol: Option<Protocol>,
        /// The port that it matches, at either end; every port, if there is none.
        port: Option<u16>,
        /// What becomes of what it matches.
        verdict: Verdict,
    },
    /// The kernel takes and hands out TCP bytes in small pieces.
    Trickle {
        /// Bytes that it buffers for sending.
        send_buffer: u32,
        /// The largest piece that is read at once.
        piece: u32,
    },
}

/// What a firewall tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

/// What a firewall does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Silence.
    Drop,
    /// The sender is told: an ICMP error, or a TCP reset.
    Reject,
}

macro_rules! families {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal; )*) => {
        /// The families of faults (and of things that applications do to us) that a seed turns on
        /// or off as a whole.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Family {
            $( $(#[$doc])* $variant, )*
        }

        impl Family {
            /// Every family.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

families! {
    /// Independent loss.
    Loss = "loss";
    /// Loss in bursts.
    Burst = "burst";
    /// Datagrams that arrive twice.
    Duplicate = "duplicate";
    /// Packets that are overtaken.
    Reorder = "reorder";
    /// Flipped bits.
    Corrupt = "corrupt";
    /// Varying latency.
    Jitter = "jitter";
    /// A bottleneck.
    Rate = "rate";
    /// Large packets that vanish.
    Mtu = "mtu";
    /// A firewall against UDP.
    UdpBlocked = "udp_blocked";
    /// A firewall against TCP.
    TcpBlocked = "tcp_blocked";
    /// One direction is dead.
    OneWay = "one_way";
    /// Nothing passes.
    Outage = "outage";
    /// TCP connections are reset.
    Reset = "tcp_reset";
    /// TCP connections die in silence.
    HalfOpen = "half_open";
    /// A process ends and starts again.
    Crash = "crash";
    /// TCP bytes in small pieces.
    Trickle = "trickle";
    /// An application that takes its time.
    SlowReader = "slow_reader";
    /// Both sides dial.
    BothDial = "both_dial";
    /// An application that changes its mind.
    Cancel = "cancel";
    /// `retry_now`, and networks that change.
    Nudge = "nudge";
    /// An attacker on the way of datagrams.
    OnPath = "on_path";
    /// An attacker on the way of TCP connections.
    OnStream = "on_stream";
    /// An attacker far from the way.
    OffPath = "off_path";
    /// NATs that forget.
    Rebinding = "rebinding";
    /// A process is stopped for a while.
    Stop = "stop";
    /// A clock jumps.
    ClockJump = "clock_jump";
    /// Wake-ups come late.
    LateWake = "late_wake";
    /// Wake-ups do not come.
    LostWake = "lost_wake";
    /// Wake-ups come twice, or early.
    DoubledWake = "doubled_wake";
    /// Keys that are renewed every few seconds.
    ShortKeys = "short_keys";
    /// Hosts with I2P routers.
    I2p = "i2p";
    /// I2P tunnels that take their time to be built.
    SlowTunnels = "slow_tunnels";
    /// I2P tunnels, and lease sets, that are not there.
    NoTunnels = "no_tunnels";
    /// I2P tunnels that die in silence, and streams with them.
    DeadTunnels = "dead_tunnels";
    /// I2P routers that end, start again, or forget their sessions.
    BridgeGone = "bridge_gone";
    /// I2P routers that stand still.
    BridgeStalls = "bridge_stalls";
    /// SAM bridges that say what is not so.
    BridgeLies = "bridge_lies";
    /// Callers over I2P who never say a word.
    MuteCallers = "mute_callers";
}

impl Fault {
    /// A fault of the way between two hosts, in one direction.
    pub(crate) fn path(family: Family, way: Way, trouble: Trouble, from: Duration, until: Option<Duration>) -> Self {
        Self { from, until, family, kind: FaultKind::Path { way, trouble } }
    }
}
