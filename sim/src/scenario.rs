//! What is to happen: plain data that can be read, saved, edited and replayed. A run depends on
//! nothing else.

mod fault;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use burdock_core::{Class, Config, Destination, PublicKey};
use serde::{Deserialize, Serialize};

pub use self::fault::{Family, Fault, FaultKind, Protocol, Trouble, Verdict, WakeTrouble, Way};
pub use crate::attack::{Forgery, OffPath, OnPath, OnStream, Rebinding};
pub use crate::net::i2p::{Lie, Make, Refused, Router, RouterTrouble, Tunnels};
use crate::span;

/// One simulated world from beginning to end.
///
/// ```
/// use burdock_sim::Scenario;
///
/// let scenario = Scenario::generate(7);
/// let text = scenario.to_text();
/// assert_eq!(Scenario::from_text(&text)?, scenario);
/// # Ok::<(), burdock_sim::ScenarioError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Names the scenario: the luck of its packets, the keys and the contents of its messages are
    /// hashes of it.
    pub seed: u64,
    /// The processes.
    pub hosts: Vec<Host>,
    /// The way between any two hosts, in each direction, while nothing is wrong.
    pub link: Link,
    /// The way between any two I2P routers.
    #[serde(default, skip_serializing_if = "Tunnels::is_default")]
    pub tunnels: Tunnels,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What the applications do.
    pub ops: Vec<Op>,
    /// How the run ends.
    pub ending: Ending,
}

/// One process: an endpoint, its application, its machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name in logs.
    pub name: String,
    /// How its endpoint behaves.
    pub config: Config,
    /// Who may open a session with it.
    pub accept: Accept,
    /// What its clock shows when the run begins.
    #[serde(with = "span")]
    pub clock: Duration,
    /// How its application reads.
    pub reader: Reader,
    /// The I2P router on its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
}

/// Who may open a session with a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// Everybody.
    Anyone,
    /// The hosts with these indices.
    Hosts(Vec<usize>),
}

/// How an application takes its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// All of them, as soon as it is told.
    Prompt,
    /// A few at a time, until the faults are healed; each handful counts as taken only when the
    /// next one is fetched.
    Slow {
        /// How many.
        batch: u32,
        /// How often.
        #[serde(with = "span")]
        every: Duration,
    },
}

/// The way from one host to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// How long a packet takes.
    #[serde(with = "span")]
    pub latency: Duration,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Bytes that the kernel buffers for sending on one TCP connection.
    pub send_buffer: u32,
}

/// Something that an application does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op {
    /// When.
    #[serde(with = "span")]
    pub at: Duration,
    /// The index of its host.
    pub host: usize,
    /// What.
    pub what: What,
}

/// What an application does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Dials, and wants the session from now on: after a restart, and once the faults are healed,
    /// it dials again.
    Connect {
        /// The index of the host.
        to: usize,
        /// Whether its link has a host name in it.
        by_name: bool,
    },
    /// Sends messages in whatever session there is, or will be.
    Send {
        /// The index of the host.
        to: usize,
        /// On which channel.
        channel: u8,
        /// How many.
        count: u32,
        /// The bytes of each: 0, or at least [`HEADER`](crate::HEADER).
        size: u32,
        /// The time between them; all at once if zero.
        #[serde(with = "span")]
        every: Duration,
    },
    /// Closes the session, and wants it no more.
    Close {
        /// The index of the host at its other end.
        to: usize,
    },
    /// Lets go of the session.
    Cancel {
        /// The index of the host at its other end.
        to: usize,
    },
    /// Asks for the next attempt now.
    RetryNow {
        /// The index of the host at the other end of the session.
        to: usize,
    },
    /// The host's network changes.
    NetworkChanged,
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// At this moment everything is healed. Then every session that is wanted must come up within
    /// the bound that its backoff promises, and every message must find its outcome; then all is
    /// closed, and must stay silent.
    Converge {
        /// When.
        #[serde(with = "span")]
        healed: Duration,
        /// Which hosts close; the others are closed by their peers.
        closers: Vec<usize>,
    },
    /// At this moment, whatever has become of it. Safety alone is judged.
    Stop {
        /// When.
        #[serde(with = "span")]
        at: Duration,
    },
}

/// Why a text is no scenario.
#[derive(Debug)]
pub struct ScenarioError(String);

impl core::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "this is not a scenario: {}", self.0)
    }
}

impl core::error::Error for ScenarioError {}

