//! What an endpoint's sessions share: identity, luck, indices, streams and the queue of actions.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::router::Router;
use super::streams::Streams;
use super::whereabouts::Whereabouts;
use crate::config::Config;
use crate::door::{CookieJar, Source};
use crate::identity::Identity;
use crate::io::{Action, ResolveId, SessionId, StreamId};
use crate::recovery::Fate;
use crate::rng::Randomness;
use crate::seal::Refused;
use crate::sent::SentFrame;
use crate::time::Time;

/// Whom a receiver index belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexOwner {
    /// A handshake that this session began.
    Pending(SessionId),
    /// A handshake that a peer began and has not confirmed.
    HalfOpen,
    /// A path of this session.
    Path(SessionId),
}

/// What waits for `poll_action`.
#[derive(Debug)]
pub(crate) enum Queued {
    /// Handed on as it is.
    Action(Action),
    /// A whole datagram, sealed before.
    Datagram { to: SocketAddr, packet: Bytes },
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) random: Randomness,
    pub(crate) indices: BTreeMap<u32, IndexOwner>,
    pub(crate) streams: Streams,
    /// The I2P router, when the configuration names one.
    pub(crate) router: Option<Router>,
    pub(crate) whereabouts: Whereabouts,
    /// What responders under load gave us.
    pub(crate) cookies: CookieJar,
    pub(crate) queue: VecDeque<Queued>,
    /// Room for the fates of frames, kept so that no packet allocates it.
    pub(crate) fates: Vec<(SentFrame, Fate)>,
    pub(crate) refused: Refused,
    handles: u64,
}

impl Shared {
    pub(crate) fn new(config: Config, identity: Identity, seed: &[u8; 32]) -> Self {
        let router = config.i2p.as_ref().map(|_| Router::new());
        Self {
            router,
            config,
            identity,
            random: Randomness::new(seed),
            indices: BTreeMap::new(),
            streams: Streams::default(),
            whereabouts: Whereabouts::default(),
            cookies: CookieJar::default(),
            queue: VecDeque::new(),
            fates: Vec::new(),
            refused: Refused::default(),
            handles: 0,
        }
    }

    fn next_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }

    pub(super) fn next_stream(&mut self) -> StreamId {
        StreamId(self.next_handle())
    }

    pub(crate) fn next_session(&mut self) -> SessionId {
        SessionId(self.next_handle())
    }

    /// Draws an index that nothing else uses.
    pub(crate) fn claim_index(&mut self, owner: IndexOwner) -> u32 {
        loop {
            let index = self.random.index();
            if let std::collections::btree_map::Entry::Vacant(entry) = self.indices.entry(index) {
                entry.insert(owner);
                return index;
            }
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.queue.push_back(Queued::Action(action));
    }

    pub(crate) fn datagram(&mut self, to: SocketAddr, packet: Bytes) {
        self.queue.push_back(Queued::Datagram { to, packet });
    }

    pub(crate) fn resolve(&mut self, host: &str, port: u16) -> ResolveId {
        let resolve = ResolveId(self.next_handle());
        self.act(Action::Resolve { resolve, host: host.to_owned(), port });
        resolve
    }

    pub(crate) fn open_stream(&mut self, now: Time, session: SessionId, to: SocketAddr) -> StreamId {
        let stream = self.next_stream();
        self.streams.insert_dialled(now, stream, session, Source::of(to.ip()));
        self.act(Action::OpenStream { stream, to });
        stream
    }

    pub(crate) fn accept_stream(&mut self, now: Time, source: Source) -> StreamId {
        let stream = self.next_stream();
        self.streams.insert_accepted(now, stream, source);
        stream
    }

    /// Lets go of a stream; what was sealed before still goes out when the stream takes it.
    pub(crate) fn close_stream(&mut self, stream: StreamId) {
        self.forget_sam(stream);
        if self.streams.begin_close(stream) {
            self.act(Action::CloseStream { stream });
        }
    }
}
