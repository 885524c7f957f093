//! Losing the last path, closing, and what is left afterwards.

use bytes::Bytes;

use super::{Closing, Life, PROVED_HEALTHY, Path, Session, Tombstone, Via};
use crate::channel::Channels;
use crate::code::Code;
use crate::endpoint::Shared;
use crate::seal;
use crate::time::Time;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;

impl Session {
    /// The last path is gone.
    pub(super) fn lost(&mut self, now: Time, shared: &mut Shared, code: Code) {
        if matches!(self.life, Life::Draining { .. }) {
            self.life = Life::Gone;
        }
        let Life::Up { since, .. } = &self.life else { return };
        if self.proof.saturating_since(*since) >= PROVED_HEALTHY {
            self.retry = super::Retry::default();
        }
        self.end_attempt(now, shared);
        self.told = None;
        self.code = Some(code);
        self.upgrade.at = None;
        self.emit(shared, UpdateKind::Lost { code });
        if self.target.is_some() {
            self.back_off(now, shared, Some(now), code);
        } else {
            self.life = Life::Waiting { lost_at: Some(now), until: now + self.keep };
        }
    }

    /// The peer came back with another half: it remembers nothing of this session.
    pub(super) fn peer_restarted(&mut self, now: Time, shared: &mut Shared) {
        for path in core::mem::take(&mut self.paths).into_values() {
            self.say_close(now, shared, path, Code::Replaced, "");
        }
        self.current = None;
        self.end_attempt(now, shared);
        self.drop_pending(shared);
        let dials = core::mem::take(&mut self.peer_dials);
        self.switch = super::Switch::default();
        self.closed_paths = super::ClosedPaths::default();
        self.channels.abandon();
        self.emit_outcomes(shared);
        self.emit(shared, UpdateKind::PeerRestarted);
        if self.peer_half.is_some_and(|half| self.takeovers.note(now, half, dials)) {
            self.emit(shared, UpdateKind::identity_in_use());
        }
    }

    /// The application is done: deliver what is queued, then say so.
    pub(crate) fn close(&mut self, now: Time, shared: &mut Shared, reason: &str) {
        if self.is_over() || self.closing.is_some() {
            return;
        }
        let reason: String = reason.chars().take(64).collect();
        if let Life::Dialling { lost_at: None, .. } = self.life {
            return self.finish(now, shared, Code::Done, false, reason);
        }
        self.closing = Some(Closing::Flushing { deadline: now + shared.config.close_deadline, reason });
        self.flush(now);
    }

    /// Goes on to CLOSE when everything is delivered, and the peer has heard of all that we took.
    pub(super) fn flush(&mut self, now: Time) {
        let used = |path: &&Path| self.current == Some(path.index) || path.successor.is_some();
        let mut used = self.paths.values().filter(used);
        let answered = self.current.is_some() && used.all(|path| path.recovery.unanswered_since().is_none());
        if let Some(Closing::Flushing { deadline, reason }) = &mut self.closing
            && self.channels.flushed()
            && !self.channels.wants_to_write()
            && answered
        {
            let deadline = (*deadline).max(now);
            let reason = core::mem::take(reason);
            self.closing = Some(Closing::Announced { deadline, reason, due: true });
        }
    }

    pub(super) fn announce_again(&mut self) {
        if let Some(Closing::Announced { due, .. }) = &mut self.closing {
            *due = true;
        }
    }

    pub(super) fn on_close_deadline(&mut self, now: Time, shared: &mut Shared) {
        let (code, reason) = match self.closing.take() {
            Some(Closing::Announced { reason, .. }) => (Code::Done, reason),
            Some(Closing::Flushing { reason, .. }) => (Code::CloseTimeout, reason),
            None => return,
        };
        self.end_all_paths(now, shared, code, &reason);
        self.finish(now, shared, code, false, reason);
    }

    /// The peer has our CLOSE.
    pub(super) fn on_close_ack(&mut self, now: Time, shared: &mut Shared) {
        if let Some(Closing::Announced { reason, .. }) = &mut self.closing {
            let reason = core::mem::take(reason);
            self.finish(now, shared, Code::Done, false, reason);
        }
    }

