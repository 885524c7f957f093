//! Renewing keys: no epoch is used for long.
//!
//! A renewal is a handshake on the carrier of a path. Once confirmed it is a path of its own, with
//! its own keys, numbers and losses, and takes the place of the old one: make before break. The old
//! path takes nothing new, and stays for a while to receive and acknowledge.
//!
//! It is begun when there is something to send on an epoch that is old or worn, so an idle session
//! renews nothing until it speaks again. The figures are those of WireGuard (whitepaper §6.1-6.3).

use core::time::Duration;

use super::handshakes::Role;
use super::{Life, Path, Session, Via};
use crate::code::Code;
use crate::config::{Config, MAX_PATHS};
use crate::endpoint::Shared;
use crate::recovery::{AckTracker, Carrier};
use crate::seal::{Opener, Sealer};
use crate::time::Time;

/// The age at which the side that did not begin an epoch renews it, in quarters of the key life: later than the
/// other, so that the two seldom cross.
const RENEW_RESPONDER: u32 = 5;
/// The age from which an epoch seals nothing, in quarters of the key life.
const SEAL_LIMIT: u32 = 6;
/// The age from which it opens nothing, in quarters of the key life: its keys are wiped.
const OPEN_LIMIT: u32 = 18;
/// How long a renewal is waited for at least, in probe timeouts: it stands in the queues of its path.
const PATIENCE: u32 = 3;
/// How long a replaced path stays at least: what is under way on it is to arrive.
const OVERLAP: Duration = Duration::from_secs(1);

/// The keys of an epoch, for as long as each may be used.
pub(crate) struct EpochKeys {
    since: Time,
    life: Duration,
    /// Gone at [`SEAL_LIMIT`].
    sealer: Option<Sealer>,
    /// Gone at [`OPEN_LIMIT`], or after too many forgeries.
    opener: Option<Opener>,
}

impl EpochKeys {
    pub(super) fn new(since: Time, life: Duration, sealer: Sealer, opener: Opener) -> Self {
        Self { since, life, sealer: Some(sealer), opener: Some(opener) }
    }

    fn at(&self, quarters: u32) -> Time {
        self.since + self.life * quarters / 4
    }

    /// From when on nothing is sealed.
    pub(super) fn sealed_until(&self) -> Time {
        self.at(SEAL_LIMIT)
    }

    fn opened_until(&self) -> Time {
        self.at(OPEN_LIMIT)
    }

    /// When they are renewed by the side that began the epoch, or by the other.
    fn renewed_at(&self, initiator: bool) -> Time {
        self.at(if initiator { 4 } else { RENEW_RESPONDER })
    }

    /// `None` when nothing may be sealed any more.
    pub(super) fn sealer(&mut self, now: Time) -> Option<&mut Sealer> {
        let young = now < self.sealed_until();
        self.sealer.as_mut().filter(|sealer| young && !sealer.is_exhausted())
    }

    /// The number that the next packet gets, while one may be sealed.
    pub(super) fn next_number(&self) -> Option<u64> {
        self.sealer.as_ref().map(Sealer::next_number)
    }

    /// `None` when nothing may be opened any more.
    pub(super) fn opener(&mut self, now: Time) -> Option<&mut Opener> {
        let young = now < self.opened_until();
        self.opener.as_mut().filter(|_| young)
    }

    pub(super) fn can_seal(&self, now: Time) -> bool {
        now < self.sealed_until() && self.may_seal()
    }

    /// As [`can_seal`](Self::can_seal), as far as the timers have told.
    pub(super) fn may_seal(&self) -> bool {
        self.sealer.as_ref().is_some_and(|sealer| !sealer.is_exhausted())
    }

    /// Whether more was sealed, or forged, than is good.
    fn is_worn(&self) -> bool {
        self.sealer.as_ref().is_none_or(Sealer::is_worn) || self.opener.as_ref().is_none_or(Opener::is_worn)
    }

    /// Whether the opener has wiped its key.
    fn is_retired(&self) -> bool {
        self.opener.as_ref().is_some_and(Opener::is_retired)
    }

    /// When the next key is wiped.
    fn expires(&self) -> Option<Time> {
        let opening = self.opener.as_ref().map(|_| self.opened_until());
        self.sealer.as_ref().map(|_| self.sealed_until()).or(opening)
    }

    fn erase(&mut self) {
        self.sealer = None;
        self.opener = None;
    }

