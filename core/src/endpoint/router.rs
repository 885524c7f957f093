//! The I2P router: the SAM session that belongs to the endpoint, and the streams that are asked for in it.
//!
//! A SAM session is its control socket. It is opened when the endpoint starts and opened again, with growing waits and
//! under the same destination, when it is gone or of no use any more. Every other stream to the bridge speaks SAM until the
//! router has made a stream to a peer of it; then it is handed over and carries packets like any other.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::streams::StreamOwner;
use super::{Endpoint, Reason, Shared, Timer};
use crate::backoff::Schedule;
use crate::code::Code;
use crate::config::{self, ConfigError, Transport};
use crate::door::Source;
use crate::io::{Action, RouterState, SessionId, StreamId};
use crate::sam::{Destination, Happened, MAX_LINE, PrivateDestination, SamError, SamId, Socket, Step};
use crate::time::Time;

/// Streams that wait for callers. More than one, so that a second caller finds one while the first is handed over.
const ACCEPTS: usize = 2;
/// The waits before a router that gave no session is asked again.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// A destination may not be used twice at once, and a router needs a moment to let go of a session: i2pd 5 s, and what is
/// begun at the same destination before that ends with it.
const LET_GO: Duration = Duration::from_secs(8);
/// As `RETRY_FIRST`, after a session stood: with its jitter no shorter than `LET_GO`.
const RENEW_FIRST: Duration = Duration::from_secs(16);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// The first wait before streams wait for callers again; it grows in the same way.
const ACCEPT_FIRST: Duration = Duration::from_secs(1);
/// A SAM session that stood so long was sound: the waits begin anew.
const PROVED_SOUND: Duration = Duration::from_secs(10);
/// A session that can reach nobody is only given up when it has had this long.
const GIVEN_TIME: Duration = Duration::from_secs(600);
/// So many destinations out of reach count as nobody.
const UNREACHABLE: usize = 2;
/// Peers may be silent for so long, on two streams or more, before the session is made afresh. A router may go on for
/// hours to write to a peer's router with keys that it has lost, as when it was started again.
const SILENCE: Duration = Duration::from_secs(60);

/// The SAM session's life.
enum Life {
    /// There is none; the next is begun `until` then, and before `earliest` not even by wish.
    Down {
        earliest: Time,
        until: Time,
    },
    /// Asked for on this socket.
    Opening {
        control: StreamId,
        id: SamId,
    },
    Standing {
        control: StreamId,
        id: SamId,
        address: Destination,
        since: Time,
    },
}

/// What a socket is for.
#[derive(Clone)]
enum Purpose {
    Control,
    Dial { session: SessionId, to: Destination },
    Accept { since: Time },
}

struct Sam {
    socket: Socket,
    purpose: Purpose,
    /// The step that the deadline is for.
    step: Step,
    /// When the router owes the answer that is waited for.
    deadline: Option<Time>,
}

/// All that speak SAM. There may be thousands, and each packet asks for the next deadline.
#[derive(Default)]
struct Sockets {
    by_stream: BTreeMap<StreamId, Sam>,
    deadlines: BTreeSet<(Time, StreamId)>,
    /// Those that wait for callers.
    accepts: usize,
}

impl Sockets {
    fn insert(&mut self, stream: StreamId, sam: Sam) {
        self.accepts += usize::from(sam.accepts());
        self.deadlines.extend(sam.deadline.map(|at| (at, stream)));
        self.by_stream.insert(stream, sam);
    }

    fn get_mut(&mut self, stream: StreamId) -> Option<&mut Sam> {
        self.by_stream.get_mut(&stream)
    }

    fn remove(&mut self, stream: StreamId) -> Option<Sam> {
        let sam = self.by_stream.remove(&stream)?;
        self.accepts -= usize::from(sam.accepts());
        if let Some(at) = sam.deadline {
            self.deadlines.remove(&(at, stream));
        }
        Some(sam)
    }

    /// The socket has got on, and a step has a deadline of its own. A piece of an answer buys no time.
    fn came_on(&mut self, now: Time, stream: StreamId) {
        let Some(sam) = self.by_stream.get_mut(&stream).filter(|sam| sam.step != sam.socket.step()) else { return };
        sam.step = sam.socket.step();
        let before = core::mem::replace(&mut sam.deadline, sam.socket.patience().map(|patience| now + patience));
        if let Some(at) = before {
            self.deadlines.remove(&(at, stream));
        }
        self.deadlines.extend(sam.deadline.map(|at| (at, stream)));
    }
}

