//! One attempt at the whole ladder of transports.
//!
//! A transport of the ladder is a *rung*. In a race each rung has a head start over the next and
//! the first confirmed path wins; in strict order each has its share of the deadline. Silence is
//! what blocked UDP looks like, so a rung is left for time, not for errors; an error only ends it
//! early.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use super::handshakes::{Pending, Role};
use super::{Dial, Life, Session, Via};
use crate::code::Code;
use crate::config::{Ladder, Transport};
use crate::endpoint::Shared;
use crate::io::{NetError, ResolveId, StreamId};
use crate::link::{Host, Link};
use crate::sam::Destination;
use crate::time::Time;
use crate::update::Stage;

/// Handshakes that outlive their attempt, in case their answer is only late.
const LATE_HANDSHAKES: usize = 3;
/// For how long.
const LATE_LIFE: Duration = Duration::from_secs(60);

/// One transport of the ladder, and where it leads.
enum Rung {
    Udp(Vec<SocketAddr>),
    Tcp(Vec<SocketAddr>),
    I2p(Destination),
}

impl Rung {
    const fn transport(&self) -> Transport {
        match self {
            Self::Udp(_) => Transport::Udp,
            Self::Tcp(_) => Transport::Tcp,
            Self::I2p(_) => Transport::I2p,
        }
    }
}

/// One go at the ladder.
pub(crate) struct Attempt {
    pub(super) deadline: Time,
    resolving: Option<ResolveId>,
    /// Transports better than this one are wanted; all, when there is none.
    pub(super) better_than: Option<Transport>,
    rungs: VecDeque<Rung>,
    /// When the next rung starts.
    pub(super) next_rung: Option<Time>,
    opening: Vec<StreamId>,
    /// Waits for the I2P router, to dial this.
    awaiting: Option<Destination>,
    /// The link has nothing but a destination: without a router its time does not run.
    i2p_alone: bool,
    /// Why the attempt fails, if it does: the most telling of what happened.
    pub(super) code: Code,
}

