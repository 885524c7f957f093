//! The whole state machine under bytes: one real endpoint, and two peers that hold valid keys.
//!
//! The bytes read as a list of events and calls. As the harness holds the peers' keys, fuzzed bytes
//! reach everything behind the authentication. What must hold is the core's contract (see
//! `burdock_core`'s page) and that updates are in order; at the end everything is let go of, and
//! nothing may be left.

use core::cell::RefCell;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burdock_core::update::{ProgressStatus, UpdateKind};
use burdock_core::wire::frame::{AckRanges, Frame, Scope};
use burdock_core::wire::packet::{self, Packet, UDP_HANDSHAKE_LEN};
use burdock_core::wire::payload::{HelloInit, HelloResp, Verdict};
use burdock_core::{
    AcceptPolicy, Action, Config, Endpoint, Event, Host, Identity, Ladder, Limits, MessageId, NetError, ResolveId,
    SendError, SessionId, State, StreamId, Time, Transport, Update,
};
use burdock_sim::hostile::{Asked, Epoch, Hostile, framed};
use bytes::Bytes;

/// What one event may set off. The simulator's bound is the same.
const WORK: u32 = 8_192;
/// Handshakes of one run: each costs the endpoint five multiplications on the curve.
const HANDSHAKES: u32 = 6;
/// Ticks after which everything must be over at the end.
const LAST_TICKS: u32 = 512;
const VARINT_MAX: u64 = (1 << 62) - 1;

/// The bytes, read from the front; zeros when they are used up.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u8()) % bound.max(1)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// A number, near one of those where something changes.
    fn number(&mut self, limits: &Limits) -> u64 {
        let kind = self.u8();
        let near = |base: u64, delta: u8| base.saturating_add(u64::from(delta)).saturating_sub(128).min(VARINT_MAX);
        match kind % 8 {
            0 | 1 => self.u8().into(),
            2 => self.u16().into(),
            3 => near(limits.channel_credit.into(), self.u8()),
            4 => near(limits.session_credit.into(), self.u8()),
            5 => near(limits.max_message.into(), self.u8()),
            6 => near(VARINT_MAX, self.u8()),
            _ => (u64::from(self.u16()) << (self.u8() % 47)) & VARINT_MAX,
        }
    }
}

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

struct World {
    endpoint: Endpoint,
    limits: Limits,
    now: Time,
    /// The latest time that the endpoint was told.
    latest: Time,
    peers: [Hostile; 2],
    lines: Vec<Line>,
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
}

fn addr(who: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + who as u8], 4000))
}

/// First handshakes are the same in every run: made once, as their keys are what takes the time.
#[derive(Default)]
struct Known {
    peers: Option<[Hostile; 2]>,
    asked: BTreeMap<bool, (Hostile, Rc<Asked>)>,
    finished: BTreeMap<(u32, Vec<u8>), (Epoch, HelloResp)>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Runs a script against an endpoint.
pub(super) fn run(data: &[u8]) {
    let script = &mut Script(data);
    let mut world = World::new(script.u8());
    world.begin(script.u8());
    while !script.0.is_empty() {
        world.step(script);
    }
    world.end();
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
        let limits = config.limits.clone();
        let mut endpoint =
            Endpoint::new(config, Identity::from_bytes([1; 32]), [2; 32]).expect("the configuration is valid");
        endpoint.set_accept(AcceptPolicy::anyone());
        let now = Time::from_micros(1_000_000);
        let peers = KNOWN
            .with_borrow_mut(|known| known.peers.get_or_insert_with(|| [Hostile::new(1), Hostile::new(2)]).clone());
        Self {
            endpoint,
            limits,
            now,
            latest: now,
            peers,
            lines: Vec::new(),
            asked: Vec::new(),
            inits: Vec::new(),
            sent: Vec::new(),
            streams: BTreeMap::new(),
            told: BTreeMap::new(),
            resolves: Vec::new(),
            takes: None,
            handshakes: 0,
        }
    }

