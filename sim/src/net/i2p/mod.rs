//! I2P: a router on a host's machine, with a SAM bridge on its loopback, and the tunnels between routers.
//!
//! The bridge answers as i2pd 2.45.1 does, or emissary 0.4.0: which commands it loses, which lines it sends, when it
//! closes a socket, and what nobody is told when something dies. What no client may do to a router (two commands in one
//! packet, two sessions with one key, bytes before the status line) is kept as a misuse, which an oracle reports.
//!
//! The connections to a bridge are those of [`tcp`](super::tcp), from the host to a machine of its router, which has the
//! number of the host and that of all hosts.

mod bridge;
mod keys;
mod plan;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use burdock_core::Time;
use bytes::BytesMut;

pub(crate) use self::keys::Keys;
pub use self::plan::{Lie, Make, Refused, Router, RouterTrouble, Tunnels};
pub(crate) use self::tunnel::TunnelItem;
use self::tunnel::{Stream, StreamSide};
use crate::item::Item;
use crate::luck::{Luck, Purpose};
use crate::net::link::micros;
use crate::net::{Delivery, EndRef, Machine, Net, NetItem};
use crate::queue::Queue;
use crate::report::Knock;
use crate::scenario::{Protocol, Scenario};
use crate::table::Table;

/// Where a bridge listens.
pub(crate) const BRIDGE_PORT: u16 = 7656;
/// How long others believe in a lease set after its session has ended.
const LEASE: u64 = 600_000_000;

/// What becomes due at a bridge.
#[derive(Debug)]
pub(crate) enum BridgeItem {
    /// The tunnels of the session that this socket asked for stand.
    Built { end: EndRef },
    /// The stream that this socket asked for is open, or not.
    Looked { end: EndRef, answer: Answer },
    /// Nobody took a caller.
    NobodyAccepts { stream: u64 },
}

/// What a wish for a stream comes to.
#[derive(Debug)]
pub(crate) enum Answer {
    Open { to: usize },
    Refused(Refused),
}

/// All routers, and what is between them.
#[derive(Debug)]
pub(crate) struct I2p {
    luck: Luck,
    tunnels: Tunnels,
    routers: Vec<RouterState>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    /// Draws so far, by host; of streams, by number behind those.
    drawn: BTreeMap<u64, u64>,
    /// Connections on which lines are spoken, not yet the bytes of a stream.
    lines: BTreeSet<u32>,
    /// What a client did that no router bears: the host, and what.
    pub(crate) misuse: Option<(usize, String)>,
    pub(crate) deeds: Table,
}

#[derive(Debug)]
struct RouterState {
    plan: Option<Router>,
    keys: Keys,
    /// The machine has power.
    powered: bool,
    /// By fault.
    troubles: BTreeMap<usize, RouterTrouble>,
    sockets: BTreeMap<EndRef, Socket>,
    sessions: BTreeMap<String, Session>,
    /// What a router that stands still has not looked at.
    inbox: VecDeque<Delivery>,
    overdue: Vec<BridgeItem>,
    /// Until when others believe that its session stands, when none does.
    leased_until: u64,
}

#[derive(Debug)]
struct Session {
    control: EndRef,
    stands: bool,
    accepting: VecDeque<EndRef>,
    /// Callers for whom no socket waits.
    callers: VecDeque<u64>,
}

/// A connection of a client.
#[derive(Debug)]
struct Socket {
    phase: Phase,
    /// What the kernel has not taken yet.
    out: BytesMut,
    /// Of it, the bytes of a stream.
    of_stream: usize,
    closing: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Hello,
    Command,
    Control {
        id: String,
    },
    Accepting {
        id: String,
    },
    Looking,
    Stream {
        stream: u64,
        side: StreamSide,
    },
    /// Nothing that comes is read.
    Over,
}

