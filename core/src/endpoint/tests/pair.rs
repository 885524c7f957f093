//! Two endpoints and a small perfect network, for tests of the endpoint's own rules. The
//! simulator has the imperfect ones.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    AcceptPolicy, Action, Config, Endpoint, Event, Identity, Link, Message, NetError, PublicKey, SessionId, StreamId,
    Time, Update, update::UpdateKind,
};

pub(crate) const LATENCY: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(crate) enum Wire {
    Datagram(SocketAddr, Vec<u8>),
    Connect(SocketAddr, StreamId),
    Opened(StreamId),
    Bytes(StreamId, Vec<u8>),
    Closed(StreamId, Option<NetError>),
}

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) addr: SocketAddr,
    pub(crate) key: PublicKey,
    pub(crate) updates: Vec<(SessionId, Update)>,
    pub(crate) datagrams: Vec<Vec<u8>>,
    /// All bytes written to each stream.
    pub(crate) written: BTreeMap<StreamId, Vec<u8>>,
    /// Everything that the world told it.
    pub(crate) heard: Vec<Wire>,
    /// A hash of all actions so far, their bytes and times.
    pub(crate) trace: [u8; 32],
    /// Our end of a stream, and the other node's end of it.
    ends: BTreeMap<StreamId, StreamId>,
}

impl Node {
    fn new(n: u8, config: &Config) -> Self {
        let identity = Identity::from_bytes([n; 32]);
        let key = identity.public_key();
        let mut endpoint = Endpoint::new(config.clone(), identity, [n + 100; 32]).unwrap();
        endpoint.set_accept(AcceptPolicy::anyone());
        let addr = SocketAddr::from(([10, 0, 0, n], 1000));
        Self {
            endpoint,
            addr,
            key,
            updates: Vec::new(),
            datagrams: Vec::new(),
            written: BTreeMap::new(),
            heard: Vec::new(),
            trace: [0; 32],
            ends: BTreeMap::new(),
        }
    }

    pub(crate) fn kinds(&self) -> Vec<&UpdateKind> {
        self.updates.iter().map(|(_, update)| &update.kind).collect()
    }

    pub(crate) fn last_session(&self) -> SessionId {
        self.updates.last().expect("an update").0
    }
}

/// What stands before a node and sees every datagram before it does.
type Guard = Box<dyn FnMut(&mut Endpoint, Time, SocketAddr, &[u8])>;

/// Whether a datagram of a node gets through.
type Filter = Box<dyn FnMut(Time, usize, &[u8]) -> bool>;

pub(crate) struct Pair {
    pub(crate) now: Time,
    pub(crate) nodes: [Node; 2],
    queue: BTreeMap<(Time, u64), (usize, Wire)>,
    seq: u64,
    pub(crate) udp: bool,
    pub(crate) tcp: bool,
    pub(crate) guard: Option<Guard>,
    pub(crate) filter: Option<Filter>,
    /// Ticks in between, when nothing is due.
    pub(crate) early_ticks: bool,
}