    /// The first peer gets its session, unless `how` says otherwise.
    fn begin(&mut self, how: u8) {
        match how % 4 {
            0 | 1 => {
                let stream = how % 4 == 1;
                let Some(via) = (if stream { self.accept_stream(0) } else { Some(Via::Udp) }) else { return };
                let to = self.endpoint.public_key();
                let (peer, asked) = KNOWN.with_borrow_mut(|known| {
                    let fresh = &self.peers[0];
                    let (peer, asked) = known.asked.entry(stream).or_insert_with(|| {
                        let mut peer = fresh.clone();
                        let transport = if stream { Transport::Tcp } else { Transport::Udp };
                        let asked = Rc::new(peer.ask(&to, transport));
                        (peer, asked)
                    });
                    (peer.clone(), Rc::clone(asked))
                });
                self.peers[0] = peer;
                self.handshakes += 1;
                self.asked.push((Rc::clone(&asked), 0, via));
                self.deliver(0, via, &asked.packet);
                self.confirm();
            }
            2 => self.connect(0, how),
            _ => {}
        }
    }

    /// Confirms the last handshake.
    fn confirm(&mut self) {
        let Some(line) = self.lines.last_mut() else { return };
        let packet = line.epoch.seal(&[Frame::Confirm]);
        let (who, via) = (line.who, line.via);
        self.deliver(who, via, &packet);
    }

    fn connect(&mut self, who: usize, how: u8) {
        let mut link = self.peers[who].link(addr(who));
        match how >> 2 & 7 {
            1 => link.tcp_port = None,
            2 => link.udp_port = None,
            3 => link.host = Some(Host::Name("example.net".to_owned())),
            4 => link.host = None,
            5 => link.key = self.endpoint.public_key(),
            _ => {}
        }
        if self.handshakes < HANDSHAKES
            && let Ok(id) = self.endpoint.connect(self.now, &link)
        {
            assert!(self.told.insert(id, Told::default()).is_none(), "a session has the name of another");
        }
        self.settle();
    }

    fn accept_stream(&mut self, who: usize) -> Option<Via> {
        let stream = self.endpoint.stream_accepted(self.now, addr(who));
        if let Some(stream) = stream {
            let fresh = Stream { who, open: true, offered: None, written: Vec::new() };
            assert!(self.streams.insert(stream, fresh).is_none(), "a stream has the name of another");
        }
        self.settle();
        stream.filter(|stream| self.streams.contains_key(stream)).map(Via::Stream)
    }