    /// Wipes what the epoch is too old for. Returns whether nothing is left since now.
    fn age(&mut self, now: Time) -> bool {
        let had = self.opener.is_some();
        if now >= self.sealed_until() {
            self.sealer = None;
        }
        if now >= self.opened_until() {
            self.opener = None;
        }
        had && self.opener.is_none()
    }
}

impl Path {
    /// Whether the keys are to be renewed before much more is sent.
    fn is_renewal_due(&self, now: Time) -> bool {
        self.successor.is_none() && (now >= self.keys.renewed_at(self.initiator) || self.keys.is_worn())
    }

    /// When keys are wiped, or the path is closed for their age.
    pub(super) fn ages_at(&self, current: bool) -> Option<Time> {
        if current { self.keys.expires() } else { Some(self.keys.sealed_until()) }
    }

    fn overlap(&self) -> Duration {
        (self.recovery.pto_period() * 3).min(self.keys.life / 4).max(OVERLAP)
    }

    /// Whether the peer is known to hold the keys.
    fn is_confirmed(&self) -> bool {
        !self.initiator || self.recovery.stats().acked_bytes > 0
    }
}

impl Session {
    /// There is something to send on a path: renews its keys first, if they are due.
    pub(super) fn renew_if_due(&mut self, now: Time, shared: &mut Shared, index: u32) {
        let Some(path) = self.paths.get(&index) else { return };
        let up = matches!(self.life, Life::Up { .. }) && self.current == Some(index);
        if up && path.is_renewal_due(now) && !self.pending.iter().any(|pending| pending.renews() == Some(index)) {
            let (transport, via) = (path.transport, path.via);
            self.initiate(now, shared, transport, via, Some(index));
        }
    }

    /// How long a renewal of this path may take: as long as any handshake, or longer where the path is slow, up
    /// to where it would be given up for its silence.
    pub(crate) fn renewal_patience(&self, index: u32, usual: Duration, config: &Config) -> Duration {
        self.paths.get(&index).map_or(usual, |path| {
            let slow = path.recovery.pto_period().saturating_mul(PATIENCE);
            usual.max(slow.min(config.silence_of(path.transport)))
        })
    }

    /// The address of a path changed: what renews it goes there too.
    pub(super) fn renewals_follow(&mut self, index: u32, via: Via) {
        for pending in self.pending.iter_mut().filter(|pending| pending.renews() == Some(index)) {
            pending.via = via;
        }
    }

    /// Gives up renewals that were not answered in time.
    pub(super) fn on_renewal_timers(&mut self, now: Time, shared: &mut Shared) {
        let overdue = |role| matches!(role, Role::Renewal { deadline, .. } if deadline <= now);
        while let Some(position) = self.pending.iter().position(|pending| overdue(pending.role)) {
            let pending = self.pending.remove(position);
            self.drop_carrier(shared, pending.index, pending.via);
            if let Some(path) = pending.renews() {
                self.renewal_failed(now, shared, path);
            }
        }
    }

    /// A renewal came to nothing. While the old epoch may be used that harms nothing: the next packet
    /// begins another. Afterwards the path is of no use.
    pub(super) fn renewal_failed(&mut self, now: Time, shared: &mut Shared, index: u32) {
        let usable = self.paths.get(&index).is_none_or(|path| path.keys.can_seal(now));
        if !usable && self.current == Some(index) {
            self.close_path(now, shared, index, Code::Silent, true);
        }
    }

    /// Drops the renewals of a path that is replaced or gone.
    pub(super) fn drop_renewals_of(&mut self, shared: &mut Shared, index: u32) {
        self.pending.retain(|pending| {
            let gone = pending.renews() == Some(index);
            if gone {
                shared.indices.remove(&pending.index);
            }
            !gone
        });
    }

    /// The path `new` renews the keys of `old`, and takes its place.
    pub(super) fn replace(&mut self, now: Time, shared: &mut Shared, old: u32, new: u32) {
        self.drop_renewals_of(shared, old);
        let Some(path) = self.paths.get_mut(&old) else { return };
        path.successor = Some(new);
        path.retire_at = Some(now + path.overlap());
        path.ping_due = false;
        let rtt = *path.recovery.rtt();
        if let Some(path) = self.paths.get_mut(&new) {
            path.recovery.inherit_rtt(rtt);
        }
        if self.switch.chosen == Some(old) {
            self.switch.chosen = Some(new);
        }
        if self.current == Some(old) {
            self.current = Some(new);
            self.announce_choice(shared);
        }
    }

