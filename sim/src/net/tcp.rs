//! TCP as a kernel gives it: connections that take their time to open, bytes that arrive cut
//! anywhere, writes that take only a part, loss that shows as delay, resets, ends that die in
//! silence.
//!
//! Underneath is a small TCP: segments and cumulative acknowledgements that travel the same ways
//! as datagrams, a retransmission timer (RFC 6298), fast retransmit, and a window that grows and
//! shrinks. Segments are cut once and keep their boundaries when they are sent again.

mod end;
mod receive;

use core::net::SocketAddr;

use burdock_core::NetError;
use bytes::Bytes;

use self::end::{End, InFlight, Phase};
use crate::item::Item;
use crate::luck::Purpose;
use crate::net::i2p::BRIDGE_PORT;
use crate::net::link::{Fate, micros};
use crate::net::{Delivery, EndRef, Net, NetItem};
use crate::queue::Queue;
use crate::scenario::{PORT, Protocol, Way, address, host_at};

/// What a kernel keeps of one connection for a process that does not read.
const RECEIVE_BUFFER: usize = 131_072;
/// The most bytes under way.
const WINDOW: usize = 65_536;
const SYN_RETRIES: u32 = 6;
const SYN_ACK_RETRIES: u32 = 5;
const RETRIES: u32 = 15;
/// The most pieces that one segment is read in.
const PIECES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Syn,
    SynAck,
    /// Everything before this offset has arrived.
    Ack(u64),
    /// A FIN takes one offset after the bytes.
    Data {
        offset: u64,
        bytes: Bytes,
        fin: bool,
    },
    Reset,
}

#[derive(Debug)]
pub(crate) struct Conn {
    hosts: [usize; 2],
    ports: [u16; 2],
    ends: [Option<End>; 2],
    /// The server's kernel has seen it; a late SYN opens nothing again.
    answered: bool,
    /// Forgotten on the way: nothing passes any more.
    vanished: bool,
}

impl Net {
    /// Starts to open a connection.
    pub(crate) fn connect(&mut self, now: u64, host: usize, to: SocketAddr, queue: &mut Queue<Item>) -> EndRef {
        let number = self.next_conn;
        self.next_conn += 1;
        let local = to.ip().is_loopback();
        let target = if local { Some(self.hosts + host) } else { host_at(to, self.hosts) };
        let port = 50_000 + u16::try_from(number % 10_000).expect("below 10,000");
        self.conns.insert(
            number,
            Conn {
                hosts: [host, target.unwrap_or(host)],
                ports: [port, to.port()],
                ends: [Some(End::new(Phase::SynSent)), None],
                answered: to.port() != if local { BRIDGE_PORT } else { PORT },
                vanished: target.is_none(),
            },
        );
        let end = EndRef { conn: number, side: Side::Client };
        if local {
            self.i2p.begins_to_speak(number);
        }
        self.transmit(now, end, Segment::Syn, queue);
        self.arm(now, end, queue);
        end
    }

    /// Gives bytes to the kernel, which takes some of them.
    pub(crate) fn write(&mut self, now: u64, at: EndRef, data: &[u8], queue: &mut Queue<Item>) -> usize {
        let (luck, link_buffer) = (self.luck, self.link.send_buffer as usize);
        let Some(direction) = self.direction(at) else { return 0 };
        let trickle = self.path(direction).trickle;
        let Some(end) = self.end(at) else { return 0 };
        let (buffer, piece) = trickle.map_or((link_buffer, usize::MAX), |(buffer, piece)| (buffer.max(1), piece));
        let mut taken = data.len().min(buffer.saturating_sub(end.buffered()));
        if end.phase != Phase::Open {
            taken = 0;
        }
        if piece != usize::MAX && taken > 1 {
            let number = end.next + end.unsent.len() as u64;
            let most = luck.below(Purpose::ShortWrite, place(at), number, taken as u64);
            taken = usize::try_from(most).expect("below a length") + 1;
        }
        end.unsent.extend_from_slice(&data[..taken]);
        end.blocked |= taken < data.len();
        self.pump(now, at, queue);
        taken
    }

