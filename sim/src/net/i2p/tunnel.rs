//! The streams between routers: bytes in order, some seconds late, and silence when tunnels die.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{BridgeItem, I2pItem, Phase};
use crate::item::Item;
use crate::net::link::micros;
use crate::net::{EndRef, Net};
use crate::queue::Queue;

/// The most bytes under way in one direction of a stream.
const WINDOW: usize = 131_072;
/// How long a caller waits for somebody to accept it.
const PATIENCE: u64 = 10_000_000;

/// Whose end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamSide {
    Caller,
    Callee,
}

impl StreamSide {
    const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    /// The destination that the callee is told.
    pub(super) caller: String,
    /// The host of each end, as far as it has one.
    hosts: [Option<usize>; 2],
    /// The socket of each end, while there is one.
    sockets: [Option<EndRef>; 2],
    /// Its tunnels are gone, and nobody was told.
    dead: bool,
    /// By sender: bytes under way, those that have to wait for them, and when the last of them arrives.
    under_way: [usize; 2],
    waiting: [BytesMut; 2],
    last_arrival: [u64; 2],
    /// By receiver: what arrived while nothing passed.
    held: [VecDeque<What>; 2],
}

/// Something in a tunnel.
#[derive(Debug)]
pub(crate) struct TunnelItem {
    stream: u64,
    to: StreamSide,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The caller calls.
    Call,
    Bytes(Bytes),
    /// So many bytes have been taken.
    Taken(usize),
    /// The other side has let go of it.
    End,
}

impl Net {
    /// The router of `from` opens a stream for one of its sockets.
    pub(super) fn begin_stream(&mut self, now: u64, from: usize, end: EndRef, to: usize, queue: &mut Queue<Item>) {
        let caller = self.i2p.routers[from].keys.public.clone();
        self.i2p.did("stream");
        let stream = self.call(now, caller, Some((from, end)), to, queue);
        self.set_phase(from, end, Phase::Stream { stream, side: StreamSide::Caller });
    }

    pub(super) fn call(
        &mut self,
        now: u64,
        caller: String,
        from: Option<(usize, EndRef)>,
        to: usize,
        queue: &mut Queue<Item>,
    ) -> u64 {
        let number = self.i2p.next_stream;
        self.i2p.next_stream += 1;
        let stream = Stream {
            caller,
            hosts: [from.map(|(host, _)| host), Some(to)],
            sockets: [from.map(|(_, end)| end), None],
            dead: false,
            under_way: [0; 2],
            waiting: Default::default(),
            last_arrival: [now; 2],
            held: Default::default(),
        };
        self.i2p.streams.insert(number, stream);
        self.enter_tunnel(now, number, StreamSide::Callee, What::Call, queue);
        number
    }

    fn enter_tunnel(&mut self, now: u64, stream: u64, to: StreamSide, what: What, queue: &mut Queue<Item>) {
        let delay =
            micros(self.i2p.tunnels.latency) + self.i2p.below_at(1 << 32 | stream, micros(self.i2p.tunnels.jitter) + 1);
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        let at = (now + delay).max(it.last_arrival[to as usize]);
        it.last_arrival[to as usize] = at;
        queue.push(at, I2pItem::Tunnel(TunnelItem { stream, to, what }).into());
    }

    pub(super) fn tunnel_arrives(&mut self, now: u64, item: TunnelItem, queue: &mut Queue<Item>) {
        let TunnelItem { stream, to, what } = item;
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        if it.dead {
            return;
        }
        let silent = it.hosts.iter().flatten().any(|host| self.i2p.routers[*host].is_silent());
        if silent || !it.held[to as usize].is_empty() {
            return it.held[to as usize].push_back(what);
        }
        self.arrived(now, stream, to, what, queue);
    }

    /// Something passes again: what was held goes on, in order.
    pub(super) fn release(&mut self, now: u64, queue: &mut Queue<Item>) {
        let streams: Vec<u64> = self.i2p.streams.keys().copied().collect();
        for stream in streams {
            for to in [StreamSide::Callee, StreamSide::Caller] {
                let Some(it) = self.i2p.streams.get_mut(&stream) else { continue };
                if it.dead || it.hosts.iter().flatten().any(|host| self.i2p.routers[*host].is_silent()) {
                    continue;
                }
                for what in core::mem::take(&mut it.held[to as usize]) {
                    self.arrived(now, stream, to, what, queue);
                }
            }
        }
    }

    fn arrived(&mut self, now: u64, stream: u64, to: StreamSide, what: What, queue: &mut Queue<Item>) {
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        let (host, socket) = (it.hosts[to as usize], it.sockets[to as usize]);
        match what {
            What::Call => {
                let Some(host) = host else { return };
                let session = self.i2p.routers[host].sessions.iter_mut().find(|(_, session)| session.stands);
                match session {
                    Some((id, session)) => {
                        session.callers.push_back(stream);
                        let id = id.clone();
                        let item = BridgeItem::NobodyAccepts { stream };
                        queue.push(now + PATIENCE, I2pItem::Bridge { host, item }.into());
                        self.pair(now, host, &id, queue);
                    }
                    // The lease set is older than the session's end: nobody answers.
                    None => it_dies(self.i2p.streams.get_mut(&stream)),
                }
            }
            What::Bytes(bytes) => {
                let (Some(host), Some(end)) = (host, socket) else {
                    // Not taken yet: the caller's first bytes wait for somebody to accept it.
                    if to == StreamSide::Callee && host.is_some() {
                        it.held[to as usize].push_back(What::Bytes(bytes));
                    }
                    return;
                };
                if let Some(socket) = self.i2p.routers[host].sockets.get_mut(&end) {
                    socket.of_stream += bytes.len();
                    self.write_socket(now, host, end, &bytes, queue);
                }
            }
            What::Taken(len) => {
                let from = to as usize;
                it.under_way[from] = it.under_way[from].saturating_sub(len);
                self.fill_tunnel(now, stream, to, queue);
            }
            What::End => match (host, socket) {
                (Some(host), Some(end)) => {
                    if let Some(it) = self.i2p.streams.get_mut(&stream) {
                        it.sockets[to as usize] = None;
                    }
                    self.hang_up(now, host, end, queue);
                    self.forget_if_over(stream);
                }
                _ => it_dies(Some(it)),
            },
        }
    }

