//! Handshakes that peers begin: answered when the policy lets them in, acted on only when their
//! first packet proves that the peer holds its key now (message 1 of IK can be replayed).

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;

use super::shared::IndexOwner;
use super::streams::{MAX_BACKLOG, StreamOwner};
use super::{Endpoint, Timer};
use crate::accept::CameBy;
use crate::code::Code;
use crate::config::{Class, Limits, Transport};
use crate::crypto::{HANDSHAKE_STACK, wiped};
use crate::door::{self, Admission, Caller, Place, Room, Source};
use crate::io::{SessionId, StreamId};
use crate::key::PublicKey;
use crate::noise::Responder;
use crate::seal::{Opener, Sealer};
use crate::session::{Established, Heard, Session, Tombstone, Via, order_of};
use crate::time::Time;
use crate::wire::packet::{self, Init, MAX_STREAM_PACKET, VERSION};
use crate::wire::payload::{HelloInit, HelloResp, PeerLimits, RESP_PAYLOAD_LEN, Verdict};

/// A handshake that was answered and waits for its first packet.
pub(super) struct HalfOpen {
    key: PublicKey,
    /// Our half in the answer.
    half: u64,
    answer: Bytes,
    answered: Time,
    /// The answer said that the session is closed: there is nothing to confirm.
    refused: bool,
    /// What let the peer in.
    invite: Option<CameBy>,
    established: Established,
}

impl HalfOpen {
    pub(super) fn is_on(&self, stream: StreamId) -> bool {
        self.established.via == Via::Stream(stream)
    }

    pub(super) fn is_datagram(&self) -> bool {
        matches!(self.established.via, Via::Udp(_))
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
        // Who is anonymous comes over I2P alone.
        let anonymous = Class::Anonymous == init.header.class;
        if init.header.transport != transport || (anonymous && transport != Transport::I2p) {
            return false;
        }
        if !self.mac1.verify(init.before_mac1, &init.mac1) {
            door::count(&mut self.door.turned_away.bad_mac1);
            return false;
        }
        if let Some(half_open) = self.half_open.repeated(init.ephemeral()) {
            // A repeated initiation gets the same bytes, to where the first one got them.
            if let (Via::Udp(from), Via::Udp(to)) = (via, half_open.established.via)
                && from == to
            {
                self.shared.datagram(to, half_open.answer.clone());
                return true;
            }
            return false;
        }
        let Some(source) = self.admit(now, via, init) else { return false };
        let answered = self.answer(now, via, transport, init, source).is_some();
        if !answered {
            door::count(&mut self.door.turned_away.not_accepted);
        }
        answered
    }

    /// Who may be read, which costs DH. Whoever is to prove the address first gets a cookie here.
    fn admit(&mut self, now: Time, via: Via, init: &Init<'_>) -> Option<Source> {
        let (source, proven) = match via {
            Via::Udp(from) => (Source::of(from.ip()), self.door.proves(now, from, init.before_mac2, &init.mac2)),
            Via::Stream(stream) => (self.shared.streams.source(stream)?, true),
        };
        // Nobody else can say anything on its stream, or prove its address.
        let known = match via {
            Via::Udp(from) => self.shared.whereabouts.session_at(from).filter(|_| proven),
            Via::Stream(stream) => self.proven_owner(stream),
        };
        if let Some(session) = known.and_then(|id| self.sessions.get_mut(&id))
            && self.door.admit_known(now, &mut session.allowance)
        {
            return Some(source);
        }
        let half_open_of_source = self.half_open.of_source(source);
        let caller = Caller { source, proven, half_open: self.half_open.len(), half_open_of_source };
        match (self.door.admit(now, &self.shared.config.limits, caller), via) {
            (Admission::Answer, _) => return Some(source),
            (Admission::Cookie, Via::Udp(from)) => {
                let cookie = self.door.cookie(now, &mut self.shared.random, from, init.header.sender, &init.mac1);
                self.shared.datagram(from, Bytes::from(cookie));
            }
            (Admission::Cookie | Admission::Silence, _) => {}
        }
        None
    }

