//! T4, T8: who hides stays hidden. An anonymous endpoint touches nothing but its SAM bridge. Towards a peer that it was
//! given by an I2P destination alone, no endpoint does anything by UDP, TCP or DNS: it neither dials nor probes it, nor
//! answers it there. And nobody tells a private destination.
//!
//! Anybody can write a hidden peer's address on a packet, and an endpoint cannot tell: an answer that goes there is only
//! judged when the first message that it answers was the peer's own, and a cookie, which is given before anybody is
//! known, never.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use burdock_core::{Action, Class, Config};

use crate::net::i2p::Keys;
use crate::oracle::{Verdict, require};

const ORACLE: &str = "hidden";
const INIT: u8 = 0x08;
const RESP: u8 = 0x09;
const COOKIE: u8 = 0x0A;

#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// Who is known to whom by a destination alone.
    by_destination: BTreeSet<(usize, usize)>,
    /// The indices of first messages that came by UDP from whom they say.
    genuine: BTreeMap<(usize, [u8; 4]), usize>,
    /// Operations beside the bridge by those that may have none.
    pub(crate) beside: u64,
}

/// Whom an action is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) host: usize,
    pub(crate) config: &'a Config,
    /// The host that is or was at that address.
    pub(crate) peer: Option<usize>,
}

impl Hidden {
    /// `host` dials `peer`, by a destination alone or not.
    pub(crate) fn dialled(&mut self, host: usize, peer: usize, by_destination: bool) {
        if by_destination {
            self.by_destination.insert((host, peer));
        }
    }

    /// The session with `peer` is over.
    pub(crate) fn over(&mut self, host: usize, peer: usize) {
        self.by_destination.remove(&(host, peer));
    }

    /// The process of `host` has no memory any more.
    pub(crate) fn all_over(&mut self, host: usize) {
        self.by_destination.retain(|(knows, _)| *knows != host);
    }

    /// A datagram reached `host`; `from` is the host that made it, if it is authentic.
    pub(crate) fn received(&mut self, host: usize, from: Option<usize>, packet: &[u8]) {
        if let (Some(&INIT), Some(index), Some(from)) = (packet.first(), index_of(packet), from)
            && self.by_destination.contains(&(host, from))
        {
            self.genuine.insert((host, index), from);
        }
    }

    pub(crate) fn acts(&mut self, about: About<'_>, action: &Action, packet: &[u8], named: Option<usize>) -> Verdict {
        let known = |peer: Option<usize>| peer.filter(|peer| self.by_destination.contains(&(about.host, *peer)));
        let (to, peer) = match action {
            Action::Transmit { to, .. } => {
                let answered = index_of(packet).and_then(|index| self.genuine.get(&(about.host, index)).copied());
                let peer = match packet.first() {
                    Some(&RESP) => known(answered),
                    Some(&COOKIE) => None,
                    _ => known(about.peer),
                };
                (Some(*to), peer)
            }
            Action::OpenStream { to, .. } if is_bridge(about.config, *to) => return Ok(()),
            Action::OpenStream { to, .. } => (Some(*to), known(about.peer)),
            Action::Resolve { .. } => (None, known(named)),
            _ => return Ok(()),
        };
        let hides = about.config.class == Class::Anonymous;
        self.beside += u64::from(hides || peer.is_some());
        let what = || to.map_or_else(|| "a name".to_owned(), |to| to.to_string());
        require(!hides, ORACLE, || format!("host {} is anonymous and turns to {}", about.host, what()))?;
        require(peer.is_none(), ORACLE, || {
            format!("host {} knows host {peer:?} by a destination alone and turns to {}", about.host, what())
        })
    }

    /// A connection came in, and the endpoint took it.
    pub(crate) fn accepts(&mut self, host: usize, config: &Config) -> Verdict {
        let hides = config.class == Class::Anonymous;
        self.beside += u64::from(hides);
        require(!hides, ORACLE, || format!("host {host} is anonymous and accepts a connection"))
    }

    /// Somebody is told something.
    pub(crate) fn tells(host: usize, keys: &Keys, text: &str) -> Verdict {
        require(!keys.are_shown_in(text), ORACLE, || format!("host {host} tells its private destination"))
    }
}

fn is_bridge(config: &Config, to: SocketAddr) -> bool {
    config.i2p.as_ref().is_some_and(|i2p| i2p.bridge == to)
}