/// The most hosts of a scenario.
const MAX_HOSTS: usize = 5_000;

/// The UDP and TCP port of every host.
pub(crate) const PORT: u16 = 4_000;

/// The address of a host.
pub(crate) fn address(host: usize) -> SocketAddr {
    let [.., high, low] = (host + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), PORT)
}

/// The host with an address, if there is one.
pub(crate) fn host_at(address: SocketAddr, hosts: usize) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [10, 0, high, low] = ip.octets() else { return None };
    usize::from(u16::from_be_bytes([high, low])).checked_sub(1).filter(|host| *host < hosts)
}

impl Scenario {
    /// The text form: JSON, one field a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data with text keys always serialises");
        text.push('\n');
        text
    }

    /// Reads what [`to_text`](Self::to_text) wrote, or what somebody made of it.
    ///
    /// # Errors
    /// The text is no JSON, a field is missing or wrong, or something refers to a host that is not
    /// there.
    pub fn from_text(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_str(text).map_err(|error| ScenarioError(error.to_string()))?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// The link by which one host dials another, as the one makes it known; over I2P at `destination`.
    pub(crate) fn link_to(
        &self,
        from: usize,
        to: usize,
        key: PublicKey,
        by_name: bool,
        destination: Destination,
    ) -> burdock_core::Link {
        let mut link = burdock_core::Link::direct(key, address(to));
        if by_name {
            link.host = Some(burdock_core::Host::Name(self.hosts[to].name.clone()));
        }
        let open = |host: usize| self.hosts[host].config.class == Class::Open;
        let hidden = self.hosts[to].router.as_ref().is_some_and(|router| router.hidden);
        link.i2p = self.hosts[to].router.as_ref().map(|_| destination);
        if !open(from) || !open(to) || hidden {
            (link.host, link.udp_port, link.tcp_port) = (None, None, None);
        }
        link
    }

    pub(crate) fn validate(&self) -> Result<(), ScenarioError> {
        if self.hosts.is_empty() || self.hosts.len() > MAX_HOSTS {
            return Err(ScenarioError(format!("there must be 1 to {MAX_HOSTS} hosts")));
        }
        for host in &self.hosts {
            host.config.validate().map_err(|error| ScenarioError(format!("host {}: {error}", host.name)))?;
        }
        let ways = self.faults.iter().flat_map(|fault| match &fault.kind {
            FaultKind::Path { way, .. } | FaultKind::Reset { way } | FaultKind::HalfOpen { way } => [way.from, way.to],
            FaultKind::Crash { host, .. }
            | FaultKind::Rebind { host, .. }
            | FaultKind::Stop { host, .. }
            | FaultKind::ClockJump { host, .. }
            | FaultKind::Router { host, .. }
            | FaultKind::Wakes { host, .. } => [*host; 2],
            FaultKind::OnPath { way, .. } | FaultKind::OnStream { way, .. } => [way.from, way.to],
            FaultKind::OffPath(plan) => [plan.target; 2],
        });
        let ops = self.ops.iter().flat_map(|op| match op.what {
            What::Connect { to, .. }
            | What::Send { to, .. }
            | What::Close { to }
            | What::Cancel { to }
            | What::RetryNow { to } => [op.host, to],
            What::NetworkChanged => [op.host; 2],
        });
        if let Some(host) = ways.chain(ops).find(|host| *host >= self.hosts.len()) {
            return Err(ScenarioError(format!("there is no host {host}; the first one is 0")));
        }
        Ok(())
    }

    /// The families that are on.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL.iter().copied().filter(|family| match family {
            Family::ShortKeys => self.hosts.iter().any(|host| host.config.key_life < Config::streamer().key_life),
            Family::I2p => self.hosts.iter().any(|host| host.router.is_some()),
            Family::SlowReader => self.hosts.iter().any(|host| host.reader != Reader::Prompt),
            Family::BothDial => self.ops.iter().any(|op| match op.what {
                What::Connect { to, .. } => self.ops.iter().any(
                    |other| matches!(other.what, What::Connect { to: back, .. } if other.host == to && back == op.host),
                ),
                _ => false,
            }),
            Family::Cancel => self.ops.iter().any(|op| matches!(op.what, What::Cancel { .. })),
            Family::Nudge => self.ops.iter().any(|op| matches!(op.what, What::RetryNow { .. } | What::NetworkChanged)),
            family => self.faults.iter().any(|fault| fault.family == *family),
        })
    }
}
