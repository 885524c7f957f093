//! Following a peer whose address changed: a NAT gave it another one, or it moved (RFC 9000 §9).
//!
//! An address alone proves nothing: packets can be captured and sent on from elsewhere. So an
//! address is believed only when it brings back what was sent to it alone, and until then it gets
//! no more than three bytes for each that came from there (RFC 9000 §8.2). Everything else goes to
//! the address before.

use core::net::SocketAddr;
use core::time::Duration;

use crate::time::Time;

/// Bytes that an address gets for each that came from it, before it is proved: RFC 9000 §8.
const AMPLIFICATION: u64 = 3;
/// An address that has not answered for so many probe timeouts is forgotten: RFC 9000 §8.2.4.
const PATIENCE: u32 = 3;

/// Where a path stands between the peer's address and the next one.
#[derive(Debug, Default)]
pub(crate) enum Address {
    /// There is one address.
    #[default]
    Settled,
    /// Newest packets come from another one, which is asked to prove itself.
    Validating(Candidate),
}

/// An address that may become the peer's.
#[derive(Debug)]
pub(crate) struct Candidate {
    addr: SocketAddr,
    challenge: [u8; 8],
    /// Authentic bytes that came from there, and bytes that went there.
    received: u64,
    sent: u64,
    /// Challenges that went there.
    asked: u32,
    /// Whether the next one is to be sent, and when it may be at the earliest.
    due: bool,
    next: Time,
    expires: Time,
}

/// An authentic packet, as far as addresses are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) from: SocketAddr,
    pub(crate) len: usize,
    /// Whether none with a higher number came before it.
    pub(crate) newest: bool,
}

impl Address {
    /// An authentic packet came. Only the newest says where the peer is: an older one was
    /// overtaken on its way, or held back. `draw` makes a challenge that nobody can guess; `patience` is
    /// the probe timeout of a path of which nothing is known, if the one of this path is shorter.
    pub(crate) fn heard(
        &mut self,
        now: Time,
        current: SocketAddr,
        heard: Heard,
        patience: Duration,
        draw: impl FnOnce() -> [u8; 8],
    ) {
        let Heard { from, len, newest } = heard;
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        match self {
            Self::Validating(candidate) if candidate.addr == from && candidate.expires > now => {
                candidate.received = candidate.received.saturating_add(len);
                candidate.due |= newest && candidate.next <= now;
            }
            _ if !newest => {}
            // The peer is where it was.
            _ if from == current => *self = Self::Settled,
            _ => {
                *self = Self::Validating(Candidate {
                    addr: from,
                    challenge: draw(),
                    received: len,
                    sent: 0,
                    asked: 0,
                    due: true,
                    next: now,
                    expires: now + patience.saturating_mul(PATIENCE),
                });
            }
        }
    }

    /// The challenge to send now in a packet of `len` bytes, and where to. The next one follows
    /// after `pto`, then twice that, and so on, if packets go on coming from there.
    pub(crate) fn challenge(&mut self, now: Time, len: usize, pto: Duration) -> Option<(SocketAddr, [u8; 8])> {
        let Self::Validating(candidate) = self else { return None };
        if !core::mem::take(&mut candidate.due) {
            return None;
        }
        let sent = candidate.sent.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if sent > candidate.received.saturating_mul(AMPLIFICATION) {
            return None;
        }
        candidate.sent = sent;
        candidate.next = now + pto.saturating_mul(1_u32.checked_shl(candidate.asked).unwrap_or(u32::MAX));
        candidate.asked = candidate.asked.saturating_add(1);
        Some((candidate.addr, candidate.challenge))
    }

    pub(crate) fn is_due(&self) -> bool {
        matches!(self, Self::Validating(candidate) if candidate.due)
    }

    /// An authentic answer to a challenge came from `from`. Returns the address that it proved: the peer's from
    /// now on.
    pub(crate) fn answered(&mut self, now: Time, from: SocketAddr, answer: [u8; 8]) -> Option<SocketAddr> {
        let Self::Validating(candidate) = self else { return None };
        let proved =
            candidate.addr == from && candidate.challenge == answer && candidate.asked > 0 && now < candidate.expires;
        proved.then(|| {
            *self = Self::Settled;
            from
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1)), 1);
    const NEW: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2)), 2);
    const PTO: Duration = Duration::from_millis(100);

    fn heard(address: &mut Address, now: Time, from: SocketAddr, newest: bool, challenge: u8) {
        address.heard(now, OLD, Heard { from, len: 33, newest }, Duration::from_secs(1), || [challenge; 8]);
    }

    #[test]
    fn a_newest_packet_from_elsewhere_is_challenged_and_its_answer_believed() {
        let (mut address, now) = (Address::default(), Time::from_micros(5));
        heard(&mut address, now, NEW, false, 1);
        assert!(!address.is_due());
        heard(&mut address, now, NEW, true, 2);
        // Nothing was asked yet.
        assert_eq!(address.answered(now, NEW, [2; 8]), None);
        assert_eq!(address.challenge(now, 41, PTO), Some((NEW, [2; 8])));
        assert_eq!(address.challenge(now, 41, PTO), None);
        assert_eq!(address.answered(now, OLD, [2; 8]), None);
        assert_eq!(address.answered(now, NEW, [3; 8]), None);
        assert_eq!(address.answered(now, NEW, [2; 8]), Some(NEW));
        assert_eq!(address.answered(now, NEW, [2; 8]), None);
    }

    // Mutation: `AMPLIFICATION: u64 = 4` makes this fail.
    #[test]
    fn t9_a_candidate_that_never_answers_gets_little_and_is_forgotten() {
        let (mut address, start) = (Address::default(), Time::from_micros(5));
        let mut asked = Vec::new();
        for ms in 0..1000 {
            let now = start + Duration::from_millis(ms);
            heard(&mut address, now, NEW, true, 1);
            asked.extend(address.challenge(now, 41, PTO).map(|_| ms));
        }
        assert_eq!(asked, [0, 100, 300, 700]);
        assert_eq!(address.answered(start + Duration::from_secs(3), NEW, [1; 8]), None);
        // And afresh, with another challenge.
        let now = start + Duration::from_secs(3);
        heard(&mut address, now, NEW, true, 2);
        assert_eq!(address.challenge(now, 41, PTO), Some((NEW, [2; 8])));
        let mut address = Address::default();
        heard(&mut address, start, NEW, true, 1);
        assert_eq!(address.challenge(start, 3 * 33 + 1, PTO), None);
        heard(&mut address, start, NEW, true, 1);
        assert_eq!(address.challenge(start, 3 * 66, PTO), Some((NEW, [1; 8])));
    }

    #[test]
    fn the_newest_packet_decides_among_addresses() {
        let (mut address, now) = (Address::default(), Time::from_micros(5));
        let other = SocketAddr::new(NEW.ip(), 3);
        heard(&mut address, now, NEW, true, 1);
        heard(&mut address, now, other, true, 2);
        assert_eq!(address.challenge(now, 41, PTO), Some((other, [2; 8])));
        // Overtaken ones change nothing.
        heard(&mut address, now, NEW, false, 3);
        heard(&mut address, now, OLD, false, 3);
        assert_eq!(address.answered(now, other, [2; 8]), Some(other));
        heard(&mut address, now, NEW, true, 4);
        heard(&mut address, now, OLD, true, 5);
        assert!(matches!(address, Address::Settled));
    }
}
