//! Two endpoints joined in memory: no sockets, no losses, no clock but a counter, and no memory of
//! its own once its buffers have grown. What it costs is what the endpoints cost, and one copy of
//! each byte, in the place of a socket's.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use burdock_core::update::UpdateKind;
use burdock_core::{AcceptPolicy, Action, Config, Endpoint, Event, Identity, Link, Outcome, SessionId, StreamId, Time};
use bytes::Bytes;

/// How long anything is under way.
pub const LATENCY: Duration = Duration::from_micros(50);

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Datagrams.
    Datagrams,
    /// One byte stream.
    Stream,
}

/// Pieces of bytes in one allocation, first in, first out.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

struct Side {
    endpoint: Endpoint,
    addr: SocketAddr,
    session: Option<SessionId>,
    stream: Option<StreamId>,
    /// What it sent and the other has not got.
    sent: Pieces,
    /// Datagrams, or writes to the stream, so far.
    writes: u64,
    /// Messages taken so far.
    taken: u64,
    /// Messages of its own that the other took.
    delivered: u64,
}

impl Side {
    fn new(n: u8) -> Self {
        let mut endpoint = Endpoint::new(Config::streamer(), Identity::from_bytes([n; 32]), [n + 100; 32])
            .expect("the preset is valid");
        endpoint.set_accept(AcceptPolicy::anyone());
        Self {
            endpoint,
            addr: SocketAddr::from(([192, 0, 2, n], 1000)),
            session: None,
            stream: None,
            sent: Pieces::default(),
            writes: 0,
            taken: 0,
            delivered: 0,
        }
    }
}

/// Two endpoints with one session, which side 0 dials.
pub struct Pair {
    sides: [Side; 2],
    now: Time,
    buf: Vec<u8>,
    /// Under way to a side; swapped with what was sent.
    coming: Pieces,
    /// Streams that were asked for.
    dials: VecDeque<(StreamId, SocketAddr)>,
}

impl Pair {
    /// Connects the two.
    ///
    /// # Panics
    /// When they do not get connected within a second of their time.
    #[must_use]
    pub fn connect(carrier: Carrier) -> Self {
        let mut pair = Self {
            sides: [Side::new(1), Side::new(2)],
            now: Time::from_micros(1_000_000),
            buf: Vec::new(),
            coming: Pieces::default(),
            dials: VecDeque::new(),
        };
        let mut link = Link::direct(pair.sides[1].endpoint.public_key(), pair.sides[1].addr);
        match carrier {
            Carrier::Datagrams => link.tcp_port = None,
            Carrier::Stream => link.udp_port = None,
        }
        pair.sides[0].session =
            Some(pair.sides[0].endpoint.connect(pair.now, &link).expect("nothing stands against it"));
        pair.drain(0);
        // Long enough for what belongs to the beginning to be over.
        pair.pass(Duration::from_secs(1));
        assert!(pair.sides[1].session.is_some(), "the two endpoints did not get connected");
        pair
    }

    /// Sends the messages from side `from` on channel 0 as fast as they are taken, until all of
    /// them are known to be delivered. Returns how many they were.
    ///
    /// # Panics
    /// When nothing is under way and messages are missing.
    pub fn transfer(&mut self, from: usize, messages: impl IntoIterator<Item = Bytes>) -> u64 {
        let session = self.sides[from].session.expect("connected");
        let before = self.sides[from].delivered;
        let (mut messages, mut count) = (messages.into_iter().peekable(), 0);
        loop {
            while let Some(message) = messages.peek() {
                if self.sides[from].endpoint.send(self.now, session, 0, message.clone()).is_err() {
                    break;
                }
                messages.next();
                count += 1;
                self.drain(from);
            }
            if messages.peek().is_none() && self.sides[from].delivered - before == count {
                return count;
            }
            self.step(None);
        }
    }

