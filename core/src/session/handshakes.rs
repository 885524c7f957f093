//! Handshakes that we begin: sent, sent again, answered, or forgotten.

use core::time::Duration;

use bytes::Bytes;

use super::{Established, Session, Via, order_of};
use crate::backoff::Schedule;
use crate::code::Code;
use crate::config::Transport;
use crate::crypto::{HANDSHAKE_STACK, wiped};
use crate::door::{CookieTurn, Reply, mac2};
use crate::endpoint::{IndexOwner, Shared, our_limits};
use crate::io::StreamId;
use crate::noise::Initiator;
use crate::seal::{Opener, Sealer};
use crate::time::Time;
use crate::wire::packet::{self, Cookie, InitHeader, Resp, VERSION};
use crate::wire::payload::{HelloInit, HelloResp, INIT_PAYLOAD_LEN, Verdict};

/// Bad answers that are read for one handshake: forged ones must not cost without end. They do not end it either.
const MAX_BAD_ANSWERS: u8 = 8;
/// The waits before an unanswered initiation is sent again, as the same bytes.
const RESEND_FIRST: Duration = Duration::from_secs(1);
const RESEND_CAP: Duration = Duration::from_secs(16);

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
    pub(super) fn is_live(&self) -> bool {
        self.role == Role::Dial
    }

    pub(super) fn is_late(&self) -> bool {
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
            let usual =
                if dials { config.attempt_deadline } else { config.attempt_deadline.max(config.silence_of(transport)) };
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

    /// Sends again what is unanswered.
    pub(super) fn resend_due(&mut self, now: Time, shared: &mut Shared) {
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
    }

    /// Forgets late handshakes whose time is over.
    pub(super) fn forget_late(&mut self, now: Time, shared: &mut Shared) {
        self.pending.retain(|pending| {
            let keep = pending.expires().is_none_or(|at| at > now);
            if !keep {
                shared.indices.remove(&pending.index);
            }
            keep
        });
    }

    pub(super) fn drop_pending(&mut self, shared: &mut Shared) {
        for pending in core::mem::take(&mut self.pending) {
            self.drop_carrier(shared, pending.index, pending.via);
        }
    }
}

fn resend_wait(shared: &mut Shared, count: u32) -> Duration {
    let schedule = Schedule::exponential(RESEND_FIRST, RESEND_CAP).with_jitter(shared.config.backoff.jitter() / 2);
    schedule.jittered(count, shared.random.jitter())
}