    /// The process lets go of its end; what it wrote is still delivered if it can be.
    pub(crate) fn close(&mut self, now: u64, at: EndRef, queue: &mut Queue<Item>) {
        let Some(end) = self.end(at) else { return };
        end.held = false;
        end.closing = true;
        match end.phase {
            Phase::SynSent => self.remove(at),
            Phase::SynReceived => self.abort(now, at, queue),
            Phase::Open => self.pump(now, at, queue),
        }
    }

    /// Ends it with a reset.
    pub(crate) fn abort(&mut self, now: u64, at: EndRef, queue: &mut Queue<Item>) {
        if self.end(at).is_some() {
            self.transmit(now, at, Segment::Reset, queue);
            self.remove(at);
        }
    }

    /// The process of this host is gone: its kernel closes what it held.
    pub(crate) fn orphan_all(&mut self, now: u64, host: usize, queue: &mut Queue<Item>) {
        for at in self.ends_of(|conn, side| conn.hosts[side as usize] == host) {
            self.close(now, at, queue);
        }
    }

    /// The machine of this host is gone, and all that it knew.
    pub(crate) fn forget_all(&mut self, host: usize) {
        for at in self.ends_of(|conn, side| conn.hosts[side as usize] == host) {
            self.remove(at);
        }
    }

    /// Connections between two hosts are forgotten by what is between them.
    pub(crate) fn vanish(&mut self, a: usize, b: usize) {
        for conn in self.conns.values_mut().filter(|conn| between(conn, a, b)) {
            conn.vanished = true;
            self.resets += 1;
        }
    }

    /// Connections of this host are forgotten by what is before it.
    pub(crate) fn vanish_all(&mut self, host: usize) {
        let hosts = self.hosts;
        for conn in self.conns.values_mut().filter(|conn| conn.hosts.contains(&host) && conn.hosts[1] < hosts) {
            conn.vanished = true;
            self.resets += 1;
        }
    }

    /// Somebody on the way resets every connection between two hosts, as `victim` sees it.
    pub(crate) fn reset(&mut self, a: usize, victim: usize, out: &mut Vec<Delivery>) {
        for at in self.ends_of(|conn, side| between(conn, a, victim) && conn.hosts[side as usize] == victim) {
            self.resets += 1;
            self.break_end(at, NetError::Reset, out);
        }
    }

    /// The process of this host goes on, and reads what its kernel kept for it.
    pub(crate) fn all_read(&mut self, host: usize) {
        for at in self.ends_of(|conn, side| conn.hosts[side as usize] == host) {
            if let Some(end) = self.end(at) {
                end.unread = 0;
            }
        }
    }

    /// The process of this end reads no further, or goes on.
    pub(crate) fn set_paused(&mut self, now: u64, at: EndRef, paused: bool, queue: &mut Queue<Item>) {
        let Some(end) = self.end(at) else { return };
        if !core::mem::replace(&mut end.paused, paused) || paused {
            return;
        }
        end.unread = 0;
        // The window opens: what was dropped comes again.
        let other = EndRef { side: at.side.other(), ..at };
        let Some(end) = self.end(other) else { return };
        end.round += 1;
        end.retries = 0;
        let round = end.round;
        let Some(first) = end.flight.front_mut() else { return };
        first.round = round;
        let segment = first.segment();
        self.transmit(now, other, segment, queue);
        self.arm(now, other, queue);
    }

    /// Connections that a process of this host holds.
    pub(crate) fn held_by(&self, host: usize) -> usize {
        let held = |conn: &&Conn| {
            (0..2).any(|side| conn.hosts[side] == host && conn.ends[side].as_ref().is_some_and(|end| end.held))
        };
        self.conns.values().filter(held).count()
    }

