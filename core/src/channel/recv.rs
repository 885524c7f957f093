//! The receiving half: reassembly, messages, and what the peer is told about them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::assemble::Assembly;
use super::{ChannelError, MAX_PREFIX, MAX_UNTAKEN};
use crate::config::Limits;
use crate::message::Message;
use crate::sent::{SentFrame, SentFrames};
use crate::wire::frame::{Frame, Scope};

/// How many times the gaps of one channel all channels together may have.
const SESSION_GAPS: usize = 4;

#[derive(Debug)]
pub(super) struct Receiver {
    max_message: u32,
    channel_window: u64,
    max_gaps: usize,
    channels: BTreeMap<u8, Incoming>,
    session: Credit,
    /// The sum of the highest offsets.
    arrived: u64,
    gaps: usize,
    /// Complete messages, in the order of their completion.
    inbox: VecDeque<Inbound>,
    /// How many at the front of the inbox came from a peer that has restarted since. They are
    /// still handed out, but there is nobody to tell.
    orphans: usize,
    /// Complete messages of this peer that do not count as taken.
    untaken: usize,
    handed_out: usize,
    /// Channels of which messages were handed out since the last `taken`.
    handed: Vec<u8>,
    /// CHANNEL_ACK and CREDIT frames to write, each at most once.
    due: VecDeque<SentFrame>,
}

/// How far a peer may go, and how far it got.
#[derive(Debug)]
struct Credit {
    window: u64,
    /// Everything below was taken.
    taken: u64,
    /// What the peer was told.
    offset: u64,
    due: bool,
}

impl Credit {
    fn new(window: u64) -> Self {
        Self { window, taken: 0, offset: window, due: false }
    }

    /// Whether more should be granted: when that is worth a frame, or when the largest message
    /// might not fit what is left. Without the latter a sender that may not start a message before
    /// credit covers it would wait for ever.
    fn is_low(&self, largest: u64) -> bool {
        let freed = self.granted() - self.offset;
        freed > 0 && (freed >= self.window / 4 || self.offset - self.taken < largest)
    }

    /// How far the peer may go from now on.
    fn granted(&self) -> u64 {
        self.taken + self.window
    }
}

#[derive(Debug)]
struct Incoming {
    credit: Credit,
    assembly: Assembly,
    /// The end of the last message that was handed out.
    handed: u64,
    highest: u64,
    ack_due: bool,
}

#[derive(Debug)]
struct Inbound {
    channel: u8,
    /// Where it ends on its channel.
    end: u64,
    data: Bytes,
}