    /// A socket took the stream: what came before it is for it.
    pub(super) fn stream_taken(&mut self, now: u64, stream: u64, end: EndRef, queue: &mut Queue<Item>) {
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        it.sockets[StreamSide::Callee as usize] = Some(end);
        for what in core::mem::take(&mut it.held[StreamSide::Callee as usize]) {
            self.arrived(now, stream, StreamSide::Callee, what, queue);
        }
    }

    /// The client at one end says something.
    pub(super) fn stream_says(
        &mut self,
        now: u64,
        stream: u64,
        side: StreamSide,
        data: &[u8],
        queue: &mut Queue<Item>,
    ) {
        if let Some(it) = self.i2p.streams.get_mut(&stream) {
            it.waiting[side as usize].extend_from_slice(data);
            self.fill_tunnel(now, stream, side, queue);
        }
    }

    /// Sends what the window allows; the rest waits in the kernel, as it were.
    fn fill_tunnel(&mut self, now: u64, stream: u64, side: StreamSide, queue: &mut Queue<Item>) {
        let from = side as usize;
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        let len = it.waiting[from].len().min(WINDOW - it.under_way[from].min(WINDOW));
        let (bytes, end) = (it.waiting[from].split_to(len).freeze(), it.sockets[from]);
        it.under_way[from] += len;
        let full = !it.waiting[from].is_empty();
        if len > 0 {
            self.enter_tunnel(now, stream, side.other(), What::Bytes(bytes), queue);
        }
        if let Some(end) = end {
            self.set_paused(now, end, full, queue);
        }
    }

    /// The client at one end took so many bytes of the other.
    pub(super) fn stream_delivered(
        &mut self,
        now: u64,
        stream: u64,
        side: StreamSide,
        len: usize,
        queue: &mut Queue<Item>,
    ) {
        self.enter_tunnel(now, stream, side.other(), What::Taken(len), queue);
    }

    /// The client at one end closed its socket: the other end learns of it behind the bytes.
    pub(super) fn stream_closed(&mut self, now: u64, stream: u64, side: StreamSide, queue: &mut Queue<Item>) {
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        it.sockets[side as usize] = None;
        let waiting = it.waiting[side as usize].split().freeze();
        if !waiting.is_empty() {
            self.enter_tunnel(now, stream, side.other(), What::Bytes(waiting), queue);
        }
        self.enter_tunnel(now, stream, side.other(), What::End, queue);
        self.forget_if_over(stream);
    }

    /// One end is gone with its session, or its router: the other is told nothing.
    pub(super) fn stream_forgotten(&mut self, stream: u64, side: StreamSide) {
        let Some(it) = self.i2p.streams.get_mut(&stream) else { return };
        it.sockets[side as usize] = None;
        it_dies(Some(it));
        self.forget_if_over(stream);
    }

    /// Every stream in the tunnels of a router dies without a word.
    pub(super) fn kill_streams(&mut self, host: usize) {
        for it in self.i2p.streams.values_mut().filter(|it| it.hosts.contains(&Some(host)) && !it.dead) {
            it_dies(Some(it));
            self.i2p.deeds.i2p("stream_died");
        }
    }

    /// Every stream of a router ends, and both ends are told.
    pub(super) fn reset_streams(&mut self, now: u64, host: usize, queue: &mut Queue<Item>) {
        let streams = self.i2p.streams.iter().filter(|(_, it)| it.hosts.contains(&Some(host)));
        for stream in streams.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            let Some(it) = self.i2p.streams.get_mut(&stream) else { continue };
            it_dies(Some(it));
            let ends = core::mem::take(&mut it.sockets).into_iter().zip(it.hosts);
            for (end, host) in ends.filter_map(|(end, host)| end.zip(host)) {
                self.hang_up(now, host, end, queue);
            }
            self.forget_if_over(stream);
        }
    }

    /// i2pd lets go of a caller whom nobody takes.
    pub(super) fn nobody_accepts(&mut self, now: u64, host: usize, stream: u64, queue: &mut Queue<Item>) {
        let waits = |session: &mut super::Session| {
            let before = session.callers.len();
            session.callers.retain(|caller| *caller != stream);
            session.callers.len() < before
        };
        if self.i2p.routers[host].sessions.values_mut().any(waits) {
            self.i2p.did("nobody_accepted");
            self.enter_tunnel(now, stream, StreamSide::Caller, What::End, queue);
        }
    }

    fn forget_if_over(&mut self, stream: u64) {
        let over = |it: &Stream| it.sockets == [None; 2] && (it.dead || it.hosts[0].is_some());
        if self.i2p.streams.get(&stream).is_some_and(over) {
            self.i2p.streams.remove(&stream);
        }
    }
}

fn it_dies(stream: Option<&mut Stream>) {
    if let Some(stream) = stream {
        stream.dead = true;
        stream.held = Default::default();
    }
}
