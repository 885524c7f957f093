//! The whole state machine under bytes: one real endpoint, and two peers that hold valid keys.
//!
//! The bytes read as a list of events and calls. As the harness holds the peers' keys, fuzzed bytes
//! reach everything behind the authentication. What must hold is the core's contract (see
//! `burdock_core`'s page), that updates are in order, and that no address gets much before it is
//! proved; at the end everything is let go of, and nothing may be left.

mod handshakes;
mod reached;
mod script;
mod steps;

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burdock_core::update::{ProgressStatus, UpdateKind};
use burdock_core::wire::frame::{Frame, Frames};
use burdock_core::wire::packet::{self, Packet, UDP_HANDSHAKE_LEN};
use burdock_core::{
    AcceptPolicy, Action, Config, Endpoint, Event, Host, Identity, Invite, Ladder, Limits, MessageId, ResolveId,
    SessionId, State, StreamId, Time, Transport, Update,
};
use burdock_sim::hostile::{Asked, Epoch, Hostile, framed};
pub use reached::Reached;
use script::Script;

/// What one event may set off. The simulator's bound is the same.
const WORK: u32 = 8_192;
/// Handshakes of one run: with real keys each costs the endpoint five multiplications on the curve.
const HANDSHAKES: u32 = 32;
/// Where each peer can send from: other ports and addresses, one of them of the other family.
const PLACES: usize = 4;
/// Ticks after which everything must be over at the end.
const LAST_TICKS: u32 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Udp,
    Stream(StreamId),
}

/// One epoch of a peer.
struct Line {
    epoch: Epoch,
    via: Via,
    who: usize,
    /// Where the answer to its handshake went.
    home: SocketAddr,
    /// Numbers of the packets that came.
    heard: BTreeSet<u64>,
    /// How far each of four channels has come.
    offsets: [u64; 4],
}

struct Stream {
    who: usize,
    open: bool,
    /// Bytes of a WriteStream that is not answered.
    offered: Option<usize>,
    /// What the endpoint wrote and we have not taken apart.
    written: Vec<u8>,
}

/// What the application was told of a session.
#[derive(Default)]
struct Told {
    seq: u64,
    closed: bool,
    cancelled: bool,
    sent: u64,
    ended: BTreeSet<MessageId>,
}

/// What an address got, and gave for it.
#[derive(Default)]
struct Traffic {
    received: usize,
    sent: usize,
    /// It was dialled, or brought back what was sent to it alone.
    proven: bool,
}

struct World {
    endpoint: Endpoint,
    limits: Limits,
    now: Time,
    /// The latest time that the endpoint was told.
    latest: Time,
    peers: [Hostile; 2],
    lines: Vec<Line>,
    /// Where each peer is.
    places: [usize; 2],
    traffic: BTreeMap<SocketAddr, Traffic>,
    /// What the endpoint asked addresses to bring back.
    challenges: Vec<[u8; 8]>,
    /// The last cookie of each peer.
    cookies: [Option<[u8; 16]>; 2],
    asked: Vec<(Rc<Asked>, usize, Via)>,
    inits: Vec<(Vec<u8>, usize, Via)>,
    /// Packets that were sent to the endpoint, for sending them again.
    sent: Vec<Vec<u8>>,
    streams: BTreeMap<StreamId, Stream>,
    told: BTreeMap<SessionId, Told>,
    resolves: Vec<ResolveId>,
    /// How many bytes of a write are taken at once; all, when `None`.
    takes: Option<usize>,
    handshakes: u32,
    reached: Option<Reached>,
}

fn addr(who: usize, place: usize) -> SocketAddr {
    let host = 1 + who as u8;
    match place {
        0 => SocketAddr::from(([192, 0, 2, host], 4000)),
        1 => SocketAddr::from(([192, 0, 2, host], 4001)),
        2 => SocketAddr::from(([198, 51, 100, host], 4000)),
        _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()], 4000)),
    }
}

/// Whose an address is.
fn owner(of: SocketAddr) -> usize {
    let host = match of.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    usize::from(host == 2)
}

