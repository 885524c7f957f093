//! The reliable channels of one session, both directions.
//!
//! A channel is a byte stream with offsets from 0, on which every message is its length (a
//! variable-length integer, RFC 9000 §16) and then its bytes. Channels know nothing of packets,
//! paths and time: they outlive all of them. What they write is remembered by the caller as
//! [`SentFrame`]s and given back when it is acknowledged or lost.
//!
//! Two acknowledgements must be told apart. That of a packet says that the bytes have arrived:
//! they need not be held any longer. That of a channel (CHANNEL_ACK) says also what the
//! application took: only then a message is [`Outcome::Delivered`].

mod assemble;
mod recv;
mod schedule;
mod send;
#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;
use bytes::Bytes;
use thiserror::Error;

use crate::code::Code;
use crate::config::Limits;
use crate::io::MessageId;
use crate::message::{Message, SendError};
use crate::sent::{SentFrame, SentFrames};
use crate::update::Outcome;
use crate::wire::frame::{MAX_FINALS, Scope};

use recv::Receiver;
use send::Sender;

/// The longest length prefix of a message, in bytes.
const MAX_PREFIX: u64 = 8;

/// Messages that a sender may have under way without knowing that they were taken, so that a
/// receiver's memory is bounded however short they are.
const MAX_UNTAKEN: usize = 65_536;

/// What a peer did that no correct peer does. The session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ChannelError {
    #[error("the peer sent up to offset {end} of channel {channel}, its credit ends at {credit}; the session ends")]
    Credit { channel: u8, end: u64, credit: u64 },
    #[error("the peer sent {sum} bytes on all channels, its credit ends at {credit}; the session ends")]
    SessionCredit { sum: u64, credit: u64 },
    #[error("the peer announced a message of {len} bytes, at most {max} are allowed; the session ends")]
    TooLong { len: u64, max: u32 },
    #[error("the peer left {gaps} gaps on channel {channel}, more than allowed; the session ends")]
    Gaps { channel: u8, gaps: usize },
    #[error("the peer sent more than {MAX_UNTAKEN} messages that were not taken yet; the session ends")]
    Messages,
    #[error(
        "the peer acknowledged channel {channel} as received to {received} and taken to {taken}, but {written} bytes \
         were sent; the session ends"
    )]
    Ack { channel: u8, received: u64, taken: u64, written: u64 },
}

impl ChannelError {
    /// What the session is closed with.
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Ack { .. } => Code::Protocol,
            Self::Credit { .. }
            | Self::SessionCredit { .. }
            | Self::TooLong { .. }
            | Self::Gaps { .. }
            | Self::Messages => Code::Limit,
        }
    }
}

/// How many messages ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) undelivered: u64,
    pub(crate) unknown: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Undelivered => self.undelivered += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }
}

/// The reliable channels of one session.
#[derive(Debug)]
pub(crate) struct Channels {
    sender: Sender,
    receiver: Receiver,
}

