//! Attackers and NATs, between what hosts send and what arrives. What they do is plain data in the
//! scenario; here is how they do it.
//!
//! An attacker is bound by the cryptography and by nothing else: it holds no key that anybody
//! accepts, and what it makes up is marked as forged for the oracles.

mod forge;
pub(crate) mod nat;
mod off_path;
mod on_path;
mod plan;
#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

use burdock_core::PublicKey;

pub(crate) use self::on_path::Passing;
pub use self::plan::{Forgery, OffPath, OnPath, OnStream, Rebinding};

use self::nat::Nat;
use self::off_path::Sender;
use crate::item::Item;
use crate::luck::{Draws, Luck, Purpose};
use crate::net::NetItem;
use crate::queue::Queue;
use crate::scenario::{Fault, FaultKind, Way};
use crate::table::Table;

/// Datagrams that an attacker on the way keeps.
const RECENT: usize = 48;
/// Handshake packets that it keeps for good.
const HANDSHAKES: usize = 16;

/// All attackers of a run; they work together.
#[derive(Debug)]
pub(crate) struct Attack {
    luck: Luck,
    hosts: usize,
    keys: Vec<PublicKey>,
    pub(crate) nat: Nat,
    /// By the index of the fault.
    on_path: BTreeMap<usize, (Way, OnPath)>,
    on_stream: BTreeMap<usize, (Way, OnStream)>,
    off_path: BTreeMap<usize, Sender>,
    /// Packets seen, by way: UDP and TCP.
    seen: BTreeMap<(usize, usize), [u64; 2]>,
    recent: VecDeque<Captured>,
    handshakes: Vec<Captured>,
    /// An index under which each host receives, and one of a handshake that it began: what somebody
    /// with much luck might guess.
    indices: BTreeMap<(usize, bool), [u8; 4]>,
    /// How often each host started.
    lives: Vec<u32>,
    spent: u64,
    /// What they did.
    pub(crate) deeds: Table,
}

/// A datagram that was seen.
#[derive(Clone, Debug)]
struct Captured {
    from: usize,
    to: usize,
    source: SocketAddr,
    data: Vec<u8>,
    /// Copies come after it, so that it is the one that counts.
    arrives: u64,
    /// The lives of both sides.
    lives: [u32; 2],
}

/// Where an attacker is when it hides nothing.
fn lair(number: u64) -> SocketAddr {
    let [.., last] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)), 6_000 + u16::from(last))
}

impl Attack {
    pub(crate) fn new(hosts: usize, luck: Luck) -> Self {
        Self {
            luck,
            hosts,
            keys: Vec::new(),
            nat: Nat::new(hosts),
            on_path: BTreeMap::new(),
            on_stream: BTreeMap::new(),
            off_path: BTreeMap::new(),
            seen: BTreeMap::new(),
            recent: VecDeque::new(),
            handshakes: Vec::new(),
            indices: BTreeMap::new(),
            lives: vec![0; hosts],
            spent: 0,
            deeds: Table::default(),
        }
    }

    /// Public keys are public.
    pub(crate) fn learn(&mut self, keys: Vec<PublicKey>) {
        self.keys = keys;
    }

    /// A host started.
    pub(crate) fn started(&mut self, host: usize) {
        self.lives[host] += 1;
    }

    /// A fault of theirs begins.
    pub(crate) fn begin(&mut self, now: u64, index: usize, fault: &Fault, queue: &mut Queue<Item>) {
        match &fault.kind {
            FaultKind::OnPath { way, tricks } => drop(self.on_path.insert(index, (*way, tricks.clone()))),
            FaultKind::OnStream { way, tricks } => drop(self.on_stream.insert(index, (*way, tricks.clone()))),
            FaultKind::OffPath(plan) => {
                self.off_path.insert(index, Sender::new(plan.clone(), now));
                queue.push(now, Item::Attack(index));
            }
            FaultKind::Rebind { host, rebinding } => {
                self.nat.rebind(*host, rebinding.address);
                self.did(if rebinding.address { "rebound_address" } else { "rebound_port" });
            }
            _ => {}
        }
    }

    /// A fault of theirs is over.
    pub(crate) fn end(&mut self, index: usize, fault: &Fault) {
        self.on_path.remove(&index);
        self.on_stream.remove(&index);
        self.off_path.remove(&index);
        if let FaultKind::Rebind { host, .. } = fault.kind {
            self.nat.restore(host);
        }
    }

    pub(crate) fn did(&mut self, what: &'static str) {
        self.deeds.attack(what);
    }

    /// The draws about one packet. Removing other faults leaves them as they are.
    fn draws(&self, place: u64, number: u64) -> Draws {
        Draws::new(Luck::of(self.luck.draw(Purpose::Attack, place, number)), 0)
    }

    /// Sends a datagram that will arrive. `truth` is who made its content, if it is authentic.
    fn inject(
        &mut self,
        at: u64,
        to: usize,
        from: SocketAddr,
        truth: Option<SocketAddr>,
        data: Vec<u8>,
        queue: &mut Queue<Item>,
    ) {
        self.spent += data.len() as u64;
        queue.push(at, NetItem::Datagram { to, from, data, whole: false, truth }.into());
    }
}