impl Session {
    pub(super) fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.life {
            Life::Dialling { dial: Dial::Attempting(attempt), .. } => Some(attempt),
            Life::Up { side, .. } => side.as_mut(),
            _ => None,
        }
    }

    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.life {
            Life::Dialling { dial: Dial::Attempting(attempt), .. } => Some(attempt),
            Life::Up { side, .. } => side.as_ref(),
            _ => None,
        }
    }

    /// A new attempt, not yet running. `None` when there is nothing to dial.
    pub(super) fn new_attempt(
        &mut self,
        now: Time,
        shared: &mut Shared,
        better_than: Option<Transport>,
    ) -> Option<Attempt> {
        let link = self.target.as_ref()?;
        let mut attempt = Attempt {
            deadline: now + shared.config.attempt_deadline,
            resolving: None,
            better_than,
            rungs: VecDeque::new(),
            next_rung: None,
            opening: Vec::new(),
            awaiting: None,
            i2p_alone: link.host.is_none(),
            code: Code::Timeout,
        };
        let i2p = shared.router.is_some();
        match &link.host {
            Some(Host::Address(address)) => attempt.rungs = rungs(link, &[*address], i2p, better_than),
            Some(Host::Name(name)) => attempt.resolving = Some(shared.resolve(name, link.udp_port.unwrap_or(0))),
            None => attempt.rungs = rungs(link, &[], i2p, better_than),
        }
        if matches!(attempt.rungs.front(), Some(Rung::I2p(_))) {
            attempt.code = Code::TunnelTimeout;
        }
        (attempt.resolving.is_some() || !attempt.rungs.is_empty()).then_some(attempt)
    }

    /// Looks for a path beside those that are up.
    pub(super) fn start_side_attempt(&mut self, now: Time, shared: &mut Shared, better_than: Option<Transport>) {
        if !matches!(self.life, Life::Up { side: None, .. }) {
            return;
        }
        if let Some(attempt) = self.new_attempt(now, shared, better_than) {
            if let Life::Up { side, .. } = &mut self.life {
                *side = Some(attempt);
            }
            self.run_attempt(now, shared);
        }
    }

    /// Starts what is to be started first.
    pub(super) fn run_attempt(&mut self, now: Time, shared: &mut Shared) {
        if self.attempt().is_some_and(|attempt| attempt.resolving.is_some()) {
            self.report_stage(shared, None, Stage::Resolving);
        } else {
            self.start_rung(now, shared);
        }
    }

    pub(crate) fn on_resolved(&mut self, now: Time, shared: &mut Shared, resolve: ResolveId, found: &[SocketAddr]) {
        let limit = shared.config.limits.addresses;
        let Some(link) = self.target.clone() else { return };
        let Some(attempt) = self.attempt_mut() else { return };
        if attempt.resolving != Some(resolve) {
            return;
        }
        attempt.resolving = None;
        let addresses: Vec<_> = found.iter().map(SocketAddr::ip).take(limit).collect();
        attempt.rungs = rungs(&link, &addresses, shared.router.is_some(), attempt.better_than);
        if addresses.is_empty() {
            attempt.code = Code::Name;
        }
        self.start_rung(now, shared);
    }

    /// Starts the next transport of the ladder, or ends the attempt when nothing is left of it.
    fn start_rung(&mut self, now: Time, shared: &mut Shared) {
        let ladder = shared.config.ladder;
        let Some(attempt) = self.attempt_mut() else { return };
        attempt.next_rung = None;
        let Some(rung) = attempt.rungs.pop_front() else {
            return self.check_attempt(now, shared);
        };
        if !attempt.rungs.is_empty() {
            let delay = match ladder {
                Ladder::Race { fallback_delay } => fallback_delay,
                Ladder::Strict => {
                    let left = u32::try_from(attempt.rungs.len() + 1).unwrap_or(u32::MAX);
                    attempt.deadline.saturating_since(now) / left
                }
            };
            attempt.next_rung = Some(now + delay);
        }
        let transport = rung.transport();
        match rung {
            Rung::Udp(addresses) => {
                self.report_stage(shared, Some(transport), Stage::Handshake);
                for address in addresses {
                    self.initiate(now, shared, transport, Via::Udp(address), None);
                }
            }
            Rung::Tcp(addresses) => {
                self.report_stage(shared, Some(transport), Stage::Opening);
                for address in addresses {
                    let stream = shared.open_stream(now, self.id, address);
                    if let Some(attempt) = self.attempt_mut() {
                        attempt.opening.push(stream);
                    }
                }
            }
            Rung::I2p(destination) => self.dial_i2p(now, shared, destination),
        }
        self.check_attempt(now, shared);
        if matches!(ladder, Ladder::Race { .. })
            && self.attempt().and_then(|attempt| attempt.next_rung).is_some_and(|at| at <= now)
        {
            self.start_rung(now, shared);
        }
    }

    /// Asks the router for a stream, now or when it stands.
    fn dial_i2p(&mut self, now: Time, shared: &mut Shared, destination: Destination) {
        if shared.is_own_destination(&destination) {
            if let Some(attempt) = self.attempt_mut() {
                attempt.note(Code::Unreachable);
            }
            return;
        }
        let stream = shared.dial_i2p(now, self.id, &destination);
        let stage = if stream.is_some() { Stage::Opening } else { Stage::Tunnels };
        self.report_stage(shared, Some(Transport::I2p), stage);
        let Some(attempt) = self.attempt_mut() else { return };
        match stream {
            Some(stream) => attempt.opening.push(stream),
            None => attempt.awaiting = Some(destination),
        }
    }

    pub(crate) fn awaits_router(&self) -> bool {
        self.attempt().is_some_and(|attempt| attempt.awaiting.is_some())
    }

    /// The router stands, or `failed` says why it does not: the attempt that waited for it goes on.
    pub(crate) fn on_router(&mut self, now: Time, shared: &mut Shared, failed: Option<Code>) {
        let deadline = now + shared.config.attempt_deadline;
        let Some(attempt) = self.attempt_mut() else { return };
        let Some(destination) = attempt.awaiting.take() else { return };
        match failed {
            Some(code) => {
                attempt.note(code);
                // What else it tried had its time meanwhile.
                if attempt.deadline <= now {
                    return self.fail_attempt(now, shared);
                }
            }
            None => {
                attempt.deadline = deadline;
                self.dial_i2p(now, shared, destination);
            }
        }
        self.check_attempt(now, shared);
    }

    /// The router did not make a stream to the peer.
    pub(crate) fn on_i2p_failed(&mut self, now: Time, shared: &mut Shared, stream: StreamId, code: Code) {
        let Some(attempt) = self.attempt_mut() else { return };
        attempt.opening.retain(|opening| *opening != stream);
        attempt.note(code);
        self.check_attempt(now, shared);
    }

    /// An opened stream gets its handshake.
    pub(crate) fn on_stream_opened(&mut self, now: Time, shared: &mut Shared, stream: StreamId) {
        let Some(attempt) = self.attempt_mut() else { return shared.close_stream(stream) };
        let before = attempt.opening.len();
        attempt.opening.retain(|opening| *opening != stream);
        if attempt.opening.len() == before {
            return shared.close_stream(stream);
        }
        let transport = shared.streams.transport(stream).unwrap_or(Transport::Tcp);
        self.report_stage(shared, Some(transport), Stage::Handshake);
        self.initiate(now, shared, transport, Via::Stream(stream), None);
        self.check_attempt(now, shared);
    }

    /// A stream that we opened ended before its handshake did.
    pub(crate) fn on_dialled_stream_closed(
        &mut self,
        now: Time,
        shared: &mut Shared,
        stream: StreamId,
        error: Option<NetError>,
        heard: bool,
    ) {
        self.pending.retain(|pending| {
            let gone = pending.via == Via::Stream(stream);
            if gone {
                shared.indices.remove(&pending.index);
            }
            !gone
        });
        let Some(attempt) = self.attempt_mut() else { return };
        attempt.opening.retain(|opening| *opening != stream);
        attempt.note(match error {
            _ if heard => Code::HandshakeTimeout,
            None | Some(NetError::Refused | NetError::Unreachable | NetError::Reset) => Code::Unreachable,
            Some(NetError::TimedOut | NetError::Other) => Code::Timeout,
        });
        self.check_attempt(now, shared);
    }

    /// The system would not send to this address.
    pub(crate) fn on_transmit_failed(&mut self, now: Time, shared: &mut Shared, to: SocketAddr, error: NetError) {
        let before = self.pending.len();
        self.pending.retain(|pending| {
            let gone = pending.is_live() && pending.via == Via::Udp(to);
            if gone {
                shared.indices.remove(&pending.index);
            }
            !gone
        });
        if self.pending.len() < before {
            if let Some(attempt) = self.attempt_mut() {
                attempt.note(match error {
                    NetError::Refused | NetError::Unreachable => Code::Unreachable,
                    NetError::Reset | NetError::TimedOut | NetError::Other => Code::Timeout,
                });
            }
            self.check_attempt(now, shared);
        }
    }

    /// Timers of the attempt and of its handshakes.
    pub(super) fn on_dial_timers(&mut self, now: Time, shared: &mut Shared) {
        self.resend_due(now, shared);
        self.forget_late(now, shared);
        self.on_renewal_timers(now, shared);
        let Some(attempt) = self.attempt() else { return };
        if attempt.ends_at().is_some_and(|at| at <= now) {
            self.fail_attempt(now, shared);
        } else if attempt.next_rung.is_some_and(|at| at <= now) {
            if shared.config.ladder == Ladder::Strict {
                self.drop_legs(now, shared);
            }
            self.start_rung(now, shared);
        }
    }

    /// An attempt of which nothing runs any more goes on with the next rung, or has failed.
    pub(super) fn check_attempt(&mut self, now: Time, shared: &mut Shared) {
        let running = self.pending.iter().any(Pending::is_live);
        let Some(attempt) = self.attempt() else { return };
        if running || !attempt.opening.is_empty() || attempt.resolving.is_some() || attempt.awaiting.is_some() {
            return;
        }
        if attempt.rungs.is_empty() {
            self.fail_attempt(now, shared);
        } else {
            self.start_rung(now, shared);
        }
    }

    fn fail_attempt(&mut self, now: Time, shared: &mut Shared) {
        let answered = self.pending.iter().any(|pending| match pending.via {
            Via::Stream(stream) => pending.is_live() && shared.streams.heard(stream),
            Via::Udp(_) => false,
        });
        let silent = self.pending.iter().any(|pending| match pending.via {
            Via::Stream(stream) => {
                pending.is_live()
                    && !shared.streams.heard(stream)
                    && shared.streams.transport(stream) == Some(Transport::I2p)
            }
            Via::Udp(_) => false,
        });
        if silent {
            shared.peer_was_silent(now);
        }
        if let Some(attempt) = self.attempt_mut().filter(|_| answered) {
            attempt.note(Code::HandshakeTimeout);
        }
        let code = self.attempt().map_or(Code::Timeout, |attempt| attempt.code);
        self.end_attempt(now, shared);
        if let Life::Dialling { lost_at, .. } = self.life {
            self.back_off(now, shared, lost_at, code);
        }
    }

    /// Ends the attempt that runs, if one does. Its last datagram handshakes live on for a while.
    pub(super) fn end_attempt(&mut self, now: Time, shared: &mut Shared) {
        self.drop_legs(now, shared);
        let mut spare = self.pending.iter().filter(|pending| pending.is_late()).count().saturating_sub(LATE_HANDSHAKES);
        self.pending.retain(|pending| {
            let forgotten = pending.is_late() && spare > 0;
            if forgotten {
                spare -= 1;
                shared.indices.remove(&pending.index);
            }
            !forgotten
        });
        // After a late tick they may be over already.
        self.forget_late(now, shared);
        match &mut self.life {
            Life::Dialling { dial, .. } => *dial = Dial::Backoff { until: now },
            Life::Up { side, .. } => *side = None,
            Life::Waiting { .. } | Life::Draining { .. } | Life::Gone => {}
        }
    }

    /// Ends what the attempt has begun: streams are closed, datagram handshakes become late ones.
    fn drop_legs(&mut self, now: Time, shared: &mut Shared) {
        if let Some(attempt) = self.attempt_mut() {
            for stream in core::mem::take(&mut attempt.opening) {
                shared.close_stream(stream);
            }
        }
        for mut pending in core::mem::take(&mut self.pending) {
            if pending.is_live() {
                if let Via::Stream(_) = pending.via {
                    self.drop_carrier(shared, pending.index, pending.via);
                    continue;
                }
                pending.role = Role::Late { until: now + LATE_LIFE };
                pending.resend = None;
            }
            self.pending.push(pending);
        }
    }
}