impl Sam {
    const fn accepts(&self) -> bool {
        matches!(self.purpose, Purpose::Accept { .. })
    }
}

pub(crate) struct Router {
    life: Life,
    /// What makes our destination ours. From the application, or from the first SAM session.
    identity: Option<Arc<PrivateDestination>>,
    sockets: Sockets,
    /// Waits since a session proved sound.
    retries: u32,
    /// When streams may wait for callers again, and how often in a row that failed.
    accept_at: Time,
    accept_retries: u32,
    /// Destinations that this session did not reach, as long as it reached none.
    unreachable: BTreeSet<Destination>,
    /// When the first stream of this session came to nothing in silence, as long as no peer answered.
    pub(super) silent_since: Option<Time>,
    /// It has lasted: the session is to be made afresh.
    silent: bool,
    told: RouterState,
}

impl Router {
    pub(crate) fn new() -> Self {
        Self {
            life: Life::Down { earliest: Time::ZERO, until: Time::ZERO },
            identity: None,
            sockets: Sockets::default(),
            retries: 0,
            accept_at: Time::ZERO,
            accept_retries: 0,
            unreachable: BTreeSet::new(),
            silent_since: None,
            silent: false,
            told: RouterState::Connecting,
        }
    }

    fn address(&self) -> Option<&Destination> {
        if let Life::Standing { address, .. } = &self.life { Some(address) } else { None }
    }

    /// When something is to be done, and nothing has happened.
    fn next(&self, config: &config::I2p) -> Option<Time> {
        let own = match self.life {
            Life::Down { until, .. } => Some(until),
            Life::Opening { .. } => None,
            Life::Standing { .. } => (config.accept && self.sockets.accepts < ACCEPTS).then_some(self.accept_at),
        };
        self.sockets.deadlines.first().map(|(at, _)| *at).into_iter().chain(own).min()
    }
}

fn wait(shared: &mut Shared, first: Duration, retries: u32) -> Duration {
    Schedule::exponential(first, RETRY_CAP).jittered(retries, shared.random.jitter())
}

impl Shared {
    /// Asks the router for a stream to a destination; `None` when no SAM session stands, and so not yet.
    pub(crate) fn dial_i2p(&mut self, now: Time, session: SessionId, to: &Destination) -> Option<StreamId> {
        let Life::Standing { id, .. } = &self.router.as_ref()?.life else { return None };
        let socket = Socket::connect(id.clone(), to.clone());
        let purpose = Purpose::Dial { session, to: to.clone() };
        Some(self.open_sam(now, socket, purpose, Source::of_destination(to)))
    }

    /// Whether a destination is our own, as far as is known. Routers do not bear a stream to oneself.
    pub(crate) fn is_own_destination(&self, to: &Destination) -> bool {
        self.router.as_ref().and_then(Router::address).is_some_and(|address| address.is_same(to))
    }

    fn open_sam(&mut self, now: Time, socket: Socket, purpose: Purpose, source: Source) -> StreamId {
        let stream = self.next_stream();
        let (step, deadline) = (socket.step(), socket.patience().map(|patience| now + patience));
        self.streams.insert_sam(now, stream, source);
        if let (Some(router), Some(config)) = (&mut self.router, &self.config.i2p) {
            router.sockets.insert(stream, Sam { socket, purpose, step, deadline });
            let to = config.bridge;
            self.act(Action::OpenStream { stream, to });
        }
        stream
    }

    /// A peer said nothing on a stream that the router had made, until the attempt was over.
    pub(crate) fn peer_was_silent(&mut self, now: Time) {
        if let Some(router) = &mut self.router {
            let since = *router.silent_since.get_or_insert(now);
            router.silent |= since + SILENCE <= now;
        }
    }

    /// A path to a peer stands: the router's session works.
    pub(crate) fn peer_answered(&mut self) {
        if let Some(router) = &mut self.router {
            (router.silent_since, router.silent) = (None, false);
            router.unreachable.clear();
        }
    }

    /// A stream was let go of.
    pub(super) fn forget_sam(&mut self, stream: StreamId) {
        if let Some(router) = &mut self.router {
            router.sockets.remove(stream);
        }
    }