fn invite() -> Invite {
    Invite { id: [7; 8], secret: Box::new([9; 32].into()) }
}

/// Runs a script against an endpoint. What it came to is noted in `reached`, if there is one.
pub(super) fn run(data: &[u8], reached: Option<Reached>) -> Option<Reached> {
    let script = &mut Script(data);
    let mut world = World::new(script.u8());
    world.reached = reached;
    world.begin(script.u8());
    while !script.0.is_empty() {
        world.step(script);
    }
    world.end()
}

impl World {
    fn new(setting: u8) -> Self {
        let mut config = Config::streamer();
        if setting & 1 != 0 {
            config.limits = Limits {
                max_message: 256,
                session_credit: 1024,
                channel_credit: 512,
                gaps: 4,
                send_buffer: 1024,
                pending_messages: 16,
                half_open: 3,
                unproven_streams: 3,
                sessions: 2,
                paths: 2,
                tombstones: 1,
                addresses: 2,
                ..Limits::default()
            };
        }
        if setting & 2 != 0 {
            config.ladder = Ladder::Strict;
        }
        config.heartbeat = setting & 4 == 0;
        config.attempts = if setting & 8 != 0 { 2 } else { config.attempts };
        if setting & 16 != 0 {
            let limits = &mut config.limits;
            (limits.source_rate, limits.source_burst) = (1, 4);
            (limits.unproven_rate, limits.unproven_burst) = (1, 2);
            (limits.half_open, limits.half_open_per_source, limits.unproven_streams_per_source) = (6, 3, 2);
        }
        let limits = config.limits.clone();
        let mut endpoint =
            Endpoint::new(config, Identity::from_bytes([1; 32]), [2; 32]).expect("the configuration is valid");
        let mut peers = [Hostile::new(1), Hostile::new(2)];
        endpoint.set_accept(AcceptPolicy::anyone());
        if setting & 32 != 0 {
            endpoint.set_accept(AcceptPolicy::nobody().invite(invite().id, **invite().secret));
            peers.iter_mut().for_each(|peer| peer.invite = Some(invite()));
        }
        Self {
            endpoint,
            limits,
            now: Time::from_micros(1_000_000),
            latest: Time::ZERO,
            peers,
            lines: Vec::new(),
            places: [0; 2],
            traffic: BTreeMap::new(),
            challenges: Vec::new(),
            cookies: [None; 2],
            asked: Vec::new(),
            inits: Vec::new(),
            sent: Vec::new(),
            streams: BTreeMap::new(),
            told: BTreeMap::new(),
            resolves: Vec::new(),
            takes: None,
            handshakes: 0,
            reached: None,
        }
    }

    /// The first peer gets its session, unless `how` says otherwise.
    fn begin(&mut self, how: u8) {
        match how % 4 {
            0 | 1 => {
                let stream = how % 4 == 1;
                let Some(via) = (if stream { self.accept_stream(0) } else { Some(Via::Udp) }) else { return };
                let to = self.endpoint.public_key();
                let asked = self.peers[0].ask(&to, if stream { Transport::Tcp } else { Transport::Udp });
                self.ask(asked, 0, via);
                self.confirm();
            }
            2 => self.connect(0, how),
            _ => {}
        }
    }

    /// Notes what the script did, beside what came of it.
    fn count(&mut self, what: &str) {
        if let Some(reached) = &mut self.reached {
            reached.add(what.to_owned(), 1);
        }
    }

    /// Confirms the last handshake.
    fn confirm(&mut self) {
        let mut plaintext = Vec::new();
        Frame::Confirm.encode(&mut plaintext);
        self.say(self.lines.len().wrapping_sub(1), &plaintext);
    }

