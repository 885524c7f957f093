//! Which path is used: the choice, its announcement, and the search for a better one.
//!
//! The side with the lower static key chooses and says so by USE_PATH; the other follows while
//! the chosen path answers it. Moving is make before break: a path is left for another only when
//! that one is confirmed. A try may promote a path, never demote one; only silence does.

use core::cmp::Reverse;
use core::time::Duration;

use super::{Life, Liveness, Path, Session, Via};
use crate::code::Code;
use crate::config::Transport;
use crate::endpoint::Shared;
use crate::io::StreamId;
use crate::sent::SentFrame;
use crate::time::Time;
use crate::update::UpdateKind;

/// The first wait before a session on a worse transport tries a better one.
const UPGRADE_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const UPGRADE_CAP: Duration = Duration::from_secs(60);
/// Closed paths that are still to be told to the peer, at most.
const MAX_CLOSED_PATHS: usize = 8;

/// The peer's or our own last choice.
#[derive(Default)]
pub(super) struct Switch {
    /// The highest number given or seen.
    pub(super) no: u64,
    /// What the peer chose: our index of the path.
    pub(super) chosen: Option<u32>,
    /// Our own choice is still to be told.
    pub(super) due: bool,
}

/// When a session on a worse transport tries a better one: at growing intervals, while it carries
/// traffic.
pub(super) struct Upgrade {
    pub(super) at: Option<Time>,
    interval: Duration,
    /// Whether the session carried data since the last try.
    pub(super) traffic: bool,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { at: None, interval: UPGRADE_FIRST, traffic: false }
    }
}

/// A path that we closed and the peer may not know of.
#[derive(Clone, Copy)]
pub(super) struct ClosedPath {
    /// The peer's index of it.
    pub(super) epoch: u32,
    pub(super) code: Code,
    pub(super) due: bool,
}

/// Paths that are still to be told to be closed; the oldest are forgotten first.
#[derive(Default)]
pub(super) struct ClosedPaths(pub(super) arrayvec::ArrayVec<ClosedPath, MAX_CLOSED_PATHS>);

impl ClosedPaths {
    fn push(&mut self, closed: ClosedPath) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push(closed);
    }
}

impl Session {
    fn is_chooser(&self, shared: &Shared) -> bool {
        shared.identity.public_key() < self.peer
    }

    /// Makes the best path the current one.
    pub(super) fn choose(&mut self, now: Time, shared: &mut Shared) {
        self.close_aged(now, shared);
        self.choose_after(now, shared, None);
    }

    /// As [`choose`](Self::choose); when the current path was closed, `closed` says why.
    fn choose_after(&mut self, now: Time, shared: &mut Shared, closed: Option<Code>) {
        let current = self.current;
        let chosen = self.switch.chosen.filter(|_| !self.is_chooser(shared));
        let order = |path: &Path| {
            let index = Some(path.index);
            let followed = index == chosen && path.liveness == Liveness::Alive;
            (
                path.successor.is_some(),
                !followed,
                path.liveness,
                path.transport,
                index != current,
                Reverse(path.since),
                path.index,
            )
        };
        let best = self.paths.values().min_by_key(|path| order(path)).map(|path| path.index);
        if best != current
            && let Some(best) = best
        {
            self.switch_to(now, shared, best, closed);
        }
        if self.is_chooser(shared) {
            self.retire_spares(now, shared);
        }
    }

    /// A path that is not needed goes, else they pile up: but not before the current one was asked
    /// for a sign of life and had time for it, as the peer may have left it for the other.
    fn retire_spares(&mut self, now: Time, shared: &Shared) {
        let current = self.current;
        let is_spare = |path: &&mut Path| {
            Some(path.index) != current && path.liveness == Liveness::Alive && path.retire_at.is_none()
        };
        let mut any = false;
        for path in self.paths.values_mut().filter(is_spare) {
            path.retire_at = Some(now + shared.config.silence);
            any = true;
        }
        if any && let Some(path) = current.and_then(|index| self.paths.get_mut(&index)) {
            path.ping_due = true;
        }
    }

    fn switch_to(&mut self, now: Time, shared: &mut Shared, index: u32, closed: Option<Code>) {
        let before = self.current.replace(index).and_then(|index| self.paths.get(&index));
        let silent = before.filter(|path| path.liveness == Liveness::Suspect).map(|path| path.index);
        if let Some(index) = silent {
            self.send_again(index);
        }
        let Some(path) = self.paths.get_mut(&index) else { return };
        path.retire_at = None;
        path.successor = None;
        path.asked = now;
        let to = path.transport;
        self.announce_choice(shared);
        if let Some(from) = self.told.replace(to)
            && from != to
        {
            let code = closed.unwrap_or(if silent.is_some() { Code::Silent } else { Code::Superseded });
            self.emit(shared, UpdateKind::PathChanged { from, to, code });
        }
        self.plan_upgrade(now);
    }

    pub(super) fn announce_choice(&mut self, shared: &Shared) {
        if self.is_chooser(shared) {
            self.switch.no += 1;
            self.switch.due = true;
        }
    }

    /// What is in flight on a path that we leave for its silence goes out again on the next one,
    /// without being counted as lost there.
    fn send_again(&mut self, index: u32) {
        let Some(path) = self.paths.get(&index) else { return };
        let mut frames = Vec::new();
        path.recovery.unacked_frames(usize::MAX, &mut |frame| frames.push(frame));
        for frame in frames {
            self.frame_lost(frame);
        }
    }

