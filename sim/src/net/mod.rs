//! The network between the hosts: datagrams and connections, with everything that can happen to
//! them. SAM bridges would stand here too, between `send` and `deliver`, as NATs and attackers do.

pub(crate) mod firewall;
pub(crate) mod link;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;

use core::net::SocketAddr;

use burdock_core::NetError;

use crate::attack::{Attack, Passing};
use crate::item::Item;
use crate::luck::Luck;
use crate::net::link::{Fate, Path, micros};
use crate::net::tcp::{Conn, Segment, Side};
use crate::queue::Queue;
use crate::scenario::{Fault, FaultKind, Link, PORT, Protocol, Scenario, Trouble, Way};

use std::collections::BTreeMap;

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
    paths: Vec<Path>,
    machines: Vec<Machine>,
    conns: BTreeMap<u32, Conn>,
    next_conn: u32,
    /// The small pieces that kernels deal in, per direction: send buffer and largest piece.
    trickle: Vec<Option<(usize, usize)>>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    pub(crate) datagrams: u64,
    pub(crate) resets: u64,
    pub(crate) attack: Attack,
}

impl Net {
    pub(crate) fn new(scenario: &Scenario, luck: Luck) -> Self {
        let hosts = scenario.hosts.len();
        let paths = (0..hosts * hosts).map(|id| Path::new(id as u64, &scenario.link)).collect();
        Self {
            link: scenario.link.clone(),
            luck,
            hosts,
            paths,
            machines: vec![Machine::Idle; hosts],
            conns: BTreeMap::new(),
            next_conn: 0,
            trickle: vec![None; hosts * hosts],
            spare: Vec::new(),
            datagrams: 0,
            resets: 0,
            attack: Attack::new(hosts, luck),
        }
    }

    /// From now on exactly these faults of the ways.
    pub(crate) fn set_faults<'a>(&mut self, active: impl Iterator<Item = &'a Fault> + Clone) {
        for from in 0..self.hosts {
            for to in 0..self.hosts {
                let troubles = active.clone().filter_map(|fault| match &fault.kind {
                    FaultKind::Path { way, trouble } if (way.from, way.to) == (from, to) => Some(trouble),
                    _ => None,
                });
                self.trickle[from * self.hosts + to] = troubles.clone().find_map(|trouble| match trouble {
                    Trouble::Trickle { send_buffer, piece } => Some((*send_buffer as usize, *piece as usize)),
                    _ => None,
                });
                self.paths[from * self.hosts + to].set(&self.link, troubles);
            }
        }
    }

    /// How often something bad happened to a packet or a connection.
    pub(crate) fn struck(&self) -> u64 {
        self.resets + self.paths.iter().map(|path| path.struck).sum::<u64>()
    }

    /// Packets under way cannot be taken back, but nobody may be there when they arrive.
    pub(crate) fn set_machine(&mut self, now: u64, host: usize, machine: Machine, queue: &mut Queue<Item>) {
        self.machines[host] = machine;
        match machine {
            Machine::Running => self.attack.started(host),
            Machine::Idle => self.orphan_all(now, host, queue),
            Machine::Off => self.forget_all(host),
        }
    }

    /// Sends one datagram.
    pub(crate) fn send(&mut self, now: u64, from: usize, to: SocketAddr, data: &[u8], queue: &mut Queue<Item>) {
        self.datagrams += 1;
        let Some(target) = self.attack.nat.behind(to) else { return };
        let source = self.attack.nat.source(from);
        let passing = |arrives| Passing { way: Way { from, to: target }, source, data, arrives };
        let path = &mut self.paths[from * self.hosts + target];
        match path.fate(now, Protocol::Udp, [PORT, to.port()], data.len(), self.luck) {
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
            NetItem::Datagram { to, from, data, whole, truth } => match self.machines[to] {
                Machine::Running => out.push(Delivery::Datagram { to, from, data, whole, truth }),
                Machine::Idle => {
                    if let Some(host) = self.attack.nat.behind(from) {
                        let fate =
                            self.paths[to * self.hosts + host].fate(now, Protocol::Udp, [PORT; 2], 28, self.luck);
                        if let Fate::Arrives { at, .. } = fate {
                            let to = self.attack.nat.source(to);
                            let bounced = NetItem::Bounced { host, to, error: NetError::Refused };
                            queue.push(at, bounced.into());
                        }
                    }
                }
                Machine::Off => {}
            },
            NetItem::Bounced { host, to, error } => {
                if self.machines[host] == Machine::Running {
                    out.push(Delivery::TransmitFailed { host, to, error });
                }
            }
            NetItem::Segment { to, segment } => self.segment_arrives(now, to, segment, queue, out),
            NetItem::Timer { end } => self.timer(now, end, queue, out),
        }
    }
}
