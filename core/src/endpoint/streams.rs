//! The byte streams that the driver holds for us: what came in part, what is still to be written,
//! and whose each one is.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zeroize::{Zeroize, Zeroizing};

use crate::carrier::{Reassembler, SendBuffer};
use crate::config::Transport;
use crate::door::Source;
use crate::io::{SessionId, StreamId};
use crate::time::Time;
use crate::wire::packet::{MAX_STREAM_PACKET, UDP_HANDSHAKE_LEN};

/// The most bytes of a stream that one `WriteStream` hands out.
const WRITE_CHUNK: usize = 64 * 1024;

/// With more unwritten bytes than this no handshake is answered on a stream. Sessions stop sealing long before.
pub(super) const MAX_BACKLOG: usize = 128 * 1024;

/// Whose a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamOwner {
    /// Accepted; no handshake has come yet.
    Unproven,
    /// Accepted; its handshake waits for confirmation under this index.
    HalfOpen(u32),
    /// Opened by this session for a handshake.
    Dialled(SessionId),
    /// Carries paths of this session: several epochs while keys are renewed.
    Path(SessionId),
    /// Speaks SAM with the I2P router, which may make a stream to a peer of it.
    Sam,
    /// Let go of; only what was sealed before still goes out.
    Closing,
}

/// Where writing stands. At most one `WriteStream` is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// The stream is not open yet.
    Opening,
    Idle,
    /// So many bytes were handed to the driver, which has not said what became of them.
    Offered(usize),
    /// The stream took less than it was given.
    Blocked,
}

pub(crate) struct Stream {
    pub(crate) owner: StreamOwner,
    transport: Transport,
    /// When it was opened or accepted.
    pub(crate) since: Time,
    /// Where the other end is.
    source: Source,
    /// When the packet began of which a part came.
    partial_since: Option<Time>,
    /// A timer runs that looks after such a packet.
    watched: bool,
    input: Option<Reassembler>,
    output: SendBuffer,
    /// What is to be written before the packets. It may be secret.
    lines: Zeroizing<Vec<u8>>,
    /// Whether anything came.
    heard: bool,
    write: Write,
    queued: bool,
}

#[derive(Default)]
pub(crate) struct Streams {
    streams: BTreeMap<StreamId, Stream>,
    /// Those without a confirmed handshake. Handles grow, so the oldest is in front.
    unproven: BTreeSet<StreamId>,
    unproven_by_source: BTreeSet<(Source, StreamId)>,
    /// Streams with something to write that may be written.
    ready: VecDeque<StreamId>,
}

impl Streams {
    pub(super) fn insert_dialled(&mut self, now: Time, id: StreamId, session: SessionId, source: Source) {
        let input = Reassembler::new(MAX_STREAM_PACKET, MAX_STREAM_PACKET);
        self.insert(now, id, StreamOwner::Dialled(session), Write::Opening, input, source);
    }