    pub(crate) fn timer(&mut self, now: u64, at: EndRef, queue: &mut Queue<Item>, out: &mut Vec<Delivery>) {
        let Some(end) = self.end(at) else { return };
        end.timer_queued = false;
        let Some(deadline) = end.deadline else { return };
        if now < deadline {
            return self.queue_timer(at, deadline, queue);
        }
        end.retries += 1;
        let (segment, most) = match end.phase {
            Phase::SynSent => (Segment::Syn, SYN_RETRIES),
            Phase::SynReceived => (Segment::SynAck, SYN_ACK_RETRIES),
            Phase::Open => {
                end.round += 1;
                end.window = 2_896;
                end.repeated_acks = 0;
                let round = end.round;
                let Some(first) = end.flight.front_mut() else {
                    end.deadline = None;
                    return;
                };
                first.round = round;
                (first.segment(), RETRIES)
            }
        };
        if end.retries > most {
            return self.break_end(at, NetError::TimedOut, out);
        }
        self.transmit(now, at, segment, queue);
        self.arm(now, at, queue);
    }

    /// Sends what the window allows.
    fn pump(&mut self, now: u64, at: EndRef, queue: &mut Queue<Item>) {
        let luck = self.luck;
        let Some(direction) = self.direction(at) else { return };
        let largest = self.path(direction).segment();
        // A command is written into an empty buffer, and leaves in one segment.
        let whole = at.side == Side::Client && self.i2p.speaks_sam(at);
        loop {
            let Some(end) = self.end(at) else { return };
            if end.phase != Phase::Open || end.flight_bytes >= end.window {
                return;
            }
            let fin = end.closing && end.unsent.is_empty();
            if end.unsent.is_empty() && (!fin || end.fin_sent) {
                return;
            }
            let mut len = end.unsent.len().min(largest);
            if len > 1 && !whole && luck.strikes(Purpose::Segment, place(at), end.next, 125) {
                let cut = luck.below(Purpose::Segment, place(at) + (1 << 32), end.next, len as u64 - 1);
                len = usize::try_from(cut).expect("below a length") + 1;
            }
            let bytes = end.unsent.split_to(len).freeze();
            end.fin_sent |= fin;
            let sent = InFlight { offset: end.next, bytes, fin, sent_at: now, round: 0 };
            end.next = sent.end();
            end.flight_bytes += len;
            let segment = sent.segment();
            end.flight.push_back(sent);
            let idle = end.deadline.is_none();
            self.transmit(now, at, segment, queue);
            if idle {
                self.arm(now, at, queue);
            }
        }
    }

    fn acknowledge(&mut self, now: u64, at: EndRef, queue: &mut Queue<Item>) {
        if let Some(end) = self.end(at) {
            let ack = Segment::Ack(end.received);
            self.transmit(now, at, ack, queue);
        }
    }

    fn transmit(&mut self, now: u64, from: EndRef, segment: Segment, queue: &mut Queue<Item>) {
        let Some(conn) = self.conns.get(&from.conn) else { return };
        if conn.vanished {
            return;
        }
        let len = if let Segment::Data { bytes, .. } = &segment { bytes.len() } else { 0 };
        let (mine, theirs) = (from.side as usize, from.side.other() as usize);
        let ports = [conn.ports[mine], conn.ports[theirs]];
        let way = Way { from: conn.hosts[mine], to: conn.hosts[theirs] };
        let luck = self.luck;
        match self.path(self.way(way.from, way.to)).fate(now, Protocol::Tcp, ports, len, luck) {
            Fate::Lost => {}
            Fate::Rejected(_) => {
                let back = now + micros(self.link.latency);
                queue.push(back, NetItem::Segment { to: from, segment: Segment::Reset }.into());
            }
            Fate::Arrives { at, .. } => {
                let to = EndRef { side: from.side.other(), ..from };
                let segment = self.meddle(at, way, [to, from], segment, queue);
                queue.push(at, NetItem::Segment { to, segment }.into());
            }
        }
    }

