//! One attempt at the whole ladder of transports, and the handshakes that it begins.
//!
//! A transport of the ladder is a *rung*. In a race each rung has a head start over the next and
//! the first confirmed path wins; in strict order each has its share of the deadline. Silence is
//! what blocked UDP looks like, so a rung is left for time, not for errors; an error only ends it
//! early.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use super::{Dial, Established, Life, Session, Via, order_of};
use crate::backoff::Schedule;
use crate::code::Code;
use crate::config::{Ladder, Transport};
use crate::crypto::{HANDSHAKE_STACK, wiped};
use crate::door::{CookieTurn, Reply, mac2};
use crate::endpoint::{IndexOwner, Shared, our_limits};
use crate::io::{NetError, ResolveId, StreamId};
use crate::link::{Host, Link};
use crate::noise::Initiator;
use crate::sam::Destination;
use crate::seal::{Opener, Sealer};
use crate::time::Time;
use crate::update::Stage;
use crate::wire::packet::{self, Cookie, InitHeader, Resp, VERSION};
use crate::wire::payload::{HelloInit, HelloResp, INIT_PAYLOAD_LEN, Verdict};

/// Handshakes that outlive their attempt, in case their answer is only late.
const LATE_HANDSHAKES: usize = 3;
/// For how long.
const LATE_LIFE: Duration = Duration::from_secs(60);
/// Bad answers that are read for one handshake: forged ones must not cost without end. They do not end it either.
const MAX_BAD_ANSWERS: u8 = 8;
/// The waits before an unanswered initiation is sent again, as the same bytes.
const RESEND_FIRST: Duration = Duration::from_secs(1);
const RESEND_CAP: Duration = Duration::from_secs(16);

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
    /// Waits for the I2P router, to dial this. Its time does not run meanwhile.
    awaiting: Option<Destination>,
    /// Why the attempt fails, if it does: the most telling of what happened.
    code: Code,
}

/// A handshake begun and not answered.
pub(crate) struct Pending {
    pub(super) index: u32,
    transport: Transport,
    pub(super) via: Via,
    dial_no: u32,
    noise: Initiator,
    packet: Bytes,
    started: Time,
    /// When and for which time it is sent again; `None` on streams and when its attempt is over.
    pub(super) resend: Option<(Time, u32)>,
    bad_answers: u8,
    cookie: CookieTurn,
    pub(super) role: Role,
}

/// What a handshake was begun for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The attempt that runs.
    Dial,
    /// An attempt that is over; it is forgotten then.
    Late { until: Time },
    /// New keys for this path. It belongs to no attempt.
    Renewal { path: u32, deadline: Time },
}

impl Pending {
    fn is_live(&self) -> bool {
        self.role == Role::Dial
    }

    fn is_late(&self) -> bool {
        matches!(self.role, Role::Late { .. })
    }

    /// When a late one is forgotten.
    pub(super) fn expires(&self) -> Option<Time> {
        if let Role::Late { until } = self.role { Some(until) } else { None }
    }

    /// Our index of the path that it renews.
    pub(super) fn renews(&self) -> Option<u32> {
        if let Role::Renewal { path, .. } = self.role { Some(path) } else { None }
    }
}

impl Session {
    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
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

