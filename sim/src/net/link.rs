//! One direction of the way between two hosts: what happens to each packet on it.

use burdock_core::NetError;

use crate::luck::{Luck, Purpose};
use crate::net::firewall::Firewall;
use crate::scenario::{Link, Protocol, Trouble, Verdict};

/// IP and UDP headers.
const UDP_HEADERS: u64 = 28;
/// IP and TCP headers, with timestamps.
pub(crate) const TCP_HEADERS: u64 = 52;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody hears of it again.
    Lost,
    /// The sender is told.
    Rejected(NetError),
    /// It arrives, perhaps twice, perhaps with a flipped bit (whose number is drawn modulo the
    /// packet's bits).
    Arrives { at: u64, again: Option<u64>, flipped: Option<u64> },
}

/// The state of one direction. Its troubles are set anew whenever a fault begins or ends.
#[derive(Debug)]
pub(crate) struct Path {
    id: u64,
    latency: u64,
    troubles: Troubles,
    pub(crate) firewall: Firewall,
    /// The small pieces that kernels deal in: send buffer and largest piece.
    pub(crate) trickle: Option<(usize, usize)>,
    /// Packets so far, UDP and TCP apart, so that a fault of the one leaves the other's luck alone.
    packets: [u64; 2],
    burst_is_bad: bool,
    busy_until: u64,
    last_arrival: u64,
    /// How often something bad happened to a packet.
    pub(crate) struck: u64,
}

#[derive(Debug)]
struct Troubles {
    loss: u32,
    burst: Option<(u32, u32, u32)>,
    duplicate: u32,
    reorder: (u32, u64),
    corrupt: u32,
    jitter: u64,
    rate: Option<(u64, u64)>,
    mtu: u64,
}

impl Troubles {
    fn none(mtu: u32) -> Self {
        Self { loss: 0, burst: None, duplicate: 0, reorder: (0, 0), corrupt: 0, jitter: 0, rate: None, mtu: mtu.into() }
    }
}

impl Path {
    pub(crate) fn new(id: u64, link: &Link) -> Self {
        Self {
            id,
            latency: micros(link.latency),
            troubles: Troubles::none(link.mtu),
            firewall: Firewall::default(),
            trickle: None,
            packets: [0; 2],
            burst_is_bad: false,
            busy_until: 0,
            last_arrival: 0,
            struck: 0,
        }
    }

    /// From now on exactly these troubles.
    pub(crate) fn set<'a>(&mut self, link: &Link, troubles: impl Iterator<Item = &'a Trouble>) {
        self.troubles = Troubles::none(link.mtu);
        self.firewall = Firewall::default();
        self.trickle = None;
        let now = &mut self.troubles;
        for trouble in troubles {
            match trouble {
                Trouble::Loss { per_mille } => now.loss = now.loss.max(*per_mille),
                Trouble::Burst { enter, leave, loss } => now.burst = Some((*enter, *leave, *loss)),
                Trouble::Duplicate { per_mille } => now.duplicate = *per_mille,
                Trouble::Reorder { per_mille, by } => now.reorder = (*per_mille, micros(*by)),
                Trouble::Corrupt { per_mille } => now.corrupt = *per_mille,
                Trouble::Jitter { up_to } => now.jitter = micros(*up_to),
                Trouble::Rate { bytes_per_second, buffer } => now.rate = Some(((*bytes_per_second).max(1), *buffer)),
                Trouble::Mtu { bytes } => now.mtu = now.mtu.min(u64::from(*bytes)),
                Trouble::Block { protocol, port, verdict } => self.firewall.add(*protocol, *port, *verdict),
                Trouble::Trickle { send_buffer, piece } => {
                    self.trickle.get_or_insert((*send_buffer as usize, *piece as usize));
                }
            }
        }
        if now.burst.is_none() {
            self.burst_is_bad = false;
        }
    }

    /// The largest TCP segment.
    pub(crate) fn segment(&self) -> usize {
        usize::try_from(self.troubles.mtu.saturating_sub(TCP_HEADERS)).unwrap_or(usize::MAX).max(1)
    }

    /// Decides about the next packet. `ports` are those of sender and receiver.
    pub(crate) fn fate(&mut self, now: u64, protocol: Protocol, ports: [u16; 2], len: usize, luck: Luck) -> Fate {
        let kind = u64::from(protocol == Protocol::Tcp);
        let number = self.packets[usize::from(protocol == Protocol::Tcp)];
        self.packets[usize::from(protocol == Protocol::Tcp)] += 1;
        let place = self.id * 2 + kind;
        let udp = protocol == Protocol::Udp;
        let len = len as u64;
        let size = len + if udp { UDP_HEADERS } else { TCP_HEADERS };
        let fate = match self.firewall.verdict(protocol, ports) {
            Some(Verdict::Drop) => Fate::Lost,
            Some(Verdict::Reject) => Fate::Rejected(if udp { NetError::Unreachable } else { NetError::Refused }),
            None => self.weather(now, udp, size, place, number, luck),
        };
        let unharmed = matches!(fate, Fate::Arrives { again: None, flipped: None, .. });
        self.struck += u64::from(!unharmed);
        fate
    }

    fn weather(&mut self, now: u64, udp: bool, size: u64, place: u64, number: u64, luck: Luck) -> Fate {
        let troubles = &self.troubles;
        let strikes = |purpose, per_mille| luck.strikes(purpose, place, number, per_mille);
        if let Some((enter, leave, _)) = troubles.burst {
            let turn = if self.burst_is_bad { leave } else { enter };
            self.burst_is_bad ^= strikes(Purpose::BurstTurn, turn);
        }
        let burst = troubles.burst.is_some_and(|(_, _, loss)| self.burst_is_bad && strikes(Purpose::BurstLoss, loss));
        let corrupt = strikes(Purpose::Corrupt, troubles.corrupt);
        let too_large = udp && size > troubles.mtu;
        if burst || too_large || strikes(Purpose::Loss, troubles.loss) || (corrupt && !udp) {
            return Fate::Lost;
        }
        let mut departure = now;
        if let Some((rate, buffer)) = troubles.rate {
            let start = self.busy_until.max(now);
            if start.saturating_sub(now).saturating_mul(rate) / 1_000_000 > buffer {
                return Fate::Lost;
            }
            departure = start + size.saturating_mul(1_000_000) / rate;
            self.busy_until = departure;
        }
        let jitter = luck.below(Purpose::Jitter, place, number, troubles.jitter + 1);
        let in_order = (departure + self.latency + jitter).max(self.last_arrival);
        let mut at = in_order;
        if strikes(Purpose::Reorder, troubles.reorder.0) {
            at += luck.below(Purpose::ReorderBy, place, number, troubles.reorder.1 + 1);
            self.struck += 1;
        } else {
            self.last_arrival = in_order;
        }
        let again = (udp && strikes(Purpose::Duplicate, troubles.duplicate))
            .then(|| at + luck.below(Purpose::Duplicate, place + (1 << 32), number, 20_000));
        let flipped = corrupt.then(|| luck.draw(Purpose::CorruptWhere, place, number));
        Fate::Arrives { at, again, flipped }
    }
}