    /// What somebody on the way makes of a segment.
    fn meddle(&mut self, at: u64, way: Way, ends: [EndRef; 2], segment: Segment, queue: &mut Queue<Item>) -> Segment {
        let Segment::Data { offset, bytes, fin } = segment else { return segment };
        if way.from.max(way.to) >= self.hosts {
            return Segment::Data { offset, bytes, fin };
        }
        let Some(meddled) = self.attack.segment(way, &bytes) else { return Segment::Data { offset, bytes, fin } };
        for (end, reset) in ends.into_iter().zip(meddled.resets) {
            if reset {
                queue.push(at, NetItem::Segment { to: end, segment: Segment::Reset }.into());
            }
        }
        Segment::Data { offset, bytes: meddled.bytes, fin }
    }

    fn arm(&mut self, now: u64, at: EndRef, queue: &mut Queue<Item>) {
        let Some(end) = self.end(at) else { return };
        let deadline = now + end.rto();
        end.deadline = Some(deadline);
        self.queue_timer(at, deadline, queue);
    }

    fn queue_timer(&mut self, at: EndRef, deadline: u64, queue: &mut Queue<Item>) {
        let Some(end) = self.end(at) else { return };
        if !end.timer_queued {
            end.timer_queued = true;
            queue.push(deadline, NetItem::Timer { end: at }.into());
        }
    }

    fn break_end(&mut self, at: EndRef, error: NetError, out: &mut Vec<Delivery>) {
        let Some(conn) = self.conns.get(&at.conn) else { return };
        let host = conn.hosts[at.side as usize];
        let told = conn.ends[at.side as usize].as_ref().is_some_and(|end| end.held && end.phase != Phase::SynReceived);
        self.remove(at);
        if told {
            out.push(Delivery::Closed { host, end: at, error: Some(error) });
        }
    }

    fn remove(&mut self, at: EndRef) {
        if let Some(conn) = self.conns.get_mut(&at.conn) {
            conn.ends[at.side as usize] = None;
            if conn.answered && conn.ends.iter().all(Option::is_none) {
                self.conns.remove(&at.conn);
            } else if at.side == Side::Client && !conn.answered {
                // A SYN under way would open the server's end for nobody.
                conn.answered = true;
                self.conns.remove(&at.conn);
            }
        }
    }

    fn end(&mut self, at: EndRef) -> Option<&mut End> {
        self.conns.get_mut(&at.conn)?.ends[at.side as usize].as_mut()
    }

    /// The index of the way on which this end sends.
    fn direction(&self, at: EndRef) -> Option<usize> {
        let conn = self.conns.get(&at.conn)?;
        Some(self.way(conn.hosts[at.side as usize], conn.hosts[at.side.other() as usize]))
    }

    fn buffer(&mut self, at: EndRef) -> usize {
        let trickle = self.direction(at).and_then(|way| self.path(way).trickle);
        trickle.map_or(self.link.send_buffer as usize, |(buffer, _)| buffer.max(1))
    }

    fn ends_of(&self, wanted: impl Fn(&Conn, Side) -> bool) -> Vec<EndRef> {
        let mut found = Vec::new();
        for (number, conn) in &self.conns {
            for side in [Side::Client, Side::Server] {
                if conn.ends[side as usize].is_some() && wanted(conn, side) {
                    found.push(EndRef { conn: *number, side });
                }
            }
        }
        found
    }
}

fn between(conn: &Conn, a: usize, b: usize) -> bool {
    conn.hosts == [a, b] || conn.hosts == [b, a]
}

fn address_of(conn: &Conn, side: Side) -> SocketAddr {
    SocketAddr::new(address(conn.hosts[side as usize]).ip(), conn.ports[side as usize])
}

/// The place of an end's luck.
fn place(at: EndRef) -> u64 {
    u64::from(at.conn) * 2 + at.side as u64
}
