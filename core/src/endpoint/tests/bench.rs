//! One endpoint on a bench: every event by hand, everything that it does in the open.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::endpoint::{IndexOwner, Reason};
use crate::io::RouterState;
use crate::{AcceptPolicy, Action, Config, Endpoint, Event, Identity, Link, PublicKey, SessionId, StreamId, Time};
use crate::{Status, update::UpdateKind};

/// What an endpoint did.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Done {
    pub(crate) datagrams: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) written: BTreeMap<StreamId, Vec<u8>>,
    pub(crate) opened: Vec<StreamId>,
    pub(crate) opened_to: Vec<SocketAddr>,
    pub(crate) router: Vec<RouterState>,
    pub(crate) closed: Vec<StreamId>,
    pub(crate) updates: Vec<(SessionId, UpdateKind)>,
}

impl Done {
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The only datagram.
    pub(crate) fn datagram(&self) -> &[u8] {
        let [(_, packet)] = &self.datagrams[..] else { panic!("one datagram expected: {self:?}") };
        packet
    }

    pub(crate) fn connected(&self) -> Option<SessionId> {
        let connected = |kind: &UpdateKind| matches!(kind, UpdateKind::Connected { .. });
        self.updates.iter().find(|(_, kind)| connected(kind)).map(|(id, _)| *id)
    }
}

/// Everything that can be seen of an endpoint without touching it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) sessions: Vec<(SessionId, Option<Status>)>,
    pub(crate) indices: BTreeMap<u32, IndexOwner>,
    pub(crate) half_open: usize,
    pub(crate) streams: usize,
    pub(crate) timeout: Option<(Time, Reason)>,
}

impl Endpoint {
    pub(crate) fn snapshot(&self, now: Time) -> Snapshot {
        Snapshot {
            sessions: self.sessions.keys().map(|id| (*id, self.status(now, *id))).collect(),
            half_open: self.shared.indices.values().filter(|owner| **owner == IndexOwner::HalfOpen).count(),
            indices: self.shared.indices.clone(),
            streams: self.shared.streams.unproven(),
            timeout: self.poll_timeout(),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) now: Time,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: PublicKey,
}

impl Bench {
    /// An endpoint that lets anyone in, as often as they like.
    pub(crate) fn new(n: u8, config: &Config) -> Self {
        let mut config = config.clone();
        let limits = &mut config.limits;
        (limits.source_burst, limits.unproven_burst, limits.half_open_per_source) = (1_000_000, 1_000_000, 1_000_000);
        limits.unproven_streams_per_source = 1_000_000;
        Self::guarded(n, &config)
    }

    /// An endpoint that lets anyone in, with all its defences.
    pub(crate) fn guarded(n: u8, config: &Config) -> Self {
        let identity = Identity::from_bytes([n; 32]);
        let key = identity.public_key();
        let mut endpoint = Endpoint::new(config.clone(), identity, [n + 100; 32]).unwrap();
        endpoint.set_accept(AcceptPolicy::anyone());
        Self { now: Time::from_micros(1_000_000), endpoint, key }
    }

    pub(crate) fn handle(&mut self, event: Event<'_>) -> Done {
        self.endpoint.handle(self.now, event);
        self.drain()
    }

    pub(crate) fn datagram(&mut self, from: SocketAddr, packet: &[u8]) -> Done {
        let mut data = packet.to_vec();
        self.handle(Event::Datagram { from, data: &mut data })
    }

    /// A packet on a stream, behind its length.
    pub(crate) fn stream_packet(&mut self, stream: StreamId, packet: &[u8]) -> Done {
        let mut data = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
        data.extend_from_slice(packet);
        self.handle(Event::StreamData { stream, data: &mut data })
    }

    pub(crate) fn connect(&mut self, link: &Link) -> (SessionId, Done) {
        let id = self.endpoint.connect(self.now, link).unwrap();
        (id, self.drain())
    }

    /// Carries out nothing, but takes note of everything.
    pub(crate) fn drain(&mut self) -> Done {
        let mut done = Done::default();
        let mut buf = Vec::new();
        while let Some(action) = self.endpoint.poll_action(self.now, &mut buf) {
            match action {
                Action::Transmit { to, .. } => done.datagrams.push((to, buf.clone())),
                Action::OpenStream { stream, to } => {
                    done.opened.push(stream);
                    done.opened_to.push(to);
                }
                Action::WriteStream { stream } => {
                    done.written.entry(stream).or_default().extend_from_slice(&buf);
                    self.endpoint.handle(self.now, Event::StreamWritten { stream, len: buf.len() });
                }
                Action::CloseStream { stream } => done.closed.push(stream),
                Action::Resolve { .. } => panic!("no names here"),
                Action::Router { state } => done.router.push(state),
                Action::Update { session, update } => done.updates.push((session, update.kind)),
            }
        }
        done
    }

    /// Lets `span` pass, ticking at the announced times alone.
    pub(crate) fn pass(&mut self, span: Duration) -> Done {
        let end = self.now + span;
        let mut all = Done::default();
        while let Some((at, _)) = self.endpoint.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            let done = self.handle(Event::Tick);
            all.datagrams.extend(done.datagrams);
            all.updates.extend(done.updates);
            all.opened.extend(done.opened);
            all.closed.extend(done.closed);
            all.opened_to.extend(done.opened_to);
            all.router.extend(done.router);
            for (stream, bytes) in done.written {
                all.written.entry(stream).or_default().extend(bytes);
            }
        }
        self.now = end;
        all
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.endpoint.snapshot(self.now)
    }
}
