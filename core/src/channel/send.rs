//! The sending half: what is queued, written, lost, received and taken.
//!
//! A message is *started* only when the peer's credit covers its last byte, on its channel and for
//! the session (where all started messages count whole). So whatever was started can be completed,
//! taken, and its credit given back, without any credit for anything else: large messages on many
//! channels cannot each hold a part of the credit and wait for the rest. Messages are started at
//! the moment of writing, so that a long queue of low priority does not hold credit that a message
//! of high priority needs. One that waits for session credit keeps those behind it from starting,
//! else small messages could take all that comes in and it would wait for ever.

use core::cmp::Reverse;
use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::schedule::{Line, Place};
use super::{ChannelError, Counts, MAX_PREFIX, MAX_UNTAKEN};
use crate::config::Limits;
use crate::io::MessageId;
use crate::message::SendError;
use crate::ranges::RangeSet;
use crate::sent::{SentFrame, SentFrames};
use crate::update::Outcome;
use crate::wire::frame::{Scope, put_stream_header, stream_overhead};
use crate::wire::varint::{Varint, varint_len};

const DEFAULT_PRIORITY: u8 = 128;

#[derive(Debug)]
pub(super) struct Sender {
    max_message: usize,
    send_buffer: usize,
    max_pending: usize,
    /// `None` until its handshake was seen; nothing may be written before.
    peer: Option<Peer>,
    channels: BTreeMap<u8, Outgoing>,
    /// Channels with started bytes to write.
    ready: Line,
    /// Channels that have nothing but a message to start, within their own credit.
    waiting: Line,
    turns: u64,
    /// Bytes of started messages, over all channels since the beginning.
    started: u64,
    /// Messages started and not known to be taken.
    untaken: usize,
    /// Bytes of the messages that are still held for sending.
    queued: usize,
    /// Messages without an outcome.
    pending: usize,
    next_id: u64,
    outcomes: VecDeque<(MessageId, Outcome)>,
    counts: Counts,
    /// A send was refused since the application was last told that it may go on.
    refused: bool,
}

#[derive(Debug)]
struct Peer {
    max_message: usize,
    session_credit: u64,
    channel_credit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Nothing to write, or no credit on the channel.
    Idle,
    Ready(Place),
    Waiting(Place),
}

#[derive(Debug)]
struct Outgoing {
    priority: u8,
    stand: Stand,
    credit: u64,
    /// Messages whose bytes may have to be written (again).
    messages: VecDeque<Outbound>,
    /// Messages without an outcome, each with the offset of its end.
    pending: VecDeque<(MessageId, u64)>,
    /// received <= written <= started <= end. At `end` the next message will begin.
    end: u64,
    started: u64,
    written: u64,
    /// Everything below has arrived at the peer.
    received: u64,
    /// What has arrived above that.
    acked: RangeSet,
    /// What is to be written again. Never overlaps what has arrived.
    lost: RangeSet,
}

#[derive(Debug)]
struct Outbound {
    start: u64,
    data: Bytes,
}

impl Outbound {
    fn end(&self) -> u64 {
        self.start + wire_len(&self.data)
    }
}

/// The bytes of a message on its channel: its length, then itself.
fn wire_len(data: &[u8]) -> u64 {
    varint_len(data.len() as u64) as u64 + data.len() as u64
}

impl Outgoing {
    fn new(credit: u64) -> Self {
        Self {
            priority: DEFAULT_PRIORITY,
            stand: Stand::Idle,
            credit,
            messages: VecDeque::new(),
            pending: VecDeque::new(),
            end: 0,
            started: 0,
            written: 0,
            received: 0,
            acked: RangeSet::default(),
            lost: RangeSet::default(),
        }
    }

    fn push(&mut self, id: MessageId, data: Bytes) {
        let message = Outbound { start: self.end, data };
        self.end = message.end();
        self.pending.push_back((id, self.end));
        self.messages.push_back(message);
    }

    /// The length of the next message to start, if the channel's credit covers it.
    fn next_len(&self) -> Option<u64> {
        let at = self.messages.partition_point(|message| message.start < self.started);
        let end = self.messages.get(at)?.end();
        (end <= self.credit).then_some(end - self.started)
    }

    fn has_started_bytes(&self) -> bool {
        !self.lost.is_empty() || self.written < self.started
    }