    /// Lets go of the oldest replaced path, if there is one.
    pub(super) fn drop_replaced(&mut self, now: Time, shared: &mut Shared) {
        let replaced = self.paths.values().filter(|path| path.successor.is_some());
        if let Some(index) = replaced.min_by_key(|path| (path.since, path.index)).map(|path| path.index) {
            self.close_path(now, shared, index, Code::Superseded, true);
        }
    }

    /// The path that a path's traffic goes to now.
    pub(super) fn latest(&self, mut index: u32) -> u32 {
        for _ in 0..MAX_PATHS {
            match self.paths.get(&index).and_then(|path| path.successor) {
                Some(next) => index = next,
                None => break,
            }
        }
        index
    }

    /// Whether a replaced path is still needed: something on it is under way, or the peer may not
    /// know of the new one.
    pub(super) fn is_overlap_needed(&self, path: &Path) -> bool {
        let successor = path.successor.and_then(|index| self.paths.get(&index));
        successor.is_some_and(|successor| path.recovery.unanswered_since().is_some() || !successor.is_confirmed())
    }

    /// When a replaced path is looked at again.
    pub(super) fn extend_overlap(&mut self, now: Time, index: u32) {
        if let Some(path) = self.paths.get_mut(&index) {
            path.retire_at = Some(now + path.overlap());
        }
    }

    /// Closes spare paths that seal nothing any more. After a sleep they may still be there when another is chosen.
    pub(super) fn close_aged(&mut self, now: Time, shared: &mut Shared) {
        let current = self.current;
        while let Some(index) = self.paths.values().find_map(|path| {
            let aged = Some(path.index) != current && !path.keys.can_seal(now);
            aged.then_some(path.index)
        }) {
            self.close_path(now, shared, index, Code::Superseded, true);
        }
    }

    /// Wipes keys that are too old, and closes spare paths that seal nothing any more.
    pub(super) fn age_keys(&mut self, now: Time, shared: &mut Shared) {
        self.close_aged(now, shared);
        let mut next = self.paths.keys().next().copied();
        while let Some(index) = next {
            next = self.next_path(index);
            let Some(path) = self.paths.get_mut(&index) else { continue };
            if path.keys.age(now) {
                // What is still unanswered can be answered no more: without this, nothing would show its silence.
                if path.recovery.unanswered_since().is_some() {
                    self.close_path(now, shared, index, Code::Silent, true);
                } else {
                    self.erase(index);
                }
            }
        }
    }

    /// A packet failed authentication: with too many of them the key is retired.
    pub(super) fn on_forgery(&mut self, index: u32) {
        if self.paths.get(&index).is_some_and(|path| path.keys.is_retired()) {
            self.erase(index);
        }
    }

    /// Wipes the keys of a path. What is in flight on it can be acknowledged no more; the carrier
    /// stays, for a renewal.
    fn erase(&mut self, index: u32) {
        let Some(path) = self.paths.get_mut(&index) else { return };
        path.keys.erase();
        path.acks = AckTracker::new(Carrier::of(path.transport));
        path.probes = 0;
        let mut lost = Vec::new();
        path.recovery.abandon(&mut |frame| lost.push(frame));
        for frame in lost {
            self.frame_lost(frame);
        }
    }
}

#[cfg(test)]
impl EpochKeys {
    pub(crate) fn set_number(&mut self, next: u64) {
        self.sealer.as_mut().expect("it seals").set_number(next);
    }

    pub(crate) fn set_forgeries(&mut self, forgeries: u64) {
        self.opener.as_mut().expect("it opens").set_forgeries(forgeries);
    }

    pub(crate) fn is_erased(&self) -> bool {
        self.sealer.is_none() && self.opener.is_none()
    }
}

#[cfg(test)]
impl Session {
    /// The keys of the current path.
    pub(crate) fn current_keys(&mut self) -> Option<&mut EpochKeys> {
        let index = self.current?;
        self.paths.get_mut(&index).map(|path| &mut path.keys)
    }

    pub(crate) fn current_index(&self) -> Option<u32> {
        self.current
    }

    /// The peer's index of the current path.
    pub(crate) fn current_peer_index(&self) -> Option<u32> {
        self.paths.get(&self.current?).map(|path| path.peer_index)
    }

    /// How many paths there are, and how many renewals under way.
    pub(crate) fn path_counts(&self) -> (usize, usize) {
        (self.paths.len(), self.pending.iter().filter(|pending| pending.renews().is_some()).count())
    }
}