impl Receiver {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_message: limits.max_message,
            channel_window: limits.channel_credit.into(),
            max_gaps: limits.gaps,
            channels: BTreeMap::new(),
            session: Credit::new(limits.session_credit.into()),
            arrived: 0,
            gaps: 0,
            inbox: VecDeque::new(),
            orphans: 0,
            untaken: 0,
            handed_out: 0,
            handed: Vec::new(),
            due: VecDeque::new(),
        }
    }

    pub(super) fn on_stream(&mut self, channel: u8, offset: u64, data: &[u8]) -> Result<(), ChannelError> {
        let end = offset.saturating_add(data.len() as u64);
        let known = self.channels.get(&channel);
        let credit = known.map_or(self.channel_window, |incoming| incoming.credit.offset);
        if end > credit {
            return Err(ChannelError::Credit { channel, end, credit });
        }
        let grown = end.saturating_sub(known.map_or(0, |incoming| incoming.highest));
        let arrived = self.arrived + grown;
        if arrived > self.session.offset {
            return Err(ChannelError::SessionCredit { sum: arrived, credit: self.session.offset });
        }
        if data.is_empty() {
            return Ok(());
        }
        self.arrived = arrived;
        let incoming = self.channels.entry(channel).or_insert_with(|| Incoming {
            credit: Credit::new(self.channel_window),
            assembly: Assembly::default(),
            handed: 0,
            highest: 0,
            ack_due: false,
        });
        incoming.highest = incoming.highest.max(end);
        let before = incoming.assembly.gaps();
        let (inbox, untaken) = (&mut self.inbox, &mut self.untaken);
        let pushed = incoming.assembly.push(offset, data, self.max_message, |end, data| {
            *untaken += 1;
            inbox.push_back(Inbound { channel, end, data });
            *untaken <= MAX_UNTAKEN
        });
        let gaps = incoming.assembly.gaps();
        self.gaps = self.gaps - before + gaps;
        pushed?;
        if gaps > self.max_gaps || self.gaps > self.max_gaps.saturating_mul(SESSION_GAPS) {
            return Err(ChannelError::Gaps { channel, gaps });
        }
        Ok(())
    }

    pub(super) fn recv(&mut self) -> Option<Message> {
        let Inbound { channel, end, data } = self.inbox.pop_front()?;
        if self.orphans > 0 {
            self.orphans -= 1;
        } else if let Some(incoming) = self.channels.get_mut(&channel) {
            self.handed_out += 1;
            if incoming.handed == incoming.credit.taken {
                self.handed.push(channel);
            }
            incoming.handed = end;
        }
        Some(Message { channel, data })
    }

    pub(super) fn taken(&mut self) {
        let largest = u64::from(self.max_message) + MAX_PREFIX;
        self.untaken -= core::mem::take(&mut self.handed_out);
        let mut handed = core::mem::take(&mut self.handed);
        for channel in handed.drain(..) {
            let Some(incoming) = self.channels.get_mut(&channel) else { continue };
            self.session.taken += incoming.handed - incoming.credit.taken;
            incoming.credit.taken = incoming.handed;
            let is_low = incoming.credit.is_low(largest);
            self.announce(SentFrame::ChannelAck { channel });
            if is_low {
                self.announce(SentFrame::Credit { scope: Scope::Channel(channel) });
            }
        }
        self.handed = handed;
        if self.session.is_low(largest) {
            self.announce(SentFrame::Credit { scope: Scope::Session });
        }
    }

    /// Makes a frame due, unless it is or is none of ours.
    fn announce(&mut self, frame: SentFrame) {
        if let Some(due) = self.is_due(frame).filter(|due| !**due) {
            *due = true;
            self.due.push_back(frame);
        }
    }

    fn is_due(&mut self, frame: SentFrame) -> Option<&mut bool> {
        match frame {
            SentFrame::ChannelAck { channel } => self.channels.get_mut(&channel).map(|incoming| &mut incoming.ack_due),
            SentFrame::Credit { scope } => self.credit(scope).map(|credit| &mut credit.due),
            _ => None,
        }
    }

    fn credit(&mut self, scope: Scope) -> Option<&mut Credit> {
        match scope {
            Scope::Session => Some(&mut self.session),
            Scope::Channel(channel) => self.channels.get_mut(&channel).map(|incoming| &mut incoming.credit),
        }
    }

    pub(super) fn on_lost(&mut self, frame: SentFrame) {
        self.announce(frame);
    }

    pub(super) fn resumed(&mut self) {
        if self.channels.is_empty() {
            return;
        }
        self.announce(SentFrame::Credit { scope: Scope::Session });
        for channel in 0..=u8::MAX {
            self.announce(SentFrame::ChannelAck { channel });
            self.announce(SentFrame::Credit { scope: Scope::Channel(channel) });
        }
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.due.is_empty()
    }

    /// What a due frame says by now.
    fn frame(&mut self, due: SentFrame) -> Option<Frame<'static>> {
        match due {
            SentFrame::ChannelAck { channel } => self.channels.get(&channel).map(|incoming| {
                let (received, taken) = (incoming.assembly.received(), incoming.credit.taken);
                Frame::ChannelAck { channel, received, taken }
            }),
            SentFrame::Credit { scope } => {
                self.credit(scope).map(|credit| Frame::Credit { scope, offset: credit.granted() })
            }
            _ => None,
        }
    }

    pub(super) fn write(&mut self, buf: &mut Vec<u8>, max_len: usize, sent: &mut SentFrames) {
        while let Some(&due) = self.due.front().filter(|_| !sent.is_full()) {
            if let Some(frame) = self.frame(due) {
                if buf.len() + frame.encoded_len() > max_len {
                    return;
                }
                frame.encode(buf);
                sent.push(due);
            }
            self.due.pop_front();
            if let Some(flag) = self.is_due(due) {
                *flag = false;
            }
            if let SentFrame::Credit { scope } = due
                && let Some(credit) = self.credit(scope)
            {
                credit.offset = credit.granted();
            }
        }
    }

    pub(super) fn readable(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub(super) fn unread(&self) -> usize {
        self.inbox.iter().map(|message| size_of::<Inbound>() + message.data.len()).sum()
    }

    /// Forgets the peer. Complete messages can still be taken, as far as they do not pile up over
    /// several restarts.
    pub(super) fn abandon(&mut self) {
        let (mut bytes, mut kept) = (0, 0);
        for message in &self.inbox {
            bytes += message.data.len() as u64;
            if bytes > self.session.window || kept == MAX_UNTAKEN {
                break;
            }
            kept += 1;
        }
        self.inbox.truncate(kept);
        self.orphans = kept;
        self.channels.clear();
        self.session = Credit::new(self.session.window);
        (self.arrived, self.gaps, self.untaken, self.handed_out) = (0, 0, 0, 0);
        self.handed.clear();
        self.due.clear();
    }

    pub(super) fn truncated_by(&self, finals: &[(u8, u64)]) -> bool {
        finals
            .iter()
            .any(|(channel, end)| *end > self.channels.get(channel).map_or(0, |incoming| incoming.assembly.received()))
    }

    /// Bytes allocated for what has arrived.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let partial: usize = self.channels.values().map(|incoming| incoming.assembly.held()).sum();
        partial + self.inbox.iter().map(|message| message.data.len()).sum::<usize>()
    }
}
