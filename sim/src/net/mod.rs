//! The network between the hosts: datagrams and connections, with everything that can happen to
//! them, and I2P.

pub(crate) mod firewall;
pub(crate) mod i2p;
pub(crate) mod link;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;

use core::net::SocketAddr;
use core::time::Duration;

use burdock_core::{NetError, Time};

use crate::attack::{Attack, Passing};
use crate::item::Item;
use crate::luck::Luck;
use crate::net::i2p::{I2p, I2pItem};
use crate::net::link::{Fate, Path, micros};
use crate::net::tcp::{Conn, Segment, Side};
use crate::queue::Queue;
use crate::report::Knock;
use crate::scenario::{Fault, FaultKind, Link, PORT, Protocol, Scenario, Way};

use std::collections::BTreeMap;

/// How a datagram begins that asks for a handshake.
const INITIATION: u8 = 0x08;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndRef {
    pub(crate) conn: u32,
    pub(crate) side: Side,
}

/// What is under way in the network.
#[derive(Debug)]
pub(crate) enum NetItem {
    Datagram {
        to: usize,
        from: SocketAddr,
        data: Vec<u8>,
        whole: bool,
        truth: Option<SocketAddr>,
    },
    /// An ICMP error comes back.
    Bounced {
        host: usize,
        to: SocketAddr,
        error: NetError,
    },
    Segment {
        to: EndRef,
        segment: Segment,
    },
    Timer {
        end: EndRef,
    },
    I2p(I2pItem),
}

/// What the network tells a host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// `whole` if it is undamaged and comes once. `truth` is where its content is from; an attacker
    /// may have sent it from elsewhere, or made it up.
    Datagram {
        to: usize,
        from: SocketAddr,
        data: Vec<u8>,
        whole: bool,
        truth: Option<SocketAddr>,
    },
    TransmitFailed {
        host: usize,
        to: SocketAddr,
        error: NetError,
    },
    Accepted {
        host: usize,
        end: EndRef,
        from: SocketAddr,
    },
    Opened {
        host: usize,
        end: EndRef,
    },
    Data {
        host: usize,
        end: EndRef,
        data: Vec<u8>,
    },
    Writable {
        host: usize,
        end: EndRef,
    },
    Closed {
        host: usize,
        end: EndRef,
        error: Option<NetError>,
    },
}

impl Delivery {
    /// Who is told.
    pub(crate) const fn host(&self) -> usize {
        match self {
            Self::Datagram { to: host, .. }
            | Self::TransmitFailed { host, .. }
            | Self::Accepted { host, .. }
            | Self::Opened { host, .. }
            | Self::Data { host, .. }
            | Self::Writable { host, .. }
            | Self::Closed { host, .. } => *host,
        }
    }
}

/// Whether anybody is there to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// The process runs.
    Running,
    /// The process is gone, its kernel answers.
    Idle,
    /// Silence.
    Off,
}

/// The whole network.
#[derive(Debug)]
pub(crate) struct Net {
    link: Link,
    luck: Luck,
    hosts: usize,
    /// By sender and receiver, as [`way`](Self::way) numbers them; made when first used.
    paths: BTreeMap<usize, Path>,
    machines: Vec<Machine>,
    conns: BTreeMap<u32, Conn>,
    next_conn: u32,
    /// Whose process is stopped: its kernel keeps what comes.
    stopped: Vec<bool>,
    /// First packets that reached a machine.
    pub(crate) knocks: Vec<Knock>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    pub(crate) datagrams: u64,
    pub(crate) resets: u64,
    pub(crate) attack: Attack,
    pub(crate) i2p: I2p,
}

/// The way between a host and the router on its machine: loopback.
const LOOPBACK: Link = Link { latency: Duration::from_micros(50), mtu: 65_535, send_buffer: 212_992 };

impl Net {
    pub(crate) fn new(scenario: &Scenario, luck: Luck) -> Self {
        let hosts = scenario.hosts.len();
        Self {
            link: scenario.link.clone(),
            luck,
            hosts,
            paths: BTreeMap::new(),
            machines: vec![Machine::Idle; 2 * hosts],
            conns: BTreeMap::new(),
            next_conn: 0,
            stopped: vec![false; 2 * hosts],
            knocks: Vec::new(),
            spare: Vec::new(),
            datagrams: 0,
            resets: 0,
            attack: Attack::new(hosts, luck),
            i2p: I2p::new(scenario, luck),
        }
    }

    fn way(&self, from: usize, to: usize) -> usize {
        match (self.router_of(from), self.router_of(to)) {
            (None, None) => from * self.hosts + to,
            (Some(host), _) => self.hosts * self.hosts + 2 * host,
            (None, Some(host)) => self.hosts * self.hosts + 2 * host + 1,
        }
    }

    fn path(&mut self, way: usize) -> &mut Path {
        let link = if way < self.hosts * self.hosts { &self.link } else { &LOOPBACK };
        self.paths.entry(way).or_insert_with(|| Path::new(way as u64, link))
    }

