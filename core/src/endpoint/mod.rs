//! The one public state machine: events go in, actions come out.

mod agenda;
mod inbound;
mod on_stream;
mod router;
mod shared;
mod streams;
mod told;
mod whereabouts;

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use thiserror::Error;
use zeroize::Zeroize;

use crate::accept::AcceptPolicy;
use crate::channel::Channels;
use crate::config::{Class, Config, ConfigError, Transport};
use crate::crypto::Mac1Key;
use crate::door::{self, Door, HalfOpens, TurnedAway};
use crate::identity::Identity;
use crate::io::{Action, Event, MessageId, NetError, SessionId, StreamId};
use crate::key::PublicKey;
use crate::link::Link;
use crate::message::{Message, SendError};
use crate::seal::Refused;
use crate::session::{Session, Tombstone, Via};
use crate::time::Time;
use crate::update::Status;
use crate::wire::packet::{self, Packet};

use agenda::{Agenda, Timer};
use inbound::HalfOpen;

pub use agenda::Reason;
pub(crate) use inbound::our_limits;
use shared::Queued;
pub(crate) use shared::{IndexOwner, Shared};
pub(crate) use streams::StreamOwner;
use told::Told;

/// Why [`Endpoint::connect`] refused. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The link's key is our own.
    #[error("the link names this endpoint itself; use the link of the other side")]
    Myself,
    /// There is a session with this peer, by which it can be reached.
    #[error("there is a session with this peer already; use it, or close it first")]
    Exists,
    /// The bound on sessions is reached.
    #[error("no further session is allowed; close one first")]
    Full,
    /// The link has a direct address, which an anonymous endpoint must not even look up.
    #[error("the link has a direct address, and this endpoint is anonymous; ask the peer for a link with i2p= alone")]
    Direct,
    /// The link has no address that this endpoint may use.
    #[error("the link has no address that this endpoint can dial; ask the peer for one with a host and a port")]
    NoAddress,
}

/// Sessions with any number of peers, over sockets that a driver holds.
///
/// See the [crate's page](crate) for the contract and an example.
pub struct Endpoint {
    shared: Shared,
    accept: AcceptPolicy,
    mac1: Mac1Key,
    sessions: BTreeMap<SessionId, Session>,
    by_key: BTreeMap<PublicKey, SessionId>,
    /// Messages of closed sessions that the application has not taken, and whose they were.
    left: BTreeMap<SessionId, (PublicKey, Channels)>,
    door: Door,
    half_open: HalfOpens<HalfOpen>,
    told: Told,
    tombstones: BTreeMap<PublicKey, (Time, Tombstone)>,
    agenda: Agenda,
    /// Sessions that may have something to send.
    ready: VecDeque<SessionId>,
    /// The buffer of the last action may hold a secret.
    spilled: bool,
    /// Room for the timers of one tick.
    due: Vec<Timer>,
    now: Time,
}

impl Endpoint {
    /// An endpoint that lets nobody in until [`set_accept`](Self::set_accept) says otherwise.
    ///
    /// `seed` is a secret, used for this endpoint alone: a driver draws it from the OS. The same
    /// seed, events and times lead to the same actions, byte for byte.
    ///
    /// # Errors
    /// The configuration has a number outside its range.
    pub fn new(config: Config, identity: Identity, mut seed: [u8; 32]) -> Result<Self, ConfigError> {
        config.validate()?;
        let mac1 = Mac1Key::new(&identity.public_key());
        let door = Door::new(&identity.public_key());
        let shared = Shared::new(config, identity, &seed);
        seed.zeroize();
        let mut endpoint = Self {
            shared,
            accept: AcceptPolicy::nobody(),
            mac1,
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            left: BTreeMap::new(),
            door,
            half_open: HalfOpens::default(),
            told: Told::default(),
            tombstones: BTreeMap::new(),
            agenda: Agenda::default(),
            ready: VecDeque::new(),
            spilled: false,
            due: Vec::new(),
            now: Time::ZERO,
        };
        endpoint.set_router_timer();
        Ok(endpoint)
    }

