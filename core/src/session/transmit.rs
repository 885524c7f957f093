//! Filling packets: what is due goes onto the path where it belongs.

use super::{Closing, Life, Path, Session, Via};
use crate::config::MAX_PATHS;
use crate::endpoint::Shared;
use crate::io::Action;
use crate::seal;
use crate::sent::{SentFrame, SentFrames};
use crate::time::Time;
use crate::wire::frame::{Frame, MAX_REASON};

/// Sealed bytes that may wait for a stream to take them, before we seal no more.
const STREAM_BACKLOG: usize = 64 * 1024;

/// What became of one try to send.
enum Sent {
    Nothing,
    /// Into the buffer of its stream.
    OnStream,
    Datagram(core::net::SocketAddr),
}

impl Session {
    /// Seals the next packet that is due: a datagram into `buf`, as an action; packets of streams
    /// go to their streams' own buffers.
    pub(crate) fn poll_transmit(&mut self, now: Time, shared: &mut Shared, buf: &mut Vec<u8>) -> Option<Action> {
        loop {
            let current = self.current;
            let others = self.paths.keys().copied().filter(|index| Some(*index) != current);
            let order: arrayvec::ArrayVec<u32, MAX_PATHS> = current.into_iter().chain(others).take(MAX_PATHS).collect();
            let mut progress = false;
            for index in order {
                match self.transmit_on(now, shared, index, buf) {
                    Sent::Nothing => {}
                    Sent::OnStream => progress = true,
                    Sent::Datagram(to) => return Some(Action::Transmit { to, segment_size: None }),
                }
            }
            if !progress {
                return None;
            }
        }
    }

    fn transmit_on(&mut self, now: Time, shared: &mut Shared, index: u32, buf: &mut Vec<u8>) -> Sent {
        if let Some(to) = self.fill_challenge(now, index, buf) {
            return Sent::Datagram(to);
        }
        let Some(path) = self.paths.get(&index) else { return Sent::Nothing };
        if !path.has_room(shared) || !self.wants_to_send(now, path) {
            return Sent::Nothing;
        }
        self.renew_if_due(now, shared, index);
        let Some(path) = self.paths.get(&index).filter(|path| path.keys.can_seal(now)) else { return Sent::Nothing };
        match path.via {
            Via::Udp(to) => {
                buf.clear();
                if self.fill(now, index, buf) { Sent::Datagram(to) } else { Sent::Nothing }
            }
            Via::Stream(stream) => {
                let max = path.packet_max();
                let pushed = shared.streams.push_with(stream, max, |out| {
                    self.fill(now, index, out);
                });
                if pushed { Sent::OnStream } else { Sent::Nothing }
            }
        }
    }

    fn wants_to_send(&self, now: Time, path: &Path) -> bool {
        let current = self.current == Some(path.index);
        path.probes > 0
            || (path.keys.may_seal() && path.acks.due().is_some_and(|due| due <= now))
            || path.confirm_due
            || path.ping_due
            || path.response_due.is_some()
            || self.close_ack_due == Some(path.index)
            || (current && (self.control_due() || (path.recovery.may_send() && self.channels.wants_to_write())))
    }

    /// Frames that belong to the session and go onto the current path.
    fn control_due(&self) -> bool {
        self.switch.due
            || self.closed_paths.0.iter().any(|closed| closed.due)
            || matches!(self.closing, Some(Closing::Announced { due: true, .. }))
    }

