//! The relation to one peer: it outlives paths, handshakes and reconnects.
//!
//! A session is composed of small machines. [`dial`] runs one attempt at the whole ladder of
//! transports, with [`handshakes`]; [`path`] is one live way to carry packets; [`switch`] decides which path is used;
//! [`transmit`] fills packets and [`receive`] takes them apart; [`Channels`] holds what the
//! application sends and takes, and knows nothing of paths. This file has the session's own life.

mod address;
mod dial;
mod ending;
mod handshakes;
mod health;
mod path;
mod receive;
mod renew;
mod switch;
mod takeover;
mod timers;
mod transmit;

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::accept::CameBy;
use crate::channel::Channels;
use crate::code::Code;
use crate::config::{Class, Transport};
use crate::crypto::Secret;
use crate::door::Allowance;
use crate::endpoint::{IndexOwner, Shared, StreamOwner};
use crate::io::{Action, SessionId, StreamId};
use crate::key::PublicKey;
use crate::link::Link;
use crate::time::Time;
use crate::update::{Progress, ProgressStatus, Quality, Stage, State, Status, Update, UpdateKind};
use crate::wire::payload::PeerLimits;

pub(crate) use address::Heard;
use dial::Attempt;
use handshakes::Pending;
pub(crate) use path::{Established, Via, order_of};
use path::{Liveness, Path};
#[cfg(test)]
pub(crate) use renew::EpochKeys;
use switch::{ClosedPaths, Switch, Upgrade};
use takeover::Takeovers;

/// After this long in health a session starts its backoff afresh.
const PROVED_HEALTHY: Duration = Duration::from_secs(10);
/// The longest time that a peer's word makes us keep a lost session.
const MAX_KEEP: Duration = Duration::from_secs(3600);

/// Where a session is in its life.
enum Life {
    /// No path; we dial, for the first time or after a loss.
    Dialling { lost_at: Option<Time>, dial: Dial },
    /// At least one path.
    Up { since: Time, side: Option<Attempt> },
    /// No path; the peer dials. Not lost when it is about to come up for the first time.
    Waiting { lost_at: Option<Time>, until: Time },
    /// Over, but a CLOSE that is repeated is still answered.
    Draining { until: Time },
    /// Over, and nothing is left.
    Gone,
}

/// What dialling is doing.
enum Dial {
    /// Waiting for the next attempt.
    Backoff { until: Time },
    /// Running one.
    Attempting(Attempt),
}

/// How far closing has come.
enum Closing {
    /// Delivering what is queued.
    Flushing { deadline: Time, reason: String },
    /// CLOSE is under way and not acknowledged.
    Announced { deadline: Time, reason: String, due: bool },
}

/// Attempts and waits since the session last proved healthy.
#[derive(Default)]
struct Retry {
    attempt: u32,
    waits: u32,
}

/// What is remembered of a closed session, so that a peer that missed the end learns of it.
pub(crate) struct Tombstone {
    pub(crate) half: u64,
    pub(crate) peer_half: u64,
    pub(crate) code: Code,
    pub(crate) admits: Admits,
    /// The highest number of the peer's handshakes that were answered, by transport.
    pub(crate) peer_dials: [u32; 3],
}

/// How a peer may come.
#[derive(Clone, Copy)]
pub(crate) struct Admits {
    /// What it is, once it said so.
    class: Option<Class>,
    /// We know it by an I2P destination alone.
    hidden: bool,
}

