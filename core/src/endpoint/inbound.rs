//! Handshakes that peers begin: answered when the policy lets them in, acted on only when their
//! first packet proves that the peer holds its key now (message 1 of IK can be replayed).

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::shared::IndexOwner;
use super::streams::StreamOwner;
use super::{Endpoint, Timer};
use crate::config::{Class, Limits, Transport};
use crate::crypto::{HANDSHAKE_STACK, wiped};
use crate::key::PublicKey;
use crate::noise::Responder;
use crate::seal::{Opener, Sealer};
use crate::session::{Established, Session, Tombstone, Via, order_of};
use crate::time::Time;
use crate::wire::packet::{self, Init, MAX_STREAM_PACKET, VERSION};
use crate::wire::payload::{HelloInit, HelloResp, PeerLimits, RESP_PAYLOAD_LEN, Verdict};

/// A handshake that was answered and waits for its first packet.
pub(super) struct HalfOpen {
    key: PublicKey,
    /// Our half in the answer.
    half: u64,
    ephemeral: [u8; 32],
    answer: Bytes,
    answered: Time,
    /// Counts arrivals.
    order: u64,
    /// The answer said that the session is closed: there is nothing to confirm.
    refused: bool,
    established: Established,
}

/// All of them, bounded; the oldest goes first.
#[derive(Default)]
pub(super) struct HalfOpens {
    by_index: BTreeMap<u32, HalfOpen>,
    arrivals: u64,
}

impl HalfOpens {
    /// The half that a peer was already told in an answer, for a session that does not exist yet.
    pub(super) fn half_for(&self, key: &PublicKey) -> Option<u64> {
        self.by_index.values().find(|it| it.key == *key && !it.refused).map(|it| it.half)
    }

    pub(super) fn is_datagram(&self, index: u32) -> bool {
        self.by_index.get(&index).is_some_and(|it| matches!(it.established.via, Via::Udp(_)))
    }

    fn oldest(&self) -> Option<u32> {
        self.by_index.iter().min_by_key(|(_, half_open)| half_open.order).map(|(index, _)| *index)
    }
}

/// What we tell every peer of our limits.
pub(crate) fn our_limits(limits: &Limits) -> PeerLimits {
    PeerLimits {
        features: 0,
        max_message: limits.max_message,
        session_credit: limits.session_credit,
        channel_credit: limits.channel_credit,
        max_packet: u16::try_from(MAX_STREAM_PACKET).unwrap_or(u16::MAX),
        versions: [VERSION].into_iter().collect(),
    }
}

impl Endpoint {
    /// A first packet. Returns whether it was answered; everything else is dropped in silence.
    pub(super) fn on_init(&mut self, now: Time, via: Via, transport: Transport, init: &Init<'_>) -> bool {
        if init.header.class != Class::Open || init.header.transport != transport {
            return false;
        }
        if !self.mac1.verify(init.before_mac1, &init.mac1) {
            return false;
        }
        if let Some(half_open) = self.half_open.by_index.values().find(|it| it.ephemeral == *init.ephemeral()) {
            // A repeated initiation gets the same bytes, to where the first one got them.
            if let (Via::Udp(from), Via::Udp(to)) = (via, half_open.established.via)
                && from == to
            {
                self.shared.datagram(to, half_open.answer.clone());
                return true;
            }
            return false;
        }
        self.answer(now, via, transport, init).is_some()
    }

