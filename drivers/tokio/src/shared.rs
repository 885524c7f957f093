//! What handles and the I/O task share: the core behind a lock that is never held while waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burdock_core::update::{State as Stage, Status, Update, UpdateKind};
use burdock_core::{AcceptPolicy, Action, Event, PublicKey, RouterState, SessionId, Time};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::session::Closed;
use crate::updates::Queue;

/// How far the end of the endpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not at all.
    Running,
    /// Sessions are being closed, none is added.
    Closing,
    /// The task has only to send what is left.
    Stopping,
    /// The task is gone.
    Stopped,
}

/// What those who hold a session wait for.
#[derive(Default)]
pub(crate) struct Signals {
    pub(crate) messages: Notify,
    pub(crate) writable: Notify,
    pub(crate) updates: Notify,
}

impl Signals {
    fn wake_all(&self) {
        self.messages.notify_waiters();
        self.writable.notify_waiters();
        self.updates.notify_waiters();
    }
}

/// A session as its holders see it. Gone when neither the session nor its updates are held.
pub(crate) struct Slot {
    pub(crate) signals: Arc<Signals>,
    /// The last known one, for when the core has forgotten the session.
    pub(crate) status: Status,
    pub(crate) connected: bool,
    pub(crate) closed: Option<Closed>,
    pub(crate) held: bool,
    /// `None` when nobody listens.
    pub(crate) updates: Option<Queue>,
}

pub(crate) struct State {
    pub(crate) core: burdock_core::Endpoint,
    pub(crate) phase: Phase,
    pub(crate) sessions: HashMap<SessionId, Slot>,
    /// Sessions that nobody has accepted yet.
    pub(crate) inbound: VecDeque<SessionId>,
    pub(crate) max_outcomes: usize,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    /// Wakes the I/O task.
    pub(crate) work: Notify,
    /// A session came in or ended, or the phase changed.
    pub(crate) changed: Notify,
}

impl Shared {
    pub(crate) fn new(core: burdock_core::Endpoint, max_outcomes: usize) -> Self {
        let (sessions, inbound) = (HashMap::new(), VecDeque::new());
        let state = State { core, phase: Phase::Running, sessions, inbound, max_outcomes };
        Self { state: Mutex::new(state), clock: Clock::new(), work: Notify::new(), changed: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic the task is gone and every session is closed; handles must still be able
        // to see that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Calls the core on behalf of a handle, then has the task carry out what follows.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut State, Time) -> T) -> T {
        let mut state = self.lock();
        let result = call(&mut state, self.clock.now());
        drop(state);
        self.work.notify_one();
        result
    }

    /// Waits until `ready` has an answer; it is asked again after each signal.
    pub(crate) async fn until<T>(&self, signal: &Notify, mut ready: impl FnMut() -> Option<T>) -> T {
        // A loop over something that is always ready must still let others run.
        tokio::task::consume_budget().await;
        loop {
            let signalled = signal.notified();
            if let Some(answer) = ready() {
                return answer;
            }
            signalled.await;
        }
    }

    pub(crate) fn handle(&self, event: Event<'_>) {
        self.lock().core.handle(self.clock.now(), event);
    }

    pub(crate) fn poll_action(&self, buf: &mut Vec<u8>) -> Option<Action> {
        self.lock().core.poll_action(self.clock.now(), buf)
    }

    /// Tells the holders of a session. One that nobody knows was let go of meanwhile, unless this
    /// is how it begins.
    pub(crate) fn apply(&self, session: SessionId, update: Update) {
        log(session, &update.kind);
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let UpdateKind::Connected { peer, inbound: true, .. } = update.kind
            && !state.sessions.contains_key(&session)
        {
            if state.phase > Phase::Running {
                return state.core.cancel(now, session);
            }
            state.add(session, peer, Stage::Connected);
            state.inbound.push_back(session);
            self.changed.notify_waiters();
        }
        let Some(slot) = state.sessions.get_mut(&session) else { return };
        slot.status.seq = update.seq;
        match &update.kind {
            UpdateKind::Progress(progress) => slot.status.progress = Some(progress.clone()),
            UpdateKind::Connected { .. } => slot.connected = true,
            UpdateKind::Message => slot.signals.messages.notify_waiters(),
            UpdateKind::Writable => slot.signals.writable.notify_waiters(),
            kind => {
                if let Some(closed) = Closed::from_update(kind) {
                    if let Some(status) = state.core.status(now, session) {
                        slot.status = status;
                    }
                    slot.end(closed);
                    self.changed.notify_waiters();
                }
            }
        }
        if let Some(updates) = &mut slot.updates {
            updates.push(update);
        }
        slot.signals.updates.notify_waiters();
    }

    /// The I2P router is better or worse off: whoever waits for it looks again.
    pub(crate) fn router_changed(&self, state: &RouterState) {
        match state {
            RouterState::Up { .. } => info!("I2P tunnels stand"),
            RouterState::Down { code, retry_in_ms } => info!(%code, retry_in_ms, "no I2P"),
            _ => debug!("I2P tunnels are asked for"),
        }
        self.changed.notify_waiters();
    }

    /// Has the task send what is left and end.
    pub(crate) fn stop(&self) {
        self.call(|state, now| {
            state.core.set_accept(AcceptPolicy::nobody());
            state.sessions.keys().for_each(|session| state.core.cancel(now, *session));
            state.end(Phase::Stopping);
        });
        self.changed.notify_waiters();
    }

    /// The task is gone. The core is not asked: it may be the one that panicked.
    pub(crate) fn stopped(&self) {
        self.lock().end(Phase::Stopped);
        self.changed.notify_waiters();
    }
}

impl State {
    pub(crate) fn add(&mut self, session: SessionId, peer: PublicKey, stage: Stage) -> Arc<Signals> {
        let signals = Arc::new(Signals::default());
        let status = Status {
            seq: 0,
            peer,
            state: stage,
            transport: None,
            progress: None,
            retry_in_ms: None,
            code: None,
            quality: None,
            queued_bytes: 0,
            pending_messages: 0,
        };
        let updates = Some(Queue::new(self.max_outcomes));
        let slot = Slot { signals: Arc::clone(&signals), status, connected: false, closed: None, held: true, updates };
        self.sessions.insert(session, slot);
        signals
    }