    /// From now on exactly these of `active` are the faults of a way.
    pub(crate) fn set_faults<'a>(&mut self, changed: Way, active: impl Iterator<Item = &'a Fault>) {
        let troubles = active.filter_map(|fault| match &fault.kind {
            FaultKind::Path { way, trouble } if *way == changed => Some(trouble),
            _ => None,
        });
        let link = self.link.clone();
        self.path(self.way(changed.from, changed.to)).set(&link, troubles);
    }

    /// The process of this host is stopped, or goes on.
    pub(crate) fn set_stopped(&mut self, host: usize, stopped: bool) {
        self.stopped[host] = stopped;
        if !stopped {
            self.all_read(host);
        }
    }

    /// How often something bad happened to a packet or a connection.
    pub(crate) fn struck(&self) -> u64 {
        self.resets + self.paths.values().map(|path| path.struck).sum::<u64>()
    }

    /// Packets under way cannot be taken back, but nobody may be there when they arrive.
    pub(crate) fn set_machine(&mut self, now: u64, host: usize, machine: Machine, queue: &mut Queue<Item>) {
        self.machines[host] = machine;
        match machine {
            Machine::Running => self.attack.started(host),
            Machine::Idle => self.orphan_all(now, host, queue),
            Machine::Off => self.forget_all(host),
        }
        self.router_power(now, host, machine != Machine::Off, queue);
    }

    /// Sends one datagram.
    pub(crate) fn send(&mut self, now: u64, from: usize, to: SocketAddr, data: &[u8], queue: &mut Queue<Item>) {
        self.datagrams += 1;
        let Some(target) = self.attack.nat.behind(to) else { return };
        let source = self.attack.nat.source(from);
        let passing = |arrives| Passing { way: Way { from, to: target }, source, data, arrives };
        let luck = self.luck;
        match self.path(self.way(from, target)).fate(now, Protocol::Udp, [PORT, to.port()], data.len(), luck) {
            Fate::Lost => drop(self.attack.passes(now, passing(None), queue)),
            Fate::Rejected(error) => {
                let back = now + micros(self.link.latency);
                queue.push(back, NetItem::Bounced { host: from, to, error }.into());
            }
            Fate::Arrives { at, again, flipped } => {
                let meddled = self.attack.passes(now, passing(Some(at)), queue);
                if meddled.swallowed {
                    return;
                }
                let at = at + meddled.late;
                let mut copy = self.spare.pop().unwrap_or_default();
                copy.clear();
                copy.extend_from_slice(data);
                if let (Some(bit), true) = (flipped, !copy.is_empty()) {
                    let bit = usize::try_from(bit % (copy.len() as u64 * 8)).expect("within a datagram");
                    copy[bit / 8] ^= 1 << (bit % 8);
                }
                let whole = flipped.is_none() && again.is_none() && meddled.first;
                let truth = Some(source).filter(|_| flipped.is_none());
                let datagram = |data| NetItem::Datagram { to: target, from: source, data, whole, truth };
                if let Some(again) = again {
                    queue.push(again, datagram(copy.clone()).into());
                }
                queue.push(at, datagram(copy).into());
            }
        }
    }

    /// Gives a buffer back.
    pub(crate) fn recycle(&mut self, data: Vec<u8>) {
        if self.spare.len() < 256 {
            self.spare.push(data);
        }
    }

    /// Something that was under way arrives.
    pub(crate) fn handle(&mut self, now: u64, item: NetItem, queue: &mut Queue<Item>, out: &mut Vec<Delivery>) {
        match item {
            NetItem::Datagram { to, from, data, whole, truth } => {
                if data.first() == Some(&INITIATION) {
                    self.knock(now, from, to, Protocol::Udp);
                }
                match self.machines[to] {
                    Machine::Running => out.push(Delivery::Datagram { to, from, data, whole, truth }),
                    Machine::Idle => {
                        if let Some(host) = self.attack.nat.behind(from) {
                            let luck = self.luck;
                            let fate = self.path(self.way(to, host)).fate(now, Protocol::Udp, [PORT; 2], 28, luck);
                            if let Fate::Arrives { at, .. } = fate {
                                let to = self.attack.nat.source(to);
                                let bounced = NetItem::Bounced { host, to, error: NetError::Refused };
                                queue.push(at, bounced.into());
                            }
                        }
                    }
                    Machine::Off => {}
                }
            }
            NetItem::Bounced { host, to, error } => {
                if self.machines[host] == Machine::Running {
                    out.push(Delivery::TransmitFailed { host, to, error });
                }
            }
            NetItem::Segment { to, segment } => self.segment_arrives(now, to, segment, queue, out),
            NetItem::Timer { end } => self.timer(now, end, queue, out),
            NetItem::I2p(item) => self.i2p_item(now, item, queue),
        }
    }

    fn knock(&mut self, now: u64, from: SocketAddr, to: usize, protocol: Protocol) {
        if let Some(from) = self.attack.nat.behind(from) {
            self.knocks.push(Knock { at: Time::from_micros(now), from, to, protocol });
        }
    }
}
