//! A host: a machine, and now and then a process on it.

use std::collections::{BTreeMap, VecDeque};

use burdock_core::{Endpoint, PublicKey, SessionId, StreamId, Time, Update};

use crate::clock::{Clock, Stopped};
use crate::net::EndRef;
use crate::oracle::ledger::{Handed, SessionKey};
use crate::scenario::WakeTrouble;

/// What outlives a crash: what the people behind the application want.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) key: Option<PublicKey>,
    pub(crate) process: Option<Process>,
    pub(crate) incarnations: u32,
    /// Sessions so far, of all incarnations.
    pub(crate) sessions: u16,
    /// The hosts that a session is wanted with, and whether by name.
    pub(crate) wanted: BTreeMap<usize, bool>,
    /// What is still to be sent, by host: channel and size.
    pub(crate) outbox: BTreeMap<usize, VecDeque<(u8, u32)>>,
    /// What is wrong with its wake-ups, by fault.
    pub(crate) wakes: Vec<(usize, WakeTrouble)>,
    /// Wake-ups that were troubled.
    pub(crate) orders: u64,
    /// The buffer that actions fill.
    pub(crate) buffer: Vec<u8>,
}

/// One incarnation of the process: an endpoint, the sockets and the application around it.
pub(crate) struct Process {
    pub(crate) endpoint: Endpoint,
    pub(crate) incarnation: u32,
    pub(crate) clock: Clock,
    pub(crate) stopped: Option<Stopped>,
    pub(crate) streams: BTreeMap<StreamId, EndRef>,
    pub(crate) ends: BTreeMap<EndRef, StreamId>,
    /// Updates that the application has not looked at yet.
    pub(crate) inbox: VecDeque<(SessionId, Update)>,
    /// For when a wake-up was ordered.
    pub(crate) wake: Option<u64>,
    pub(crate) sessions: BTreeMap<SessionId, AppSession>,
    /// The session in use, by host.
    pub(crate) current: BTreeMap<usize, SessionId>,
    /// Whether anything ever came in from outside.
    pub(crate) heard: bool,
    pub(crate) dials: u32,
    pub(crate) events: u64,
}

/// What the application knows about a session.
pub(crate) struct AppSession {
    pub(crate) key: SessionKey,
    pub(crate) peer: usize,
    pub(crate) closed: bool,
    /// `send` said no.
    pub(crate) blocked: bool,
    /// Handed out and not yet taken.
    pub(crate) handed: Vec<Handed>,
    pub(crate) read_queued: bool,
}

impl Process {
    /// What its clock shows, to tell the core.
    pub(crate) fn time(&self, now: u64) -> Time {
        self.clock.read(now)
    }

    pub(crate) fn due(&self) -> Option<Time> {
        self.endpoint.poll_timeout().map(|(due, _)| due)
    }

    /// Whether the core waits for a tick that should have come before.
    pub(crate) fn is_late(&self, now: u64) -> bool {
        self.due().is_some_and(|due| due < self.clock.seen(now))
    }

    /// The session in use with a host.
    pub(crate) fn with(&self, peer: usize) -> Option<SessionId> {
        self.current.get(&peer).copied()
    }
}