    /// Notes that the peer has these bytes; how many bytes of messages need not be held any more.
    fn arrived(&mut self, range: Range<u64>) -> usize {
        let range = range.start.max(self.received)..range.end;
        self.lost.remove(range.clone());
        self.acked.insert(range);
        if let Some(first) = self.acked.first().filter(|first| first.start <= self.received) {
            self.received = first.end;
            self.acked.remove(first);
        }
        let mut released = 0;
        while let Some(message) = self.messages.front().filter(|message| message.end() <= self.received) {
            released += message.data.len();
            self.messages.pop_front();
        }
        released
    }

    fn declare_lost(&mut self, range: Range<u64>) {
        let range = range.start.max(self.received)..range.end;
        self.lost.insert(range.clone());
        for arrived in self.acked.overlapping(range) {
            self.lost.remove(arrived);
        }
    }

    fn copy(&self, buf: &mut Vec<u8>, mut range: Range<u64>) {
        let from = self.messages.partition_point(|message| message.end() <= range.start);
        for message in self.messages.range(from..) {
            let prefix = Varint::new(message.data.len() as u64);
            let mut at = range.start - message.start;
            for part in [prefix.as_bytes(), &message.data[..]] {
                let skip = at.min(part.len() as u64);
                let take = (range.end - range.start).min(part.len() as u64 - skip);
                // Both are within `part`, whose length is a usize.
                buf.extend_from_slice(&part[skip as usize..(skip + take) as usize]);
                at -= skip;
                range.start += take;
            }
            if range.is_empty() {
                return;
            }
        }
    }
}