impl I2p {
    pub(crate) fn new(scenario: &Scenario, luck: Luck) -> Self {
        let router = |(number, host): (u64, &crate::scenario::Host)| RouterState {
            plan: host.router.clone(),
            keys: Keys::of(luck, number),
            powered: true,
            troubles: BTreeMap::new(),
            sockets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            inbox: VecDeque::new(),
            overdue: Vec::new(),
            leased_until: 0,
        };
        Self {
            luck,
            tunnels: scenario.tunnels.clone(),
            routers: (0..).zip(&scenario.hosts).map(router).collect(),
            streams: BTreeMap::new(),
            next_stream: 0,
            drawn: BTreeMap::new(),
            lines: BTreeSet::new(),
            misuse: None,
            deeds: Table::default(),
        }
    }

    /// The destination of a host.
    pub(crate) fn keys(&self, host: usize) -> &Keys {
        &self.routers[host].keys
    }

    /// Whether this connection speaks SAM, and not yet with a peer.
    pub(crate) fn speaks_sam(&self, end: EndRef) -> bool {
        self.lines.contains(&end.conn)
    }

    pub(super) fn begins_to_speak(&mut self, conn: u32) {
        self.lines.insert(conn);
    }

    /// The client let go of a connection.
    pub(crate) fn hung_up(&mut self, end: EndRef) {
        self.lines.remove(&end.conn);
    }

    /// An even draw from `0..bound`.
    fn below(&mut self, host: usize, bound: u64) -> u64 {
        self.below_at(host as u64, bound)
    }

    fn below_at(&mut self, place: u64, bound: u64) -> u64 {
        let number = self.drawn.entry(place).or_default();
        *number += 1;
        self.luck.below(Purpose::I2p, place, *number, bound)
    }

    /// True with this chance.
    fn strikes(&mut self, host: usize, per_mille: u32) -> bool {
        self.below(host, 1_000) < u64::from(per_mille)
    }

    fn did(&mut self, what: &'static str) {
        self.deeds.i2p(what);
    }

    fn misused(&mut self, host: usize, what: impl Into<String>) {
        self.misuse.get_or_insert((host, what.into()));
    }
}

impl RouterState {
    fn has(&self, wanted: impl Fn(&RouterTrouble) -> bool) -> bool {
        self.troubles.values().any(wanted)
    }

    fn runs(&self) -> bool {
        self.plan.is_some() && self.powered && !self.has(|trouble| matches!(trouble, RouterTrouble::Down))
    }

    fn is_stalled(&self) -> bool {
        self.has(|trouble| matches!(trouble, RouterTrouble::Stalled))
    }

    /// Nothing passes through its tunnels now.
    fn is_silent(&self) -> bool {
        self.has(|trouble| matches!(trouble, RouterTrouble::Stalled | RouterTrouble::Silent))
    }

    fn refuses(&self) -> Option<Refused> {
        let refused = |trouble: &RouterTrouble| match trouble {
            RouterTrouble::Refuses { with } => Some(*with),
            _ => None,
        };
        self.troubles.values().find_map(refused)
    }

    fn build(&self) -> u64 {
        let slow = |trouble: &RouterTrouble| match trouble {
            RouterTrouble::SlowTunnels { build } => micros(*build),
            _ => 0,
        };
        let usual = self.plan.as_ref().map_or(0, |plan| micros(plan.build));
        self.troubles.values().map(slow).max().unwrap_or_default().max(usual)
    }
}

impl Net {
    /// The host of the router whose machine this is, if it is one's.
    pub(crate) fn router_of(&self, machine: usize) -> Option<usize> {
        machine.checked_sub(self.hosts)
    }

    /// The machine of a host's router.
    fn router_machine(&self, host: usize) -> usize {
        self.hosts + host
    }

    /// A connection to the bridge of a host.
    pub(super) fn bridge_knock(&mut self, now: u64, host: usize) {
        self.knocks.push(Knock { at: Time::from_micros(now), from: host, to: host, protocol: Protocol::Tcp });
    }

