//! Somebody far from the way.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Attack;
use super::forge::{self, COOKIE, DATA, INIT, MAC, MACS, RESP};
use super::plan::{Forgery, OffPath};
use burdock_core::crypto::{hash, mac, xopen};
use burdock_core::wire::packet::{self, Packet};

use crate::item::Item;
use crate::luck::Draws;
use crate::queue::Queue;

/// The shortest time between two volleys, in microseconds.
const VOLLEY: u64 = 1_000;
/// Where its luck begins, away from that of the ways.
const PLACE: u64 = 1 << 40;
/// Where it receives.
const HOME: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 7_000);

/// One attacker at work.
#[derive(Debug)]
pub(super) struct Sender {
    plan: OffPath,
    began: u64,
    sent: u64,
    costly: u32,
    /// A first message of each of its identities; made once.
    first_messages: Vec<Vec<u8>>,
    /// First messages with a cookie, or for one.
    about_cookies: u32,
    /// The mac1 of the last one that asked for one.
    asked: Option<[u8; MAC]>,
    /// The last one that came.
    cookie: Option<[u8; MAC]>,
}

impl Sender {
    pub(super) const fn new(plan: OffPath, now: u64) -> Self {
        let first_messages = Vec::new();
        Self { plan, began: now, sent: 0, costly: 0, first_messages, about_cookies: 0, asked: None, cookie: None }
    }
}

impl Attack {
    /// The attacker of this fault sends what is due, if it is still there.
    pub(crate) fn volley(&mut self, now: u64, fault: usize, latency: u64, queue: &mut Queue<Item>) {
        let Some(mut sender) = self.off_path.remove(&fault) else { return };
        let rate = u64::from(sender.plan.per_second.max(1));
        let wait = (1_000_000 / rate).max(VOLLEY);
        let due = (now + wait - sender.began).saturating_mul(rate) / 1_000_000;
        let count = due.saturating_sub(sender.sent);
        for number in 0..count {
            let at = now + latency + number * wait / count;
            self.shoot(&mut sender, at, queue);
        }
        self.off_path.insert(fault, sender);
        queue.push(now + wait, Item::Attack(fault));
    }

    fn shoot(&mut self, sender: &mut Sender, at: u64, queue: &mut Queue<Item>) {
        let mut draws = self.draws(PLACE + sender.began, sender.sent);
        sender.sent += 1;
        let plan = &sender.plan;
        if plan.forgeries.is_empty() {
            return;
        }
        let target = plan.target;
        let mut forgery = draws.pick(&plan.forgeries);
        if matches!(forgery, Forgery::Forged | Forgery::Stranger) {
            if sender.costly >= plan.costly {
                forgery = Forgery::WrongMac;
            } else {
                sender.costly += 1;
            }
        }
        if forgery == Forgery::CookieElsewhere {
            if sender.about_cookies < plan.costly {
                return self.show_cookie(sender, at, &mut draws, queue);
            }
            forgery = Forgery::WrongMac;
        }
        let source = if draws.below(1_000) < u64::from(plan.as_hosts) {
            self.did("spoofed_host");
            self.nat.source(usize::try_from(draws.below(self.hosts as u64)).expect("a host"))
        } else {
            made_up(draws.below(plan.sources.clamp(1, 65_536).into()))
        };
        let data = match forgery {
            Forgery::Garbage => {
                self.did("garbage");
                let len = usize::try_from(draws.below(1_401)).expect("at most 1,400");
                let mut bytes = forge::noise(len, &mut draws);
                if let (Some(first), true) = (bytes.first_mut(), draws.one_in(2)) {
                    *first = draws.pick(&[INIT, RESP, COOKIE, DATA]);
                }
                bytes
            }
            Forgery::Data => {
                self.did("forged_data");
                let len = usize::try_from(draws.between(16, 1_200)).expect("at most 1,200");
                let mut bytes = forge::noise(len, &mut draws);
                bytes[..4].copy_from_slice(&[DATA, 0, 0, 0]);
                // Near what is in use rather than far off.
                bytes[8..16].copy_from_slice(&draws.below(4_096).to_be_bytes());
                self.guess(target, false, &mut bytes, &mut draws);
                bytes
            }
            Forgery::Answer | Forgery::Cookie => {
                let (kind, len, what) = match forgery {
                    Forgery::Answer => (RESP, 1_200, "forged_answer"),
                    _ => (COOKIE, 64, "forged_cookie"),
                };
                self.did(what);
                let mut bytes = forge::noise(len, &mut draws);
                bytes[..4].copy_from_slice(&[kind, 1, 0, 0]);
                self.guess(target, true, &mut bytes, &mut draws);
                bytes
            }
            Forgery::WrongMac | Forgery::Forged | Forgery::Stranger | Forgery::CookieElsewhere => {
                let Some(mut init) = self.first_message(sender, &mut draws) else { return };
                let key = self.keys.get(target).copied();
                match forgery {
                    Forgery::WrongMac => {
                        self.did("wrong_mac1");
                        forge::spoil_init(&mut init, None, &mut draws);
                    }
                    Forgery::Forged => {
                        self.did("forged_init");
                        forge::spoil_init(&mut init, key.as_ref(), &mut draws);
                    }
                    _ => self.did("stranger_init"),
                }
                init
            }
        };
        self.inject(at, target, source, None, data, queue);
    }