impl Sender {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_message: limits.max_message as usize,
            send_buffer: limits.send_buffer,
            max_pending: limits.pending_messages,
            peer: None,
            channels: BTreeMap::new(),
            ready: Line::default(),
            waiting: Line::default(),
            turns: 0,
            started: 0,
            untaken: 0,
            queued: 0,
            pending: 0,
            next_id: 0,
            outcomes: VecDeque::new(),
            counts: Counts::default(),
            refused: false,
        }
    }

    pub(super) fn set_peer_limits(&mut self, max_message: u32, session_credit: u32, channel_credit: u32) {
        let (session_credit, channel_credit) = (u64::from(session_credit), u64::from(channel_credit));
        // A message that no initial credit covers might never be started: better refused.
        let whole = session_credit.min(channel_credit).saturating_sub(MAX_PREFIX);
        let max_message = u64::from(max_message).min(whole) as usize;
        let first = self.peer.is_none();
        let peer = self.peer.get_or_insert(Peer { max_message, session_credit, channel_credit });
        peer.max_message = peer.max_message.max(max_message);
        peer.session_credit = peer.session_credit.max(session_credit);
        peer.channel_credit = peer.channel_credit.max(channel_credit);
        for channel in 0..=u8::MAX {
            let Some(outgoing) = self.channels.get_mut(&channel) else { continue };
            outgoing.credit = outgoing.credit.max(channel_credit);
            if first && outgoing.messages.iter().any(|message| message.data.len() > max_message) {
                self.drop_too_large(channel, max_message);
            }
            self.stand_in_line(channel, false);
        }
    }

    /// Nothing was written yet, so that what remains is simply queued anew.
    fn drop_too_large(&mut self, channel: u8, max_message: usize) {
        let Some(outgoing) = self.channels.get_mut(&channel) else { return };
        outgoing.end = 0;
        let messages = core::mem::take(&mut outgoing.messages);
        let pending = core::mem::take(&mut outgoing.pending);
        for (message, (id, _)) in messages.into_iter().zip(pending) {
            if message.data.len() <= max_message {
                outgoing.push(id, message.data);
            } else {
                self.queued -= message.data.len();
                self.pending -= 1;
                self.counts.add(Outcome::Undelivered);
                self.outcomes.push_back((id, Outcome::Undelivered));
            }
        }
    }

    pub(super) fn send(&mut self, channel: u8, data: Bytes) -> Result<MessageId, SendError> {
        let max = self.peer.as_ref().map_or(self.max_message, |peer| peer.max_message.min(self.max_message));
        if data.len() > max {
            return Err(SendError::TooLarge { len: data.len(), max });
        }
        // Outcomes that nobody fetched count too, so that their queue is bounded as well.
        if self.queued.saturating_add(data.len()) > self.send_buffer
            || self.pending + self.outcomes.len() >= self.max_pending
        {
            self.refused = true;
            return Err(SendError::Full);
        }
        let id = MessageId(self.next_id);
        self.next_id += 1;
        self.queued += data.len();
        self.pending += 1;
        self.channel(channel).push(id, data);
        self.stand_in_line(channel, false);
        Ok(id)
    }

    pub(super) fn set_priority(&mut self, channel: u8, priority: u8) {
        self.channel(channel).priority = priority;
        self.stand_in_line(channel, true);
    }

    fn channel(&mut self, channel: u8) -> &mut Outgoing {
        let credit = self.peer.as_ref().map_or(0, |peer| peer.channel_credit);
        self.channels.entry(channel).or_insert_with(|| Outgoing::new(credit))
    }

    /// Puts a channel into the line where it belongs now; with `anew`, at its end.
    fn stand_in_line(&mut self, channel: u8, anew: bool) {
        let Some(outgoing) = self.channels.get_mut(&channel) else { return };
        let ready = outgoing.has_started_bytes();
        let waiting = !ready && outgoing.next_len().is_some();
        match outgoing.stand {
            Stand::Ready(place) => {
                if ready && !anew {
                    return;
                }
                self.ready.remove(place);
            }
            Stand::Waiting(place) => {
                if waiting && !anew {
                    return;
                }
                self.waiting.remove(place);
            }
            Stand::Idle => {}
        }
        self.turns += 1;
        let place = Place { priority: Reverse(outgoing.priority), turn: self.turns, channel };
        outgoing.stand = if ready {
            self.ready.insert(place);
            Stand::Ready(place)
        } else if waiting {
            self.waiting.insert(place);
            Stand::Waiting(place)
        } else {
            Stand::Idle
        };
    }

    /// Whether the session's credit covers the next message of this channel.
    fn fits(&self, channel: u8) -> bool {
        let (Some(peer), Some(len)) = (&self.peer, self.channels.get(&channel).and_then(Outgoing::next_len)) else {
            return false;
        };
        self.started.saturating_add(len) <= peer.session_credit && self.untaken < MAX_UNTAKEN
    }

    /// Whether a channel may start its next message, or must let one before it go first.
    fn may_start(&self, place: Place) -> bool {
        let held_up = self.waiting.front().is_some_and(|front| front < place && !self.fits(front.channel));
        !held_up && self.fits(place.channel)
    }

    /// Who writes next.
    fn next(&self) -> Option<Place> {
        let waiting = self.waiting.front().filter(|place| self.fits(place.channel));
        match (self.ready.front(), waiting) {
            (Some(ready), Some(waiting)) => Some(ready.min(waiting)),
            (ready, waiting) => ready.or(waiting),
        }
    }

    pub(super) fn wants_to_write(&self) -> bool {
        self.peer.is_some() && self.next().is_some()
    }

    pub(super) fn write(&mut self, buf: &mut Vec<u8>, max_len: usize, sent: &mut SentFrames) {
        if self.peer.is_none() {
            return;
        }
        while let Some(place) = self.next().filter(|_| !sent.is_full()) {
            let channel = place.channel;
            let Some(outgoing) = self.channels.get(&channel) else { return };
            let lost = outgoing.lost.first();
            let start = lost.as_ref().map_or(outgoing.written, |lost| lost.start);
            let room = max_len.saturating_sub(buf.len());
            let room = room.saturating_sub(stream_overhead(channel, start, room)) as u64;
            if room == 0 {
                return;
            }
            let end = match lost {
                Some(lost) => lost.end.min(start + room),
                None => self.start_messages(place, start + room).min(start + room),
            };
            let Some(outgoing) = self.channels.get_mut(&channel) else { return };
            let len = (end - start) as usize;
            put_stream_header(buf, channel, start, len);
            outgoing.copy(buf, start..end);
            outgoing.lost.remove(start..end);
            outgoing.written = outgoing.written.max(end);
            sent.push(SentFrame::Stream { channel, offset: start, len: len as u32 });
            self.stand_in_line(channel, true);
        }
    }

    /// Starts messages until bytes up to `wanted` are there to write, as far as that is allowed;
    /// where the started ones end.
    fn start_messages(&mut self, place: Place, wanted: u64) -> u64 {
        loop {
            let may_start = self.may_start(place);
            let Some(outgoing) = self.channels.get_mut(&place.channel) else { return 0 };
            if outgoing.started >= wanted || !may_start {
                return outgoing.started;
            }
            let len = outgoing.next_len().unwrap_or(0);
            outgoing.started += len;
            self.started += len;
            self.untaken += 1;
        }
    }

    pub(super) fn on_acked(&mut self, channel: u8, range: Range<u64>) {
        if let Some(outgoing) = self.channels.get_mut(&channel) {
            let range = range.start..range.end.min(outgoing.written);
            self.queued -= outgoing.arrived(range);
            self.stand_in_line(channel, false);
        }
    }

    pub(super) fn on_lost(&mut self, channel: u8, range: Range<u64>) {
        if let Some(outgoing) = self.channels.get_mut(&channel) {
            let range = range.start..range.end.min(outgoing.written);
            outgoing.declare_lost(range);
            self.stand_in_line(channel, false);
        }
    }

    pub(super) fn on_channel_ack(&mut self, channel: u8, received: u64, taken: u64) -> Result<(), ChannelError> {
        let written = self.channels.get(&channel).map_or(0, |outgoing| outgoing.written);
        if received > written || taken > received {
            return Err(ChannelError::Ack { channel, received, taken, written });
        }
        let Some(outgoing) = self.channels.get_mut(&channel) else { return Ok(()) };
        self.queued -= outgoing.arrived(outgoing.received..received);
        while let Some(&(id, _)) = outgoing.pending.front().filter(|(_, end)| *end <= taken) {
            outgoing.pending.pop_front();
            self.pending -= 1;
            self.untaken -= 1;
            self.counts.add(Outcome::Delivered);
            self.outcomes.push_back((id, Outcome::Delivered));
        }
        self.stand_in_line(channel, false);
        Ok(())
    }

    pub(super) fn on_credit(&mut self, scope: Scope, offset: u64) {
        let Some(peer) = &mut self.peer else { return };
        match scope {
            Scope::Session => peer.session_credit = peer.session_credit.max(offset),
            Scope::Channel(channel) => {
                let outgoing = self.channel(channel);
                outgoing.credit = outgoing.credit.max(offset);
                self.stand_in_line(channel, false);
            }
        }
    }

    pub(super) fn poll_outcome(&mut self) -> Option<(MessageId, Outcome)> {
        self.outcomes.pop_front()
    }

    pub(super) fn poll_writable(&mut self) -> bool {
        let roomy = self.queued <= self.send_buffer / 2 && self.pending + self.outcomes.len() <= self.max_pending / 2;
        let writable = self.refused && roomy;
        self.refused &= !writable;
        writable
    }

    /// Ends every pending message, and forgets the peer. Priorities stay.
    pub(super) fn abandon(&mut self) {
        let mut ended: Vec<(MessageId, Outcome)> = Vec::with_capacity(self.pending);
        self.channels.retain(|_, outgoing| {
            ended.extend(
                outgoing.pending.iter().map(|&(id, end)| {
                    (id, if end <= outgoing.written { Outcome::Unknown } else { Outcome::Undelivered })
                }),
            );
            let priority = outgoing.priority;
            *outgoing = Outgoing { priority, ..Outgoing::new(0) };
            priority != DEFAULT_PRIORITY
        });
        ended.sort_unstable_by_key(|(id, _)| *id);
        ended.iter().for_each(|(_, outcome)| self.counts.add(*outcome));
        self.outcomes.extend(ended);
        self.peer = None;
        self.ready.clear();
        self.waiting.clear();
        (self.started, self.untaken, self.queued, self.pending) = (0, 0, 0, 0);
    }

    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued as u64
    }

    pub(super) fn pending_messages(&self) -> u64 {
        self.pending as u64
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Channels whose end has not arrived, those first of which the peer certainly lacks something.
    pub(super) fn finals(&self) -> impl Iterator<Item = (u8, u64)> {
        let lacking = |outgoing: &Outgoing| outgoing.written < outgoing.end || !outgoing.lost.is_empty();
        let open = |certain: bool| {
            self.channels
                .iter()
                .filter(move |(_, outgoing)| outgoing.received < outgoing.end && lacking(outgoing) == certain)
                .map(|(channel, outgoing)| (*channel, outgoing.end))
        };
        open(true).chain(open(false))
    }
}
