//! Every timer of a session in one place: when it fires, why, and what it leads to.

use core::ops::Bound;

use super::handshakes::Role;
use super::{Closing, Dial, Life, Liveness, Session};
use crate::code::Code;
use crate::endpoint::{Reason, Shared};
use crate::recovery::Expired;
use crate::time::Time;

impl Session {
    /// The next time that something happens by itself, and why.
    pub(crate) fn next_timeout(&self, shared: &Shared) -> Option<(Time, Reason)> {
        let config = &shared.config;
        let mut next: Option<(Time, Reason)> = None;
        let mut at = |time: Option<Time>, reason: Reason| {
            if let Some(time) = time {
                next = Some(next.map_or((time, reason), |next| next.min((time, reason))));
            }
        };
        match &self.life {
            Life::Dialling { dial: Dial::Backoff { until }, .. } => at(Some(*until), Reason::Backoff),
            Life::Waiting { until, .. } => at(Some(*until), Reason::Expiry),
            Life::Draining { until } => at(Some(*until), Reason::Close),
            Life::Dialling { .. } | Life::Up { .. } | Life::Gone => {}
        }
        if let Some(attempt) = self.attempt() {
            at(attempt.ends_at(), Reason::Attempt);
            at(attempt.next_rung, Reason::Fallback);
        }
        for pending in &self.pending {
            at(pending.resend.map(|(at, _)| at), Reason::Resend);
            at(pending.expires(), Reason::Expiry);
            if let Role::Renewal { deadline, .. } = pending.role {
                at(Some(deadline), Reason::Renew);
            }
        }
        if let Some(Closing::Flushing { deadline, .. } | Closing::Announced { deadline, .. }) = &self.closing {
            at(Some(*deadline), Reason::Close);
        }
        at(self.upgrade.at, Reason::Upgrade);
        if matches!(self.life, Life::Draining { .. }) {
            return next;
        }
        for path in self.paths.values() {
            at(path.recovery.timeout(), Reason::Loss);
            if path.has_room(shared) && path.keys.may_seal() {
                at(path.acks.due(), Reason::Ack);
            }
            at(path.silence_at(config), Reason::Silence);
            at(path.retire_at, Reason::Retire);
            at(path.ages_at(self.current == Some(path.index)), Reason::Age);
            if self.current == Some(path.index) {
                at(path.heartbeat_at(config), Reason::Heartbeat);
            }
        }
        next
    }

    /// Does what is due.
    pub(crate) fn on_timeout(&mut self, now: Time, shared: &mut Shared) {
        match &self.life {
            Life::Dialling { dial: Dial::Backoff { until }, .. } if *until <= now => self.next_attempt(now, shared),
            Life::Waiting { until, .. } if *until <= now => {
                return self.finish(now, shared, Code::Expired, false, String::new());
            }
            Life::Draining { until } if *until <= now => return self.free(now, shared),
            _ => {}
        }
        if let Some(Closing::Flushing { deadline, .. } | Closing::Announced { deadline, .. }) = &self.closing
            && *deadline <= now
        {
            return self.on_close_deadline(now, shared);
        }
        self.on_dial_timers(now, shared);
        if self.upgrade.at.is_some_and(|at| at <= now) {
            self.on_upgrade_due(now, shared);
        }
        if !self.is_over() {
            self.on_path_timers(now, shared);
            self.age_keys(now, shared);
            self.flush(now);
        }
        self.emit_outcomes(shared);
    }

    fn on_path_timers(&mut self, now: Time, shared: &mut Shared) {
        let mut next = self.paths.keys().next().copied();
        while let Some(index) = next {
            // Found anew each time, as paths may go meanwhile.
            next = self.next_path(index);
            self.on_loss_timer(now, shared, index);
            let current = self.current == Some(index);
            let Some(path) = self.paths.get_mut(&index) else { continue };
            if current && path.heartbeat_at(&shared.config).is_some_and(|at| at <= now) {
                path.ping_due = true;
            }
            if path.retire_at.is_some_and(|at| at <= now) {
                path.retire_at = None;
                if self.paths.get(&index).is_some_and(|path| self.is_overlap_needed(path)) {
                    self.extend_overlap(now, index);
                    continue;
                }
                self.close_path(now, shared, index, Code::Superseded, true);
                continue;
            }
            if path.silence_at(&shared.config).is_some_and(|at| at <= now) {
                let before = self.paths.len();
                self.on_silence(now, shared, index);
                if self.paths.len() < before {
                    // A replaced path that is used again in its place may have been silent for as long.
                    next = self.paths.keys().next().copied();
                }
            }
        }
    }

    pub(super) fn next_path(&self, index: u32) -> Option<u32> {
        self.paths.range((Bound::Excluded(index), Bound::Unbounded)).next().map(|(index, _)| *index)
    }

    fn on_loss_timer(&mut self, now: Time, shared: &mut Shared, index: u32) {
        let Some(path) = self.paths.get_mut(&index) else { return };
        if path.recovery.timeout().is_none_or(|at| at > now) {
            return;
        }
        let mut fates = core::mem::take(&mut shared.fates);
        let expired = path.recovery.on_timeout(now, &mut |frame, fate| fates.push((frame, fate)));
        if let Expired::Probe { packets } = expired {
            path.probes = packets;
            path.recovery
                .unacked_frames(usize::from(packets), &mut |frame| fates.push((frame, crate::recovery::Fate::Lost)));
        }
        self.apply_fates(&mut fates, index);
        shared.fates = fates;
    }

    /// An answer is overdue: first another path is preferred and sought, then the path is given
    /// up.
    fn on_silence(&mut self, now: Time, shared: &mut Shared, index: u32) {
        let Some(path) = self.paths.get_mut(&index) else { return };
        match path.liveness {
            Liveness::Alive => {
                path.liveness = Liveness::Suspect;
                self.choose(now, shared);
                if self.current == Some(index) {
                    self.seek_path(now, shared);
                }
                let dead = self.paths.get(&index).and_then(|path| path.silence_at(&shared.config));
                if dead.is_some_and(|at| at <= now) {
                    self.on_silence(now, shared, index);
                }
            }
            Liveness::Suspect => self.close_path(now, shared, index, Code::Silent, true),
        }
    }
}