    /// The peer closed the session. Its CLOSE is answered on the path that carried it, and again
    /// when it is repeated.
    pub(super) fn on_close(
        &mut self,
        now: Time,
        shared: &mut Shared,
        index: u32,
        code: Code,
        finals: &[(u8, u64)],
        reason: &str,
    ) {
        self.close_ack_due = Some(index);
        if self.is_over() {
            return;
        }
        let code = if code == Code::Done && self.channels.truncated_by(finals) { Code::CloseTimeout } else { code };
        // While the answering path is there, so that nothing closes its stream.
        self.drop_pending(shared);
        for other in self.paths.keys().copied().filter(|other| *other != index).collect::<Vec<_>>() {
            if let Some(path) = self.paths.remove(&other) {
                self.drop_path(shared, path);
            }
        }
        let answering = self.paths.remove(&index);
        self.finish(now, shared, code, true, reason.to_owned());
        if let Some(path) = answering {
            let until = now + shared.config.close_deadline.max(path.recovery.pto_period() * 3);
            self.life = Life::Draining { until };
            self.paths.insert(index, path);
        }
    }

    /// Something unforgivable came from the peer.
    pub(super) fn fail(&mut self, now: Time, shared: &mut Shared, code: Code) {
        self.end_all_paths(now, shared, code, "");
        self.finish(now, shared, code, false, String::new());
    }

    /// The application let go: one CLOSE, and nothing is left. A session that is over already
    /// goes on answering a repeated CLOSE, and forgets the messages that were not taken.
    pub(crate) fn cancel(&mut self, now: Time, shared: &mut Shared) {
        if self.is_over() {
            self.channels = Channels::new(&shared.config.limits);
        } else {
            self.end_all_paths(now, shared, Code::Cancelled, "");
            self.bury(Code::Cancelled);
            self.free(now, shared);
        }
    }

    fn end_all_paths(&mut self, now: Time, shared: &mut Shared, code: Code, reason: &str) {
        for path in core::mem::take(&mut self.paths).into_values() {
            self.say_close(now, shared, path, code, reason);
        }
        self.current = None;
    }

    /// Says CLOSE once on a path and lets go of it.
    fn say_close(&mut self, now: Time, shared: &mut Shared, mut path: Path, code: Code, reason: &str) {
        let frame = Frame::Close { code: code.number(), finals: self.channels.finals(), reason };
        let mut packet = vec![0; seal::HEADER_LEN];
        frame.encode(&mut packet);
        let sealed = path.keys.sealer(now).is_some_and(|sealer| sealer.seal(path.peer_index, &mut packet, 0).is_ok());
        if sealed {
            match path.via {
                Via::Udp(to) => shared.datagram(to, Bytes::from(packet)),
                Via::Stream(stream) => {
                    shared.streams.push_with(stream, packet.len(), |out| out.extend_from_slice(&packet));
                }
            }
        }
        self.drop_path(shared, path);
    }

    /// The end, as the application hears it.
    pub(super) fn finish(&mut self, now: Time, shared: &mut Shared, code: Code, by_peer: bool, reason: String) {
        if self.is_over() {
            return;
        }
        self.bury(code);
        self.free(now, shared);
        self.channels.abandon();
        self.emit_outcomes(shared);
        let counts = self.channels.counts();
        self.code = Some(code);
        self.emit(
            shared,
            UpdateKind::Closed {
                code,
                by_peer,
                reason,
                delivered: counts.delivered,
                undelivered: counts.undelivered,
                unknown: counts.unknown,
                message: code.message(self.retry.attempt),
                hint: code.hint().to_owned(),
            },
        );
    }

    fn bury(&mut self, code: Code) {
        let (half, peer_dials, admits) = (self.half, self.peer_dials, self.admits());
        self.tombstone = self.peer_half.map(|peer_half| Tombstone { half, peer_half, code, admits, peer_dials });
    }

    /// Frees paths, streams and handshakes.
    pub(super) fn free(&mut self, now: Time, shared: &mut Shared) {
        self.end_attempt(now, shared);
        self.drop_pending(shared);
        for path in core::mem::take(&mut self.paths).into_values() {
            self.drop_path(shared, path);
        }
        self.current = None;
        self.closing = None;
        self.life = Life::Gone;
    }

    /// What the application has not taken yet.
    pub(crate) fn into_channels(self) -> Channels {
        self.channels
    }
}