    /// Appends one sealed packet. Returns whether there was anything to say.
    fn fill(&mut self, now: Time, index: u32, out: &mut Vec<u8>) -> bool {
        let current = self.current == Some(index);
        let Some(path) = self.paths.get_mut(&index) else { return false };
        let start = out.len();
        let max_len = start + path.packet_max() - seal::TAG_LEN;
        out.resize(start + seal::HEADER_LEN, 0);
        let mut sent = SentFrames::new();
        let mut eliciting = false;

        if let Some((ranges, delay)) = path.acks.ack(now) {
            let largest = ranges.first().map_or(0, |(_, high)| *high);
            let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            Frame::Ack { epoch: path.peer_index, delay_us, ranges }.encode(out);
            sent.push(SentFrame::Ack { largest });
        }
        if core::mem::take(&mut path.confirm_due) {
            Frame::Confirm.encode(out);
            sent.push(SentFrame::Confirm);
            eliciting = true;
        }
        if let Some(bytes) = path.response_due.take() {
            Frame::Response(bytes).encode(out);
            // There is one for each packet that asked, and it is not repeated, so it need not wait
            // for the window: what is in flight may have gone astray because we are elsewhere now.
            eliciting |= path.recovery.may_send();
        }
        if core::mem::take(&mut path.ping_due) {
            Frame::Ping.encode(out);
            eliciting = true;
        }
        if self.close_ack_due == Some(index) {
            self.close_ack_due = None;
            Frame::CloseAck.encode(out);
        }
        let probing = path.probes > 0;
        if current && !matches!(self.life, Life::Draining { .. }) {
            eliciting |= self.fill_control(out, &mut sent);
            let Some(path) = self.paths.get(&index) else { return false };
            if probing || path.recovery.may_send() {
                let before = out.len();
                self.channels.write(out, max_len, &mut sent);
                eliciting |= out.len() > before;
                self.upgrade.traffic |= out.len() > before;
            }
            eliciting |= self.fill_close(out, max_len, &mut sent);
        }
        let Some(path) = self.paths.get_mut(&index) else { return false };
        if probing {
            path.probes -= 1;
            if !eliciting {
                Frame::Ping.encode(out);
                eliciting = true;
            }
        }
        if out.len() == start + seal::HEADER_LEN {
            out.truncate(start);
            return false;
        }
        let sealed = path.keys.sealer(now).and_then(|sealer| sealer.seal(path.peer_index, out, start).ok());
        let Some(number) = sealed else {
            out.truncate(start);
            return false;
        };
        path.recovery.on_sent(now, number, out.len() - start, eliciting, sent);
        if eliciting {
            path.asked = now;
        }
        true
    }

    /// Seals the challenge that is due into `buf`, and returns where it goes.
    ///
    /// The packet does not count as in flight. Should it be lost, that says nothing about the address
    /// that is in use, and newest packets from the candidate bring the next one.
    fn fill_challenge(&mut self, now: Time, index: u32, buf: &mut Vec<u8>) -> Option<core::net::SocketAddr> {
        let over = self.is_over();
        let path = self.paths.get_mut(&index)?;
        if over || !path.address.is_due() || !path.keys.can_seal(now) {
            return None;
        }
        let pto = path.recovery.pto_period();
        let (to, bytes) = path.address.challenge(now, CHALLENGE_PACKET, pto)?;
        buf.clear();
        buf.resize(seal::HEADER_LEN, 0);
        Frame::Challenge(bytes).encode(buf);
        let number = path.keys.sealer(now)?.seal(path.peer_index, buf, 0).ok()?;
        debug_assert_eq!(buf.len(), CHALLENGE_PACKET, "what was asked for");
        path.recovery.on_sent(now, number, buf.len(), false, SentFrames::new());
        Some(to)
    }

    fn fill_control(&mut self, out: &mut Vec<u8>, sent: &mut SentFrames) -> bool {
        let before = out.len();
        if self.switch.due
            && let Some(path) = self.current.and_then(|index| self.paths.get(&index))
        {
            let switch_no = self.switch.no;
            self.switch.due = false;
            Frame::UsePath { switch_no, epoch: path.peer_index }.encode(out);
            sent.push(SentFrame::UsePath { switch_no });
        }
        for closed in self.closed_paths.0.iter_mut().filter(|closed| closed.due) {
            if sent.remaining_capacity() <= 2 {
                break;
            }
            closed.due = false;
            Frame::PathClose { epoch: closed.epoch, code: closed.code.number() }.encode(out);
            sent.push(SentFrame::PathClose { epoch: closed.epoch });
        }
        out.len() > before
    }

    /// CLOSE comes after everything else: what follows it is not read any more.
    fn fill_close(&mut self, out: &mut Vec<u8>, max_len: usize, sent: &mut SentFrames) -> bool {
        let before = out.len();
        if let Some(Closing::Announced { due, reason, .. }) = &mut self.closing
            && *due
            && out.len() + CLOSE_ROOM <= max_len
            && !sent.is_full()
        {
            *due = false;
            let code = crate::code::Code::Done.number();
            Frame::Close { code, finals: self.channels.finals(), reason }.encode(out);
            sent.push(SentFrame::Close);
        }
        out.len() > before
    }
}

/// A packet with CHALLENGE alone.
const CHALLENGE_PACKET: usize = seal::HEADER_LEN + 1 + 8 + seal::TAG_LEN;
/// The longest CLOSE.
const CLOSE_ROOM: usize = 8 + 64 * 9 + MAX_REASON;

impl Path {
    /// Whether the carrier takes another packet.
    pub(super) fn has_room(&self, shared: &Shared) -> bool {
        match self.via {
            Via::Udp(_) => true,
            Via::Stream(stream) => shared.streams.backlog(stream) < STREAM_BACKLOG,
        }
    }
}