    /// Lets so much of the endpoints' time pass.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step(Some(end));
        }
    }

    /// Hands side `to` these datagrams, as if the other had sent them; `data` is overwritten.
    pub fn inject(&mut self, to: usize, data: &mut [u8]) {
        let from = self.sides[1 - to].addr;
        self.sides[to].endpoint.handle(self.now, Event::Datagram { from, data });
        self.drain(to);
    }

    /// Queues one message on side `from` and gives the first datagram with it, which is not
    /// delivered by this.
    ///
    /// # Panics
    /// When it leads to no datagram.
    pub fn datagram_with(&mut self, from: usize, message: Bytes) -> Vec<u8> {
        let session = self.sides[from].session.expect("connected");
        self.sides[from].endpoint.send(self.now, session, 0, message).expect("there is room");
        let action = self.sides[from].endpoint.poll_action(self.now, &mut self.buf);
        assert!(matches!(action, Some(Action::Transmit { .. })), "{action:?} is no datagram");
        self.sides[from].sent.push(&self.buf);
        self.buf.clone()
    }

    /// Datagrams, or writes to the stream, that a side has sent.
    #[must_use]
    pub fn writes(&self, side: usize) -> u64 {
        self.sides[side].writes
    }

    /// Messages that a side has taken.
    #[must_use]
    pub fn taken(&self, side: usize) -> u64 {
        self.sides[side].taken
    }

    /// Delivers what is under way, else waits for the next timer.
    fn step(&mut self, limit: Option<Time>) {
        let idle = self.dials.is_empty() && self.sides.iter().all(|side| side.sent.ends.is_empty());
        if idle {
            let next = self.sides.iter().filter_map(|side| Some(side.endpoint.poll_timeout()?.0)).min();
            self.now = next.into_iter().chain(limit).min().expect("nothing is under way and nothing is planned");
            for n in [0, 1] {
                self.sides[n].endpoint.handle(self.now, Event::Tick);
                self.drain(n);
            }
            return;
        }
        self.now = self.now + LATENCY;
        while let Some((stream, from)) = self.dials.pop_front() {
            let accepted = self.sides[1].endpoint.stream_accepted(self.now, from);
            (self.sides[0].stream, self.sides[1].stream) = (Some(stream), accepted);
            self.drain(1);
            self.sides[0].endpoint.handle(self.now, Event::StreamOpened { stream });
            self.drain(0);
        }
        for from in [0, 1] {
            self.deliver(from);
        }
    }

    fn deliver(&mut self, from: usize) {
        let to = 1 - from;
        core::mem::swap(&mut self.coming, &mut self.sides[from].sent);
        let mut coming = core::mem::take(&mut self.coming);
        let mut start = 0;
        for &end in &coming.ends {
            let data = &mut coming.bytes[start..end];
            start = end;
            let event = match self.sides[to].stream {
                Some(stream) => Event::StreamData { stream, data },
                None => Event::Datagram { from: self.sides[from].addr, data },
            };
            self.sides[to].endpoint.handle(self.now, event);
            self.drain(to);
            self.take(to);
        }
        coming.clear();
        self.coming = coming;
    }

    fn take(&mut self, n: usize) {
        let Some(session) = self.sides[n].session else { return };
        let before = self.sides[n].taken;
        while self.sides[n].endpoint.recv(session).is_some() {
            self.sides[n].taken += 1;
        }
        if self.sides[n].taken > before {
            self.sides[n].endpoint.taken(self.now, session);
            self.drain(n);
        }
    }

    fn drain(&mut self, n: usize) {
        let side = &mut self.sides[n];
        while let Some(action) = side.endpoint.poll_action(self.now, &mut self.buf) {
            match action {
                Action::Transmit { .. } => {
                    side.writes += 1;
                    side.sent.push(&self.buf);
                }
                Action::WriteStream { stream } => {
                    side.writes += 1;
                    side.sent.push(&self.buf);
                    side.endpoint.handle(self.now, Event::StreamWritten { stream, len: self.buf.len() });
                }
                Action::OpenStream { stream, .. } => self.dials.push_back((stream, side.addr)),
                Action::Update { session, update } => match update.kind {
                    UpdateKind::Connected { .. } => side.session = Some(session),
                    UpdateKind::Outcome { outcome: Outcome::Delivered, .. } => side.delivered += 1,
                    _ => {}
                },
                Action::CloseStream { .. } | Action::Resolve { .. } | Action::Router { .. } => {
                    unreachable!("nothing here leads to it")
                }
            }
        }
    }
}
