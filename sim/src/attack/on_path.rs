//! Somebody on the way.

use core::net::SocketAddr;

use bytes::Bytes;

use super::forge::{self, DATA, INIT, RESP};
use super::{Attack, Captured, HANDSHAKES, OnPath, RECENT, lair};
use crate::item::Item;
use crate::luck::Draws;
use crate::net::link::micros;
use crate::queue::Queue;
use crate::scenario::Way;

/// A datagram on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing<'a> {
    pub(crate) way: Way,
    pub(crate) source: SocketAddr,
    pub(crate) data: &'a [u8],
    /// If it does.
    pub(crate) arrives: Option<u64>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meddled {
    /// It does not arrive.
    pub(crate) swallowed: bool,
    /// It arrives so much later.
    pub(crate) late: u64,
    /// It is the first of its kind to arrive, and comes in time.
    pub(crate) first: bool,
}

/// What becomes of a TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segmented {
    pub(crate) bytes: Bytes,
    /// A reset follows, to the receiver and to the sender.
    pub(crate) resets: [bool; 2],
}

impl Attack {
    /// A datagram passes.
    pub(crate) fn passes(&mut self, now: u64, packet: Passing<'_>, queue: &mut Queue<Item>) -> Meddled {
        let mut meddled = Meddled { swallowed: false, late: 0, first: true };
        let Passing { way, data, .. } = packet;
        if !self.off_path.is_empty() {
            self.overhear(packet);
        }
        if self.on_path.is_empty() {
            return meddled;
        }
        let number = self.count(way, 0);
        let watching = self.on_path.values().find(|(watched, _)| *watched == way).map(|(_, tricks)| tricks.clone());
        let Some(tricks) = watching else { return meddled };
        let mut draws = self.draws(self.place(way, 0), number);
        let strikes: [bool; 5] = [tricks.replay, tricks.delay, tricks.mutate, tricks.reflect, tricks.elsewhere]
            .map(|per_mille| draws.below(1_000) < u64::from(per_mille));
        let within = self.spent.saturating_add(3 * data.len() as u64) <= tricks.budget;
        let [replay, delay, mutate, reflect, elsewhere] = strikes.map(|strikes| strikes && within);
        let at = packet.arrives.unwrap_or(now);
        if delay && packet.arrives.is_some() {
            meddled.late = draws.below(micros(tricks.delay_by) + 1);
            meddled.first = false;
            self.did("delayed");
        }
        if mutate {
            meddled.swallowed |= draws.one_in(2);
            let other = self.any(&mut draws).map(|other| other.data.clone());
            let forged = forge::mutate(data, other.as_deref(), self.keys.get(way.to), &mut draws);
            self.did("mutated");
            self.inject(at, way.to, packet.source, None, forged, queue);
        }
        if reflect {
            let third = usize::try_from(draws.below(self.hosts as u64)).expect("below the number of hosts");
            let (to, what) = if third == way.to { (way.from, "reflected") } else { (third, "crossed") };
            let (to, what) = if to == way.from { (to, "reflected") } else { (to, what) };
            let claimed = self.nat.source(if draws.one_in(2) { way.to } else { way.from });
            self.did(what);
            self.inject(at, to, claimed, None, data.to_vec(), queue);
        }
        if elsewhere {
            self.resend_elsewhere(packet, at, &mut meddled, &mut draws, queue);
        }
        if replay {
            self.replay(now, &tricks, &mut draws, queue);
        }
        self.keep(packet, at + meddled.late, &mut draws);
        meddled
    }

    /// A copy comes from where the original does not.
    fn resend_elsewhere(
        &mut self,
        packet: Passing<'_>,
        at: u64,
        meddled: &mut Meddled,
        draws: &mut Draws,
        queue: &mut Queue<Item>,
    ) {
        let other_port = SocketAddr::new(packet.source.ip(), packet.source.port() ^ 1);
        let claimed = match draws.below(4) {
            0 => other_port,
            1 => self.nat.source(usize::try_from(draws.below(self.hosts as u64)).expect("a host")),
            _ => lair(draws.below(8)),
        };
        let (arrives, what) = if draws.one_in(2) {
            meddled.first = false;
            meddled.swallowed |= draws.one_in(3);
            meddled.late = meddled.late.max(1);
            (at, "elsewhere_first")
        } else {
            (at + meddled.late + 1 + draws.below(50_000), "elsewhere_later")
        };
        self.did(what);
        self.inject(arrives, packet.way.to, claimed, Some(packet.source), packet.data.to_vec(), queue);
    }