    fn connect(&mut self, who: usize, how: u8) {
        let mut link = self.peers[who].link(addr(who, 0));
        match how >> 2 & 7 {
            1 => link.tcp_port = None,
            2 => link.udp_port = None,
            3 => link.host = Some(Host::Name("example.net".to_owned())),
            4 => link.host = None,
            5 => link.key = self.endpoint.public_key(),
            6 => link.invite = Some(invite()),
            _ => {}
        }
        self.traffic.entry(addr(who, 0)).or_default().proven = true;
        if self.handshakes < HANDSHAKES
            && let Ok(id) = self.endpoint.connect(self.now, &link)
        {
            assert!(self.told.insert(id, Told::default()).is_none(), "a session has the name of another");
        }
        self.settle();
    }

    fn accept_stream(&mut self, who: usize) -> Option<Via> {
        let stream = self.endpoint.stream_accepted(self.now, addr(who, self.places[who]));
        if let Some(stream) = stream {
            let fresh = Stream { who, open: true, offered: None, written: Vec::new() };
            assert!(self.streams.insert(stream, fresh).is_none(), "a stream has the name of another");
        }
        self.settle();
        stream.filter(|stream| self.streams.contains_key(stream)).map(Via::Stream)
    }

    fn handle(&mut self, event: Event<'_>) {
        self.latest = self.latest.max(self.now);
        if let (Some(reached), Some((at, reason))) = (&mut self.reached, self.endpoint.poll_timeout())
            && at <= self.now
        {
            reached.note("timer", &reason);
        }
        self.endpoint.handle(self.now, event);
        self.drain();
        if let Some((at, reason)) = self.endpoint.poll_timeout() {
            assert!(at > self.latest, "{reason:?} at {at} survived {}", self.latest);
        }
    }

    /// After a call that is no event.
    fn settle(&mut self) {
        self.latest = self.latest.max(self.now);
        self.drain();
        self.handle(Event::Tick);
    }

    fn drain(&mut self) {
        let mut buf = Vec::new();
        for work in 0.. {
            assert!(work <= WORK, "more than {WORK} actions after one event");
            let due = self.endpoint.poll_timeout();
            let Some(action) = self.endpoint.poll_action(self.now, &mut buf) else { return };
            assert!(due.is_some_and(|(at, _)| at <= self.latest), "{action:?} waited unannounced");
            self.act(action, &buf);
        }
    }

    fn act(&mut self, action: Action, buf: &[u8]) {
        match action {
            Action::Transmit { to, segment_size } => {
                assert!(segment_size.is_none() && (1..=UDP_HANDSHAKE_LEN).contains(&buf.len()));
                let traffic = self.traffic.entry(to).or_default();
                traffic.sent += buf.len();
                let fair = traffic.proven || traffic.sent <= 3 * traffic.received;
                assert!(fair, "{} bytes to {to}, which gave {} and proved nothing", traffic.sent, traffic.received);
                self.hear(to, Via::Udp, buf);
            }
            Action::OpenStream { stream, to } => {
                let fresh = Stream { who: owner(to), open: false, offered: None, written: Vec::new() };
                assert!(self.streams.insert(stream, fresh).is_none(), "a stream has the name of another");
            }
            Action::WriteStream { stream } => {
                let it = self.streams.get_mut(&stream).expect("only a stream that exists is written");
                assert!(it.open && it.offered.is_none() && !buf.is_empty(), "a write in the wrong state");
                let len = self.takes.map_or(buf.len(), |takes| takes.min(buf.len()));
                it.written.extend_from_slice(&buf[..len]);
                it.offered = Some(len);
                if self.takes.is_none() {
                    self.written(stream);
                }
            }
            Action::CloseStream { stream } => {
                assert!(self.streams.remove(&stream).is_some(), "a stream is closed that is gone");
                self.lines.retain(|line| line.via != Via::Stream(stream));
            }
            Action::Resolve { resolve, .. } => self.resolves.push(resolve),
            Action::Router { .. } => {}
            Action::Update { session, update } => self.told(session, update),
        }
    }