impl Attempt {
    /// Keeps the most telling reason: what the peer said tells more than what the network said,
    /// and that more than silence.
    pub(super) fn note(&mut self, code: Code) {
        if code == Code::HandshakeTimeout || matches!(self.code, Code::Timeout | Code::TunnelTimeout) {
            self.code = code;
        }
    }

    /// Its deadline, unless it waits for nothing but the router, which has its own.
    pub(super) fn ends_at(&self) -> Option<Time> {
        let paused = self.i2p_alone && self.awaiting.is_some();
        (!paused).then_some(self.deadline)
    }
}

/// What of a link may be dialled, in order.
fn rungs(link: &Link, addresses: &[IpAddr], i2p: bool, better_than: Option<Transport>) -> VecDeque<Rung> {
    let at = |port: Option<u16>| {
        let port = port?;
        let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        (!addresses.is_empty()).then_some(addresses)
    };
    let ladder = [
        at(link.udp_port).map(Rung::Udp),
        at(link.tcp_port).map(Rung::Tcp),
        link.i2p.clone().filter(|_| i2p).map(Rung::I2p),
    ];
    let wanted = |rung: &Rung| better_than.is_none_or(|limit| rung.transport() < limit);
    ladder.into_iter().flatten().filter(wanted).collect()
}