    fn replay(&mut self, now: u64, tricks: &OnPath, draws: &mut Draws, queue: &mut Queue<Item>) {
        let Some(old) = self.any(draws) else { return };
        let Captured { to, source, arrives, lives, from, data } = old.clone();
        let longest = if draws.one_in(2) { 50_000 } else { micros(tricks.replay_within) };
        let at = (now + draws.below(longest + 1)).max(arrives + 1);
        let lived = lives != [self.lives[from], self.lives[to]];
        self.did(if lived { "replayed_after_restart" } else { "replayed" });
        self.inject(at, to, source, Some(source), data, queue);
    }

    /// One of those that were kept.
    fn any(&self, draws: &mut Draws) -> Option<&Captured> {
        let pick = |draws: &mut Draws, len: usize| usize::try_from(draws.below(len as u64)).expect("below a length");
        if !self.handshakes.is_empty() && draws.one_in(3) {
            return self.handshakes.get(pick(draws, self.handshakes.len()));
        }
        self.recent.get(pick(draws, self.recent.len()))
    }

    fn keep(&mut self, packet: Passing<'_>, arrives: u64, draws: &mut Draws) {
        let Passing { way, source, data, .. } = packet;
        let handshake = matches!(data.first(), Some(&(INIT | RESP))) && self.handshakes.len() < HANDSHAKES;
        if !handshake && !draws.one_in(3) {
            return;
        }
        let lives = [self.lives[way.from], self.lives[way.to]];
        let captured = Captured { from: way.from, to: way.to, source, data: data.to_vec(), arrives, lives };
        self.did("captured");
        if handshake {
            self.handshakes.push(captured);
            return;
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(captured);
    }

    /// What a guess might hit.
    fn overhear(&mut self, packet: Passing<'_>) {
        let Some(index) = packet.data.get(4..8).and_then(|index| index.first_chunk::<4>()) else { return };
        match packet.data.first() {
            Some(&INIT) => drop(self.indices.insert((packet.way.from, true), *index)),
            Some(&DATA) => drop(self.indices.insert((packet.way.to, false), *index)),
            _ => {}
        }
    }

    /// A TCP segment with bytes in it passes.
    pub(crate) fn segment(&mut self, way: Way, bytes: &Bytes) -> Option<Segmented> {
        if self.on_stream.is_empty() || bytes.is_empty() {
            return None;
        }
        let number = self.count(way, 1);
        let tricks = self.on_stream.values().find(|(watched, _)| *watched == way).map(|(_, tricks)| tricks.clone())?;
        let mut draws = self.draws(self.place(way, 1), number);
        let [flip, insert, reset] =
            [tricks.flip, tricks.insert, tricks.reset].map(|per_mille| draws.below(1_000) < u64::from(per_mille));
        if !flip && !insert && !reset {
            return None;
        }
        let mut changed = bytes.to_vec();
        if flip {
            for _ in 0..draws.between(1, 4) {
                let place = usize::try_from(draws.below(changed.len() as u64)).expect("below a length");
                changed[place] ^= 1 << draws.below(8);
            }
            self.did("stream_flipped");
        }
        if insert {
            let len = usize::try_from(draws.between(1, 400)).expect("at most 400");
            changed.extend(forge::noise(len, &mut draws));
            self.did("stream_inserted");
        }
        let resets = if reset { draws.pick(&[[true, false], [false, true], [true, true]]) } else { [false; 2] };
        if reset {
            self.did("stream_reset");
        }
        Some(Segmented { bytes: changed.into(), resets })
    }

    fn place(&self, way: Way, kind: u64) -> u64 {
        (way.from * self.hosts + way.to) as u64 * 2 + kind
    }

    fn count(&mut self, way: Way, kind: usize) -> u64 {
        let seen = &mut self.seen.entry((way.from, way.to)).or_default()[kind];
        *seen += 1;
        *seen
    }
}