    fn tell_router(&mut self, state: RouterState) {
        if let Some(router) = &mut self.router
            && router.told != state
        {
            router.told = state.clone();
            self.act(Action::Router { state });
        }
    }
}

impl Endpoint {
    /// How the I2P router does, as last told by [`Action::Router`]; `None` without one in the configuration.
    #[must_use]
    pub fn router(&self) -> Option<&RouterState> {
        self.shared.router.as_ref().map(|router| &router.told)
    }

    /// Takes a destination that was kept from an earlier endpoint, so that links to it remain good. To be called before
    /// the first event; otherwise the router makes a new one.
    pub fn set_destination(&mut self, destination: PrivateDestination) {
        if let Some(router) = &mut self.shared.router {
            router.identity = Some(Arc::new(destination));
        }
    }

    /// What makes our destination ours, to be kept as secret as the identity; `None` before the router has made one.
    #[must_use]
    pub fn private_destination(&self) -> Option<&PrivateDestination> {
        self.shared.router.as_ref()?.identity.as_deref()
    }

    /// The SAM bridge is at another address from now on, as when a router was started after the endpoint. The SAM session
    /// with the one before ends; streams to peers live on. Without I2P in the configuration nothing happens.
    ///
    /// # Errors
    /// The address is not on this machine, and [`I2p::remote_bridge`](crate::I2p::remote_bridge) is not set. Then
    /// the bridge stays the one before.
    pub fn set_bridge(&mut self, now: Time, bridge: SocketAddr) -> Result<(), ConfigError> {
        let now = self.clamp(now);
        let mut config = self.shared.config.clone();
        let Some(i2p) = config.i2p.as_mut().filter(|i2p| i2p.bridge != bridge) else { return Ok(()) };
        i2p.bridge = bridge;
        config.validate()?;
        self.shared.config = config;
        self.end_sam_session(now);
        if let Some(router) = &mut self.shared.router {
            router.retries = 0;
        }
        self.hurry_router(now);
        Ok(())
    }