    fn handle(&mut self, event: Event<'_>) {
        self.latest = self.latest.max(self.now);
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
                let who = usize::from(to == addr(1));
                self.hear(who, Via::Udp, buf);
            }
            Action::OpenStream { stream, to } => {
                let fresh = Stream { who: usize::from(to == addr(1)), open: false, offered: None, written: Vec::new() };
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
            self.hear(who, Via::Stream(stream), &packet);
        }
    }

    /// A packet of the endpoint reaches a peer.
    fn hear(&mut self, who: usize, via: Via, packet: &[u8]) {
        match packet::parse(packet).expect("the endpoint sends packets") {
            Packet::Init(_) => {
                if self.inits.len() == 8 {
                    self.inits.remove(0);
                }
                self.inits.push((packet.to_vec(), who, via));
            }
            Packet::Resp(resp) => {
                let Some((asked, who, via)) = self.asked.iter().find(|(asked, ..)| asked.index == resp.receiver) else {
                    return;
                };
                let key = (asked.index, [&asked.packet[..], packet].concat());
                let first = self.handshakes == 1;
                let known = KNOWN.with_borrow(|known| known.finished.get(&key).cloned());
                let finished = known.or_else(|| asked.finish(packet));
                if let Some((epoch, hello)) = finished {
                    if first {
                        KNOWN.with_borrow_mut(|known| known.finished.insert(key, (epoch.clone(), hello)));
                    }
                    let line = Line { epoch, via: *via, who: *who, heard: BTreeSet::new(), offsets: [0; 4] };
                    self.lines.push(line);
                }
            }
            Packet::Data { receiver } => {
                let line = self.lines.iter_mut().find(|line| line.epoch.mine == receiver && line.who == who);
                if let Some(line) = line
                    && let Some((number, _)) = line.epoch.open(packet)
                {
                    assert!(line.heard.insert(number), "packet {number} was sealed twice");
                }
            }
            Packet::Cookie(_) => {}
        }
    }

    /// An update: numbered, none after the end, one outcome for each message.
    fn told(&mut self, session: SessionId, Update { seq, kind }: Update) {
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

    /// Brings bytes of a peer to the endpoint.
    fn deliver(&mut self, who: usize, via: Via, packet: &[u8]) {
        if self.sent.len() == 16 {
            self.sent.remove(0);
        }
        self.sent.push(packet.to_vec());
        match via {
            Via::Udp => self.handle(Event::Datagram { from: addr(who), data: &mut packet.to_vec() }),
            Via::Stream(stream) => self.stream_bytes(stream, &mut framed(packet)),
        }
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

    fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() % 24 {
            0..=4 => self.say_frames(script),
            5 => self.say_bytes(script),
            6 => {
                let (who, len) = (script.below(2), script.u8());
                let data = script.bytes(len.into());
                self.handle(Event::Datagram { from: addr(who), data: &mut data.to_vec() });
            }
            7 => {
                let (who, at) = (script.below(2), script.below(self.sent.len()));
                if let Some(mut packet) = self.sent.get(at).cloned() {
                    let flip = script.u16();
                    if let Some(byte) = packet.get_mut(usize::from(flip >> 1)).filter(|_| flip & 1 != 0) {
                        *byte ^= 0x10;
                    }
                    self.handle(Event::Datagram { from: addr(who), data: &mut packet });
                }
            }
            8 => self.dial(script),
            9 => self.answer(script),
            10 => self.stream_event(script),
            11 => {
                let error = *script_pick(script, &ERRORS);
                let who = script.below(2);
                self.handle(Event::TransmitFailed { to: addr(who), error });
            }
            12 => {
                let addresses: Vec<_> = (0..script.below(5)).map(|n| addr(n % 2)).collect();
                let at = script.below(self.resolves.len());
                if let Some(&resolve) = self.resolves.get(at) {
                    self.handle(Event::Resolved { resolve, addresses: &addresses });
                }
            }
            13 if script.u8().is_multiple_of(4) => self.handle(Event::NetworkChanged),
            14 => {
                // Any step up to days, and back.
                let (step, shift) = (u64::from(script.u8()), script.u8());
                let step = Duration::from_micros(step << (shift % 32));
                let back = Time::from_micros(self.now.as_micros().saturating_sub(step.as_micros() as u64));
                self.now = if shift >= 224 { back } else { self.now + step };
                self.handle(Event::Tick);
            }
            15 | 16 => {
                if let Some((at, _)) = self.endpoint.poll_timeout() {
                    self.now = self.now.max(at);
                    self.handle(Event::Tick);
                }
            }
            17 => {
                let (who, how) = (script.below(2), script.u8());
                self.connect(who, how);
            }
            18 => self.acknowledge(),
            _ => self.application(script),
        }
    }

    fn say_bytes(&mut self, script: &mut Script<'_>) {
        let (at, len, ahead) = (script.below(self.lines.len()), script.u8(), script.u8());
        let plaintext = script.bytes(len.into());
        let Some(line) = self.lines.get_mut(at) else { return };
        if ahead >= 192 {
            line.epoch.next += 1 << (ahead - 192).min(60);
            line.epoch.next = line.epoch.next.min(VARINT_MAX);
        }
        let (packet, who, via) = (line.epoch.seal_bytes(plaintext), line.who, line.via);
        self.deliver(who, via, &packet);
    }

    /// Up to eight frames with fields from the script.
    fn say_frames(&mut self, script: &mut Script<'_>) {
        let at = script.below(self.lines.len());
        if at >= self.lines.len() {
            return;
        }
        let mut plaintext = Vec::new();
        for _ in 0..=script.below(8) {
            self.put_frame(script, at, &mut plaintext);
        }
        let line = &mut self.lines[at];
        let (packet, who, via) = (line.epoch.seal_bytes(&plaintext), line.who, line.via);
        if packet.len() <= packet::MAX_STREAM_PACKET {
            self.deliver(who, via, &packet);
        }
    }

    fn put_frame(&mut self, script: &mut Script<'_>, at: usize, out: &mut Vec<u8>) {
        let limits = self.limits.clone();
        let kind = script.u8();
        // Mostly a path of this peer; else one of another, or none.
        let epoch = match script.u8() {
            other @ 0..64 => self.lines[usize::from(other) % self.lines.len()].epoch.theirs,
            64 => script.u16().into(),
            _ => self.lines[at].epoch.theirs,
        };
        let line = &mut self.lines[at];
        match kind % 20 {
            0..=4 => {
                let (channel, kind, len) = (script.u8() % 4, script.u8(), script.u8());
                let slot = &mut line.offsets[usize::from(channel)];
                // What a correct peer would say next, something near it, or anything.
                let offset = match kind % 4 {
                    0 | 1 => *slot,
                    2 => slot.saturating_add(script.u8().into()).saturating_sub(128),
                    _ => script.number(&limits),
                };
                let mut data = Vec::new();
                if kind & 4 == 0 {
                    // A whole message.
                    burdock_core::wire::varint::put_varint(&mut data, len.into());
                    data.resize(data.len() + usize::from(len), kind);
                } else {
                    data.extend_from_slice(script.bytes(len.into()));
                }
                let offset = offset.min(VARINT_MAX - data.len() as u64);
                if kind % 4 < 2 {
                    *slot = offset + data.len() as u64;
                }
                Frame::Stream { channel, offset, data: &data }.encode(out);
            }
            5 | 6 => {
                let mut ranges = AckRanges::new();
                if kind & 32 == 0 {
                    ranges.push((script.number(&limits), script.number(&limits)));
                } else {
                    line.heard.iter().rev().step_by(1 + script.below(3)).take(32).for_each(|&n| ranges.push((n, n)));
                }
                Frame::Ack { epoch, delay_us: script.number(&limits), ranges }.encode(out);
            }
            7 | 8 => {
                let (channel, received) = (script.u8() % 5, script.number(&limits));
                let taken = if kind & 32 == 0 { received } else { script.number(&limits) };
                Frame::ChannelAck { channel, received, taken }.encode(out);
            }
            9 => Frame::Credit { scope: Scope::Session, offset: script.number(&limits) }.encode(out),
            10 => Frame::Credit { scope: Scope::Channel(script.u8()), offset: script.number(&limits) }.encode(out),
            11 => Frame::Challenge([kind; 8]).encode(out),
            12 => Frame::Response([kind; 8]).encode(out),
            13 => Frame::UsePath { switch_no: script.number(&limits), epoch }.encode(out),
            14 => Frame::PathClose { epoch, code: script.u8().into() }.encode(out),
            15 if kind >= 128 => {
                let finals = (0..script.below(4)).map(|n| (n as u8, script.number(&limits))).collect();
                Frame::Close { code: script.u8().into(), finals, reason: "enough" }.encode(out);
            }
            16 => Frame::CloseAck.encode(out),
            17 if kind >= 128 => {
                let [message, total, offset, ttl_ms] = [(); 4].map(|()| script.number(&limits));
                Frame::Datagram { channel: 0, message, total, offset, ttl_ms, data: &[] }.encode(out);
            }
            18 if kind >= 128 => out.extend_from_slice(script.bytes(3)),
            19 if kind >= 128 => Frame::Confirm.encode(out),
            15 | 17 => Frame::Ping.encode(out),
            _ => out.resize(out.len() + usize::from(kind), 0),
        }
    }

    /// Peers acknowledge what they heard, as correct ones do.
    fn acknowledge(&mut self) {
        for at in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(at) else { return };
            let mut ranges = AckRanges::new();
            for &number in line.heard.iter().rev() {
                if let Some((low, _)) = ranges.last_mut().filter(|(low, _)| *low == number + 1) {
                    *low = number;
                } else if ranges.try_push((number, number)).is_err() {
                    break;
                }
            }
            if !ranges.is_empty() {
                let ack = Frame::Ack { epoch: line.epoch.theirs, delay_us: 0, ranges };
                let (packet, who, via) = (line.epoch.seal(&[ack]), line.who, line.via);
                self.deliver(who, via, &packet);
            }
        }
    }

    /// A handshake with fields from the script, confirmed or left alone.
    fn dial(&mut self, script: &mut Script<'_>) {
        let (who, how) = (script.below(2), script.u8());
        if self.handshakes >= HANDSHAKES {
            return;
        }
        let via = if how & 1 == 0 { Some(Via::Udp) } else { self.accept_stream(who) };
        let Some(via) = via else { return };
        self.handshakes += 1;
        let transport = if via == Via::Udp { Transport::Udp } else { Transport::Tcp };
        let their_half = self.lines.iter().rev().find(|line| line.who == who).map_or(0, |line| line.epoch.their_half);
        let to = self.endpoint.public_key();
        let peer = &mut self.peers[who];
        let mut hello: HelloInit = peer.hello();
        if how & 2 != 0 {
            hello.your_half = their_half;
        }
        if how & 4 != 0 {
            edit_hello(script, &self.limits, &mut hello);
            peer.half = hello.my_half;
        }
        let asked = if how & 8 != 0 && how & 4 != 0 {
            let len = script.u8();
            peer.ask_bytes(&to, transport, script.bytes(len.into()))
        } else {
            peer.ask_with(&to, transport, &hello)
        };
        let asked = Rc::new(asked);
        let lines = self.lines.len();
        self.asked.push((Rc::clone(&asked), who, via));
        self.deliver(who, via, &asked.packet);
        if how & 16 == 0 && self.lines.len() > lines {
            self.confirm();
        }
    }

    /// An INIT of the endpoint is answered, with fields from the script.
    fn answer(&mut self, script: &mut Script<'_>) {
        let how = script.u8();
        if self.handshakes >= HANDSHAKES {
            return;
        }
        let at = usize::from(how >> 5) % self.inits.len().max(1);
        let Some((init, who, via)) = self.inits.get(at).cloned() else { return };
        self.handshakes += 1;
        let limits = self.limits.clone();
        let made = self.peers[who].answer_bytes(&init, |mut hello, padded| {
            if how & 1 != 0 {
                edit_resp(script, &limits, &mut hello);
            }
            let mut payload = Vec::new();
            hello.encode(padded, &mut payload);
            if how & 6 == 6 {
                let at = script.below(payload.len());
                payload.splice(at.., script.bytes(8).iter().copied());
            }
            payload
        });
        let Some((packet, epoch)) = made else { return };
        self.lines.push(Line { epoch, via, who, heard: BTreeSet::new(), offsets: [0; 4] });
        self.deliver(who, via, &packet);
    }

    fn stream_event(&mut self, script: &mut Script<'_>) {
        let kind = script.u8();
        if kind % 8 == 0 {
            let who = script.below(2);
            self.accept_stream(who);
            return;
        }
        let Some(stream) = self.stream(script) else { return };
        match kind % 8 {
            1 | 2 => {
                let it = self.streams.get_mut(&stream).expect("it was just chosen");
                if !it.open {
                    it.open = true;
                    self.handle(Event::StreamOpened { stream });
                }
            }
            3 => {
                let len = script.u8();
                self.stream_bytes(stream, &mut script.bytes(len.into()).to_vec());
            }
            4 => {
                // A packet that is due on this stream, in two pieces.
                let Some(line) = self.lines.iter_mut().find(|line| line.via == Via::Stream(stream)) else { return };
                let mut bytes = framed(&line.epoch.seal(&[Frame::Ping]));
                let (head, tail) = bytes.split_at_mut(script.below(34));
                self.stream_bytes(stream, head);
                self.stream_bytes(stream, tail);
            }
            5 => {
                self.takes = (kind & 8 != 0).then(|| script.u8().into());
                self.written(stream);
                self.settle();
            }
            6 => self.handle(Event::StreamWritable { stream }),
            _ => {
                let error = (kind & 8 != 0).then(|| *script_pick(script, &ERRORS));
                self.streams.remove(&stream);
                self.lines.retain(|line| line.via != Via::Stream(stream));
                self.handle(Event::StreamClosed { stream, error });
            }
        }
    }

    fn application(&mut self, script: &mut Script<'_>) {
        let call = script.u8();
        let Some(id) = self.session(script) else { return };
        match call % 12 {
            0..=3 => {
                let data = Bytes::from(vec![call; usize::from(script.u8()) << (call % 4)]);
                let result = self.endpoint.send(self.now, id, call / 12 % 4, data);
                let told = self.told.get_mut(&id).expect("it was just chosen");
                match result {
                    Ok(message) => {
                        assert_eq!(message.get(), told.sent);
                        assert!(!told.closed && !told.cancelled);
                        told.sent += 1;
                    }
                    Err(SendError::Closed | SendError::Full | SendError::TooLarge { .. } | _) => {}
                }
            }
            4 | 5 => {
                for _ in 0..=script.below(8) {
                    let Some(message) = self.endpoint.recv(id) else { break };
                    assert!(message.data.len() <= self.limits.max_message as usize);
                }
            }
            6 => self.endpoint.taken(self.now, id),
            7 => self.endpoint.set_priority(id, call / 12 % 4, script.u8()),
            8 => self.endpoint.retry_now(self.now, id),
            9 if call >= 128 => self.endpoint.close(self.now, id, "goodbye"),
            10 if call >= 128 => self.cancel(id),
            11 if call >= 128 => {
                let policy = AcceptPolicy::nobody().allow(self.peers[0].public_key());
                self.endpoint.set_accept(if call & 1 == 0 { policy } else { AcceptPolicy::anyone() });
            }
            _ => {}
        }
        self.settle();
        self.look(id);
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
    fn end(mut self) {
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
    }
}