    /// Begins a handshake: fresh ephemeral key, fresh index, next dial number. It is for a new path, or
    /// `renews` the keys of one.
    pub(super) fn initiate(
        &mut self,
        now: Time,
        shared: &mut Shared,
        transport: Transport,
        via: Via,
        renews: Option<u32>,
    ) {
        let renewed = renews.and_then(|index| self.paths.get(&index)).map_or(0, |path| path.peer_index);
        let invite = self.target.as_ref().and_then(|link| link.invite.as_ref());
        let index = shared.claim_index(IndexOwner::Pending(self.id));
        self.dial_no = self.dial_no.saturating_add(1);
        let config = &shared.config;
        let trying = config
            .backoff
            .total(config.attempts)
            .saturating_add(config.attempt_deadline.saturating_mul(config.attempts));
        let hello = HelloInit {
            my_half: self.half,
            your_half: self.peer_half.unwrap_or(0),
            dial_no: self.dial_no,
            renews: renewed,
            invite: invite.map_or([0; 8], |invite| invite.id),
            limits: our_limits(&config.limits),
            // Who has no address dials nobody.
            keep_s: self.target.as_ref().map(|_| u32::try_from(trying.as_secs()).unwrap_or(u32::MAX)),
        };
        let no_psk = [0; 32];
        let psk = invite.map_or(&no_psk, |invite| &**invite.secret);
        let mut payload = Vec::new();
        hello.encode(if transport.is_stream() { 0 } else { INIT_PAYLOAD_LEN }, &mut payload);
        let header = InitHeader { class: shared.config.class, transport, sender: index };
        let prologue = packet::prologue(&header.to_bytes());
        let mut bytes = Vec::new();
        let start = packet::begin_init(header, &mut bytes);
        let started = wiped::<HANDSHAKE_STACK, _>(|| {
            let ephemeral = shared.random.secret();
            Initiator::start(&shared.identity, &self.peer, psk, &prologue, ephemeral, &payload, &mut bytes)
        });
        let Ok(noise) = started else {
            // The peer's key is one with which no secret can be agreed.
            self.drop_carrier(shared, index, via);
            if let Some(attempt) = self.attempt_mut() {
                attempt.code = Code::WrongPeer;
            }
            return;
        };
        packet::finish_init(&mut bytes, start, |before| crate::crypto::mac1(&self.peer, before));
        if let Via::Udp(to) = via
            && let Some(cookie) = shared.cookies.get(now, to, &self.peer)
        {
            packet::set_mac2(&mut bytes, |before| mac2(&cookie, before));
        }
        let packet = Bytes::from(bytes);
        let role = renews.map_or(Role::Dial, |path| {
            // Who cannot dial instead does not give up sooner than by silence.
            let (config, dials) = (&shared.config, self.target.is_some());
            let usual = if dials { config.attempt_deadline } else { config.attempt_deadline.max(config.silence_of(transport)) };
            Role::Renewal { path, deadline: now + self.renewal_patience(path, usual, config) }
        });
        let mut resend = None;
        match via {
            Via::Udp(to) => {
                shared.datagram(to, packet.clone());
                resend = Some((now + resend_wait(shared, 0), 1));
            }
            Via::Stream(stream) => {
                shared.streams.push_with(stream, packet.len(), |out| out.extend_from_slice(&packet));
            }
        }
        self.pending.push(Pending {
            index,
            transport,
            via,
            dial_no: self.dial_no,
            noise,
            packet,
            started: now,
            resend,
            bad_answers: 0,
            cookie: CookieTurn::default(),
            role,
        });
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

    /// An answer to a handshake of ours. Returns whether it was one.
    /// An answer counts only on the carrier that the handshake went out on.
    pub(crate) fn on_resp(
        &mut self,
        now: Time,
        shared: &mut Shared,
        resp: &Resp<'_>,
        stream: Option<StreamId>,
    ) -> bool {
        let here = |pending: &Pending| match pending.via {
            Via::Udp(_) => stream.is_none(),
            Via::Stream(via) => stream == Some(via),
        };
        let found = self.pending.iter().position(|pending| pending.index == resp.receiver && here(pending));
        let Some(position) = found else { return false };
        let pending = &mut self.pending[position];
        if pending.bad_answers >= MAX_BAD_ANSWERS {
            return false;
        }
        let mut payload = Vec::new();
        let opened = pending.noise.read(resp.noise, &mut payload).ok();
        let read = opened.and_then(|keys| HelloResp::decode(&payload).ok().map(|hello| (keys, hello)));
        let echoed = read.filter(|(_, hello)| {
            hello.receiver == pending.index
                && hello.your_half == self.half
                && hello.dial_no == pending.dial_no
                && hello.my_half != 0
                && hello.version == VERSION
                && hello.limits.versions.contains(&VERSION)
        });
        let Some((keys, hello)) = echoed else {
            pending.bad_answers += 1;
            let live = pending.is_live();
            if let Some(attempt) = self.attempt_mut().filter(|_| live) {
                attempt.note(Code::HandshakeTimeout);
            }
            return false;
        };
        let pending = self.pending.remove(position);
        // It may tell of what the peer had forgotten by the time it proved its half.
        if pending.started < self.met && self.peer_half.is_some_and(|half| half != hello.my_half) {
            self.drop_carrier(shared, pending.index, pending.via);
            self.check_attempt(now, shared);
            return false;
        }
        if let Verdict::Closed(number) = hello.verdict {
            self.drop_carrier(shared, pending.index, pending.via);
            self.finish(now, shared, Code::from_number(number), true, String::new());
            return true;
        }
        let once = pending.resend.is_none_or(|(_, count)| count == 1) && !pending.cookie.used();
        let established = Established {
            index: pending.index,
            peer_index: hello.index,
            transport: pending.transport,
            via: pending.via,
            initiator: true,
            peer_class: None,
            dial_no: pending.dial_no,
            renews: pending.renews().unwrap_or(0),
            peer_half: hello.my_half,
            limits: hello.limits,
            keep: Duration::ZERO,
            sealer: Sealer::new(keys.send),
            opener: Opener::new(keys.recv, order_of(pending.transport)),
            hash: keys.hash,
            begun: pending.started,
            rtt: once.then(|| now.saturating_since(pending.started)),
        };
        self.establish(now, shared, established)
    }

    /// A responder under load wants to see its cookie before it answers. Nothing but mac2 changes in the INIT, and nothing
    /// else here: its target stays where it was, wherever the COOKIE came from.
    pub(crate) fn on_cookie(&mut self, now: Time, shared: &mut Shared, reply: &Cookie<'_>) {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.index == reply.receiver) else { return };
        let Via::Udp(to) = pending.via else { return };
        let answer = pending.cookie.on_cookie(&self.peer, &pending.packet, reply);
        let (Reply::Resend(cookie) | Reply::Keep(cookie)) = answer else { return };
        shared.cookies.put(now, to, self.peer, cookie);
        let mut packet = pending.packet.to_vec();
        packet::set_mac2(&mut packet, |before| mac2(&cookie, before));
        pending.packet = Bytes::from(packet);
        if matches!(answer, Reply::Resend(_)) && pending.resend.is_some() {
            shared.datagram(to, pending.packet.clone());
        }
    }

    /// Timers of the attempt and of its handshakes.
    pub(super) fn on_dial_timers(&mut self, now: Time, shared: &mut Shared) {
        for position in 0..self.pending.len() {
            let pending = &mut self.pending[position];
            if let (Some((at, count)), Via::Udp(to)) = (pending.resend, pending.via)
                && at <= now
            {
                shared.datagram(to, pending.packet.clone());
                pending.cookie.sent();
                pending.resend = Some((now + resend_wait(shared, count), count.saturating_add(1)));
            }
        }
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

    /// Forgets late handshakes whose time is over.
    fn forget_late(&mut self, now: Time, shared: &mut Shared) {
        self.pending.retain(|pending| {
            let keep = pending.expires().is_none_or(|at| at > now);
            if !keep {
                shared.indices.remove(&pending.index);
            }
            keep
        });
    }

    /// An attempt of which nothing runs any more goes on with the next rung, or has failed.
    fn check_attempt(&mut self, now: Time, shared: &mut Shared) {
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

    pub(super) fn drop_pending(&mut self, shared: &mut Shared) {
        for pending in core::mem::take(&mut self.pending) {
            self.drop_carrier(shared, pending.index, pending.via);
        }
    }
}

impl Attempt {
    /// Keeps the most telling reason: what the peer said tells more than what the network said,
    /// and that more than silence.
    fn note(&mut self, code: Code) {
        if code == Code::HandshakeTimeout || matches!(self.code, Code::Timeout | Code::TunnelTimeout) {
            self.code = code;
        }
    }

    /// Its deadline, unless it waits for what has its own.
    pub(super) fn ends_at(&self) -> Option<Time> {
        self.awaiting.is_none().then_some(self.deadline)
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

fn resend_wait(shared: &mut Shared, count: u32) -> Duration {
    let schedule = Schedule::exponential(RESEND_FIRST, RESEND_CAP).with_jitter(shared.config.backoff.jitter() / 2);
    schedule.jittered(count, shared.random.jitter())
}