    /// Does what is due at the router.
    pub(super) fn on_router_timer(&mut self, now: Time) {
        let Some(router) = &self.shared.router else { return };
        let late: Vec<StreamId> =
            router.sockets.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, stream)| *stream).collect();
        for stream in late {
            let sam = self.shared.router.as_mut().and_then(|router| router.sockets.remove(stream));
            let Some(sam) = sam else { continue };
            self.shared.close_stream(stream);
            let error = SamError::TimedOut { step: sam.socket.step() };
            self.on_sam_failed(now, stream, sam.purpose, &error);
        }
        self.tend_router(now);
    }

    /// Skips the wait for the router.
    pub(super) fn hurry_router(&mut self, now: Time) {
        if let Some(Router { life: Life::Down { earliest, until }, .. }) = &mut self.shared.router {
            *until = now.max(*earliest).min(*until);
        }
        self.tend_router(now);
    }

    /// Opens what is to be open.
    fn tend_router(&mut self, now: Time) {
        let shared = &mut self.shared;
        let (Some(router), Some(config)) = (&mut shared.router, &shared.config.i2p) else { return };
        match &router.life {
            Life::Down { until, .. } if *until <= now => {
                let id = format!("burdock{:016x}", shared.random.half()).parse::<SamId>().expect("letters and digits");
                let socket = Socket::control(id.clone(), router.identity.clone(), config.tunnels);
                let control = shared.open_sam(now, socket, Purpose::Control, Source::of(config_ip(shared)));
                if let Some(router) = &mut shared.router {
                    router.life = Life::Opening { control, id };
                }
            }
            Life::Standing { id, .. } if config.accept && router.accept_at <= now => {
                let (id, ip) = (id.clone(), config.bridge.ip());
                for _ in router.sockets.accepts..ACCEPTS {
                    let purpose = Purpose::Accept { since: now };
                    shared.open_sam(now, Socket::accept(id.clone()), purpose, Source::of(ip));
                }
            }
            _ => {}
        }
        self.set_router_timer();
    }

    /// After anything that may have touched the router.
    pub(super) fn set_router_timer(&mut self) {
        if let (Some(router), Some(config)) = (&self.shared.router, &self.shared.config.i2p) {
            self.agenda.set(Timer::Router, router.next(config), Reason::Router);
        }
    }

    pub(super) fn on_sam_opened(&mut self, now: Time, stream: StreamId) {
        let Some(sam) = self.shared.router.as_mut().and_then(|router| router.sockets.get_mut(stream)) else { return };
        sam.socket.opened();
        self.write_sam(now, stream);
    }

    /// Writes the command that is due, whole, as routers lose what comes in pieces.
    fn write_sam(&mut self, now: Time, stream: StreamId) {
        let shared = &mut self.shared;
        let Some(sam) = shared.router.as_mut().and_then(|router| router.sockets.get_mut(stream)) else { return };
        // A router that asks for signs of life and reads none gets no memory for them.
        let reads = shared.streams.unwritten_lines(stream) <= MAX_LINE;
        if let Some(command) = sam.socket.command().filter(|_| reads) {
            shared.streams.push_line(stream, &command);
        }
        if let Some(router) = &mut shared.router {
            router.sockets.came_on(now, stream);
        }
        self.set_router_timer();
    }

    /// Bytes came on a stream that speaks SAM.
    pub(super) fn on_sam_data(&mut self, now: Time, stream: StreamId, mut data: &mut [u8]) {
        loop {
            let sam = self.shared.router.as_mut().and_then(|router| router.sockets.get_mut(stream));
            let Some(sam) = sam else {
                // Handed over: what follows are packets.
                if !data.is_empty() && self.shared.streams.owner(stream).is_some_and(|it| it != StreamOwner::Closing) {
                    self.on_stream_data(now, stream, data);
                }
                return;
            };
            let (read, happened) = sam.socket.read(data);
            data = data.get_mut(read..).unwrap_or_default();
            let over = happened.is_none() && (read == 0 || data.is_empty());
            if let Some(happened) = happened {
                self.on_sam(now, stream, happened);
            }
            self.write_sam(now, stream);
            if over {
                return;
            }
        }
    }

    /// The stream ended while it spoke SAM.
    pub(super) fn on_sam_ended(&mut self, now: Time, stream: StreamId) {
        let sam = self.shared.router.as_mut().and_then(|router| router.sockets.remove(stream));
        let Some(mut sam) = sam else { return };
        match sam.socket.ended() {
            Happened::Failed(error) => self.on_sam_failed(now, stream, sam.purpose, &error),
            // Nothing else can be made of a stream that is gone.
            _ => {
                let error = SamError::Ended { step: sam.socket.step() };
                self.on_sam_failed(now, stream, sam.purpose, &error);
            }
        }
    }

    fn on_sam(&mut self, now: Time, stream: StreamId, happened: Happened) {
        let shared = &mut self.shared;
        let Some(router) = &mut shared.router else { return };
        match happened {
            Happened::SessionStands { address, private } => {
                let Life::Opening { control, id } = &router.life else { return };
                router.life =
                    Life::Standing { control: *control, id: id.clone(), address: address.clone(), since: now };
                router.identity.get_or_insert_with(|| Arc::new(private));
                (router.accept_at, router.accept_retries) = (now, 0);
                shared.tell_router(RouterState::Up { address });
                self.tend_router(now);
                self.wake_dials(now, None);
            }
            Happened::Accepting => {}
            Happened::StreamOpen => {
                let Some(Sam { purpose: Purpose::Dial { session, .. }, .. }) = router.sockets.remove(stream) else {
                    return;
                };
                shared.streams.hand_over_dialled(stream, session);
                self.with_session(now, session, |session, shared| session.on_stream_opened(now, shared, stream));
            }
            Happened::Accepted { from } => {
                let own = router.address().is_some_and(|address| address.is_same(&from));
                router.sockets.remove(stream);
                // A router that lets only one wait had refused the others.
                (router.accept_at, router.accept_retries) = (now, 0);
                if own {
                    shared.close_stream(stream);
                } else {
                    let source = Source::of_destination(&from);
                    self.make_room_for_stream(source);
                    self.shared.streams.hand_over_accepted(now, stream, source);
                    let deadline = now + self.shared.config.handshake_deadline_of(Transport::I2p);
                    self.agenda.set(Timer::Stream(stream), Some(deadline), Reason::HalfOpen);
                }
                self.tend_router(now);
            }
            Happened::Failed(error) => {
                let Some(sam) = router.sockets.remove(stream) else { return };
                shared.close_stream(stream);
                self.on_sam_failed(now, stream, sam.purpose, &error);
            }
        }
    }

    /// A socket came to nothing, and is gone.
    fn on_sam_failed(&mut self, now: Time, stream: StreamId, purpose: Purpose, error: &SamError) {
        let Some(router) = &mut self.shared.router else { return };
        let of_session = error.ends_session();
        match purpose {
            Purpose::Control => return self.session_gone(now),
            Purpose::Dial { session, to } => {
                if error.is_peers_fault() && router.unreachable.len() < UNREACHABLE {
                    router.unreachable.insert(to);
                }
                let code = error.code();
                self.with_session(now, session, |session, shared| session.on_i2p_failed(now, shared, stream, code));
            }
            Purpose::Accept { since } => {
                // That the router said yes is no proof yet that it lets us wait.
                if error.step() == Step::Waiting && since + PROVED_SOUND <= now {
                    router.accept_retries = 0;
                }
                let retries = router.accept_retries;
                router.accept_retries = retries.saturating_add(1);
                let at = now + wait(&mut self.shared, ACCEPT_FIRST, retries);
                if let Some(router) = &mut self.shared.router {
                    router.accept_at = at;
                }
            }
        }
        if of_session || self.reaches_nobody(now) {
            self.end_sam_session(now);
        }
        self.tend_router(now);
    }

    /// Whether the SAM session had its time and does not work, though it stands.
    fn reaches_nobody(&self, now: Time) -> bool {
        let Some(router) = &self.shared.router else { return false };
        let Life::Standing { since, .. } = router.life else { return false };
        router.unreachable.len() >= UNREACHABLE
            && since + GIVEN_TIME <= now
            && !self.shared.streams.carries_path(Transport::I2p)
    }

    /// Lets go of a SAM session in which peers are silent, unless one is not.
    pub(super) fn renew_silent_session(&mut self, now: Time) {
        let silent = self.shared.router.as_mut().is_some_and(|router| core::mem::take(&mut router.silent));
        if silent && !self.shared.streams.carries_path(Transport::I2p) {
            self.end_sam_session(now);
        }
    }

    /// Lets go of the SAM session, for another.
    fn end_sam_session(&mut self, now: Time) {
        let control = match self.shared.router.as_ref().map(|router| &router.life) {
            Some(Life::Opening { control, .. } | Life::Standing { control, .. }) => *control,
            Some(Life::Down { .. }) | None => return,
        };
        self.shared.forget_sam(control);
        self.shared.close_stream(control);
        self.session_gone(now);
    }

    /// The SAM session is gone, and with it what was asked for in it. Streams to peers may live on.
    fn session_gone(&mut self, now: Time) {
        let Some(router) = &mut self.shared.router else { return };
        let stood = matches!(router.life, Life::Standing { .. });
        if let Life::Standing { since, .. } = router.life
            && since + PROVED_SOUND <= now
        {
            router.retries = 0;
        }
        let retries = router.retries;
        router.retries = retries.saturating_add(1);
        router.unreachable.clear();
        (router.silent_since, router.silent) = (None, false);
        let orphans = core::mem::take(&mut router.sockets);
        let (first, let_go) = if stood { (RENEW_FIRST, LET_GO) } else { (RETRY_FIRST, Duration::ZERO) };
        let wait = wait(&mut self.shared, first, retries);
        if let Some(router) = &mut self.shared.router {
            router.life = Life::Down { earliest: now + let_go, until: now + wait };
        }
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.shared.tell_router(RouterState::Down { code: Code::SamDown, retry_in_ms });
        for (stream, sam) in orphans.by_stream {
            self.shared.close_stream(stream);
            if let Purpose::Dial { session, .. } = sam.purpose {
                self.with_session(now, session, |session, shared| {
                    session.on_i2p_failed(now, shared, stream, Code::SamDown);
                });
            }
        }
        self.wake_dials(now, Some(Code::SamDown));
        self.set_router_timer();
    }

    /// Tells the attempts that wait for the router that it stands, or why it does not.
    fn wake_dials(&mut self, now: Time, failed: Option<Code>) {
        let waiting: Vec<SessionId> =
            self.sessions.iter().filter(|(_, session)| session.awaits_router()).map(|(id, _)| *id).collect();
        for id in waiting {
            self.with_session(now, id, |session, shared| session.on_router(now, shared, failed));
        }
    }
}

fn config_ip(shared: &Shared) -> core::net::IpAddr {
    shared.config.i2p.as_ref().map_or(config::I2p::USUAL_BRIDGE.ip(), |i2p| i2p.bridge.ip())
}