    /// Asks for a cookie from where it receives, or shows the one that it has from where it does not.
    fn show_cookie(&mut self, sender: &mut Sender, at: u64, draws: &mut Draws, queue: &mut Queue<Item>) {
        let target = sender.plan.target;
        let Some(key) = self.keys.get(target).copied() else { return };
        sender.about_cookies += 1;
        let identity = (target as u64) << 32 | 1 << 31 | sender.began << 40 | u64::from(sender.about_cookies);
        let mut init = forge::stranger(self.luck, identity, target, key);
        let Some(macs) = init.len().checked_sub(MACS) else { return };
        let source = match sender.cookie {
            Some(cookie) => {
                self.did("cookie_elsewhere");
                let mac2 = mac(&cookie, &[&init[..macs + MAC]]);
                init[macs + MAC..].copy_from_slice(&mac2);
                made_up(draws.below(sender.plan.sources.clamp(1, 65_536).into()))
            }
            None => {
                self.did("asked_for_cookie");
                sender.asked = init[macs..].first_chunk().copied();
                HOME
            }
        };
        self.inject(at, target, source, None, init, queue);
    }

    /// What a host sends to where attackers receive. False if they do not.
    pub(crate) fn hears(&mut self, from: usize, to: SocketAddr, packet: &[u8]) -> bool {
        if to != HOME {
            return false;
        }
        let Ok(Packet::Cookie(reply)) = packet::parse(packet) else { return true };
        let Some(key) = self.keys.get(from) else { return true };
        let key = hash(&[b"burdock cookie", key.as_bytes()]);
        for sender in self.off_path.values_mut().filter(|sender| sender.plan.target == from) {
            let Some((mut cookie, tag)) = reply.sealed.split_first_chunk::<MAC>().map(|(text, tag)| (*text, tag))
            else {
                continue;
            };
            let (Some(mac1), Ok(tag)) = (sender.asked, tag.try_into()) else { continue };
            if xopen(&key, reply.nonce, &mac1, &mut cookie, tag).is_ok() {
                sender.cookie = Some(cookie);
            }
        }
        true
    }

    /// A first message of one of its identities, made when first needed.
    fn first_message(&self, sender: &mut Sender, draws: &mut Draws) -> Option<Vec<u8>> {
        let plan = &sender.plan;
        let key = *self.keys.get(plan.target)?;
        let number = draws.below(plan.identities.max(1).into());
        let number = usize::try_from(number).expect("below a number of 32 bits").min(sender.first_messages.len());
        if number == sender.first_messages.len() {
            let identity = (plan.target as u64) << 32 | number as u64;
            sender.first_messages.push(forge::stranger(self.luck, identity, plan.target, key));
        }
        sender.first_messages.get(number).cloned()
    }

    /// Now and then it hits an index that is in use.
    fn guess(&mut self, target: usize, handshake: bool, packet: &mut [u8], draws: &mut Draws) {
        if let Some(index) = self.indices.get(&(target, handshake)).copied()
            && draws.one_in(2)
        {
            packet[4..8].copy_from_slice(&index);
            self.did("guessed_index");
        }
    }
}

/// One of 65,536 addresses that no host has.
fn made_up(number: u64) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(100, 64, high, low)), 1_024 + u16::from(low))
}