    /// The peer chose a path.
    pub(super) fn on_use_path(&mut self, now: Time, shared: &mut Shared, switch_no: u64, epoch: u32) {
        if switch_no > self.switch.no && !self.is_chooser(shared) {
            self.switch.no = switch_no;
            self.switch.chosen = Some(self.latest(epoch));
            self.choose(now, shared);
        }
    }

    /// Closes one path; the last one to go is a loss.
    pub(crate) fn close_path(&mut self, now: Time, shared: &mut Shared, index: u32, code: Code, tell: bool) {
        if self.current == Some(index) {
            self.close_aged(now, shared);
        }
        let Some(path) = self.paths.remove(&index) else { return };
        if tell {
            self.closed_paths.push(ClosedPath { epoch: path.peer_index, code, due: true });
        }
        self.drop_path(shared, path);
        if self.switch.chosen == Some(index) {
            self.switch.chosen = None;
        }
        if self.paths.is_empty() {
            self.current = None;
            // What took over had grown too old: nothing that is better is left.
            self.lost(now, shared, if code == Code::Superseded { Code::Silent } else { code });
            return;
        }
        if self.current == Some(index) {
            self.choose_after(now, shared, Some(code));
        }
    }

    /// Frees what a path holds; what was in flight on it is lost.
    pub(super) fn drop_path(&mut self, shared: &mut Shared, mut path: Path) {
        let mut lost = Vec::new();
        path.recovery.abandon(&mut |frame| lost.push(frame));
        for frame in lost {
            self.frame_lost(frame);
        }
        self.drop_renewals_of(shared, path.index);
        shared.whereabouts.went(self.id, path.via);
        self.drop_carrier(shared, path.index, path.via);
    }

    /// Frees an index, and its stream, unless another path or a renewal is on it.
    pub(super) fn drop_carrier(&mut self, shared: &mut Shared, index: u32, via: Via) {
        shared.indices.remove(&index);
        let shares = self.paths.values().any(|path| path.via == via) || self.pending.iter().any(|it| it.via == via);
        if let Via::Stream(stream) = via
            && !shares
        {
            shared.close_stream(stream);
        }
    }

    /// A stream is gone, or of no use: everything on it goes. The current path is the last, as no other
    /// path there may follow it.
    pub(crate) fn on_stream_lost(&mut self, now: Time, shared: &mut Shared, stream: StreamId) {
        let here = |path: &&Path| path.via == Via::Stream(stream);
        let mut lost: Vec<u32> = self.paths.values().filter(here).map(|path| path.index).collect();
        lost.sort_by_key(|index| Some(*index) == self.current);
        for index in lost {
            self.close_path(now, shared, index, Code::CarrierLost, true);
        }
    }

    /// A frame did not arrive: what it said is to be said again.
    pub(super) fn frame_lost(&mut self, frame: SentFrame) {
        match frame {
            SentFrame::Stream { .. } | SentFrame::ChannelAck { .. } | SentFrame::Credit { .. } => {
                self.channels.on_lost(frame);
            }
            SentFrame::UsePath { switch_no } => self.switch.due |= switch_no == self.switch.no,
            SentFrame::PathClose { epoch } => {
                for closed in self.closed_paths.0.iter_mut().filter(|closed| closed.epoch == epoch) {
                    closed.due = true;
                }
            }
            SentFrame::Close => self.announce_again(),
            // Repeated on its own path alone, or out of date by now.
            SentFrame::Confirm | SentFrame::Ack { .. } => {}
        }
    }

    /// A frame arrived.
    pub(super) fn frame_acked(&mut self, frame: SentFrame) {
        match frame {
            SentFrame::Stream { .. } | SentFrame::ChannelAck { .. } | SentFrame::Credit { .. } => {
                self.channels.on_acked(frame);
            }
            SentFrame::PathClose { epoch } => self.closed_paths.0.retain(|closed| closed.epoch != epoch),
            SentFrame::UsePath { .. } | SentFrame::Confirm | SentFrame::Close | SentFrame::Ack { .. } => {}
        }
    }

    /// Looks for another path beside the current one, when we know how to dial the peer.
    pub(super) fn seek_path(&mut self, now: Time, shared: &mut Shared) {
        // A try at a better transport alone may last as long as an attempt, and not find any.
        if matches!(&self.life, Life::Up { side: Some(side), .. } if side.better_than.is_some()) {
            self.end_attempt(now, shared);
        }
        self.start_side_attempt(now, shared, None);
    }

    /// Sets or clears the time of the next try at a better transport.
    pub(super) fn plan_upgrade(&mut self, now: Time) {
        let wanted = match (self.current_transport(), self.best_transport()) {
            (Some(current), Some(best)) => best < current,
            _ => false,
        };
        self.upgrade.at = match self.upgrade.at {
            _ if !wanted => None,
            None => Some(now + self.upgrade.interval),
            at => at,
        };
    }

    pub(super) fn on_upgrade_due(&mut self, now: Time, shared: &mut Shared) {
        if self.upgrade.traffic {
            self.upgrade.traffic = false;
            self.upgrade.interval = (self.upgrade.interval * 2).min(UPGRADE_CAP);
            self.start_side_attempt(now, shared, self.current_transport());
        }
        self.upgrade.at = Some(now + self.upgrade.interval);
    }

    pub(super) fn current_transport(&self) -> Option<Transport> {
        self.current.and_then(|index| self.paths.get(&index)).map(|path| path.transport)
    }

    /// The best transport that the link offers.
    fn best_transport(&self) -> Option<Transport> {
        let link = self.target.as_ref()?;
        link.host.as_ref()?;
        if link.udp_port.is_some() { Some(Transport::Udp) } else { link.tcp_port.map(|_| Transport::Tcp) }
    }
}