impl Pair {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            now: Time::from_micros(1_000_000),
            nodes: [Node::new(1, config), Node::new(2, config)],
            queue: BTreeMap::new(),
            seq: 0,
            udp: true,
            tcp: true,
            guard: None,
            filter: None,
            early_ticks: false,
        }
    }

    pub(crate) fn link(&self, to: usize) -> Link {
        Link::direct(self.nodes[to].key, self.nodes[to].addr)
    }

    pub(crate) fn connect(&mut self, from: usize) -> SessionId {
        let link = self.link(1 - from);
        let id = self.nodes[from].endpoint.connect(self.now, &link).unwrap();
        self.drain(from);
        id
    }

    pub(crate) fn send(&mut self, from: usize, session: SessionId, text: &str) {
        self.nodes[from].endpoint.send(self.now, session, 0, Bytes::copy_from_slice(text.as_bytes())).unwrap();
        self.drain(from);
    }

    pub(crate) fn take(&mut self, node: usize, session: SessionId) -> Vec<Message> {
        let messages = core::iter::from_fn(|| self.nodes[node].endpoint.recv(session)).collect();
        self.nodes[node].endpoint.taken(self.now, session);
        self.drain(node);
        messages
    }

    fn post(&mut self, to: usize, wire: Wire) {
        self.seq += 1;
        self.queue.insert((self.now + LATENCY, self.seq), (to, wire));
    }

    /// Carries out what a node wants done, and sees that nothing is left to do.
    pub(crate) fn drain(&mut self, n: usize) {
        self.act(n);
        if let Some((at, reason)) = self.nodes[n].endpoint.poll_timeout() {
            assert!(at > self.now, "{reason:?} at {at} survived {}", self.now);
        }
    }

    /// Carries out what a node wants done. It may be late for a tick.
    pub(crate) fn act(&mut self, n: usize) {
        let mut buf = Vec::new();
        loop {
            let announced = self.nodes[n].endpoint.poll_timeout();
            let Some(action) = self.nodes[n].endpoint.poll_action(self.now, &mut buf) else { break };
            assert!(announced.is_some_and(|(at, _)| at <= self.now), "{action:?} waited unannounced");
            let told = format!("{} {action:?}", self.now);
            self.nodes[n].trace = crate::crypto::hash(&[&self.nodes[n].trace, told.as_bytes(), &buf]);
            match action {
                Action::Transmit { to, segment_size } => {
                    assert_eq!(segment_size, None);
                    self.nodes[n].datagrams.push(buf.clone());
                    let from = self.nodes[n].addr;
                    let now = self.now;
                    let passes = self.filter.as_mut().is_none_or(|filter| filter(now, n, &buf));
                    if passes && self.udp && to == self.nodes[1 - n].addr {
                        self.post(1 - n, Wire::Datagram(from, buf.clone()));
                    }
                }
                Action::OpenStream { stream, to } => {
                    if self.tcp && to == self.nodes[1 - n].addr {
                        let from = self.nodes[n].addr;
                        self.post(1 - n, Wire::Connect(from, stream));
                    } else {
                        self.post(n, Wire::Closed(stream, Some(NetError::Refused)));
                    }
                }
                Action::WriteStream { stream } => {
                    let end = self.nodes[n].ends.get(&stream).copied();
                    if let Some(end) = end {
                        self.post(1 - n, Wire::Bytes(end, buf.clone()));
                    }
                    let len = buf.len();
                    self.nodes[n].written.entry(stream).or_default().extend_from_slice(&buf);
                    self.nodes[n].endpoint.handle(self.now, Event::StreamWritten { stream, len });
                }
                Action::CloseStream { stream } => {
                    if let Some(end) = self.nodes[n].ends.remove(&stream) {
                        self.post(1 - n, Wire::Closed(end, None));
                    }
                }
                Action::Resolve { .. } | Action::Router { .. } => panic!("no names and no router here"),
                Action::Update { session, update } => self.nodes[n].updates.push((session, update)),
            }
        }
    }

    /// Lets `span` pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wire = self.queue.keys().next().map(|(at, _)| *at);
            let timers = [0, 1].map(|n| self.nodes[n].endpoint.poll_timeout().map(|(at, _)| at));
            let next = wire.into_iter().chain(timers.into_iter().flatten()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            if self.early_ticks {
                self.tick_early(next);
            }
            self.now = self.now.max(next);
            if wire.is_some_and(|at| at <= self.now) {
                let (_, (to, wire)) = self.queue.pop_first().expect("there is one");
                self.deliver(to, wire);
                self.drain(to);
            } else {
                for n in [0, 1] {
                    if timers[n].is_some_and(|at| at <= self.now) {
                        self.nodes[n].endpoint.handle(self.now, Event::Tick);
                        self.drain(n);
                    }
                }
            }
        }
        self.now = end;
    }

    /// Ticks before anything is due, at `next`.
    fn tick_early(&mut self, next: Time) {
        let between = Time::from_micros((self.now.as_micros() + next.as_micros()) / 2);
        for node in &mut self.nodes {
            let before = node.endpoint.poll_timeout();
            if before.is_none_or(|(at, _)| at > between) {
                node.endpoint.handle(between, Event::Tick);
                assert_eq!(node.endpoint.poll_action(between, &mut Vec::new()), None);
                assert_eq!(node.endpoint.poll_timeout(), before);
            }
        }
    }

    /// Both ends of every stream hear that it was reset.
    pub(crate) fn reset_streams(&mut self) {
        for n in [0, 1] {
            for stream in core::mem::take(&mut self.nodes[n].ends).into_keys() {
                let closed = Event::StreamClosed { stream, error: Some(NetError::Reset) };
                self.nodes[n].endpoint.handle(self.now, closed);
            }
            self.drain(n);
        }
    }

    /// The streams of a node, as it names them.
    pub(crate) fn streams(&self, n: usize) -> Vec<StreamId> {
        self.nodes[n].ends.keys().copied().collect()
    }

    /// Tells a node something.
    pub(crate) fn deliver(&mut self, to: usize, wire: Wire) {
        let now = self.now;
        self.nodes[to].heard.push(wire.clone());
        match wire {
            Wire::Datagram(from, mut data) => {
                if let Some(guard) = &mut self.guard {
                    guard(&mut self.nodes[to].endpoint, now, from, &data);
                }
                self.nodes[to].endpoint.handle(now, Event::Datagram { from, data: &mut data });
            }
            // Accepting is no tick, and a timer may be due at the same time.
            Wire::Connect(from, theirs) => match self.nodes[to].endpoint.stream_accepted(now, from) {
                Some(ours) => {
                    self.nodes[to].ends.insert(ours, theirs);
                    self.nodes[1 - to].ends.insert(theirs, ours);
                    self.post(1 - to, Wire::Opened(theirs));
                    self.nodes[to].endpoint.handle(now, Event::Tick);
                }
                None => self.post(1 - to, Wire::Closed(theirs, Some(NetError::Refused))),
            },
            Wire::Opened(stream) => self.nodes[to].endpoint.handle(now, Event::StreamOpened { stream }),
            Wire::Bytes(stream, mut data) => {
                self.nodes[to].endpoint.handle(now, Event::StreamData { stream, data: &mut data });
            }
            Wire::Closed(stream, error) => {
                self.nodes[to].ends.remove(&stream);
                self.nodes[to].endpoint.handle(now, Event::StreamClosed { stream, error });
            }
        }
    }
}