impl Admits {
    /// Whether the peer may come as one of this class by this transport. It keeps its class, and one that we know by an
    /// I2P destination alone is not answered anywhere else.
    pub(crate) fn allows(self, class: Class, transport: Transport) -> bool {
        self.class.is_none_or(|known| known == class) && (!self.hidden || transport == Transport::I2p)
    }
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) peer: PublicKey,
    /// Our random half of the session's name.
    pub(crate) half: u64,
    /// The peer's half, once a handshake has told it.
    pub(crate) peer_half: Option<u64>,
    /// When the latest of the handshakes was begun that have told it.
    met: Time,
    takeovers: Takeovers,
    /// What let the peer in last; it names this in each handshake.
    invite: Option<CameBy>,
    /// What the peer is, once it said so.
    peer_class: Option<Class>,
    /// How to dial the peer; `None` when it dials us.
    target: Option<Link>,
    life: Life,
    closing: Option<Closing>,
    pub(crate) channels: Channels,
    paths: BTreeMap<u32, Path>,
    /// The path that carries data.
    current: Option<u32>,
    switch: Switch,
    closed_paths: ClosedPaths,
    /// Handshakes begun and not answered, oldest first.
    pending: Vec<Pending>,
    dial_no: u32,
    /// The highest number of ours, and of the peer's, that led to a path, by transport.
    own_dials: [u32; 3],
    peer_dials: [u32; 3],
    /// Handshakes that the peer may begin whatever others at its source do.
    pub(crate) allowance: Allowance,
    retry: Retry,
    upgrade: Upgrade,
    /// When an answer last proved that the current stretch of being up works.
    proof: Time,
    keep: Duration,
    close_ack_due: Option<u32>,
    seq: u64,
    /// The transport that the application was told of.
    told: Option<Transport>,
    progress: Option<Progress>,
    code: Option<Code>,
    quality: Option<Quality>,
    tombstone: Option<Tombstone>,
}

impl Session {
    fn new(id: SessionId, peer: PublicKey, half: u64, target: Option<Link>, life: Life, shared: &Shared) -> Self {
        Self {
            id,
            peer,
            half,
            peer_half: None,
            met: Time::ZERO,
            takeovers: Takeovers::default(),
            invite: None,
            peer_class: None,
            target,
            life,
            closing: None,
            channels: Channels::new(&shared.config.limits),
            paths: BTreeMap::new(),
            current: None,
            switch: Switch::default(),
            closed_paths: ClosedPaths::default(),
            pending: Vec::new(),
            dial_no: 0,
            own_dials: [0; 3],
            peer_dials: [0; 3],
            allowance: Allowance::default(),
            retry: Retry::default(),
            upgrade: Upgrade::default(),
            proof: Time::ZERO,
            keep: shared.config.keep,
            close_ack_due: None,
            seq: 0,
            told: None,
            progress: None,
            code: None,
            quality: None,
            tombstone: None,
        }
    }

    /// A session that we dial, starting now.
    pub(crate) fn dial(now: Time, shared: &mut Shared, id: SessionId, half: u64, link: Link) -> Self {
        let peer = link.key;
        let life = Life::Dialling { lost_at: None, dial: Dial::Backoff { until: now } };
        let mut session = Self::new(id, peer, half, Some(link), life, shared);
        session.next_attempt(now, shared);
        session
    }