    /// The endpoint's last write to a stream is answered.
    fn written(&mut self, stream: StreamId) {
        let Some(it) = self.streams.get_mut(&stream) else { return };
        let Some(len) = it.offered.take() else { return };
        let who = it.who;
        let mut packets = Vec::new();
        while let Some(len) = it.written.first_chunk().map(|len| 2 + usize::from(u16::from_be_bytes(*len))) {
            if it.written.len() < len {
                break;
            }
            packets.push(it.written.drain(..len).skip(2).collect::<Vec<_>>());
        }
        self.endpoint.handle(self.now, Event::StreamWritten { stream, len });
        for packet in packets {
            self.hear(addr(who, 0), Via::Stream(stream), &packet);
        }
    }

    /// A packet of the endpoint reaches a peer.
    fn hear(&mut self, at: SocketAddr, via: Via, packet: &[u8]) {
        let who = owner(at);
        match packet::parse(packet).expect("the endpoint sends packets") {
            Packet::Init(_) => {
                if self.inits.len() == 8 {
                    self.inits.remove(0);
                }
                self.inits.push((packet.to_vec(), who, via));
            }
            Packet::Resp(resp) => {
                let its = |asked: &&(Rc<Asked>, usize, Via)| asked.0.index == resp.receiver && asked.1 == who;
                let Some((asked, who, via)) = self.asked.iter().find(its) else { return };
                if let Some((epoch, _)) = asked.finish(packet) {
                    let (who, via) = (*who, *via);
                    self.lines.push(Line { epoch, via, who, home: at, heard: BTreeSet::new(), offsets: [0; 4] });
                }
            }
            Packet::Data { receiver } => {
                let line = self.lines.iter_mut().find(|line| line.epoch.mine == receiver && line.who == who);
                if let Some(line) = line
                    && let Some((number, plaintext)) = line.epoch.open(packet)
                {
                    assert!(line.heard.insert(number), "packet {number} was sealed twice");
                    for frame in Frames::new(&plaintext) {
                        if let Frame::Challenge(challenge) = frame.expect("the endpoint sends frames") {
                            self.challenges.push(challenge);
                        }
                    }
                }
            }
            Packet::Cookie(cookie) => {
                let its = |asked: &&(Rc<Asked>, usize, Via)| asked.0.index == cookie.receiver && asked.1 == who;
                if let Some(cookie) = self.asked.iter().find(its).and_then(|(asked, ..)| asked.cookie(packet)) {
                    self.cookies[who] = Some(cookie);
                }
            }
        }
    }

    /// An update: numbered, none after the end, one outcome for each message.
    fn told(&mut self, session: SessionId, Update { seq, kind }: Update) {
        if let Some(reached) = &mut self.reached {
            reached.note_update(&kind);
        }
        let told = self.told.entry(session).or_default();
        assert!(!told.closed && !told.cancelled, "{kind:?} after the end");
        told.seq += 1;
        assert_eq!(seq, told.seq, "{kind:?}");
        match kind {
            UpdateKind::Outcome { message, .. } => {
                assert!(message.get() < told.sent && told.ended.insert(message), "a second outcome for {message}");
            }
            UpdateKind::Progress(progress) => {
                assert!((1..=progress.max_attempts).contains(&progress.attempt), "{progress:?}");
                assert_eq!(progress.retry_in_ms.is_some(), progress.status == ProgressStatus::Retrying, "{progress:?}");
                assert!(!progress.message.is_empty());
            }
            UpdateKind::Closed { delivered, undelivered, unknown, .. } => {
                told.closed = true;
                assert_eq!(delivered + undelivered + unknown, told.sent);
                assert_eq!(told.ended.len() as u64, told.sent);
            }
            UpdateKind::Connected { peer, .. } => {
                assert!(self.peers.iter().any(|hostile| hostile.public_key() == peer));
            }
            UpdateKind::PathChanged { from, to, .. } => assert_ne!(from, to),
            _ => {}
        }
        let live = self.told.values().filter(|told| !told.closed && !told.cancelled).count();
        assert!(live <= self.limits.sessions, "{live} sessions");
    }

