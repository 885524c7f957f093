//! Where hosts are seen from outside. A host that was never rebound is seen where it is.
//!
//! TCP connections are opened to where a host is, whatever its NAT has done: that port is forwarded.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;

use crate::scenario::{PORT, address, host_at};

#[derive(Debug)]
pub(crate) struct Nat {
    hosts: usize,
    /// Where the rebound ones are seen.
    outside: BTreeMap<usize, SocketAddr>,
    /// Every address that was ever given out.
    given: BTreeMap<SocketAddr, usize>,
}

impl Nat {
    pub(crate) const fn new(hosts: usize) -> Self {
        Self { hosts, outside: BTreeMap::new(), given: BTreeMap::new() }
    }

    /// What others see as the source of its datagrams.
    pub(crate) fn source(&self, host: usize) -> SocketAddr {
        self.outside.get(&host).copied().unwrap_or_else(|| address(host))
    }

    /// Who gets what is sent there now.
    pub(crate) fn behind(&self, to: SocketAddr) -> Option<usize> {
        self.ever(to).filter(|host| self.source(*host) == to)
    }

    /// Who is or was seen there.
    pub(crate) fn ever(&self, at: SocketAddr) -> Option<usize> {
        self.given.get(&at).copied().or_else(|| host_at(at, self.hosts).filter(|_| at.port() == PORT))
    }

    /// Where the host that is or was seen at `at` is or was seen besides.
    pub(crate) fn others(&self, at: SocketAddr) -> impl Iterator<Item = SocketAddr> + '_ {
        let host = if self.given.is_empty() { None } else { self.ever(at) };
        let given = self.given.iter().filter(move |(_, owner)| Some(**owner) == host).map(|(at, _)| *at);
        given.chain(host.map(address)).filter(move |other| *other != at)
    }

    /// Another port, or another address, which nobody had before.
    pub(crate) fn rebind(&mut self, host: usize, other_ip: bool) -> SocketAddr {
        let number = self.given.len() as u64;
        let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let ip = if other_ip { IpAddr::V4(Ipv4Addr::new(172, 16, high, low)) } else { self.source(host).ip() };
        let at = SocketAddr::new(ip, 40_000 + u16::try_from(number % 20_000).expect("below 20,000"));
        self.given.insert(at, host);
        self.outside.insert(host, at);
        at
    }

    /// It is seen where it is.
    pub(crate) fn restore(&mut self, host: usize) {
        self.outside.remove(&host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_address_is_dead_and_the_new_one_is_alone() {
        let mut nat = Nat::new(2);
        assert_eq!(nat.behind(address(0)), Some(0));
        assert_eq!(nat.behind(SocketAddr::new(address(0).ip(), 1)), None);
        let first = nat.rebind(0, false);
        let second = nat.rebind(0, true);
        assert_ne!(first, second);
        assert_eq!([address(0), first, second].map(|at| nat.behind(at)), [None, None, Some(0)]);
        assert_eq!([address(0), first, second].map(|at| nat.ever(at)), [Some(0); 3]);
        nat.restore(0);
        assert_eq!([address(0), first, second].map(|at| nat.behind(at)), [Some(0), None, None]);
        assert_eq!(nat.behind(address(1)), Some(1));
        assert_eq!(nat.others(first).collect::<Vec<_>>(), [second, address(0)]);
        assert_eq!(nat.others(address(1)).count(), 0);
    }
}