    /// Until it is handed over it carries lines.
    pub(super) fn insert_sam(&mut self, now: Time, id: StreamId, source: Source) {
        let input = Reassembler::new(UDP_HANDSHAKE_LEN, UDP_HANDSHAKE_LEN);
        self.insert(now, id, StreamOwner::Sam, Write::Opening, input, source);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.transport = Transport::I2p;
        }
    }

    /// The router says that what follows goes to the peer that was dialled.
    pub(super) fn hand_over_dialled(&mut self, id: StreamId, session: SessionId) {
        self.set_owner(id, StreamOwner::Dialled(session));
        self.put_input(id, Reassembler::new(MAX_STREAM_PACKET, MAX_STREAM_PACKET));
    }

    /// The router says that what follows comes from a peer.
    pub(super) fn hand_over_accepted(&mut self, now: Time, id: StreamId, source: Source) {
        self.set_owner(id, StreamOwner::Unproven);
        if let Some(stream) = self.streams.get_mut(&id) {
            (stream.since, stream.source) = (now, source);
            self.unproven.insert(id);
            self.unproven_by_source.insert((source, id));
        }
    }

    /// Until it is proven it takes short packets alone.
    pub(super) fn insert_accepted(&mut self, now: Time, id: StreamId, source: Source) {
        let input = Reassembler::new(UDP_HANDSHAKE_LEN, UDP_HANDSHAKE_LEN);
        self.insert(now, id, StreamOwner::Unproven, Write::Idle, input, source);
        self.unproven.insert(id);
        self.unproven_by_source.insert((source, id));
    }

    fn insert(
        &mut self,
        now: Time,
        id: StreamId,
        owner: StreamOwner,
        write: Write,
        input: Reassembler,
        source: Source,
    ) {
        let (output, input) = (SendBuffer::new(), Some(input));
        let stream = Stream {
            owner,
            transport: Transport::Tcp,
            since: now,
            source,
            partial_since: None,
            watched: false,
            input,
            output,
            lines: Zeroizing::default(),
            heard: false,
            write,
            queued: false,
        };
        self.streams.insert(id, stream);
    }

    pub(crate) fn owner(&self, id: StreamId) -> Option<StreamOwner> {
        self.streams.get(&id).map(|stream| stream.owner)
    }

    pub(crate) fn set_owner(&mut self, id: StreamId, owner: StreamOwner) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.owner = owner;
        if !owner.is_unproven() {
            self.unproven.remove(&id);
            self.unproven_by_source.remove(&(stream.source, id));
        }
    }

    /// Where the other end of a stream is.
    pub(crate) fn source(&self, id: StreamId) -> Option<Source> {
        self.streams.get(&id).map(|stream| stream.source)
    }

    pub(crate) fn transport(&self, id: StreamId) -> Option<Transport> {
        self.streams.get(&id).map(|stream| stream.transport)
    }

    /// Whether anything came that the other end sent.
    pub(crate) fn heard(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.heard)
    }

    /// Whether a stream of this transport carries a path.
    pub(crate) fn carries_path(&self, transport: Transport) -> bool {
        self.streams.values().any(|it| it.transport == transport && matches!(it.owner, StreamOwner::Path(_)))
    }

    pub(crate) fn since(&self, id: StreamId) -> Option<Time> {
        self.streams.get(&id).map(|stream| stream.since)
    }

    /// How many streams have no confirmed handshake.
    #[cfg(test)]
    pub(crate) fn unproven(&self) -> usize {
        assert_eq!(self.unproven.len(), self.unproven_by_source.len());
        self.unproven.len()
    }

    /// The stream without a confirmed handshake that makes room for one more from this source: the oldest of the
    /// source, when that has its share, or the oldest of all.
    pub(crate) fn unproven_in_the_way(&self, source: Source, most: usize, most_of_source: usize) -> Option<StreamId> {
        let mut its = self.unproven_by_source.range((source, StreamId(0))..=(source, StreamId(u64::MAX)));
        if its.clone().count() >= most_of_source {
            return its.next().map(|(_, id)| *id);
        }
        self.unproven.first().copied().filter(|_| self.unproven.len() >= most)
    }

    /// Bytes came on a proven stream; `partial`: it stands in the middle of a packet now, and `completed` one or more
    /// before. Returns whether a timer is to be started that asks [`overdue`](Self::overdue).
    pub(crate) fn stands(&mut self, now: Time, id: StreamId, partial: bool, completed: bool) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.partial_since = match stream.partial_since {
            _ if !partial => None,
            Some(since) if !completed => Some(since),
            _ => Some(now),
        };
        partial && !core::mem::replace(&mut stream.watched, true)
    }

    /// The timer fired. When it is to fire again: at once, if the stream has stood in the middle of one packet for too
    /// long.
    pub(crate) fn overdue(&mut self, id: StreamId, patience: Duration) -> Option<Time> {
        let stream = self.streams.get_mut(&id)?;
        let at = stream.partial_since.map(|since| since + patience);
        stream.watched = at.is_some();
        at
    }

    /// Takes the reassembler out, so that what a packet leads to may touch the table. `None` when
    /// there is no such stream.
    pub(crate) fn take_input(&mut self, id: StreamId) -> Option<Reassembler> {
        let stream = self.streams.get_mut(&id)?;
        stream.heard = true;
        stream.input.take()
    }

    pub(crate) fn put_input(&mut self, id: StreamId, input: Reassembler) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.input = Some(input);
        }
    }

    /// The opened stream may be written from now on.
    pub(crate) fn opened(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.write == Write::Opening
        {
            stream.write = Write::Idle;
            self.queue(id);
        }
    }

    /// Unwritten bytes of a stream: the driver's short writes leave them here.
    pub(crate) fn backlog(&self, id: StreamId) -> usize {
        self.streams.get(&id).map_or(0, |stream| stream.output.len())
    }

    /// Appends one packet of at most `max` bytes, which `fill` writes at the end of the buffer it
    /// is given. Returns whether it wrote any.
    pub(crate) fn push_with(&mut self, id: StreamId, max: usize, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let pushed = self.streams.get_mut(&id).is_some_and(|stream| stream.output.push_with(max, fill));
        self.queue(id);
        pushed
    }

    /// Bytes of lines that were not written yet.
    pub(crate) fn unwritten_lines(&self, id: StreamId) -> usize {
        self.streams.get(&id).map_or(0, |stream| stream.lines.len())
    }

    /// Appends a line of the protocol that comes before the packets.
    pub(crate) fn push_line(&mut self, id: StreamId, line: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&id) {
            // Grown in a new place, as a secret would stay in the old one.
            let mut lines = Zeroizing::new(Vec::with_capacity(stream.lines.len() + line.len()));
            lines.extend_from_slice(&stream.lines);
            lines.extend_from_slice(line);
            stream.lines = lines;
        }
        self.queue(id);
    }

    fn queue(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.write == Write::Idle
            && !(stream.output.is_empty() && stream.lines.is_empty())
            && !stream.queued
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    /// The driver took `len` bytes. Returns whether the stream is to be closed now.
    pub(crate) fn written(&mut self, id: StreamId, len: usize) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let Write::Offered(offered) = stream.write else { return false };
        let len = len.min(offered);
        if stream.lines.is_empty() {
            stream.output.advance(len);
        } else if len < stream.lines.len() {
            stream.lines.drain(..len);
        } else {
            stream.lines.zeroize();
        }
        stream.write = if len < offered { Write::Blocked } else { Write::Idle };
        self.queue(id);
        self.finished(id)
    }

    pub(crate) fn writable(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.write == Write::Blocked
        {
            stream.write = Write::Idle;
            self.queue(id);
        }
    }

    /// The next stream to write to; its bytes are appended to `buf`. The second is whether they may be secret.
    pub(crate) fn poll_write(&mut self, buf: &mut Vec<u8>) -> Option<(StreamId, bool)> {
        while let Some(id) = self.ready.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.queued = false;
            let secret = !stream.lines.is_empty();
            let unsent = if secret { &stream.lines[..] } else { stream.output.unsent() };
            let chunk = &unsent[..unsent.len().min(WRITE_CHUNK)];
            if stream.write == Write::Idle && !chunk.is_empty() {
                buf.extend_from_slice(chunk);
                stream.write = Write::Offered(chunk.len());
                return Some((id, secret));
            }
        }
        None
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Begins to close a stream. Returns whether it can be closed at once; else `written` says
    /// when.
    pub(super) fn begin_close(&mut self, id: StreamId) -> bool {
        self.set_owner(id, StreamOwner::Closing);
        self.finished(id)
    }

    /// Removes a closing stream that has nothing more to write, or cannot.
    fn finished(&mut self, id: StreamId) -> bool {
        let done = self.streams.get(&id).is_some_and(|stream| {
            let stuck = matches!(stream.write, Write::Opening | Write::Blocked);
            stream.owner == StreamOwner::Closing && (stuck || stream.output.is_empty())
        });
        if done {
            self.streams.remove(&id);
        }
        done
    }

    /// The driver has let go of the stream.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<StreamOwner> {
        let owner = self.owner(id);
        self.set_owner(id, StreamOwner::Closing);
        self.streams.remove(&id)?;
        owner
    }
}

impl StreamOwner {
    const fn is_unproven(self) -> bool {
        matches!(self, Self::Unproven | Self::HalfOpen(_))
    }
}
