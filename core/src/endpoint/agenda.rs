//! When to wake whom: one entry for each timer's owner, in order of time.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::{SessionId, StreamId};
use crate::key::PublicKey;
use crate::time::Time;

/// Why [`poll_timeout`](crate::Endpoint::poll_timeout) names a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Actions are waiting to be drained.
    Queued,
    /// The wait for the next attempt is over.
    Backoff,
    /// An attempt reaches its deadline.
    Attempt,
    /// The next transport of the ladder starts.
    Fallback,
    /// An unanswered initiation is sent again.
    Resend,
    /// A packet counts as lost, or a probe is due (RFC 9002 §6.2).
    Loss,
    /// An acknowledgement is due.
    Ack,
    /// An answer is overdue.
    Silence,
    /// An idle path is asked for a sign of life.
    Heartbeat,
    /// A better transport is tried.
    Upgrade,
    /// A path that another has replaced is closed.
    Retire,
    /// A renewal of keys reaches its deadline.
    Renew,
    /// Keys are too old, and wiped.
    Age,
    /// Closing reaches its deadline.
    Close,
    /// Something that was kept for a while is forgotten.
    Expiry,
    /// An inbound handshake reaches its deadline.
    HalfOpen,
    /// A stream stands in the middle of a packet.
    Partial,
    /// The I2P router is to be asked again, or owes an answer.
    Router,
}

/// Whose a timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Session(SessionId),
    HalfOpen(u32),
    Stream(StreamId),
    Tombstone(PublicKey),
    /// The I2P router.
    Router,
}

#[derive(Default)]
pub(super) struct Agenda {
    order: BTreeSet<(Time, Timer)>,
    timers: BTreeMap<Timer, (Time, Reason)>,
}

impl Agenda {
    pub(super) fn set(&mut self, timer: Timer, at: Option<Time>, reason: Reason) {
        let before = match at {
            Some(at) => self.timers.insert(timer, (at, reason)),
            None => self.timers.remove(&timer),
        };
        if let Some((before, _)) = before
            && Some(before) != at
        {
            self.order.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    pub(super) fn next(&self) -> Option<(Time, Reason)> {
        let (at, timer) = self.order.first()?;
        self.timers.get(timer).map(|(_, reason)| (*at, *reason))
    }

    /// Takes out the first timer that is due.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.timers.remove(&timer);
        Some(timer)
    }
}