    pub(crate) fn router_trouble(
        &mut self,
        now: u64,
        fault: usize,
        host: usize,
        trouble: RouterTrouble,
        queue: &mut Queue<Item>,
    ) {
        if self.i2p.routers[host].plan.is_none() {
            return;
        }
        match trouble {
            RouterTrouble::Rebuilt => return self.kill_streams(host),
            RouterTrouble::Resets => return self.reset_streams(now, host, queue),
            RouterTrouble::Forgets => return self.forget_sessions(now, host, queue),
            RouterTrouble::MuteCallers { streams } => return self.mute_callers(now, host, streams, queue),
            _ => {}
        }
        let ran = self.i2p.routers[host].runs();
        self.i2p.did(match &trouble {
            RouterTrouble::Stalled => "stalled",
            RouterTrouble::Silent => "silent",
            RouterTrouble::Unpublished => "unpublished",
            RouterTrouble::Down => "down",
            RouterTrouble::SlowTunnels { .. } => "slow_tunnels",
            _ => "troubled",
        });
        self.i2p.routers[host].troubles.insert(fault, trouble);
        self.router_runs_or_not(now, host, ran, queue);
    }

    pub(crate) fn router_is_right_again(&mut self, now: u64, fault: usize, host: usize, queue: &mut Queue<Item>) {
        let ran = self.i2p.routers[host].runs();
        if self.i2p.routers[host].troubles.remove(&fault).is_none() {
            return;
        }
        self.router_runs_or_not(now, host, ran, queue);
        if !self.i2p.routers[host].is_stalled() {
            let router = &mut self.i2p.routers[host];
            let (inbox, overdue) = (core::mem::take(&mut router.inbox), core::mem::take(&mut router.overdue));
            for delivery in inbox {
                self.bridge_told(now, delivery, queue);
            }
            for item in overdue {
                self.bridge_due(now, host, item, queue);
            }
            let machine = self.router_machine(host);
            self.all_read(machine);
        }
        if !self.i2p.routers[host].is_silent() {
            self.release(now, queue);
        }
    }

    /// The machine of a host has power, or not.
    pub(super) fn router_power(&mut self, now: u64, host: usize, powered: bool, queue: &mut Queue<Item>) {
        let ran = self.i2p.routers[host].runs();
        self.i2p.routers[host].powered = powered;
        self.router_runs_or_not(now, host, ran, queue);
    }

    fn router_runs_or_not(&mut self, now: u64, host: usize, ran: bool, queue: &mut Queue<Item>) {
        let machine = self.router_machine(host);
        let router = &mut self.i2p.routers[host];
        self.machines[machine] = match (router.runs(), router.powered) {
            (true, _) => Machine::Running,
            (false, true) => Machine::Idle,
            (false, false) => Machine::Off,
        };
        if router.runs() || !ran {
            return;
        }
        if router.sessions.values().any(|session| session.stands) {
            router.leased_until = now + LEASE;
        }
        (router.inbox, router.overdue) = Default::default();
        router.sessions.clear();
        let sockets = core::mem::take(&mut router.sockets);
        for (end, socket) in &sockets {
            if let Phase::Stream { stream, side } = socket.phase {
                self.stream_forgotten(stream, side);
            }
            self.i2p.lines.remove(&end.conn);
        }
        if self.i2p.routers[host].powered {
            self.orphan_all(now, machine, queue);
        } else {
            self.forget_all(machine);
        }
    }

    /// Something that was under way between routers, or is due at one.
    pub(super) fn i2p_item(&mut self, now: u64, item: I2pItem, queue: &mut Queue<Item>) {
        match item {
            I2pItem::Bridge { host, item } => self.bridge_due(now, host, item, queue),
            I2pItem::Tunnel(item) => self.tunnel_arrives(now, item, queue),
        }
    }
}

/// What is under way, or due.
#[derive(Debug)]
pub(crate) enum I2pItem {
    Bridge { host: usize, item: BridgeItem },
    Tunnel(TunnelItem),
}

impl From<I2pItem> for Item {
    fn from(item: I2pItem) -> Self {
        Self::Net(NetItem::I2p(item))
    }
}