const ERRORS: [NetError; 5] =
    [NetError::Refused, NetError::Unreachable, NetError::Reset, NetError::TimedOut, NetError::Other];

fn script_pick<'a, T>(script: &mut Script<'_>, from: &'a [T]) -> &'a T {
    &from[script.below(from.len())]
}

/// The one place that knows all fields of the first message.
fn edit_hello(script: &mut Script<'_>, limits: &Limits, hello: &mut HelloInit) {
    let which = script.u8();
    if which & 1 != 0 {
        hello.my_half = script.number(limits);
    }
    if which & 2 != 0 {
        hello.your_half = script.number(limits);
    }
    if which & 4 != 0 {
        hello.dial_no = script.number(limits) as u32;
    }
    if which & 8 != 0 {
        hello.invite = [script.u8(); 8];
    }
    if which & 16 != 0 {
        hello.keep_s = Some(script.number(limits) as u32);
    }
    if which & 32 != 0 {
        hello.limits.max_message = script.number(limits) as u32;
        hello.limits.session_credit = script.number(limits) as u32;
        hello.limits.channel_credit = script.number(limits) as u32;
        hello.limits.max_packet = script.u16();
    }
}

fn edit_resp(script: &mut Script<'_>, limits: &Limits, hello: &mut HelloResp) {
    let which = script.u8();
    if which & 1 != 0 {
        hello.my_half = script.number(limits);
    }
    if which & 2 != 0 {
        hello.your_half = script.number(limits);
    }
    if which & 4 != 0 {
        hello.dial_no = script.number(limits) as u32;
    }
    if which & 8 != 0 {
        hello.verdict = *script_pick(script, &[Verdict::New, Verdict::Resumed, Verdict::Restarted, Verdict::Closed(0)]);
    }
    if which & 16 != 0 {
        hello.index = script.u16().into();
    }
    if which & 32 != 0 {
        hello.limits.max_message = script.number(limits) as u32;
        hello.limits.session_credit = script.number(limits) as u32;
        hello.limits.channel_credit = script.number(limits) as u32;
        hello.limits.max_packet = script.u16();
    }
}