    /// The key by which peers know this endpoint.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.shared.identity.public_key()
    }

    /// Data packets that were refused so far, over all sessions. A rise alone harms nothing: the network repeats and
    /// damages packets too.
    #[must_use]
    pub fn refused(&self) -> Refused {
        self.shared.refused
    }

    /// What was turned away at the door so far, before it could become a session.
    #[must_use]
    pub fn turned_away(&self) -> TurnedAway {
        self.door.turned_away
    }

    /// First packets that were read so far, whatever came of them: each cost at most five X25519, and nothing else that
    /// strangers send costs any.
    #[must_use]
    pub fn handshakes_read(&self) -> u64 {
        self.door.read
    }

    /// Decides who may open a session from now on. Sessions that exist are not touched: their peers may resume
    /// them, also by an invite that was withdrawn. An invite that the policy before named as well
    /// remains that of whoever used it.
    pub fn set_accept(&mut self, mut policy: AcceptPolicy) {
        policy.inherit(&self.accept);
        self.accept = policy;
    }

    /// Tells the endpoint what happened. Drain [`poll_action`](Self::poll_action) afterwards.
    pub fn handle(&mut self, now: Time, event: Event<'_>) {
        let now = self.clamp(now);
        match event {
            Event::Datagram { from, data } => self.on_datagram(now, from, data),
            Event::TransmitFailed { to, error } => self.on_transmit_failed(now, to, error),
            Event::StreamOpened { stream } => self.on_stream_opened(now, stream),
            Event::StreamData { stream, data } => self.on_stream_data(now, stream, data),
            Event::StreamWritten { stream, len } => {
                if self.shared.streams.written(stream, len) {
                    self.shared.act(Action::CloseStream { stream });
                }
                self.wake_owner(now, stream);
            }
            Event::StreamWritable { stream } => {
                self.shared.streams.writable(stream);
                self.wake_owner(now, stream);
            }
            Event::StreamClosed { stream, error } => self.on_stream_closed(now, stream, error),
            Event::Resolved { resolve, addresses } => {
                // Only the session that asked knows the handle.
                for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                    self.with_session(now, id, |session, shared| session.on_resolved(now, shared, resolve, addresses));
                }
            }
            Event::NetworkChanged => {
                self.hurry_router(now);
                for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                    self.with_session(now, id, |session, shared| session.network_changed(now, shared));
                }
            }
            Event::Tick => {}
        }
        self.tick(now);
    }

    /// Dials the peer that `link` names; updates say how it goes.
    ///
    /// # Errors
    /// Nothing was started; the error says why.
    pub fn connect(&mut self, now: Time, link: &Link) -> Result<SessionId, ConnectError> {
        let now = self.clamp(now);
        if link.key == self.public_key() {
            return Err(ConnectError::Myself);
        }
        if self.by_key.contains_key(&link.key) {
            return Err(ConnectError::Exists);
        }
        if self.sessions.len() >= self.shared.config.limits.sessions {
            return Err(ConnectError::Full);
        }
        let direct = link.host.is_some() && (link.udp_port.is_some() || link.tcp_port.is_some());
        if link.host.is_some() && self.shared.config.class == Class::Anonymous {
            return Err(ConnectError::Direct);
        }
        if !direct && (link.i2p.is_none() || self.shared.router.is_none()) {
            return Err(ConnectError::NoAddress);
        }
        if !direct {
            self.drop_half_opens_in_clear(&link.key);
        }
        let id = self.shared.next_session();
        let half = self.half_told(now, &link.key).unwrap_or_else(|| self.shared.random.half());
        self.told.forget(&link.key);
        let mut link = link.clone();
        if !direct {
            // A host that cannot be dialled is not looked up either.
            link.host = None;
        }
        let key = link.key;
        let session = Session::dial(now, &mut self.shared, id, half, link);
        self.sessions.insert(id, session);
        self.by_key.insert(key, id);
        self.settle(now, id);
        Ok(id)
    }

    /// Queues a message on a reliable channel. Its outcome comes as an update with this id.
    ///
    /// # Errors
    /// Nothing was queued; the error says why.
    pub fn send(&mut self, now: Time, session: SessionId, channel: u8, data: Bytes) -> Result<MessageId, SendError> {
        let now = self.clamp(now);
        let open = self.sessions.get_mut(&session).filter(|session| !session.is_over() && !session.is_closing());
        let id = open.ok_or(SendError::Closed)?.channels.send(channel, data)?;
        self.settle(now, session);
        Ok(id)
    }

    /// Sets how a channel stands among the others of its session: the higher, the sooner; 128 by
    /// default. Equal ones take turns.
    pub fn set_priority(&mut self, session: SessionId, channel: u8, priority: u8) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.channels.set_priority(channel, priority);
        }
    }

    /// Hands out the next message, in the order of arrival on its channel. It counts as taken, so
    /// that its sender hears [`Delivered`](crate::Outcome::Delivered), only with the next
    /// [`taken`](Self::taken).
    ///
    /// Messages of an ended session stay until they are taken, of one peer up to what one session
    /// may hold: one that comes and goes loses its oldest.
    pub fn recv(&mut self, session: SessionId) -> Option<Message> {
        if let Some(session) = self.sessions.get_mut(&session) {
            return session.channels.recv();
        }
        let message = self.left.get_mut(&session)?.1.recv();
        if message.is_none() {
            self.left.remove(&session);
        }
        message
    }

    /// Says that the application has done with every message handed out so far.
    pub fn taken(&mut self, now: Time, session: SessionId) {
        let now = self.clamp(now);
        if let Some(it) = self.sessions.get_mut(&session) {
            it.channels.taken();
            self.settle(now, session);
        }
    }

    /// Delivers what is queued, up to the configured deadline, and ends the session. Messages
    /// handed out so far count as taken. `reason` is for a person at the other end; its first 64
    /// characters are sent.
    pub fn close(&mut self, now: Time, session: SessionId, reason: &str) {
        let now = self.clamp(now);
        self.taken(now, session);
        self.with_session(now, session, |session, shared| session.close(now, shared, reason));
    }

    /// Ends a dial or a session at once and frees all it holds. A peer with a live path is told
    /// once; nothing is flushed, and no further update comes.
    pub fn cancel(&mut self, now: Time, session: SessionId) {
        let now = self.clamp(now);
        self.with_session(now, session, |session, shared| session.cancel(now, shared));
        self.left.remove(&session);
    }

    /// Skips the wait for the next attempt.
    pub fn retry_now(&mut self, now: Time, session: SessionId) {
        let now = self.clamp(now);
        self.with_session(now, session, |session, shared| session.retry_now(now, shared));
        self.hurry_router(now);
    }

    /// A snapshot of a session; `None` when it has ended.
    #[must_use]
    pub fn status(&self, now: Time, session: SessionId) -> Option<Status> {
        self.sessions.get(&session).map(|session| session.status(now.max(self.now)))
    }

    /// The next thing to do. `buf` is cleared, and filled for actions that carry bytes.
    #[must_use = "actions are what the endpoint is for"]
    pub fn poll_action(&mut self, now: Time, buf: &mut Vec<u8>) -> Option<Action> {
        let now = self.clamp(now);
        if core::mem::take(&mut self.spilled) {
            buf.zeroize();
        }
        loop {
            buf.clear();
            if let Some(queued) = self.shared.queue.pop_front() {
                return Some(match queued {
                    Queued::Action(action) => action,
                    Queued::Datagram { to, packet } => {
                        buf.extend_from_slice(&packet);
                        Action::Transmit { to, segment_size: None }
                    }
                });
            }
            if let Some((stream, secret)) = self.shared.streams.poll_write(buf) {
                self.spilled = secret;
                return Some(Action::WriteStream { stream });
            }
            let id = *self.ready.front()?;
            let action =
                self.sessions.get_mut(&id).and_then(|session| session.poll_transmit(now, &mut self.shared, buf));
            // Others come first next time, whether this one has more or not.
            self.ready.pop_front();
            if action.is_some() {
                self.ready.push_back(id);
            }
            self.set_timer(id);
            if action.is_some() {
                return action;
            }
        }
    }

    /// When to call [`handle`](Self::handle) with [`Event::Tick`], and why. Not later than the
    /// time of the last call while actions wait to be drained.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, Reason)> {
        let queued = !self.shared.queue.is_empty() || self.shared.streams.has_ready() || !self.ready.is_empty();
        if queued { Some((self.now, Reason::Queued)) } else { self.agenda.next() }
    }

    fn clamp(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }

    /// Lets `f` work on a session, and sees to what follows.
    fn with_session<R>(
        &mut self,
        now: Time,
        id: SessionId,
        f: impl FnOnce(&mut Session, &mut Shared) -> R,
    ) -> Option<R> {
        let session = self.sessions.get_mut(&id)?;
        let result = f(session, &mut self.shared);
        self.settle(now, id);
        Some(result)
    }

    /// After a session was touched: it may have something to send, another timer, or have ended.
    fn settle(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (key, over, gone) = (session.peer, session.is_over(), session.is_gone());
        if let Some(tombstone) = session.take_tombstone() {
            self.bury(now, key, tombstone);
        }
        if over && self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
            // A handshake that names this session must not begin another under its name.
            self.drop_half_opens_of(&key);
        }
        if gone {
            self.agenda.set(Timer::Session(id), None, Reason::Expiry);
            if let Some(session) = self.sessions.remove(&id) {
                let channels = session.into_channels();
                if channels.readable() {
                    self.leave(id, key, channels);
                }
            }
            return;
        }
        if !self.ready.contains(&id) {
            self.ready.push_back(id);
        }
        self.set_timer(id);
        self.set_router_timer();
        self.renew_silent_session(now);
    }

    /// Keeps what the application has not taken of an ended session. Of one peer it is no more than
    /// a session may hold, however often that peer comes and goes: the oldest goes first.
    fn leave(&mut self, id: SessionId, key: PublicKey, channels: Channels) {
        let mut held = channels.unread();
        let window = self.shared.config.limits.session_credit as usize;
        self.left.insert(id, (key, channels));
        let others = self.left.iter().rev().filter(|(other, (peer, _))| **other != id && *peer == key);
        let dropped: Vec<_> = others
            .filter(|(_, (_, channels))| {
                held = held.saturating_add(channels.unread());
                held > window
            })
            .map(|(id, _)| *id)
            .collect();
        for id in dropped {
            self.left.remove(&id);
        }
        while self.left.len() > self.shared.config.limits.sessions {
            self.left.pop_first();
        }
    }

    fn set_timer(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let next = session.next_timeout(&self.shared);
        self.agenda.set(Timer::Session(id), next.map(|(at, _)| at), next.map_or(Reason::Expiry, |(_, why)| why));
    }

    fn bury(&mut self, now: Time, key: PublicKey, tombstone: Tombstone) {
        let limits = &self.shared.config.limits;
        let until = now + limits.tombstone_life;
        while self.tombstones.len() >= limits.tombstones {
            let oldest = self.tombstones.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.tombstones.remove(&oldest);
            self.agenda.set(Timer::Tombstone(oldest), None, Reason::Expiry);
        }
        self.tombstones.insert(key, (until, tombstone));
        self.agenda.set(Timer::Tombstone(key), Some(until), Reason::Expiry);
    }

    /// Each timer that is due fires once; what it leads to is done when the actions are drained.
    fn tick(&mut self, now: Time) {
        let mut due = core::mem::take(&mut self.due);
        due.extend(core::iter::from_fn(|| self.agenda.pop_due(now)));
        for timer in due.drain(..) {
            match timer {
                Timer::Session(id) => {
                    self.with_session(now, id, |session, shared| session.on_timeout(now, shared));
                }
                Timer::HalfOpen(index) => self.drop_half_open(index),
                Timer::Stream(stream) => self.on_stream_timer(now, stream),
                Timer::Tombstone(key) => {
                    // Another may have taken its place just now.
                    if self.tombstones.get(&key).is_some_and(|(until, _)| *until <= now) {
                        self.tombstones.remove(&key);
                    }
                }
                Timer::Router => self.on_router_timer(now),
            }
        }
        self.due = due;
    }

    fn on_datagram(&mut self, now: Time, from: SocketAddr, data: &mut [u8]) {
        if self.shared.config.class == Class::Anonymous {
            return;
        }
        let whole = data.len() == packet::UDP_HANDSHAKE_LEN;
        match packet::parse(data) {
            Ok(Packet::Data { receiver }) => match self.shared.indices.get(&receiver) {
                Some(IndexOwner::Path(id)) => {
                    let id = *id;
                    self.with_session(now, id, |session, shared| {
                        if session.is_datagram_path(receiver) {
                            session.on_packet(now, shared, receiver, Some(from), data);
                        }
                    });
                }
                Some(IndexOwner::HalfOpen) if self.half_open.get(receiver).is_some_and(HalfOpen::is_datagram) => {
                    self.on_first_packet(now, receiver, Some(from), data);
                }
                Some(IndexOwner::HalfOpen | IndexOwner::Pending(_)) | None => {}
            },
            Ok(Packet::Init(init)) if whole => {
                self.on_init(now, Via::Udp(from), Transport::Udp, &init);
            }
            Ok(Packet::Resp(resp)) if whole => {
                self.on_resp(now, &resp, None);
            }
            Ok(Packet::Cookie(cookie)) => {
                if let Some(IndexOwner::Pending(id)) = self.shared.indices.get(&cookie.receiver).copied() {
                    self.with_session(now, id, |session, shared| session.on_cookie(now, shared, &cookie));
                }
            }
            Ok(Packet::Init(_) | Packet::Resp(_)) | Err(_) => door::count(&mut self.door.turned_away.malformed),
        }
    }

    /// Returns whether the answer was to a handshake of ours on that carrier.
    fn on_resp(&mut self, now: Time, resp: &packet::Resp<'_>, stream: Option<StreamId>) -> bool {
        let Some(IndexOwner::Pending(id)) = self.shared.indices.get(&resp.receiver) else { return false };
        let id = *id;
        self.with_session(now, id, |session, shared| session.on_resp(now, shared, resp, stream)).unwrap_or(false)
    }

    fn on_transmit_failed(&mut self, now: Time, to: SocketAddr, error: NetError) {
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.with_session(now, id, |session, shared| session.on_transmit_failed(now, shared, to, error));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