impl Channels {
    /// `limits` are ours: they are what the peer was told in the handshake.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { sender: Sender::new(limits), receiver: Receiver::new(limits) }
    }

    /// What the peer said in its handshake, in bytes. Nothing is written before; with the first
    /// call queued messages that are too large for the peer end as undelivered. Later calls (of
    /// further handshakes) can only raise a limit.
    pub(crate) fn set_peer_limits(&mut self, max_message: u32, session_credit: u32, channel_credit: u32) {
        self.sender.set_peer_limits(max_message, session_credit, channel_credit);
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for us or the peer; [`SendError::Full`], after which
    /// [`poll_writable`](Self::poll_writable) says when to go on.
    pub(crate) fn send(&mut self, channel: u8, data: Bytes) -> Result<MessageId, SendError> {
        self.sender.send(channel, data)
    }

    /// Channels of higher priority are written first; equal ones (all, at first, with 128) take
    /// turns.
    pub(crate) fn set_priority(&mut self, channel: u8, priority: u8) {
        self.sender.set_priority(channel, priority);
    }

    /// Whether [`write`](Self::write) has something to say.
    pub(crate) fn wants_to_write(&self) -> bool {
        self.receiver.wants_to_write() || self.sender.wants_to_write()
    }

    /// Appends frames while `buf` stays within `max_len` and `sent` has room for them.
    pub(crate) fn write(&mut self, buf: &mut Vec<u8>, max_len: usize, sent: &mut SentFrames) {
        self.receiver.write(buf, max_len, sent);
        self.sender.write(buf, max_len, sent);
    }

    /// A packet with this frame was acknowledged. Frames of others are ignored.
    pub(crate) fn on_acked(&mut self, frame: SentFrame) {
        if let SentFrame::Stream { channel, offset, len } = frame {
            self.sender.on_acked(channel, offset..offset + u64::from(len));
        }
    }

    /// A packet with this frame was lost. Frames of others are ignored.
    pub(crate) fn on_lost(&mut self, frame: SentFrame) {
        if let SentFrame::Stream { channel, offset, len } = frame {
            self.sender.on_lost(channel, offset..offset + u64::from(len));
        } else {
            self.receiver.on_lost(frame);
        }
    }

    /// A STREAM frame came in.
    ///
    /// # Errors
    /// The peer exceeded a limit.
    pub(crate) fn on_stream(&mut self, channel: u8, offset: u64, data: &[u8]) -> Result<(), ChannelError> {
        self.receiver.on_stream(channel, offset, data)
    }

    /// A CHANNEL_ACK frame came in.
    ///
    /// # Errors
    /// It acknowledges what was never sent (RFC 9000 §21.4).
    pub(crate) fn on_channel_ack(&mut self, channel: u8, received: u64, taken: u64) -> Result<(), ChannelError> {
        self.sender.on_channel_ack(channel, received, taken)
    }

    /// A CREDIT frame came in.
    pub(crate) fn on_credit(&mut self, scope: Scope, offset: u64) {
        self.sender.on_credit(scope, offset);
    }

    /// Hands out the next message of any channel, in the order of their completion.
    pub(crate) fn recv(&mut self) -> Option<Message> {
        self.receiver.recv()
    }

    /// Everything handed out so far is done with: the peer may hear that it was delivered.
    pub(crate) fn taken(&mut self) {
        self.receiver.taken();
    }

    /// Whether [`recv`](Self::recv) has a message.
    pub(crate) fn readable(&self) -> bool {
        self.receiver.readable()
    }

    /// What the messages that [`recv`](Self::recv) has take in memory, in bytes.
    pub(crate) fn unread(&self) -> usize {
        self.receiver.unread()
    }

    /// The next message of ours that met its end. Each does so once.
    pub(crate) fn poll_outcome(&mut self) -> Option<(MessageId, Outcome)> {
        self.sender.poll_outcome()
    }

    /// True once when a send was refused as [`SendError::Full`] and the queues are down to half.
    pub(crate) fn poll_writable(&mut self) -> bool {
        self.sender.poll_writable()
    }

    /// A new path is up after all were lost: tells the peer again where every channel stands, so
    /// that it need not send again what had arrived.
    pub(crate) fn resumed(&mut self) {
        self.receiver.resumed();
    }

    /// The end, or the peer restarted. Every pending message ends: as undelivered when some byte
    /// of it was never written, else as unknown. All offsets start again at 0, and nothing is
    /// written before [`set_peer_limits`](Self::set_peer_limits) is called again. Ids, counts,
    /// priorities and complete messages that were not handed out yet stay. The caller forgets the
    /// [`SentFrame`]s of before, whose offsets now mean other bytes.
    pub(crate) fn abandon(&mut self) {
        self.sender.abandon();
        self.receiver.abandon();
    }

    /// Bytes given to [`send`](Self::send) that are held because the peer may lack them.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.sender.queued_bytes()
    }

    /// Messages without an outcome.
    pub(crate) fn pending_messages(&self) -> u64 {
        self.sender.pending_messages()
    }

    /// How many messages ended how, over the session's life.
    pub(crate) fn counts(&self) -> Counts {
        self.sender.counts()
    }

    /// Whether every message has its outcome.
    pub(crate) fn flushed(&self) -> bool {
        self.pending_messages() == 0
    }

    /// The channels of which not everything is known to have arrived, each with the offset where
    /// it ends. To be asked before [`abandon`](Self::abandon).
    pub(crate) fn finals(&self) -> ArrayVec<(u8, u64), MAX_FINALS> {
        self.sender.finals().take(MAX_FINALS).collect()
    }

    /// Whether something is missing below these offsets where the peer's channels end.
    pub(crate) fn truncated_by(&self, finals: &[(u8, u64)]) -> bool {
        self.receiver.truncated_by(finals)
    }

    /// Bytes allocated for what has arrived.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.receiver.held()
    }
}