    fn answer(&mut self, now: Time, via: Via, transport: Transport, init: &Init<'_>) -> Option<()> {
        let prologue = packet::prologue(&init.header_bytes);
        let responder = Responder::read(&self.shared.identity, &prologue, init.noise).ok()?;
        let key = *responder.remote();
        let hello = HelloInit::decode(responder.payload()).ok()?;
        if hello.my_half == 0 || hello.dial_no == 0 || key == self.shared.identity.public_key() {
            return None;
        }
        let session = self.by_key.get(&key).and_then(|id| self.sessions.get(id));
        if session.is_some_and(|session| session.is_outdated(transport, hello.my_half, hello.dial_no)) {
            return None;
        }
        let buried = self.tombstones.get(&key).map(|(_, tombstone)| tombstone);
        let refused = session.is_none().then(|| buried.filter(|it| it.names(&hello))).flatten();
        // To learn of its session's end a peer needs no leave; to open another one it does.
        let psk = self.accept.decide(&key, hello.invite, session.is_some() || refused.is_some())?;
        if session.is_none() && self.sessions.len() >= self.shared.config.limits.sessions {
            return None;
        }
        let half = match (session, refused) {
            (Some(session), _) => session.half,
            (None, Some(tombstone)) => tombstone.half,
            (None, None) => self.half_open.half_for(&key).unwrap_or_else(|| self.shared.random.half()),
        };
        let verdict = match (session, refused) {
            (_, Some(tombstone)) => Verdict::Closed(tombstone.code.number()),
            _ if hello.your_half == 0 => Verdict::New,
            (Some(session), _) if hello.your_half == half && session.peer_half == Some(hello.my_half) => {
                Verdict::Resumed
            }
            _ => Verdict::Restarted,
        };
        let refused = refused.is_some();
        while self.half_open.by_index.len() >= self.shared.config.limits.half_open {
            let oldest = self.half_open.oldest()?;
            self.drop_half_open(oldest);
        }

        let index = self.shared.claim_index(IndexOwner::HalfOpen);
        let answer = HelloResp {
            index,
            receiver: init.header.sender,
            my_half: half,
            your_half: hello.my_half,
            dial_no: hello.dial_no,
            verdict,
            version: VERSION,
            limits: our_limits(&self.shared.config.limits),
        };
        let mut payload = Vec::new();
        answer.encode(if transport.is_stream() { 0 } else { RESP_PAYLOAD_LEN }, &mut payload);
        let mut bytes = Vec::new();
        packet::begin_resp(init.header.sender, &mut bytes);
        let random = &mut self.shared.random;
        let replied =
            wiped::<HANDSHAKE_STACK, _>(|| responder.reply(psk.expose(), random.secret(), &payload, &mut bytes));
        let Ok(keys) = replied else {
            self.shared.indices.remove(&index);
            return None;
        };
        let bytes = Bytes::from(bytes);
        let patience = self.shared.config.limits.handshake_deadline;
        let deadline = match via {
            Via::Udp(to) => {
                self.shared.datagram(to, bytes.clone());
                now + patience
            }
            Via::Stream(stream) => {
                let since = self.shared.streams.since(stream).unwrap_or(now);
                self.shared.streams.push_with(stream, bytes.len(), |out| out.extend_from_slice(&bytes));
                self.shared.streams.set_owner(stream, StreamOwner::HalfOpen(index));
                since + patience
            }
        };
        let established = Established {
            index,
            peer_index: init.header.sender,
            transport,
            via,
            initiator: false,
            dial_no: hello.dial_no,
            peer_half: hello.my_half,
            limits: hello.limits,
            keep: Duration::from_secs(u64::from(hello.keep_s.unwrap_or(0))),
            sealer: Sealer::new(keys.send),
            opener: Opener::new(keys.recv, order_of(transport)),
            hash: keys.hash,
            rtt: None,
        };
        let ephemeral = *init.ephemeral();
        self.half_open.arrivals += 1;
        let order = self.half_open.arrivals;
        let half_open = HalfOpen { key, half, ephemeral, answer: bytes, answered: now, order, refused, established };
        self.half_open.by_index.insert(index, half_open);
        self.agenda.set(Timer::HalfOpen(index), Some(deadline), super::Reason::HalfOpen);
        Some(())
    }

    pub(super) fn drop_half_opens_of(&mut self, key: &PublicKey) {
        let indices: Vec<u32> =
            self.half_open.by_index.iter().filter(|(_, it)| it.key == *key).map(|(index, _)| *index).collect();
        for index in indices {
            self.drop_half_open(index);
        }
    }

    pub(super) fn drop_half_open(&mut self, index: u32) {
        self.agenda.set(Timer::HalfOpen(index), None, super::Reason::HalfOpen);
        self.shared.indices.remove(&index);
        if let Some(half_open) = self.half_open.by_index.remove(&index)
            && let Via::Stream(stream) = half_open.established.via
        {
            self.shared.close_stream(stream);
        }
    }

    /// The first packet under the keys of a half-open handshake: it confirms them, if its tag
    /// does. A bad one changes nothing, or ends the stream that it came on.
    pub(super) fn on_first_packet(&mut self, now: Time, index: u32, packet: &mut [u8]) {
        let Some(half_open) = self.half_open.by_index.get_mut(&index) else { return };
        match half_open.established.opener.open(packet) {
            Ok(opened) => self.confirm(now, index, opened.number, opened.plaintext),
            Err(error) => {
                self.shared.refused.count(error);
                if half_open.established.transport.is_stream() {
                    self.drop_half_open(index);
                }
            }
        }
    }

    fn confirm(&mut self, now: Time, index: u32, number: u64, plaintext: &[u8]) {
        let Some(half_open) = self.half_open.by_index.remove(&index) else { return };
        self.agenda.set(Timer::HalfOpen(index), None, super::Reason::HalfOpen);
        let HalfOpen { key, half, answered, order, refused, mut established, .. } = half_open;
        let via = established.via;
        established.rtt = Some(now.saturating_since(answered));
        // What the peer began before this and under other names is out of date.
        let stale: Vec<u32> = self
            .half_open
            .by_index
            .iter()
            .filter(|(_, it)| it.key == key && it.order < order && it.established.peer_half != established.peer_half)
            .map(|(index, _)| *index)
            .collect();
        for index in stale {
            self.drop_half_open(index);
        }
        let known = self.by_key.get(&key).copied();
        let agrees = known.and_then(|id| self.sessions.get(&id)).is_none_or(|session| session.half == half);
        if refused || !agrees {
            self.shared.indices.remove(&index);
            if let Via::Stream(stream) = via {
                self.shared.close_stream(stream);
            }
            return;
        }
        let id = known.unwrap_or_else(|| {
            let id = self.shared.next_session();
            let session = Session::accept(now, &mut self.shared, id, key, half);
            self.sessions.insert(id, session);
            self.by_key.insert(key, id);
            id
        });
        self.with_session(now, id, |session, shared| {
            if session.establish(now, shared, established) {
                session.on_plaintext(now, shared, index, number, plaintext);
            }
        });
    }
}

impl Tombstone {
    /// Whether a handshake means the closed session.
    fn names(&self, hello: &HelloInit) -> bool {
        self.peer_half == hello.my_half && (hello.your_half == 0 || hello.your_half == self.half)
    }
}
