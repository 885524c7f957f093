//! One conversation: its session while there is one, and what was said.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use burdock_tokio::{Code, Link, MessageId, PublicKey, Session, State, Status, WayOut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::view::{Conversation, Delivery, End, Entry, Head, News, Who};

/// Lines of one conversation that are kept, and their bytes in all; the oldest go first.
pub(crate) const MAX_ENTRIES: usize = 500;
pub(crate) const MAX_BYTES: usize = 512 * 1024;

/// What a page may have the task of a conversation do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// End the session; when it is ending, at once.
    End,
}

/// A session, and the way to the task that attends to it.
pub(crate) struct Line {
    /// Gone once the session is ending.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) orders: mpsc::Sender<Order>,
}

pub(crate) struct Room {
    pub(crate) id: u64,
    pub(crate) peer: PublicKey,
    safety_number: String,
    /// How to dial the peer, if anybody told us. It may hold an invite: no page hears of it.
    pub(crate) link: Option<Link>,
    pub(crate) line: Option<Line>,
    /// How many sessions there were.
    run: u64,
    status: Status,
    /// When the status was taken, as it counts down to the next attempt.
    taken: Instant,
    pub(crate) end: Option<End>,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Messages without an outcome, and their lines.
    pending: BTreeMap<MessageId, u64>,
}

impl Room {
    pub(crate) fn new(id: u64, us: &PublicKey, session: &Session) -> Self {
        let peer = session.peer();
        Self {
            id,
            peer,
            safety_number: us.safety_number(&peer),
            link: None,
            line: None,
            run: 0,
            status: session.status(),
            taken: Instant::now(),
            end: None,
            entries: VecDeque::new(),
            bytes: 0,
            pending: BTreeMap::new(),
        }
    }

    /// A session begins, the first one or another. Returns its number here.
    pub(crate) fn begin(&mut self, session: Arc<Session>, orders: mpsc::Sender<Order>) -> u64 {
        self.run += 1;
        self.line = Some(Line { session: Some(session), orders });
        self.end = None;
        self.refresh();
        self.run
    }

    /// Whether the session of this number is the one that is under way.
    pub(crate) fn runs(&self, run: u64) -> bool {
        self.line.is_some() && self.run == run
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        self.line.as_ref().and_then(|line| line.session.as_deref())
    }

    /// Whether no session is under way.
    pub(crate) fn is_over(&self) -> bool {
        self.line.is_none()
    }

    /// Takes a new status from the session, until its end is known.
    pub(crate) fn refresh(&mut self) {
        if self.end.is_none()
            && let Some(status) = self.session().map(Session::status)
        {
            self.set_status(status);
        }
    }

    /// The session is handed to its closing, and cannot be asked any more.
    pub(crate) fn closing(&mut self) {
        self.refresh();
        if let Some(line) = &mut self.line {
            line.session = None;
        }
        self.set_status(Status { state: State::Closing, retry_in_ms: None, ..self.status.clone() });
    }

    /// The session is over. Returns the lines of messages whose outcome nobody told.
    pub(crate) fn over(&mut self) -> Vec<u64> {
        self.line = None;
        let code = if self.end.is_some() { self.status.code } else { Some(Code::Cancelled) };
        let (state, transport, retry_in_ms) = (State::Closed, None, None);
        self.set_status(Status { state, code, transport, retry_in_ms, pending_messages: 0, ..self.status.clone() });
        self.end.get_or_insert(End { by_peer: false, reason: String::new() });
        std::mem::take(&mut self.pending).into_values().collect()
    }

    pub(crate) fn ended(&mut self, code: Code, end: End) {
        self.refresh();
        let status = Status { state: State::Closed, code: Some(code), retry_in_ms: None, ..self.status.clone() };
        self.set_status(status);
        self.end = Some(end);
    }

    fn set_status(&mut self, status: Status) {
        (self.status, self.taken) = (status, Instant::now());
    }

    pub(crate) fn head(&self) -> Head {
        let mut status = self.status.clone();
        let since = u64::try_from(self.taken.elapsed().as_millis()).unwrap_or(u64::MAX);
        status.retry_in_ms = status.retry_in_ms.map(|wait| wait.saturating_sub(since));
        if status.state == State::Closing {
            status.pending_messages = self.pending.len() as u64;
        }
        let mut reading = status.reading();
        if self.link.is_none() {
            reading.ways_out.retain(|way| *way != WayOut::TryAgain);
        }
        let (peer, safety_number, end) = (self.peer, self.safety_number.clone(), self.end.clone());
        Head { id: self.id, peer, safety_number, status, reading, end }
    }

    pub(crate) fn whole(&self) -> Conversation {
        Conversation { head: self.head(), entries: self.entries.clone() }
    }

    /// Adds a line. The oldest make room.
    pub(crate) fn add(&mut self, id: u64, from: Who, text: String, at_ms: u64) -> Entry {
        let state = (from == Who::Me).then_some(Delivery::Sending);
        let entry = Entry { id, from, text, state, at_ms };
        self.bytes += entry.text.len();
        self.entries.push_back(entry.clone());
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            self.bytes -= self.entries.pop_front().map_or(self.bytes, |oldest| oldest.text.len());
        }
        entry
    }

    /// A line of ours that is new or has changed, as pages hear of it.
    pub(crate) fn news<'a>(&self, entry: &'a Entry) -> News<'a> {
        let oldest = self.entries.front().map_or(entry.id, |oldest| oldest.id);
        News::Entry { conversation: self.id, oldest, entry }
    }

    /// Our message of this line awaits its outcome.
    pub(crate) fn await_outcome(&mut self, message: MessageId, entry: u64) {
        self.pending.insert(message, entry);
    }

    /// The line of a message that has its outcome now, if it is still there.
    pub(crate) fn settle(&mut self, message: MessageId, state: Delivery) -> Option<Entry> {
        let entry = self.pending.remove(&message)?;
        self.mark(entry, state)
    }

    pub(crate) fn mark(&mut self, entry: u64, state: Delivery) -> Option<Entry> {
        let entry = self.entries.iter_mut().rev().find(|line| line.id == entry)?;
        entry.state = Some(state);
        Some(entry.clone())
    }
}
