//! What a kernel does with a segment that arrives.

use burdock_core::NetError;
use bytes::Bytes;

use super::end::{End, Phase};
use super::{PIECES, RECEIVE_BUFFER, Segment, Side, WINDOW, address_of, place};
use crate::item::Item;
use crate::luck::Purpose;
use crate::net::{Delivery, EndRef, Machine, Net};
use crate::queue::Queue;
use crate::scenario::Protocol;

impl Net {
    pub(crate) fn segment_arrives(
        &mut self,
        now: u64,
        at: EndRef,
        segment: Segment,
        queue: &mut Queue<Item>,
        out: &mut Vec<Delivery>,
    ) {
        let Some(conn) = self.conns.get(&at.conn) else { return };
        let host = conn.hosts[at.side as usize];
        let from = address_of(conn, at.side.other());
        let answered = conn.answered;
        if matches!(segment, Segment::Syn) && !answered {
            match self.router_of(host) {
                None => self.knock(now, from, host, Protocol::Tcp),
                Some(host) => self.bridge_knock(now, host),
            }
        }
        let Some(conn) = self.conns.get(&at.conn) else { return };
        if conn.vanished || self.machines[host] == Machine::Off {
            return;
        }
        let running = self.machines[host] == Machine::Running;
        let phase = self.end(at).map(|end| end.phase);
        if phase == Some(Phase::SynReceived) && matches!(segment, Segment::Ack(_) | Segment::Data { .. }) {
            let end = self.end(at).expect("it has a phase");
            end.phase = Phase::Open;
            end.deadline = None;
            end.retries = 0;
            out.push(Delivery::Accepted { host, end: at, from });
        }
        match (segment, phase) {
            (Segment::Syn, None) if running && !answered && at.side == Side::Server => {
                let conn = self.conns.get_mut(&at.conn).expect("looked up above");
                conn.answered = true;
                conn.ends[at.side as usize] = Some(End::new(Phase::SynReceived));
                self.transmit(now, at, Segment::SynAck, queue);
                self.arm(now, at, queue);
            }
            (Segment::Syn, Some(Phase::SynReceived)) => self.transmit(now, at, Segment::SynAck, queue),
            (Segment::Syn, Some(_)) => {}
            (Segment::SynAck, Some(Phase::SynSent)) => {
                let end = self.end(at).expect("it has a phase");
                end.phase = Phase::Open;
                end.deadline = None;
                end.retries = 0;
                out.push(Delivery::Opened { host, end: at });
                self.transmit(now, at, Segment::Ack(0), queue);
            }
            (Segment::SynAck, Some(_)) => self.acknowledge(now, at, queue),
            (Segment::Reset, Some(phase)) => {
                let error = if phase == Phase::SynSent { NetError::Refused } else { NetError::Reset };
                self.break_end(at, error, out);
            }
            (Segment::Ack(upto), Some(_)) => self.acked(now, at, host, upto, queue, out),
            (Segment::Data { offset, bytes, fin }, Some(_)) => {
                self.data(now, at, host, offset, bytes, fin, queue, out);
            }
            // Nobody is there any more. A FIN alone gets its ack, as from TIME-WAIT.
            (Segment::Data { offset, bytes, fin: true }, None) if bytes.is_empty() => {
                self.transmit(now, at, Segment::Ack(offset + 1), queue);
            }
            (Segment::Syn | Segment::SynAck | Segment::Data { .. }, None) => {
                self.transmit(now, at, Segment::Reset, queue);
            }
            (Segment::Ack(_) | Segment::Reset, None) => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a segment in its parts")]
    fn data(
        &mut self,
        now: u64,
        at: EndRef,
        host: usize,
        offset: u64,
        bytes: Bytes,
        fin: bool,
        queue: &mut Queue<Item>,
        out: &mut Vec<Delivery>,
    ) {
        let luck = self.luck;
        let piece = self.direction(EndRef { side: at.side.other(), ..at }).and_then(|way| self.path(way).trickle);
        let stopped = self.stopped[host];
        let Some(end) = self.end(at) else { return };
        let stopped = stopped || end.paused;
        if stopped && end.unread + bytes.len() > RECEIVE_BUFFER {
            // The window is closed; what comes all the same is dropped.
            return;
        }
        if end.phase == Phase::SynSent {
            return;
        }
        if !end.held && !bytes.is_empty() && offset >= end.received {
            // Closed while the peer still sends: the kernel resets.
            return self.abort(now, at, queue);
        }
        if offset >= end.received {
            end.ahead.insert(offset, (bytes, fin));
        }
        let mut arrived: Vec<Bytes> = Vec::new();
        let mut finished = false;
        let first = end.received;
        while let Some((bytes, fin)) = end.ahead.remove(&end.received) {
            end.received += bytes.len() as u64 + u64::from(fin);
            finished |= fin;
            if !bytes.is_empty() {
                arrived.push(bytes);
            }
        }
        let held = end.held;
        if finished {
            end.held = false;
            end.closing = true;
        }
        if held && !arrived.is_empty() {
            let total = arrived.iter().map(Bytes::len).sum();
            end.unread += if stopped { total } else { 0 };
            let mut all = self.spare.pop().unwrap_or_default();
            all.clear();
            all.reserve(total);
            for bytes in &arrived {
                all.extend_from_slice(bytes);
            }
            match piece {
                None => out.push(Delivery::Data { host, end: at, data: all }),
                Some((_, piece)) => {
                    let mut done = 0;
                    for number in 0.. {
                        let most = luck.below(Purpose::Piece, place(at), first + done as u64, piece.max(1) as u64);
                        let len = usize::try_from(most).expect("below a length") + 1;
                        let len = if number + 1 == PIECES { total - done } else { len.min(total - done) };
                        out.push(Delivery::Data { host, end: at, data: all[done..done + len].to_vec() });
                        done += len;
                        if done == total {
                            break;
                        }
                    }
                    self.recycle(all);
                }
            }
        }
        if finished && held {
            out.push(Delivery::Closed { host, end: at, error: None });
        }
        self.acknowledge(now, at, queue);
        if finished {
            self.pump(now, at, queue);
        }
    }

    fn acked(
        &mut self,
        now: u64,
        at: EndRef,
        host: usize,
        upto: u64,
        queue: &mut Queue<Item>,
        out: &mut Vec<Delivery>,
    ) {
        let buffer = self.buffer(at);
        let Some(end) = self.end(at) else { return };
        let mut progress = false;
        while let Some(first) = end.flight.front().filter(|first| first.end() <= upto) {
            if first.round == 0 {
                let sample = now - first.sent_at;
                end.smoothed_rtt = if end.smoothed_rtt == 0 { sample } else { (7 * end.smoothed_rtt + sample) / 8 };
            }
            end.flight_bytes -= first.bytes.len();
            end.window = (end.window + first.bytes.len()).min(WINDOW);
            end.flight.pop_front();
            progress = true;
        }
        let mut again = Vec::new();
        if progress {
            end.retries = 0;
            end.repeated_acks = 0;
            let round = end.round;
            for old in end.flight.iter_mut().take_while(|old| old.round < round).take(2) {
                if round > 0 && old.sent_at + end.smoothed_rtt < now {
                    old.round = round;
                    again.push(old.segment());
                }
            }
            end.deadline = (!end.flight.is_empty()).then(|| now + end.rto());
        } else if !end.flight.is_empty() {
            end.repeated_acks += 1;
            if end.repeated_acks.is_multiple_of(3) {
                end.round += 1;
                end.window = (end.window / 2).max(2_896);
                let round = end.round;
                if let Some(first) = end.flight.front_mut() {
                    first.round = round;
                    again.push(first.segment());
                }
            }
        }
        let writable = end.blocked && end.held && end.buffered() * 2 <= buffer;
        end.blocked &= !writable;
        let finished = end.finished();
        for segment in again {
            self.transmit(now, at, segment, queue);
        }
        if finished {
            return self.remove(at);
        }
        self.pump(now, at, queue);
        if writable {
            out.push(Delivery::Writable { host, end: at });
        }
    }
}