    pub(crate) fn closed(&self, session: SessionId) -> Option<Closed> {
        self.sessions.get(&session)?.closed.clone()
    }

    /// Ends a session at once.
    pub(crate) fn cancel(&mut self, now: Time, session: SessionId) {
        self.core.cancel(now, session);
        if let Some(slot) = self.sessions.get_mut(&session) {
            slot.end(Closed::cancelled());
        }
    }

    /// One of the two who hold a session lets go.
    pub(crate) fn release(&mut self, session: SessionId, let_go: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.sessions.get_mut(&session) else { return };
        let_go(slot);
        if !slot.held && slot.updates.is_none() {
            self.sessions.remove(&session);
        }
    }

    fn end(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
        self.sessions.values_mut().for_each(|slot| slot.end(Closed::cancelled()));
    }
}

impl Slot {
    /// The first end counts.
    fn end(&mut self, closed: Closed) {
        self.status.state = Stage::Closed;
        self.status.code = Some(closed.code);
        self.closed.get_or_insert(closed);
        self.signals.wake_all();
    }
}

fn log(session: SessionId, kind: &UpdateKind) {
    let session = session.get();
    match kind {
        UpdateKind::Connected { peer, transport, inbound, .. } => {
            info!(session, ?peer, %transport, inbound, "connected");
        }
        UpdateKind::PathChanged { to, code, .. } => info!(session, transport = %to, %code, "path changed"),
        UpdateKind::Lost { code } => info!(session, %code, "lost"),
        UpdateKind::Resumed { transport, after_ms } => info!(session, %transport, after_ms, "resumed"),
        UpdateKind::PeerRestarted => info!(session, "peer restarted"),
        UpdateKind::IdentityInUse { .. } => warn!(session, "the peer's identity is in use in several places"),
        UpdateKind::InviteBound { .. } => info!(session, "invite used"),
        UpdateKind::Closed { code, by_peer, .. } => info!(session, %code, by_peer, "closed"),
        UpdateKind::Progress(progress) => {
            debug!(session, attempt = progress.attempt, status = ?progress.status, code = ?progress.code, "dialling");
        }
        _ => {}
    }
}