    /// The half that a peer was already told in an answer, for a session that does not exist yet.
    pub(super) fn half_told(&self, now: Time, key: &PublicKey) -> Option<u64> {
        let half_open =
            || self.half_open.iter().find(|(_, _, it)| it.key == *key && !it.refused).map(|(_, _, it)| it.half);
        self.told.half(now, key).or_else(half_open)
    }

    fn answer(&mut self, now: Time, via: Via, transport: Transport, init: &Init<'_>, source: Source) -> Option<()> {
        // Who begins handshakes on a stream has to read the answers.
        if let Via::Stream(stream) = via
            && self.shared.streams.backlog(stream) > MAX_BACKLOG
        {
            return None;
        }
        let prologue = packet::prologue(&init.header_bytes);
        let responder = Responder::read(&self.shared.identity, &prologue, init.noise).ok()?;
        let key = *responder.remote();
        // A stream that carries a path is the peer's alone.
        let proven = match via {
            Via::Stream(stream) => self.proven_owner(stream),
            Via::Udp(_) => None,
        };
        if proven.is_some_and(|id| self.by_key.get(&key) != Some(&id)) {
            return None;
        }
        let hello = HelloInit::decode(responder.payload()).ok()?;
        if hello.my_half == 0 || hello.dial_no == 0 || key == self.shared.identity.public_key() {
            return None;
        }
        if !hello.limits.versions.contains(&VERSION) {
            return None;
        }
        let id = self.by_key.get(&key).copied();
        // It has missed that another took its place.
        let replaced = id.and_then(|id| self.sessions.get_mut(&id)).and_then(|session| session.replaced(hello.my_half));
        let replaced = replaced.map(|dials| dials[transport as usize]);
        if replaced.is_some_and(|answered| hello.dial_no <= answered) {
            return None;
        }
        let session = id.and_then(|id| self.sessions.get(&id));
        if session.is_some_and(|session| !session.admits().allows(init.header.class, transport)) {
            return None;
        }
        if session.is_some_and(|session| session.is_outdated(transport, hello.my_half, hello.dial_no)) {
            return None;
        }
        let refused = match session {
            Some(session) => replaced.map(|_| (session.half, Code::Replaced)),
            None => {
                let buried = self.tombstones.get(&key).filter(|(_, it)| it.names(&hello)).map(|(_, it)| it);
                if buried.is_some_and(|it| {
                    !it.admits.allows(init.header.class, transport)
                        || hello.dial_no <= it.peer_dials[transport as usize]
                }) {
                    return None;
                }
                buried.map(|it| (it.half, it.code))
            }
        };
        // To learn of its session's end a peer needs no leave; to open another one it does.
        // Who has come by an invite may resume by it, whatever has become of the invite.
        let psk = match session.and_then(|session| session.psk(&hello.invite)) {
            Some(psk) => Arc::clone(psk),
            None => self.accept.decide(&key, hello.invite, session.is_some() || refused.is_some())?,
        };
        if session.is_none() && self.sessions.len() >= self.shared.config.limits.sessions {
            return None;
        }
        let half = match (session, refused) {
            (_, Some((half, _))) => half,
            (Some(session), None) => session.half,
            (None, None) => self.half_told(now, &key).unwrap_or_else(|| self.shared.random.half()),
        };
        let told = session.is_none() && refused.is_none();
        let verdict = match (session, refused) {
            (_, Some((_, code))) => Verdict::Closed(code.number()),
            _ if hello.your_half == 0 => Verdict::New,
            (Some(session), _) if hello.your_half == half && session.peer_half == Some(hello.my_half) => {
                Verdict::Resumed
            }
            (None, None) if hello.your_half == half => Verdict::Resumed,
            _ => Verdict::Restarted,
        };
        let refused = refused.is_some();
        let known = session.is_some() || self.accept.names(&key);
        let patience = self.shared.config.handshake_deadline_of(transport);
        let patience = session.map_or(patience, |it| it.renewal_patience(hello.renews, patience, &self.shared.config));
        self.make_room(source, known)?;
        if refused {
            // Told once for each handshake.
            let told = match id.and_then(|id| self.sessions.get_mut(&id)) {
                Some(session) => session.replaced(hello.my_half),
                None => self.tombstones.get_mut(&key).map(|(_, tombstone)| &mut tombstone.peer_dials),
            };
            if let Some(dials) = told {
                dials[transport as usize] = hello.dial_no;
            }
        }

        if told {
            let Limits { half_open, .. } = self.shared.config.limits;
            self.told.remember(now, self.shared.config.keep, half_open, key, half);
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
        let deadline = match via {
            Via::Udp(to) => {
                self.shared.datagram(to, bytes.clone());
                now + patience
            }
            Via::Stream(stream) => {
                let since = self.shared.streams.since(stream).filter(|_| proven.is_none()).unwrap_or(now);
                self.shared.streams.push_with(stream, bytes.len(), |out| out.extend_from_slice(&bytes));
                if proven.is_none() {
                    self.shared.streams.set_owner(stream, StreamOwner::HalfOpen(index));
                }
                since + patience
            }
        };
        let established = Established {
            index,
            peer_index: init.header.sender,
            transport,
            via,
            initiator: false,
            peer_class: Some(init.header.class),
            dial_no: hello.dial_no,
            renews: hello.renews,
            peer_half: hello.my_half,
            limits: hello.limits,
            keep: Duration::from_secs(u64::from(hello.keep_s.unwrap_or(0))),
            sealer: Sealer::new(keys.send),
            opener: Opener::new(keys.recv, order_of(transport)),
            hash: keys.hash,
            begun: now,
            rtt: None,
        };
        let invite = (hello.invite != [0; 8]).then_some(CameBy { id: hello.invite, psk });
        let half_open = HalfOpen { key, half, answer: bytes, answered: now, refused, invite, established };
        self.half_open.insert(index, Place { source, known, ephemeral: *init.ephemeral() }, half_open);
        self.agenda.set(Timer::HalfOpen(index), Some(deadline), super::Reason::HalfOpen);
        Some(())
    }

    /// Sees to a place in the table; `None` when there is none for this newcomer.
    fn make_room(&mut self, source: Source, known: bool) -> Option<()> {
        loop {
            let limits = &self.shared.config.limits;
            match self.half_open.room(limits.half_open, limits.half_open_per_source, source, known) {
                Room::Free => return Some(()),
                Room::Instead(index) => {
                    door::count(&mut self.door.turned_away.half_open_evicted);
                    self.drop_half_open(index);
                }
                Room::None => return None,
            }
        }
    }

    pub(super) fn drop_half_opens_of(&mut self, key: &PublicKey) {
        let indices: Vec<u32> =
            self.half_open.iter().filter(|(_, _, it)| it.key == *key).map(|(index, _, _)| index).collect();
        for index in indices {
            self.drop_half_open(index);
        }
    }

    /// Forgets what this peer began by other transports than I2P, and is not answered there any more.
    pub(super) fn drop_half_opens_in_clear(&mut self, key: &PublicKey) {
        let in_clear = |it: &HalfOpen| it.key == *key && it.established.transport != Transport::I2p;
        let indices: Vec<u32> =
            self.half_open.iter().filter(|(_, _, it)| in_clear(it)).map(|(index, _, _)| index).collect();
        for index in indices {
            self.drop_half_open(index);
        }
    }

    pub(super) fn drop_half_open(&mut self, index: u32) {
        self.agenda.set(Timer::HalfOpen(index), None, super::Reason::HalfOpen);
        self.shared.indices.remove(&index);
        if let Some((_, half_open)) = self.half_open.remove(index)
            && let Via::Stream(stream) = half_open.established.via
        {
            self.close_unproven(stream);
        }
    }

    /// The half-open handshakes of a stream that is gone go with it.
    pub(super) fn drop_half_opens_on(&mut self, stream: StreamId) {
        let on = |it: &HalfOpen| it.established.via == Via::Stream(stream);
        let indices: Vec<u32> = self.half_open.iter().filter(|(_, _, it)| on(it)).map(|(index, _, _)| index).collect();
        for index in indices {
            self.drop_half_open(index);
        }
    }

    /// The session whose paths a stream carries.
    fn proven_owner(&self, stream: StreamId) -> Option<SessionId> {
        if let Some(StreamOwner::Path(id)) = self.shared.streams.owner(stream) { Some(id) } else { None }
    }

    /// Closes a stream, unless it carries a path.
    fn close_unproven(&mut self, stream: StreamId) {
        if self.proven_owner(stream).is_none() {
            self.shared.close_stream(stream);
        }
    }

    /// The first packet under the keys of a half-open handshake: it confirms them, if its tag
    /// does. A bad one changes nothing, or ends the stream that it came on.
    pub(super) fn on_first_packet(&mut self, now: Time, index: u32, from: Option<SocketAddr>, packet: &mut [u8]) {
        let len = packet.len();
        let Some(half_open) = self.half_open.get_mut(index) else { return };
        match half_open.established.opener.open(packet) {
            Ok(opened) => {
                let heard = from.map(|from| Heard { from, len, newest: opened.newest });
                self.confirm(now, index, opened.number, heard, opened.plaintext);
            }
            Err(error) => {
                self.shared.refused.count(error);
                if let Via::Stream(stream) = half_open.established.via {
                    self.drop_half_open(index);
                    if let Some(id) = self.proven_owner(stream) {
                        self.with_session(now, id, |session, shared| session.on_stream_lost(now, shared, stream));
                    }
                }
            }
        }
    }

    fn confirm(&mut self, now: Time, index: u32, number: u64, heard: Option<Heard>, plaintext: &[u8]) {
        let Some((order, half_open)) = self.half_open.remove(index) else { return };
        self.agenda.set(Timer::HalfOpen(index), None, super::Reason::HalfOpen);
        let HalfOpen { key, half, answered, refused, invite, mut established, .. } = half_open;
        let via = established.via;
        established.rtt = Some(now.saturating_since(answered));
        // What the peer began before this and under other names is out of date.
        let stale: Vec<u32> = self
            .half_open
            .iter()
            .filter(|(_, arrival, it)| {
                it.key == key && *arrival < order && it.established.peer_half != established.peer_half
            })
            .map(|(index, _, _)| index)
            .collect();
        for index in stale {
            self.drop_half_open(index);
        }
        let known = self.by_key.get(&key).copied();
        let session = known.and_then(|id| self.sessions.get(&id));
        let agrees = session.is_none_or(|session| session.half == half);
        // Somebody else may have used the invite since it was looked at.
        let invited = invite.as_ref().is_none_or(|invite| {
            session.is_some_and(|session| session.psk(&invite.id).is_some())
                || self.accept.decide(&key, invite.id, false).is_some()
        });
        let full = session.is_none() && self.sessions.len() >= self.shared.config.limits.sessions;
        if refused || !agrees || !invited || full {
            self.shared.indices.remove(&index);
            if let Via::Stream(stream) = via {
                self.close_unproven(stream);
            }
            return;
        }
        let id = known.unwrap_or_else(|| {
            self.told.forget(&key);
            let id = self.shared.next_session();
            let session = Session::accept(now, &mut self.shared, id, key, half);
            self.sessions.insert(id, session);
            self.by_key.insert(key, id);
            id
        });
        let up = self.with_session(now, id, |session, shared| session.establish(now, shared, established));
        if up != Some(true) {
            return;
        }
        let bound = invite.as_ref().is_some_and(|invite| self.accept.bind(&invite.id, key));
        self.with_session(now, id, |session, shared| {
            if let Some(invite) = invite {
                session.came_by(shared, invite, bound);
            }
            session.on_plaintext(now, shared, index, number, heard, plaintext);
        });
    }
}

impl Tombstone {
    /// Whether a handshake means the closed session.
    fn names(&self, hello: &HelloInit) -> bool {
        self.peer_half == hello.my_half && (hello.your_half == 0 || hello.your_half == self.half)
    }
}