/// The index that a handshake packet is from, or to.
fn index_of(packet: &[u8]) -> Option<[u8; 4]> {
    packet.get(4..8)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use burdock_core::{Endpoint, Event, I2p, Identity, Link, Time};

    use super::*;
    use crate::luck::Luck;
    use crate::scenario::address;

    fn open() -> Config {
        Config { i2p: Some(I2p::default()), ..Config::chat() }
    }

    fn transmit(to: usize) -> Action {
        Action::Transmit { to: address(to), segment_size: None }
    }

    fn about(config: &Config) -> About<'_> {
        About { host: 0, config, peer: Some(1) }
    }

    fn packet(kind: u8, index: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[7]) = (kind, index);
        packet
    }

    #[test]
    fn t4_what_an_anonymous_endpoint_does_beside_its_bridge_is_seen() {
        // Mutation: `hides` of `Class::Open` makes this fail.
        let config = Config { class: Class::Anonymous, ..open() };
        let mut hidden = Hidden::default();
        assert!(hidden.acts(about(&config), &transmit(1), &packet(INIT, 1), None).is_err());
        assert!(hidden.accepts(0, &config).is_err());
        assert_eq!(hidden.beside, 2);
        hidden.accepts(0, &open()).unwrap();
        hidden.acts(about(&open()), &transmit(1), &packet(INIT, 1), None).unwrap();
    }

    #[test]
    fn t4_whatever_is_done_towards_a_peer_known_by_its_destination_is_seen() {
        // Mutation: `known(answered)` for every packet makes this fail.
        let (config, mut hidden) = (open(), Hidden::default());
        hidden.dialled(0, 1, true);
        hidden.dialled(0, 2, false);
        assert!(hidden.acts(about(&config), &transmit(1), &packet(INIT, 1), None).is_err());
        let elsewhere = About { peer: Some(2), ..about(&config) };
        hidden.acts(elsewhere, &transmit(2), &packet(INIT, 1), None).unwrap();
        // A stranger who poses at that address is answered, the peer itself is not.
        hidden.received(0, None, &packet(INIT, 7));
        hidden.acts(about(&config), &transmit(1), &packet(RESP, 7), None).unwrap();
        hidden.received(0, Some(1), &packet(INIT, 8));
        assert!(hidden.acts(about(&config), &transmit(1), &packet(RESP, 8), None).is_err());
        hidden.over(0, 1);
        hidden.acts(about(&config), &transmit(1), &packet(INIT, 1), None).unwrap();
    }

    #[test]
    fn t4_the_bridge_is_the_only_place_to_open_a_stream_to() {
        // Mutation: `is_bridge` of any loopback address makes this fail.
        let (config, mut hidden) = (Config { class: Class::Anonymous, ..open() }, Hidden::default());
        let mut endpoint = Endpoint::new(config.clone(), Identity::from_bytes([1; 32]), [2; 32]).unwrap();
        let key = Identity::from_bytes([3; 32]).public_key();
        let i2p = Some(Keys::of(Luck::of(1), 0).destination());
        let link = Link { key, host: None, udp_port: None, tcp_port: None, i2p, invite: None };
        endpoint.connect(Time::ZERO, &link).unwrap();
        endpoint.handle(Time::ZERO, Event::Tick);
        let mut actions = core::iter::from_fn(|| endpoint.poll_action(Time::ZERO, &mut Vec::new()));
        let opened = actions.find_map(|action| match action {
            Action::OpenStream { stream, to } => Some((stream, to)),
            _ => None,
        });
        let (stream, to) = opened.expect("its SAM session");
        let local = About { peer: None, ..about(&config) };
        hidden.acts(local, &Action::OpenStream { stream, to }, &[], None).unwrap();
        let beside = SocketAddr::new(to.ip(), to.port() + 1);
        assert!(hidden.acts(local, &Action::OpenStream { stream, to: beside }, &[], None).is_err());
    }

    #[test]
    fn t8_a_private_destination_in_a_text_is_seen() {
        // Mutation: `Verdict` `Ok(())` in `tells` makes this fail.
        let keys = Keys::of(Luck::of(1), 0);
        Hidden::tells(0, &keys, &keys.public).unwrap();
        assert!(Hidden::tells(0, &keys, &format!("up at {}", keys.private)).is_err());
    }
}