/// Whole microseconds.
pub(crate) fn micros(span: core::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn link() -> Link {
        Link { latency: Duration::from_millis(10), mtu: 1500, send_buffer: 65_536 }
    }

    fn fates(troubles: &[Trouble], n: u64) -> (Path, Vec<Fate>) {
        let mut path = Path::new(3, &link());
        path.set(&link(), troubles.iter());
        let fates = (0..n).map(|i| path.fate(i * 1000, Protocol::Udp, [1, 2], 1000, Luck::of(9))).collect();
        (path, fates)
    }

    fn lost(fates: &[Fate]) -> usize {
        fates.iter().filter(|fate| **fate == Fate::Lost).count()
    }

    #[test]
    fn a_quiet_way_takes_its_latency() {
        let (path, fates) = fates(&[], 3);
        assert_eq!(path.struck, 0);
        assert_eq!(fates[2], Fate::Arrives { at: 12_000, again: None, flipped: None });
    }

    #[test]
    fn one_fault_leaves_the_luck_of_another_alone() {
        let loss = Trouble::Loss { per_mille: 200 };
        let (_, alone) = fates(std::slice::from_ref(&loss), 1000);
        let (_, both) =
            fates(&[Trouble::Duplicate { per_mille: 500 }, loss, Trouble::Corrupt { per_mille: 100 }], 1000);
        assert!(alone.iter().zip(&both).all(|(a, b)| (*a == Fate::Lost) == (*b == Fate::Lost)));
        assert!((150..250).contains(&lost(&alone)));
    }

    #[test]
    fn bursts_lose_in_runs() {
        let (_, fates) = fates(&[Trouble::Burst { enter: 20, leave: 200, loss: 1000 }], 10_000);
        let runs = fates.windows(2).filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost).count();
        let lost = lost(&fates);
        assert!((500..1500).contains(&lost), "{lost}");
        assert!(lost > 3 * runs, "{lost} lost in {runs} runs");
    }

    #[test]
    fn a_bottleneck_delays_then_drops() {
        let rate = Trouble::Rate { bytes_per_second: 102_800, buffer: 3_000 };
        let mut path = Path::new(0, &link());
        path.set(&link(), std::iter::once(&rate));
        let fates: Vec<_> = (0..6).map(|_| path.fate(0, Protocol::Udp, [1, 2], 1000, Luck::of(1))).collect();
        let at = |fate: &Fate| if let Fate::Arrives { at, .. } = fate { *at } else { 0 };
        assert_eq!(fates.iter().map(at).collect::<Vec<_>>(), [20_000, 30_000, 40_000, 0, 0, 0]);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let ordered = |troubles: &[Trouble]| {
            let (_, fates) = fates(troubles, 500);
            let at = |fate: &Fate| if let Fate::Arrives { at, .. } = fate { *at } else { 0 };
            fates.windows(2).all(|pair| at(&pair[0]) <= at(&pair[1]))
        };
        assert!(ordered(&[Trouble::Jitter { up_to: Duration::from_millis(50) }]));
        assert!(!ordered(&[Trouble::Reorder { per_mille: 100, by: Duration::from_millis(50) }]));
    }

    #[test]
    fn large_packets_vanish_in_a_narrow_way() {
        assert_eq!(lost(&fates(&[Trouble::Mtu { bytes: 1028 }], 5).1), 0);
        assert_eq!(lost(&fates(&[Trouble::Mtu { bytes: 1027 }], 5).1), 5);
    }
}
