//! A session as an application holds it.

use core::fmt;
use std::sync::Arc;

use burdock_core::update::{Status, UpdateKind};
use burdock_core::{Code, Message, MessageId, PublicKey, SendError, SessionId};
use bytes::Bytes;

use crate::endpoint::Holder;
use crate::shared::{Shared, Signals};

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Why.
    pub code: Code,
    /// Whether the peer closed it.
    pub by_peer: bool,
    /// What the closing side said, empty when it said nothing.
    pub reason: String,
    /// How many of our messages the peer took.
    pub delivered: u64,
    /// How many it never got whole.
    pub undelivered: u64,
    /// How many it may or may not have taken.
    pub unknown: u64,
    /// The text for a person.
    pub message: String,
    /// What a person can do.
    pub hint: String,
}

impl Closed {
    pub(crate) fn from_update(kind: &UpdateKind) -> Option<Self> {
        let UpdateKind::Closed { code, by_peer, reason, delivered, undelivered, unknown, message, hint } = kind else {
            return None;
        };
        Some(Self {
            code: *code,
            by_peer: *by_peer,
            reason: reason.clone(),
            delivered: *delivered,
            undelivered: *undelivered,
            unknown: *unknown,
            message: message.clone(),
            hint: hint.clone(),
        })
    }

    /// Of a session that was let go of: nobody counted.
    pub(crate) fn cancelled() -> Self {
        let code = Code::Cancelled;
        Self {
            code,
            by_peer: false,
            reason: String::new(),
            delivered: 0,
            undelivered: 0,
            unknown: 0,
            message: code.message(0),
            hint: code.hint().to_owned(),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.reason.is_empty() {
            // The peer's text goes to a terminal: nothing in it may act there.
            write!(f, " ({})", self.reason.escape_debug())?;
        }
        if !self.hint.is_empty() {
            write!(f, ". {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Closed {}

/// A session with one peer, across paths and reconnects.
///
/// Dropping it cancels it: what is queued is not flushed. Use [`close`](Self::close) for that.
pub struct Session {
    pub(crate) id: SessionId,
    pub(crate) peer: PublicKey,
    pub(crate) signals: Arc<Signals>,
    pub(crate) holder: Arc<Holder>,
}

impl Session {
    /// The session's name within its endpoint.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// A snapshot; after the end, the last one.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.shared().lock();
        let slot = &state.sessions[&self.id];
        let fresh = slot.closed.is_none().then(|| state.core.status(self.shared().clock().now(), self.id));
        fresh.flatten().unwrap_or_else(|| slot.status.clone())
    }

    /// Waits until the session is up for the first time.
    ///
    /// Cancel safe: dialling goes on.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn connected(&self) -> Result<(), Closed> {
        self.shared()
            .until(&self.signals.updates, || {
                let state = self.shared().lock();
                let slot = &state.sessions[&self.id];
                slot.closed.clone().map(Err).or(slot.connected.then_some(Ok(())))
            })
            .await
    }

    /// Queues a message, waiting while the session is full. Its outcome comes as an update.
    ///
    /// Cancel safe: the message is queued whole when this returns, and otherwise not at all.
    ///
    /// # Errors
    /// When the message is too large or the session has ended.
    pub async fn send(&self, channel: u8, data: impl Into<Bytes>) -> Result<MessageId, SendError> {
        let data = data.into();
        let attempt = || match self.try_send(channel, data.clone()) {
            Err(SendError::Full) => None,
            done => Some(done),
        };
        self.shared().until(&self.signals.writable, attempt).await
    }

    /// Queues a message if there is room now.
    ///
    /// # Errors
    /// When the session is full or has ended, or the message is too large. Nothing is queued then.
    pub fn try_send(&self, channel: u8, data: impl Into<Bytes>) -> Result<MessageId, SendError> {
        self.shared().call(|state, now| match state.closed(self.id) {
            Some(_) => Err(SendError::Closed),
            None => state.core.send(now, self.id, channel, data.into()),
        })
    }

    /// The next message. Asking for it says that those before have been processed: only then does
    /// their sender hear that they were delivered. Have one task take the messages, or one would
    /// speak for the other.
    ///
    /// Cancel safe: a message is taken only when it is returned.
    ///
    /// # Errors
    /// When the session has ended and all messages that had arrived were taken.
    pub async fn recv(&self) -> Result<Message, Closed> {
        self.acknowledge();
        self.shared()
            .until(&self.signals.messages, || {
                let mut state = self.shared().lock();
                match state.core.recv(self.id) {
                    Some(message) => Some(Ok(message)),
                    None => state.closed(self.id).map(Err),
                }
            })
            .await
    }

    /// All messages taken so far have been processed: what [`recv`](Self::recv) says at its start,
    /// for an application that takes no more.
    pub fn acknowledge(&self) {
        self.shared().call(|state, now| state.core.taken(now, self.id));
    }

    /// The priority of a channel; lower numbers go first.
    pub fn set_priority(&self, channel: u8, priority: u8) {
        self.shared().call(|state, _| state.core.set_priority(self.id, channel, priority));
    }

    /// Dials now instead of waiting for the next attempt.
    pub fn retry_now(&self) {
        self.shared().call(|state, now| state.core.retry_now(now, self.id));
    }

    /// Ends the session after what is queued has been delivered, or the close deadline has passed.
    ///
    /// Not cancel safe in the usual sense: dropping the future cancels the session, as dropping
    /// the session does.
    pub async fn close(self, reason: &str) -> Closed {
        self.shared().call(|state, now| state.core.close(now, self.id, reason));
        self.shared().until(&self.signals.updates, || self.shared().lock().closed(self.id)).await
    }

    fn shared(&self) -> &Shared {
        &self.holder.shared
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared().call(|state, now| {
            state.cancel(now, self.id);
            state.release(self.id, |slot| slot.held = false);
        });
        self.shared().changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_reads_as_a_sentence() {
        let mut closed = Closed::cancelled();
        assert_eq!(closed.to_string(), "The session was cancelled. Nothing to do.");
        closed.reason = "gone\u{1b}[2J home".to_owned();
        assert_eq!(closed.to_string(), "The session was cancelled (gone\\u{1b}[2J home). Nothing to do.");
    }
}