    /// What a peer says in the next packet of one of its epochs.
    fn say(&mut self, at: usize, plaintext: &[u8]) {
        let Some(line) = self.lines.get_mut(at) else { return };
        let packet = line.epoch.seal_bytes(plaintext);
        if packet.len() > packet::MAX_STREAM_PACKET {
            return;
        }
        let (who, via, home) = (line.who, line.via, line.home);
        if via == Via::Udp {
            self.traffic.entry(home).or_default().proven = true;
            if self.challenges.iter().any(|it| plaintext.windows(8).any(|bytes| bytes == it)) {
                self.traffic.entry(addr(who, self.places[who])).or_default().proven = true;
            }
        }
        self.deliver(who, via, &packet);
    }

    /// An INIT of a peer.
    fn ask(&mut self, asked: Asked, who: usize, via: Via) {
        self.handshakes += 1;
        let asked = Rc::new(asked);
        self.asked.push((Rc::clone(&asked), who, via));
        self.deliver(who, via, &asked.packet);
    }

    /// Brings bytes of a peer to the endpoint.
    fn deliver(&mut self, who: usize, via: Via, packet: &[u8]) {
        if self.sent.len() == 16 {
            self.sent.remove(0);
        }
        self.sent.push(packet.to_vec());
        match via {
            Via::Udp => self.datagram(addr(who, self.places[who]), &mut packet.to_vec()),
            Via::Stream(stream) => self.stream_bytes(stream, &mut framed(packet)),
        }
    }

    fn datagram(&mut self, from: SocketAddr, data: &mut [u8]) {
        self.traffic.entry(from).or_default().received += data.len();
        self.handle(Event::Datagram { from, data });
    }

    fn stream_bytes(&mut self, stream: StreamId, data: &mut [u8]) {
        if self.streams.get(&stream).is_some_and(|stream| stream.open) {
            self.handle(Event::StreamData { stream, data });
        }
    }

    fn stream(&self, script: &mut Script<'_>) -> Option<StreamId> {
        let at = script.below(self.streams.len());
        self.streams.keys().nth(at).copied()
    }

    fn session(&self, script: &mut Script<'_>) -> Option<SessionId> {
        let at = script.below(self.told.len());
        self.told.keys().nth(at).copied()
    }

    fn cancel(&mut self, id: SessionId) {
        self.endpoint.cancel(self.now, id);
        // What was queued before may still be said.
        self.drain();
        self.told.get_mut(&id).expect("a known session").cancelled = true;
    }

    fn look(&self, id: SessionId) {
        let told = &self.told[&id];
        let Some(status) = self.endpoint.status(self.now, id) else {
            assert!(told.closed || told.cancelled, "a session vanished");
            return;
        };
        assert_eq!(status.seq, told.seq);
        assert_eq!(status.state == State::Closed, told.closed);
        assert!(status.queued_bytes <= self.limits.send_buffer as u64);
        assert!(status.pending_messages <= self.limits.pending_messages as u64);
        assert_eq!(status.pending_messages, if told.closed { 0 } else { told.sent - told.ended.len() as u64 });
    }

    /// Everything is let go of: nothing may be left, and time comes to an end.
    fn end(mut self) -> Option<Reached> {
        self.takes = None;
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            self.written(stream);
            self.settle();
        }
        for id in self.told.keys().copied().collect::<Vec<_>>() {
            self.look(id);
            self.cancel(id);
            assert!(self.endpoint.recv(id).is_none());
        }
        self.settle();
        for ticks in 0.. {
            assert!(ticks <= LAST_TICKS, "time does not come to an end");
            let Some((at, _)) = self.endpoint.poll_timeout() else { break };
            assert!(at > self.latest);
            self.now = self.now.max(at);
            self.handle(Event::Tick);
        }
        assert!(self.streams.is_empty(), "streams are left: {:?}", self.streams.keys());
        for id in self.told.keys() {
            assert!(self.endpoint.status(self.now, *id).is_none());
        }
        let mut reached = self.reached.take()?;
        reached.note_counters(&self.endpoint);
        Some(reached)
    }
}