    /// A session that the peer opened.
    pub(crate) fn accept(now: Time, shared: &mut Shared, id: SessionId, peer: PublicKey, half: u64) -> Self {
        let life = Life::Waiting { lost_at: None, until: now };
        Self::new(id, peer, half, None, life, shared)
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.life, Life::Gone)
    }

    /// Whether the application has heard the end of it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Draining { .. } | Life::Gone)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether this index names a path on this stream.
    pub(crate) fn is_stream_path(&self, index: u32, stream: StreamId) -> bool {
        self.paths.get(&index).is_some_and(|path| path.via == Via::Stream(stream))
    }

    /// Whether this index names a path that takes datagrams.
    pub(crate) fn is_datagram_path(&self, index: u32) -> bool {
        self.paths.get(&index).is_some_and(|path| matches!(path.via, Via::Udp(_)))
    }

    /// What carries the current path.
    #[cfg(test)]
    pub(crate) fn via(&self) -> Option<Via> {
        self.current.and_then(|index| self.paths.get(&index)).map(|path| path.via)
    }

    /// Of a path: the next number, how much was sent and lost, how many packets are remembered.
    #[cfg(test)]
    pub(crate) fn sending(&self, index: u32) -> Option<(u64, crate::recovery::Stats, usize)> {
        let path = self.paths.get(&index)?;
        Some((path.keys.next_number()?, path.recovery.stats(), path.recovery.remembered()))
    }

    pub(crate) fn take_tombstone(&mut self) -> Option<Tombstone> {
        self.tombstone.take()
    }

    fn emit(&mut self, shared: &mut Shared, kind: UpdateKind) {
        self.seq += 1;
        let update = Update { seq: self.seq, kind };
        shared.act(Action::Update { session: self.id, update });
    }

    fn emit_progress(&mut self, shared: &mut Shared, progress: Progress) {
        if self.progress.as_ref() != Some(&progress) {
            self.progress = Some(progress.clone());
            self.emit(shared, UpdateKind::Progress(progress));
        }
    }

    pub(crate) fn emit_outcomes(&mut self, shared: &mut Shared) {
        while let Some((message, outcome)) = self.channels.poll_outcome() {
            self.emit(shared, UpdateKind::Outcome { message, outcome });
        }
        if self.channels.poll_writable() && !self.is_over() && self.closing.is_none() {
            self.emit(shared, UpdateKind::Writable);
        }
    }

    /// How an attempt, or the wait for one, reads.
    fn attempt_progress(&self, shared: &Shared, status: ProgressStatus) -> Progress {
        let max = shared.config.attempts;
        let attempt = match status {
            ProgressStatus::Retrying => self.retry.attempt + 1,
            _ => self.retry.attempt,
        };
        let message = match status {
            ProgressStatus::Connecting => format!("Connecting to peer... (attempt {attempt}/{max})"),
            _ => String::new(),
        };
        Progress {
            attempt,
            max_attempts: max,
            status,
            transport: None,
            stage: None,
            retry_in_ms: None,
            code: None,
            message,
            hint: String::new(),
        }
    }

    fn report_stage(&mut self, shared: &mut Shared, transport: Option<Transport>, stage: Stage) {
        if matches!(self.life, Life::Dialling { .. }) {
            let mut progress = self.attempt_progress(shared, ProgressStatus::Connecting);
            progress.transport = transport;
            progress.stage = Some(stage);
            self.emit_progress(shared, progress);
        }
    }

    /// Waits for the next attempt, or gives the peer up when there is none left.
    fn back_off(&mut self, now: Time, shared: &mut Shared, lost_at: Option<Time>, code: Code) {
        if self.retry.attempt >= shared.config.attempts {
            self.give_up(now, shared);
            return;
        }
        let wait = shared.config.backoff.jittered(self.retry.waits, shared.random.jitter());
        self.retry.waits += 1;
        let mut progress = self.attempt_progress(shared, ProgressStatus::Retrying);
        progress.retry_in_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        progress.code = Some(code);
        progress.message = code.message(self.retry.attempt);
        progress.hint = code.hint().to_owned();
        self.life = Life::Dialling { lost_at, dial: Dial::Backoff { until: now + wait } };
        self.emit_progress(shared, progress);
    }

    fn give_up(&mut self, now: Time, shared: &mut Shared) {
        let code = Code::GaveUp;
        let mut progress = self.attempt_progress(shared, ProgressStatus::Failed);
        progress.code = Some(code);
        progress.message = code.message(self.retry.attempt);
        progress.hint = code.hint().to_owned();
        self.emit_progress(shared, progress);
        self.finish(now, shared, code, false, String::new());
    }

    /// Starts the next attempt at once.
    fn next_attempt(&mut self, now: Time, shared: &mut Shared) {
        let Life::Dialling { lost_at, dial: Dial::Backoff { .. } } = &self.life else { return };
        let lost_at = *lost_at;
        self.retry.attempt += 1;
        let progress = self.attempt_progress(shared, ProgressStatus::Connecting);
        self.emit_progress(shared, progress);
        let Some(attempt) = self.new_attempt(now, shared, None) else {
            return self.back_off(now, shared, lost_at, Code::Unreachable);
        };
        self.life = Life::Dialling { lost_at, dial: Dial::Attempting(attempt) };
        self.run_attempt(now, shared);
    }

    /// Skips the wait for the next attempt.
    pub(crate) fn retry_now(&mut self, now: Time, shared: &mut Shared) {
        self.next_attempt(now, shared);
    }

    /// The host's network changed: nothing known about the paths holds any more.
    pub(crate) fn network_changed(&mut self, now: Time, shared: &mut Shared) {
        self.retry.waits = 0;
        match &self.life {
            Life::Dialling { .. } => self.next_attempt(now, shared),
            Life::Up { .. } => {
                self.upgrade = Upgrade::default();
                for path in self.paths.values_mut() {
                    path.liveness = Liveness::Suspect;
                    path.ping_due = true;
                }
                self.seek_path(now, shared);
            }
            Life::Waiting { .. } | Life::Draining { .. } | Life::Gone => {}
        }
    }

    /// How the peer may come, also when the session is over.
    pub(crate) fn admits(&self) -> Admits {
        let hidden = self.target.as_ref().is_some_and(|link| link.host.is_none());
        Admits { class: self.peer_class, hidden }
    }

    /// Whether a handshake of this number, or a later one, has led to a path: it is a replay, or too
    /// late to be of use.
    pub(crate) fn is_outdated(&self, transport: Transport, peer_half: u64, dial_no: u32) -> bool {
        self.peer_half == Some(peer_half) && dial_no <= self.peer_dials[transport as usize]
    }

    /// The secret of the invite by which the peer came, when it has this id.
    pub(crate) fn psk(&self, id: &[u8; 8]) -> Option<&Arc<Secret>> {
        self.invite.as_ref().filter(|invite| invite.id == *id).map(|invite| &invite.psk)
    }

    /// The peer proved itself in a handshake with this invite, and was perhaps the first to do so.
    pub(crate) fn came_by(&mut self, shared: &mut Shared, invite: CameBy, first: bool) {
        if first {
            self.emit(shared, UpdateKind::InviteBound { invite: invite.id });
        }
        self.invite = Some(invite);
    }

    /// Whether the peer came back under another name than this one meanwhile. Then with the highest numbers of the
    /// handshakes that were answered under this one.
    pub(crate) fn replaced(&mut self, peer_half: u64) -> Option<&mut [u32; 3]> {
        if self.peer_half == Some(peer_half) { None } else { self.takeovers.dials(peer_half) }
    }

    /// A handshake is finished and its keys are proved: by the answer, when we began it, by the
    /// first packet when the peer did.
    pub(crate) fn establish(&mut self, now: Time, shared: &mut Shared, established: Established) -> bool {
        let transport = established.transport;
        let dials = if established.initiator { &self.own_dials } else { &self.peer_dials };
        let same_peer = self.peer_half.is_none_or(|half| half == established.peer_half);
        let stale = same_peer && established.dial_no <= dials[transport as usize];
        // A restarted peer takes the place of all the paths that there are.
        let renewed = Some(established.renews).filter(|_| same_peer && self.is_renewable(&established));
        let limit = shared.config.limits.paths;
        if same_peer && !stale && !self.is_over() && renewed.is_none() && self.paths.len() >= limit {
            self.drop_replaced(now, shared);
        }
        let full = same_peer && renewed.is_none() && self.paths.len() >= limit;
        // Nor can a name from before take the place of a later one.
        let outlived = !same_peer && (established.begun < self.met || self.takeovers.replaced(established.peer_half));
        // Whoever restarted has lost the streams from before.
        let misplaced = !same_peer && self.paths.values().any(|path| path.is_on_stream(established.via));
        if self.is_over() || stale || full || outlived || misplaced {
            self.drop_carrier(shared, established.index, established.via);
            return false;
        }
        if transport == Transport::I2p {
            shared.peer_answered();
        }
        let restarted = !same_peer;
        if restarted {
            self.peer_restarted(now, shared);
        }
        self.peer_half = Some(established.peer_half);
        self.met = self.met.max(established.begun);
        self.peer_class = self.peer_class.or(established.peer_class);
        let dials = if established.initiator { &mut self.own_dials } else { &mut self.peer_dials };
        dials[transport as usize] = established.dial_no;
        let PeerLimits { max_message, session_credit, channel_credit, .. } = established.limits;
        self.channels.set_peer_limits(max_message, session_credit, channel_credit);
        if !established.initiator {
            self.keep = shared.config.keep.max(established.keep.min(MAX_KEEP));
        }
        let hash = established.hash;
        let initiator = established.initiator;
        shared.indices.insert(established.index, IndexOwner::Path(self.id));
        if let Via::Stream(stream) = established.via {
            shared.streams.set_owner(stream, StreamOwner::Path(self.id));
        }
        shared.whereabouts.came(self.id, established.via);
        let (index, renews) = (established.index, established.renews);
        self.paths.insert(index, Path::new(now, shared.config.key_life, established));
        if let Some(old) = renewed {
            self.replace(now, shared, old, index);
        }
        if self.paths.len() > limit {
            self.drop_replaced(now, shared);
        }
        if (initiator && renews == 0) || !matches!(self.life, Life::Up { .. }) {
            self.end_attempt(now, shared);
        }
        self.come_up(now, shared, transport, initiator, hash, restarted);
        // What the peer does not take has met its end.
        self.emit_outcomes(shared);
        self.choose(now, shared);
        self.plan_upgrade(now);
        true
    }

    /// Whether a handshake names a path that it may take the place of: one that no other has replaced, and,
    /// on a stream, on that very stream.
    fn is_renewable(&self, established: &Established) -> bool {
        self.paths.get(&established.renews).is_some_and(|path| {
            let carrier = !path.transport.is_stream() || path.via == established.via;
            path.transport == established.transport && carrier && path.successor.is_none()
        })
    }

    fn come_up(
        &mut self,
        now: Time,
        shared: &mut Shared,
        transport: Transport,
        initiator: bool,
        hash: [u8; 32],
        restarted: bool,
    ) {
        let was_dialling = matches!(self.life, Life::Dialling { .. });
        let lost_at = match self.life {
            Life::Up { .. } if !restarted => return,
            Life::Up { .. } => None,
            Life::Dialling { lost_at, .. } | Life::Waiting { lost_at, .. } => lost_at,
            Life::Draining { .. } | Life::Gone => return,
        };
        self.life = Life::Up { since: now, side: None };
        self.proof = now;
        self.code = None;
        self.told = Some(transport);
        if was_dialling {
            let mut progress = self.attempt_progress(shared, ProgressStatus::Connected);
            // A late answer, or the peer's own dial, completes the attempt that is waited for.
            let awaited = self.progress.as_ref().filter(|before| before.status == ProgressStatus::Retrying);
            progress.attempt = awaited.map_or(progress.attempt, |before| before.attempt);
            progress.transport = Some(transport);
            progress.message = format!("Connected over {transport}");
            self.emit_progress(shared, progress);
        }
        match lost_at.filter(|_| !restarted) {
            Some(lost_at) => {
                self.channels.resumed();
                let after_ms = u64::try_from(now.saturating_since(lost_at).as_millis()).unwrap_or(u64::MAX);
                self.emit(shared, UpdateKind::Resumed { transport, after_ms });
            }
            None => {
                let inbound = !initiator && self.target.is_none();
                self.emit(shared, UpdateKind::Connected { peer: self.peer, transport, inbound, handshake_hash: hash });
            }
        }
    }

    /// What the application sees when it looks.
    pub(crate) fn status(&self, now: Time) -> Status {
        let (state, retry_at) = match &self.life {
            _ if self.closing.is_some() && !self.is_over() => (State::Closing, None),
            Life::Dialling { lost_at, dial } => {
                let state = if lost_at.is_some() { State::Reconnecting } else { State::Connecting };
                let retry_at = match dial {
                    Dial::Backoff { until } => Some(*until),
                    Dial::Attempting(_) => None,
                };
                (state, retry_at)
            }
            Life::Up { .. } => (State::Connected, None),
            Life::Waiting { .. } => (State::Waiting, None),
            Life::Draining { .. } | Life::Gone => (State::Closed, None),
        };
        let until = |at: Time| u64::try_from(at.saturating_since(now).as_millis()).unwrap_or(u64::MAX);
        Status {
            seq: self.seq,
            peer: self.peer,
            state,
            transport: self.current.and_then(|index| self.paths.get(&index)).map(|path| path.transport),
            progress: self.progress.clone(),
            retry_in_ms: retry_at.map(until),
            code: self.code,
            quality: self.quality,
            queued_bytes: self.channels.queued_bytes(),
            pending_messages: self.channels.pending_messages(),
        }
    }
}
